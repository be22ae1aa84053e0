"""The papers of the synthetic run: settings, metrics and summary, in the form every run has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.settings import DecompositionSettings
from core.numerals import grouped
from core.recipes.registry import build_recipe

RECIPE = "pile_llama_simple_mlp-4L"
"""The recipe whose settings the synthetic run shows, as the nearest thing of its size."""

STEPS, LOG_EVERY, EVALUATE_EVERY = 400_000, 500, 10_000

_MODES = {"unmasked": 0.001, "ci": 0.11, "stochastic": 0.06, "rounded": 0.12, "random": 0.9, "zero": 7.6}
"""Cross-entropy above the target's at the end, by mask mode."""
_CROSS_ENTROPY = 2.93
_BUDGET = {"steps": 20, "step_size": 0.1, "init": "random", "on": "each batch"}
_ADVERSARY = "adversary/loss/20_steps_of_0.1_from_random_on_each_batch"


@dataclass(frozen=True)
class Counted:
    """What the harvest found in each layer; the record ends with the same numbers."""

    widths: dict[str, int]
    live: dict[str, int]
    """Components that fired."""
    l0: dict[str, float]
    """Components that fire at a position."""


def synthetic_settings(widths: Mapping[str, int], seed: int) -> DecompositionSettings:
    """Settings of a decomposition of this size, with no target."""
    settings = build_recipe(RECIPE)
    modules = tuple(ModulePattern(pattern=name, C=width) for name, width in widths.items())
    return settings.model_copy(
        update={
            "recipe": "synthetic",
            "seed": seed,
            "target": None,
            "components": ComponentsSettings(modules=modules),
            "training": settings.training.model_copy(update={"steps": STEPS}),
            "evaluation": settings.evaluation.model_copy(
                update={"every": EVALUATE_EVERY, "figures_every": EVALUATE_EVERY}
            ),
            "record": settings.record.model_copy(update={"log_every": LOG_EVERY}),
        }
    )


def synthetic_metrics(counted: Counted, seed: int) -> Iterator[dict[str, Any]]:
    """Records of a whole training, evaluations before the training record of their step."""
    draws = np.random.default_rng([seed, 1])
    for step in range(0, STEPS + 1, LOG_EVERY):
        if step % EVALUATE_EVERY == 0:
            yield {"step": step, "kind": "eval", **_evaluated(counted, step, draws)}
        if step < STEPS:
            yield {"step": step, "kind": "train", **_trained(counted, step, draws)}


def synthetic_summary(run: dict[str, Any], last: Mapping[str, Any], counted: Counted) -> dict[str, Any]:
    """The summary of the run, `run` being its id, path, recipe, seed and time, and `last` its last record."""
    values = {name.removeprefix("eval/"): value for name, value in last.items() if name.startswith("eval/")}
    entropy = _under(values, "cross_entropy/")
    live, total = sum(counted.live.values()), sum(counted.widths.values())
    headline = (
        f"CI masks recover {entropy['ce_recovered/ci']:.1%} of the cross-entropy, stochastic masks "
        f"{entropy['ce_recovered/stochastic']:.1%}; {grouped(live)} of {grouped(total)} "
        f"subcomponents are live, {sum(counted.l0.values()):.1f} of them active at a token."
    ).replace("%", " %")
    sentences = {
        name: f"{grouped(counted.live[name])} of {grouped(width)} live, L0 {counted.l0[name]:.2f}"
        for name, width in counted.widths.items()
    }
    return {
        **run,
        "steps": STEPS,
        "peak_memory_bytes": None,
        "recovered": None,
        "verdict": {"headline": headline, **sentences},
        "live_components": counted.live,
        "live_threshold": dict.fromkeys(counted.widths, 1e-4),
        **{
            name: {}
            for name in ("identity_ci_error", "dense_ci_error", "mmcs", "ml2r", "neuron_contributions")
        },
        "l0": counted.l0,
        "l0_total": values["l0_total"],
        "l0_per_layer": _per_block(counted.l0),
        "components": counted.widths,
        "losses": _under(values, "loss/"),
        "wrapping_error": None,
        "cross_entropy": entropy,
        "adversaries": [{"metric": "adversary", "loss": values[_ADVERSARY], **_BUDGET}],
        "metrics": {"cross_entropy": entropy, "adversary": _under(values, "adversary/")},
    }


