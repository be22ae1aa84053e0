"""Time training steps of the toy recipes against the same step in eager torch, alternating in one run.

    python benchmarks/steps.py [RECIPE ...] [--seconds N]

The eager side has the same losses, batch and optimiser, written with plain tensor operations: no compiled
kernels, no rows folded, no wide stream in factors, nothing shared between passes. `gelu_mlp` calibrates the
machine: forward and backward of 20 scalar -> 16 -> scalar GELU networks on 4096 inputs in eager torch.
"""

import argparse
import copy
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the `spd` command does

import torch
from torch import Tensor, nn

from core import native
from core.components.component_model import ComponentModel
from core.decomposition.checks import check_positions
from core.decomposition.null_rows import Batch, fold_null_rows, zero_rows_are_null
from core.decomposition.opening import build_model, largest_product
from core.decomposition.settings import DecompositionSettings
from core.decomposition.step import Stepper
from core.devices import Precision, choose_threads, resolve_precision, thread_count
from core.recipes.registry import build_recipe
from core.targets.load import load_target
from core.targets.residual_mlp import ResidualMLP
from core.targets.target import Target

RECIPES = ("tms_5-2", "tms_5-2-id", "tms_40-10", "resid_mlp1", "resid_mlp2")

REFERENCE_MS = {
    "tms_5-2": 29.5,
    "tms_5-2-id": 36.5,
    "tms_40-10": 430.0,
    "tms_40-10-id": 815.0,
    "resid_mlp1": 92.0,
    "resid_mlp2": 251.0,
    "resid_mlp3": 20_000.0,
}
"""Published steps of the original implementation on 2 CPU cores, taken where `gelu_mlp` was 4.6 ms."""

REFERENCE_GELU_MS = 4.6

CPU = torch.device("cpu")


def calibrate() -> float:
    """Milliseconds of `gelu_mlp` (median of 15)."""
    x = torch.randn(4096, 20, 1, requires_grad=True)
    w1, b1, w2 = (torch.randn(20, 16, requires_grad=True) for _ in range(3))

    def once() -> None:
        (nn.functional.gelu(x * w1 + b1) * w2).sum(-1).sum().backward()

    return statistics.median(milliseconds(once) for _ in range(15))


def milliseconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = perf_counter()
    action()
    return 1e3 * (perf_counter() - start)


@contextmanager
def eager_torch() -> Iterator[None]:
    """Without kernels and without sharing: what the formulas say, operation by operation."""
    usable, usable_stored, masked_pass = native.usable, native.usable_stored, ComponentModel.masked_pass

    def alone(self: ComponentModel, inputs: object, masks: dict, *_: object) -> tuple[Tensor, dict]:
        return masked_pass(self, inputs, masks)

    native.usable = native.usable_stored = lambda tensor: False
    ComponentModel.masked_pass = alone  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        native.usable, native.usable_stored = usable, usable_stored
        ComponentModel.masked_pass = masked_pass  # type: ignore[method-assign]


class Contender:
    """One way to do the steps of a recipe."""

    def __init__(
        self,
        settings: DecompositionSettings,
        target: Target,
        precision: Precision,
        plain: bool,
        device: torch.device = CPU,
    ) -> None:
        self.plain, self.target, self.settings = plain, target, settings
        self.model = build_model(settings, target, device)
        self.stepper = Stepper(self.model, settings, target.distance, precision, device)
        batch = Batch(self.target.batch("train", 0, settings.training.batch_size)).to(device).inputs
        positions = check_positions(self.model.target_pass(batch)).numel()
        self.folds = not plain and zero_rows_are_null(self.model, batch)
        components = sum(site.C for site in self.model.sites.values())
        wanted = choose_threads(positions, components)
        self.threads = torch.get_num_threads() if plain else wanted
        self.step = 0
        self.times: list[float] = []

    def once(self) -> None:
        """One step, timed."""
        with thread_count(self.threads):
            if self.plain:
                with eager_torch():
                    self.times.append(milliseconds(self._step))
            else:
                self.times.append(milliseconds(self._step))

    def _step(self) -> None:
        inputs = self.target.batch("train", self.step, self.settings.training.batch_size)
        batch = (fold_null_rows(inputs) if self.folds else Batch(inputs)).to(self.stepper.device)
        self.stepper.update(self.stepper.measure(batch, self.step), self.step)
        if self.stepper.device.type == "cuda":
            torch.cuda.synchronize(self.stepper.device)
        self.step += 1


def compare(name: str, seconds: float, root: Path) -> tuple[float, float, float]:
    """Median milliseconds: our step in the precision a run chooses, the eager one in float32 and bf16."""
    settings = build_recipe(name)
    assert settings.target is not None
    target = load_target(settings.target, settings.seed, root)
    contenders = []
    model = build_model(settings, target, torch.device("cpu"))
    own = resolve_precision("auto", CPU, largest_product(model, settings.training.batch_size))
    model.detach()
    sides: tuple[tuple[Precision, bool], ...] = ((own, False), ("fp32", True), ("bf16", True))
    for precision, plain in sides:
        copied = replace(target, model=_copy(target.model, plain))
        contenders.append(Contender(settings, copied, precision, plain))
    end = perf_counter() + seconds
    while perf_counter() < end or len(contenders[0].times) < 8:
        for contender in contenders:
            contender.once()
    ours, fp32, bf16 = (statistics.median(c.times[3:]) for c in contenders)
    return ours, fp32, bf16


def _copy(model: nn.Module, plain: bool) -> nn.Module:
    copied = copy.deepcopy(model)
    if plain and isinstance(copied, ResidualMLP):
        copied.__dict__["linear_stream"] = False  # the wide stream itself
    return copied


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--targets", type=Path, help="folder with trained targets, to save their training")
    parser.add_argument("--seconds", type=float, default=15.0, help="time for each recipe")
    arguments = parser.parse_args()
    gelu = calibrate()
    print(f"gelu_mlp {gelu:.2f} ms here; {REFERENCE_GELU_MS} ms where the published steps were taken")
    print(f"{'recipe':14}{'ours ms':>9}{'eager fp32':>12}{'ratio':>7}{'eager bf16':>12}{'ratio':>7}", end="")
    print(f"{'published ms':>14}{'ratio':>7}{'calibrated':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.recipes:
            ours, fp32, bf16 = compare(name, arguments.seconds, arguments.targets or Path(folder))
            published = REFERENCE_MS.get(name, float("nan"))
            ratio = published / ours
            print(f"{name:14}{ours:9.2f}{fp32:12.2f}{fp32 / ours:7.1f}{bf16:12.2f}{bf16 / ours:7.1f}", end="")
            print(f"{published:14.1f}{ratio:7.1f}{ratio * gelu / REFERENCE_GELU_MS:12.1f}", flush=True)


if __name__ == "__main__":
    main()
