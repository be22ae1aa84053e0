"""One training loop for every target: AdamW, named batches, early rejection, progress reports."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from core.errors import SpdError
from core.randomness import derive_seed
from core.settings import Settings
from core.targets.quality import Quality
from core.targets.target import BatchFn, ReportFn, TargetProgress

REPORTS_PER_ATTEMPT = 100


class TargetTrainingSettings(Settings):
    """The optimiser's steps, batch and learning rate for one target."""

    steps: int = Field(gt=0)
    """Updates of one attempt."""

    batch_size: int = Field(gt=0)
    """Inputs per step."""

    lr: float = Field(gt=0.0)
    """Learning rate of AdamW at its highest."""

    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` falls from `lr` to 0 over the steps."""

    weight_decay: float = Field(default=0.01, ge=0.0)
    """Decoupled weight decay of AdamW."""


class TargetTask(Protocol):
    """What the loop needs to know of a kind of target."""

    def build(self, seed: int) -> nn.Module:
        """An untrained model, a pure function of the seed."""
        ...

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The trained parameters, each once."""
        ...

    def loss(self, model: nn.Module, batch: Tensor, /) -> Tensor:
        """Scalar training loss."""
        ...

    def finish(self, model: nn.Module) -> None:
        """Bring the parameters that were not trained themselves up to date."""
        ...

    def quality(self, model: nn.Module) -> Quality:
        """Whether the model does its task."""
        ...

    def hopeless(self, model: nn.Module) -> bool:
        """Whether further training can no longer make the model do its task."""
        ...


@dataclass(frozen=True)
class Attempt:
    """The result of one training."""

    number: int
    """Its number, from 0."""

    steps: int
    """Updates done; fewer than planned when it was found hopeless."""

    loss: float
    """Last loss that was read."""

    quality: Quality
    """Verdict on the model at the last update."""


def learning_rate(settings: TargetTrainingSettings, step: int) -> float:
    """Learning rate of update `step`, from 0; cosine is half a period and would reach 0 at `steps`."""
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * 0.5 * (1.0 + math.cos(math.pi * step / settings.steps))


def train_attempt(
    task: TargetTask,
    batch: BatchFn,
    settings: TargetTrainingSettings,
    number: int,
    seed: int,
    report: ReportFn,
) -> tuple[nn.Module, Attempt]:
    """Train one model from `seed`; stop early if a fifth of the way in it is hopeless."""
    model = task.build(seed)
    parameters = task.parameters(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    every = max(1, settings.steps // REPORTS_PER_ATTEMPT)
    reject_at = settings.steps // 5
    value = math.nan
    for step in range(settings.steps):
        if settings.schedule != "constant":
            optimizer.param_groups[0]["lr"] = learning_rate(settings, step)
        loss = task.loss(model, batch("target-data", step, settings.batch_size))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        done = step + 1
        # Reading the loss every step would cost more than the smallest models' arithmetic.
        if done % every == 0 or done == settings.steps:
            value = loss.item()
            _require_finite(value, done, settings)
            report(TargetProgress("training", done, settings.steps, value, number))
        if done == reject_at:
            task.finish(model)
            if task.hopeless(model):
                return model, Attempt(number, done, loss.item(), task.quality(model))
    task.finish(model)
    return model, Attempt(number, settings.steps, value, task.quality(model))


def train_until_good(
    task: TargetTask,
    batches: Callable[[int], BatchFn],
    settings: TargetTrainingSettings,
    seed: int,
    max_attempts: int,
    report: ReportFn,
) -> tuple[nn.Module, list[Attempt]]:
    """Train from one derived seed after another until the quality check passes.

    Returns the good model and every attempt, the last one being its own.

    Raises:
        SpdError: none of `max_attempts` passed, or a loss was not finite.
    """
    attempts: list[Attempt] = []
    for number in range(max_attempts):
        attempt_seed = derive_seed(seed, "target-attempt", number)
        model, attempt = train_attempt(task, batches(attempt_seed), settings, number, attempt_seed, report)
        attempts.append(attempt)
        good = attempt.quality.passed
        phase = "accepted" if good else "rejected"
        report(
            TargetProgress(phase, attempt.steps, settings.steps, attempt.loss, number, attempt.quality.note)
        )
        if good:
            return model, attempts
    notes = "; ".join(f"attempt {a.number}: {a.quality.note}" for a in attempts[-3:])
    raise SpdError(
        f"no good target after {max_attempts} trainings of {settings.steps} steps, seed {seed} ({notes}).",
        "Give it more steps (training.steps), more tries (max_attempts) or another seed.",
    )


def _require_finite(value: float, step: int, settings: TargetTrainingSettings) -> None:
    if not math.isfinite(value):
        raise SpdError(
            f"the target's training loss is {value} at step {step} with lr {settings.lr}.",
            "Lower training.lr.",
        )