def _losses(counted: Counted, step: int, draws: np.random.Generator) -> dict[str, float]:
    """Every falling thing falls as a power of the step towards where it ends, with a little noise."""
    left = _left(step)
    noise = np.exp(draws.normal(0, 0.04, 4))
    l0 = sum(counted.l0.values())
    return {
        "minimality": float((l0 * (1 + 11 * left)) * noise[0]),
        "stochastic_subset": float((0.031 + 0.7 * left) * noise[1]),
        "adversarial_subset": float((0.19 + 6.0 * left) * noise[2]),
        "faithfulness": float((1.5e-9 + 6e-5 * left**3) * noise[3]),
    }


def _left(step: int) -> float:
    """What is left of the way down."""
    return 0.0 if step == STEPS else (1 + step / 2000) ** -0.8


def _l0(counted: Counted, step: int, draws: np.random.Generator) -> dict[str, float]:
    left = 1.0 if step == 0 else (1 + step / 1000) ** -1.3
    if step == STEPS:
        return dict(counted.l0)
    return {
        name: float((end + (0.5 * counted.widths[name] - end) * left) * np.exp(draws.normal(0, 0.03)))
        for name, end in counted.l0.items()
    }


def _trained(counted: Counted, step: int, draws: np.random.Generator) -> dict[str, float]:
    losses, done = _losses(counted, step, draws), step / STEPS
    total = 5e-4 * losses["minimality"] + 0.5 * (losses["stochastic_subset"] + losses["adversarial_subset"])
    return {
        **{f"loss/{name}": value for name, value in losses.items()},
        "loss/total": total + 1e6 * losses["faithfulness"],
        **{f"l0/{name}": value for name, value in _l0(counted, step, draws).items()},
        "lr": 1e-4 * (0.55 + 0.45 * float(np.cos(np.pi * done))),
        "p/minimality": 2.0 - 1.6 * done,
        "grad_norm/components": float(np.exp(draws.normal(-2.0 - done, 0.3))),
        "grad_norm/importance": float(np.exp(draws.normal(-3.0 - done, 0.8))),
    }


def _evaluated(counted: Counted, step: int, draws: np.random.Generator) -> dict[str, float]:
    l0, left = _l0(counted, step, draws), _left(step)
    ends = {mode: end if mode == "zero" else end + left for mode, end in _MODES.items()}
    found = {f"loss/{name}": value for name, value in _losses(counted, step, draws).items()}
    found |= {f"l0/{name}": value for name, value in l0.items()}
    found |= {f"l0/{block.replace('h.', 'layer_')}": value for block, value in _per_block(l0).items()}
    found |= {
        f"live/{name}": float(round(live + (counted.widths[name] - live) * left))
        for name, live in counted.live.items()
    }
    found["cross_entropy/ce/target"] = _CROSS_ENTROPY
    for mode, end in ends.items():
        found[f"cross_entropy/ce/{mode}"] = _CROSS_ENTROPY + end
        found[f"cross_entropy/kl/{mode}"] = 0.95 * end
        found[f"cross_entropy/top1/{mode}"] = float(np.exp(-end))
    for mode, end in ends.items():
        found[f"cross_entropy/ce_difference/{mode}"] = end
        if mode != "zero":
            lost = end / ends["zero"]
            found |= {
                f"cross_entropy/ce_unrecovered/{mode}": lost,
                f"cross_entropy/ce_recovered/{mode}": 1 - lost,
            }
    found[_ADVERSARY] = 2.4 + 5 * left
    found["l0_total"] = sum(l0.values())
    return {f"eval/{name}": value for name, value in found.items()}


def _per_block(l0: Mapping[str, float]) -> dict[str, float]:
    blocks: dict[str, float] = {}
    for name, value in l0.items():
        block = ".".join(name.split(".")[:2])
        blocks[block] = blocks.get(block, 0.0) + value
    return blocks


def _under(values: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
