"""summary.json: what a finished run found, for scripts."""

from dataclasses import asdict, dataclass
from typing import Any

from core.decomposition.evaluation import Evaluation
from core.decomposition.metrics.layers import by_layer
from core.decomposition.metrics.wrapping_error import WrappingError
from core.decomposition.settings import DecompositionSettings
from core.runs.directory import RunDirectory


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    seconds: float
    """Wall time over all its sessions, target training, evaluation and figures included."""
    peak_memory_bytes: int
    """Largest memory its last session held."""


def summarise(
    run: RunDirectory,
    settings: DecompositionSettings,
    evaluation: Evaluation,
    cost: Cost,
    wrapping: WrappingError | None = None,
) -> dict[str, Any]:
    """The content of summary.json; the same object is printed by `--json`."""
    found = evaluation.verdict()
    errors = evaluation.errors.modules
    return {
        "run_id": run.run_id,
        "path": str(run.path),
        "recipe": settings.recipe,
        "seed": settings.seed,
        "steps": settings.training.steps,
        "seconds": round(cost.seconds, 3),
        "peak_memory_bytes": cost.peak_memory_bytes,
        "recovered": found.recovered,
        "verdict": {"headline": found.headline, **found.sentences},
        "live_components": {name: cut.count for name, cut in evaluation.live.items()},
        "live_threshold": {name: cut.threshold for name, cut in evaluation.live.items()},
        "identity_ci_error": {n: s.error for n, s in errors.items() if s.kind == "identity"},
        "dense_ci_error": {n: s.error for n, s in errors.items() if s.kind == "dense"},
        "mmcs": {name: match.mmcs for name, match in evaluation.columns.items()},
        "ml2r": {name: match.ml2r for name, match in evaluation.columns.items()},
        "neuron_contributions": {
            name: {"pearson": layer.agreement.pearson, "slope": layer.agreement.slope}
            for name, layer in evaluation.neurons.items()
        },
        "l0": evaluation.tally.l0() | evaluation.groups,
        "l0_total": evaluation.l0,
        "l0_per_layer": l0_per_layer(evaluation),
        "components": evaluation.components,
        "losses": evaluation.losses,
        "wrapping_error": asdict(wrapping) if wrapping else None,
        "cross_entropy": evaluation.cross_entropy,
        "adversaries": evaluation.adversaries,
        "metrics": {name: found.values for name, found in evaluation.metrics.items()},
    }


def l0_per_layer(evaluation: Evaluation) -> dict[str, float]:
    """Sum of the L0 of each layer's modules."""
    l0 = evaluation.tally.l0()
    return {layer: sum(l0[name] for name in names) for layer, names in by_layer(l0).items()}
