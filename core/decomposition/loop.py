"""The main path: how a model is decomposed, in order.

    warm up         fit the subcomponents to the weights (faithfulness)
    each step       look at a batch: target pass, importances, losses, update
    now and then    log, evaluate, draw, save
    at the end      save, evaluate once more, say what was found

Everything a step draws is a function of (seed, purpose, step), so a run that was stopped anywhere and
resumed from its last checkpoint writes the same numbers as one that was not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.components.component_model import ComponentModel
from core.decomposition.checkpoint import save_checkpoint
from core.decomposition.evaluation import Evaluation, evaluate
from core.decomposition.figures.draw import draw_figures
from core.decomposition.mirror import Mirror, NoMirror
from core.decomposition.null_rows import Batch, fold_null_rows
from core.decomposition.settings import DecompositionSettings
from core.decomposition.step import FiniteGuard, Stepper, check_learnt, train_record, warm_up_faithfulness
from core.errors import Interrupted
from core.runs.directory import RunDirectory
from core.runs.metrics_log import MetricsLog
from core.runs.observer import Observer
from core.runs.stopping import StopSignal
from core.targets.target import Target


@dataclass
class Job:
    """One decomposition under way."""

    settings: DecompositionSettings
    target: Target
    model: ComponentModel
    stepper: Stepper
    run: RunDirectory
    start: int
    """First step to do: 0, or that of the checkpoint it resumes from."""
    warms_up: bool
    """Whether a fresh start begins with the faithfulness warm-up; a warm start does not."""
    folds: bool
    """Whether rows of zeros may be folded, see `core.decomposition.null_rows`."""
    log: MetricsLog | None = None
    """None on the ranks that do not write."""
    mirror: Mirror = field(default_factory=NoMirror)
    on_saved: Callable[[int], object] = lambda step: None
    """Called after each checkpoint with its step."""

    def batch(self, step: int) -> Batch:
        """This rank's part of the training batch of one step."""
        inputs = self.target.batch("train", step, self.settings.training.batch_size)
        batch = fold_null_rows(inputs) if self.folds else Batch(inputs)
        return batch.share(self.stepper.ranks).to(self.stepper.device)


def run_job(job: Job, observer: Observer) -> Evaluation:
    """Train to the end; returns the last evaluation.

    Raises:
        Interrupted: the user asked to stop; a checkpoint was saved.
        NonFiniteLoss: a loss term or a learnt parameter became NaN or infinite.
        SpdError: a file could not be written; the last checkpoint is intact.
    """
    settings = job.settings
    steps = settings.training.steps
    ranks = job.stepper.ranks
    guard = FiniteGuard(1 if job.stepper.device.type == "cpu" else settings.record.log_every, ranks)
    with StopSignal() as stop:
        if job.start == 0 and job.warms_up:
            warmup = settings.training.warmup
            warm_up_faithfulness(job.model, warmup, lambda n: observer.progress("warm-up", n, warmup.steps))
        ranks.align(job.model.parameters())
        for step in range(job.start, steps):
            stopping = ranks.any(stop.requested)
            if step > job.start and (step % settings.record.checkpoint_every == 0 or stopping):
                guard.check()
                _save(job, step)
            if stopping:
                raise Interrupted(f"stopped at step {step} of {steps}; everything up to there is saved.")
            if step % settings.evaluation.every == 0:
                _evaluate(job, step, observer)
            _train(job, step, guard)
            observer.progress("decompose", step + 1, steps)
        guard.check()
        # Saved first: whatever stops the last evaluation and its figures, no training is lost.
        _save(job, steps)
        return _evaluate(job, steps, observer)


def _train(job: Job, step: int, guard: FiniteGuard) -> None:
    result = job.stepper.measure(job.batch(step), step)
    guard.add(step, result.losses)
    norms = job.stepper.update(result, step)
    if step % job.settings.record.log_every == 0:
        _record(job, train_record(result, norms, step, job.settings))


def _evaluate(job: Job, step: int, observer: Observer) -> Evaluation:
    settings = job.settings.evaluation
    evaluation = evaluate(job.stepper, job.target, step)
    _record(job, {"step": step, "kind": "eval", **evaluation.scalars})
    if step % settings.figures_every == 0 or step == job.settings.training.steps:
        observer.message(f"step {step}: {evaluation.headline()}")
        if job.stepper.ranks.is_main:
            for path in draw_figures(job.model, job.target, evaluation, job.run, step):
                job.mirror.image(path, step)
    return evaluation


def _record(job: Job, record: dict[str, Any]) -> None:
    if job.log is not None:
        job.log.append(record)
        job.mirror.scalars(record)


def _save(job: Job, step: int) -> None:
    check_learnt(job.model, step)
    training = {
        "optimizer": job.stepper.optimizer.state_dict(),
        "persistent": job.stepper.persistent_state(),
    }
    if job.stepper.ranks.is_main:
        save_checkpoint(job.run, step, job.model, training, job.settings.record.keep_checkpoints)
        job.on_saved(step)
