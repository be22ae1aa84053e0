"""The one way to get a target: toys are trained, checked and kept, language models loaded or pretrained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from core.devices import thread_count
from core.errors import UsageError
from core.parallel import SINGLE, Ranks
from core.runs.files import ensure_writable
from core.targets.cache import Json, publish, restore, target_digest, target_folder
from core.targets.induction import InductionSettings, InductionTask, induction_batches
from core.targets.language_model import LanguageModelSettings, open_language_model
from core.targets.residual_mlp import ResidualMLPSettings, ResidualMLPTask
from core.targets.sparse_features import SYMMETRIC_RANGE, UNIT_RANGE, feature_batches, feature_probes
from core.targets.target import BatchFn, ReportFn, Target, TargetProgress, freeze
from core.targets.toy_superposition import ToySuperpositionSettings, ToySuperpositionTask
from core.targets.training import Attempt, TargetTask, train_until_good
from core.targets.union import TargetSettings, ToySettings


@dataclass(frozen=True)
class _Plan:
    task: TargetTask
    batches: Callable[[int], BatchFn]
    distance: Literal["mse", "kl"]
    probes: Tensor | None
    ties: tuple[tuple[str, str], ...]


def load_target(
    settings: TargetSettings,
    seed: int,
    out_dir: Path,
    report: ReportFn | None = None,
    check: Callable[[nn.Module], object] | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    ranks: Ranks = SINGLE,
) -> Target:
    """The target of these settings and this seed, trained at most once per output folder.

    A toy that fails its quality check is reported and another trained from the next derived seed; language
    models are loaded, or pretrained on `device` in `precision` by `ranks` together. `report` hears of every
    hundredth of a training, of each verdict, and of a target found in the cache. `check` sees a model with
    the same modules before anything is trained or tokenised, and may raise: what does not suit them is then
    refused at once, with nothing on disk.

    Raises:
        UsageError: a model, text or imported weights are not there, or do not fit each other.
        SpdError: no attempt passed the quality check, the cached files are damaged or cannot be written.
    """
    hear = report if report is not None else _silence
    if isinstance(settings, LanguageModelSettings):
        return open_language_model(
            settings, seed, out_dir, hear, check, device=device, precision=precision, ranks=ranks
        )
    with thread_count(1):  # toys are too small for a second thread, and come out the same anywhere
        return _toy(settings, seed, out_dir, hear, check)


def _toy(
    settings: ToySettings,
    seed: int,
    out_dir: Path,
    hear: ReportFn,
    check: Callable[[nn.Module], object] | None,
) -> Target:
    """Read from the cache, or trained from scratch; settings that name imported weights are never trained."""
    plan = _plan(settings, seed)
    digest = target_digest(settings, seed)
    folder = target_folder(out_dir, settings.kind, digest)
    model = plan.task.build(seed)
    if check is not None:
        check(model)
    steps = settings.training.steps
    if folder.exists():
        quality = restore(folder, model, settings, seed)
        hear(TargetProgress("cached", steps, steps, None, int(quality["attempt"]), quality["note"]))
    elif not isinstance(settings, InductionSettings) and settings.weights_digest is not None:
        raise UsageError(
            f"the target's imported weights {settings.weights_digest} are not in {folder}.",
            "Import the run again with `spd runs import`, or set target.weights_digest to null to train one.",
        )
    else:
        ensure_writable(out_dir)
        trained, attempts = train_until_good(
            plan.task, plan.batches, settings.training, seed, settings.max_attempts, hear
        )
        publish(folder, trained, settings, seed, [_line(attempt) for attempt in attempts])
        # Read back what is on the disk: another process may have published first.
        restore(folder, model, settings, seed)
    return Target(
        name=settings.kind,
        model=freeze(model),
        batch=plan.batches(seed),
        distance=plan.distance,
        probes=plan.probes,
        ties=plan.ties,
        digest=digest,
        folder=folder,
    )


def _plan(settings: ToySettings, seed: int) -> _Plan:
    match settings:
        case ToySuperpositionSettings():
            return _Plan(
                task=ToySuperpositionTask(settings),
                batches=lambda s: feature_batches(settings.data, settings.n_features, UNIT_RANGE, s),
                distance="mse",
                probes=feature_probes(settings.n_features),
                ties=(("linear1", "linear2"),) if settings.tied_weights else (),
            )
        case ResidualMLPSettings():
            return _Plan(
                task=ResidualMLPTask(settings, seed),
                batches=lambda s: feature_batches(settings.data, settings.n_features, SYMMETRIC_RANGE, s),
                distance="mse",
                probes=feature_probes(settings.n_features),
                ties=(),
            )
        case InductionSettings():
            return _Plan(
                task=InductionTask(settings, seed),
                batches=lambda s: induction_batches(settings, s),
                distance="kl",
                probes=None,
                ties=(),
            )


def _line(attempt: Attempt) -> Json:
    return {
        "step": attempt.steps,
        "kind": "quality",
        "attempt": attempt.number,
        "passed": attempt.quality.passed,
        "note": attempt.quality.note,
        "loss": attempt.loss,
        **{f"quality/{name}": value for name, value in attempt.quality.numbers.items()},
    }


def _silence(progress: TargetProgress) -> None:
    """Receives the reports nobody asked for."""
