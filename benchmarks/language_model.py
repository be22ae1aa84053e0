"""One fixed step of a language model's decomposition against eager torch, and what it spends its time on.

    python benchmarks/language_model.py [--seconds 60] [--device cuda]

A random LlamaSimpleMLP of 2 layers, width 128, MLP 512, vocabulary 4096; 650 subcomponents in each of its 12
matrices, importance networks of one hidden layer of 550; minimality, stochastic and one-step adversarial
reconstruction of random subsets, and faithfulness; 8 windows of 128 tokens. Both sides run the same losses on
the same batches, in turns. Eager torch is the formulas operation by operation: no kernels, nothing shared.
"""

import argparse
import copy
import resource
import statistics
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch
from steps import REFERENCE_GELU_MS, Contender, calibrate
from torch import Tensor

from core.components.component_model import ComponentModel
from core.decomposition.null_rows import Batch
from core.decomposition.settings import DecompositionSettings, settings_from
from core.devices import Precision, autocast
from core.language_models.build import build_language_model
from core.language_models.settings import LlamaSimpleMLPSettings
from core.losses.context import LossContext
from core.randomness import generator
from core.targets.target import Target, freeze

REFERENCE_MS = {"bf16": 612.0, "fp32": 879.0}
"""Published step of the original implementation on 2 CPU cores, taken where `gelu_mlp` was 4.6 ms."""

WINDOWS, LENGTH, VOCABULARY = 8, 128, 4096
MATRICES = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "mlp.c_fc", "mlp.down_proj")


def settings() -> DecompositionSettings:
    """The fixed decomposition."""
    subset = {"kind": "reconstruction", "coeff": 0.5, "routing": {"kind": "subset"}}
    return settings_from(
        {
            "components": {"modules": [{"pattern": f"h.*.{name}", "C": 650} for name in MATRICES]},
            "importance": {"kind": "shared_mlp", "hidden": [550]},
            "losses": {
                "minimality": {
                    "kind": "minimality",
                    "coeff": 1e-3,
                    "p": 2,
                    "p_final": 0.3,
                    "anneal_start": 0.0,
                },
                "stochastic_subset": subset,
                "adversarial_subset": {**subset, "masks": {"kind": "adversarial"}},
                "faithfulness": {"kind": "faithfulness", "coeff": 1e6},
            },
            "training": {"steps": 100_000, "batch_size": WINDOWS, "lr": {"start": 2e-4}},
        },
        "the benchmark",
    )


def target() -> Target:
    """The model, with random weights, on random tokens."""
    shape = LlamaSimpleMLPSettings(vocabulary=VOCABULARY, context=LENGTH, layers=2, heads=4, width=128)

    def batch(stream: str, index: int, size: int) -> Tensor:
        return torch.randint(0, VOCABULARY, (size, LENGTH), generator=generator(0, stream, index))

    return Target(
        name="language_model",
        model=freeze(build_language_model(shape, 0)),
        batch=batch,
        distance="kl",
        probes=None,
        ties=(),
        digest="",
        folder=None,
    )


def multiplications(model: ComponentModel) -> int:
    """Multiply-adds of the matrix products of one step that these losses cannot do without."""
    positions = WINDOWS * LENGTH
    pair = sum((site.d_in + site.d_out) * site.C for site in model.sites.values())
    weight = sum(site.d_in * site.d_out for site in model.sites.values())
    networks = sum(p.numel() for p in model.importance_parameters() if p.dim() == 2)
    head = VOCABULARY * 128
    # Forward; forward and backward to activations (the ascent, whose weights are constants); full backward.
    masked = (3 + 2 + 3) * pair + 3 * 2 * (weight + head)
    return positions * (masked + weight + head + 3 * networks)


def matmul_rate(precision: Precision, device: torch.device) -> float:
    """Multiply-adds a second of a product of this work's shape (best of 20)."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.ones(WINDOWS * LENGTH, 550, dtype=dtype, device=device)
    right = torch.ones(550, 650, dtype=dtype, device=device)
    return left.numel() * 650 / min(timed(lambda: left @ right, device) for _ in range(20))


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start


def adversary_share(ours: Contender, device: torch.device) -> float:
    """Fraction of a step that goes into the adversary's ascent and its loss."""
    stepper, name = ours.stepper, "adversarial_subset"
    inputs = Batch(ours.target.batch("train", 0, WINDOWS)).to(device)

    def loss(context: LossContext) -> None:
        with autocast(device, stepper.precision):
            value = stepper.settings.losses[name].measure(context, name).value
        value.backward()

    def alone() -> float:
        with autocast(device, stepper.precision):
            context = stepper.context(inputs, 0)
        return timed(lambda: loss(context), device)

    share = statistics.median(alone() for _ in range(5))
    return share / statistics.median(timed(ours._step, device) for _ in range(5))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="time for all contenders together")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    gelu = calibrate()
    made, chosen = target(), settings()
    sides: dict[str, tuple[Precision, bool]] = {
        "ours, bf16": ("bf16", False),
        "eager, bf16": ("bf16", True),
        "ours, fp32": ("fp32", False),
        "eager, fp32": ("fp32", True),
    }
    contenders = {
        name: Contender(chosen, replace(made, model=copy.deepcopy(made.model)), precision, plain, device)
        for name, (precision, plain) in sides.items()
    }
    end = perf_counter() + arguments.seconds
    while perf_counter() < end or len(contenders["ours, bf16"].times) < 8:
        for contender in contenders.values():
            contender.once()
    ms = {name: statistics.median(contender.times[3:]) for name, contender in contenders.items()}
    work = multiplications(contenders["ours, bf16"].model)
    print(f"gelu_mlp {gelu:.2f} ms here; {REFERENCE_GELU_MS} ms where the published steps were taken")
    print(f"{'side':14}{'ms/step':>9}{'tokens/s':>10}{'of eager':>10}{'of matmul limit':>17}", end="")
    print(f"{'published ms':>14}{'ratio':>7}{'calibrated':>12}")
    for name, (precision, _) in sides.items():
        eager, published = ms[f"eager, {precision}"] / ms[name], REFERENCE_MS[precision]
        limit = 1e3 * work / matmul_rate(precision, device) / ms[name]
        print(f"{name:14}{ms[name]:9.0f}{1e3 * WINDOWS * LENGTH / ms[name]:10.0f}{eager:9.2f}x", end="")
        print(f"{limit:16.0%} {published:14.0f}{published / ms[name]:7.2f}", end="")
        print(f"{published / ms[name] * gelu / REFERENCE_GELU_MS:12.2f}")
    share = adversary_share(contenders["ours, bf16"], device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"matrix products of a step: {2 * work / 1e9:.0f} GFLOP; adversary: {share:.0%} of ours, bf16")
    print(f"peak memory of this process with all four sides: {peak:.2f} GB")


if __name__ == "__main__":
    main()
