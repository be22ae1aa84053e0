"""The main path: how a language model is trained, in order.

    each step       read windows, predict each next token, update the weights
    now and then    log, measure the loss on held-out text, let the model write, save
    at the end      save, measure and write once more

Everything a step needs is a function of (seed, step), so a training that was stopped anywhere and resumed
from its last checkpoint writes the same numbers as one that was not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import cast

import torch
from torch import Tensor, nn

from core.devices import Precision, autocast
from core.errors import Interrupted, SpdError
from core.numerals import grouped
from core.parallel import Ranks
from core.pretraining.checkpoint import save_checkpoint
from core.pretraining.samples import draw_samples
from core.pretraining.settings import LanguageTrainingSettings, PretrainSettings
from core.pretraining.validation import next_token_loss, validation_loss
from core.runs.directory import RunDirectory
from core.runs.metrics_log import MetricsLog
from core.runs.observer import Observer
from core.runs.stopping import StopSignal
from core.text.windows import TextWindows


@dataclass
class Training:
    """One pretraining under way."""

    settings: PretrainSettings
    model: nn.Module
    optimizer: torch.optim.AdamW
    text: TextWindows
    run: RunDirectory
    log: MetricsLog
    """Numbers; only rank 0 writes."""
    samples: MetricsLog
    """Texts, one record each; only rank 0 writes."""
    device: torch.device
    precision: Precision
    ranks: Ranks
    start: int
    """First update to make: 0, or that of the checkpoint it resumes from."""
    on_saved: Callable[[int], object]
    """Called after each checkpoint with its step."""
    loss: Callable[[nn.Module, Tensor], Tensor] = next_token_loss
    """The loss of a batch of windows (B S+1)."""
    unseen: list[tuple[int, Tensor]] = field(default_factory=list)
    """Steps whose loss and gradient norm (2) have not been looked at yet."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to."""

    validation_loss: float
    """Nats per token."""
    tokens_per_second: float | None
    """Over the steps of this session; None when it had none to do."""


def run_training(training: Training, observer: Observer) -> Outcome:
    """Train to the end.

    Raises:
        Interrupted: the user asked to stop; a checkpoint was saved.
        SpdError: a loss or gradient was not finite, or a file could not be written.
    """
    settings, steps, start = training.settings, training.settings.training.steps, training.start
    pace = Pace(settings.training.batch_size * (settings.text.window - 1))
    with StopSignal() as stop:
        for step in range(start, steps):
            stopping = training.ranks.any(stop.requested)
            if step > start and (step % settings.record.checkpoint_every == 0 or stopping):
                _save(training, step)
            if stopping:
                raise Interrupted(f"stopped at step {step} of {steps}; everything up to there is saved.")
            if step % settings.validation.every == 0:
                _validate(training, step)
            if step % settings.samples.every == 0:
                _write(training, step)
            with pace:
                loss = _train(training, step)
            observer.progress("pretrain", step + 1, steps, pace.note(loss))
        # Saved first: whatever stops the last measurement, no training is lost.
        _save(training, steps)
        last = _validate(training, steps)
        _write(training, steps)
        return Outcome(last, pace.rate)


def new_optimizer(model: nn.Module, settings: LanguageTrainingSettings) -> torch.optim.AdamW:
    """AdamW in which only matrices decay."""
    parameters = list(model.parameters())  # a tied one counts once
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def compiled_loss() -> Callable[[nn.Module, Tensor], Tensor]:
    """`next_token_loss` through torch.compile, which translates it at the first step."""
    return cast(Callable[[nn.Module, Tensor], Tensor], torch.compile(next_token_loss))


class Pace:
    """Time spent in training steps alone, and the tokens they read."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.steps = 0
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = monotonic()

    def __exit__(self, *error: object) -> None:
        self.seconds += monotonic() - self._began
        self.steps += 1

    @property
    def rate(self) -> float | None:
        """Tokens a second; None before the first step."""
        return self.steps * self.tokens / self.seconds if self.seconds > 0 else None

    def note(self, loss: float | None) -> str:
        """Loss and rate in words."""
        words = [] if loss is None else [f"loss {loss:.3f}"]
        return ", ".join([*words, f"{grouped(self.rate)} tokens/s"] if self.rate else words)


def _train(training: Training, step: int) -> float | None:
    """One update; returns the loss if it was read."""
    settings, ranks, logged = training.settings.training, training.ranks, _is_logged(training, step)
    windows = ranks.rows(training.text.batch("train", step, settings.batch_size)).to(training.device)
    with autocast(training.device, training.precision):
        loss = training.loss(training.model, windows)
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    ranks.average_gradients(training.model.parameters())
    norm = nn.utils.clip_grad_norm_(training.model.parameters(), settings.clip or float("inf"))
    training.unseen.append((step, torch.stack([loss.detach(), norm])))
    # Reading a number from a GPU at every step would make it wait; on the CPU it costs nothing.
    if training.device.type == "cpu" or logged:
        require_finite(training)
    rate = settings.rate(step)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.step()
    if logged:
        mean = float(ranks.mean(loss))
        if ranks.is_main:
            record = {"step": step, "kind": "train", "loss": mean, "lr": rate, "grad_norm": float(norm)}
            training.log.append(record)
        return mean
    return float(loss.detach()) if training.device.type == "cpu" else None


def require_finite(training: Training) -> None:
    """Look at every loss and gradient norm that has not been looked at.

    Raises:
        SpdError: one is NaN or infinite, naming the first step where it is.
    """
    seen, training.unseen = training.unseen, []
    if not seen:
        return
    # A sum over ranks is finite only where all of them are, so every rank comes to the same verdict.
    values = training.ranks.sum(torch.stack([pair for _, pair in seen]))
    if bool(torch.isfinite(values).all()):
        return
    for (step, _), (loss, norm) in zip(seen, values.tolist(), strict=True):
        if loss - loss != 0 or norm - norm != 0:
            what = "loss" if loss - loss != 0 else "norm of the gradient"
            raise SpdError(
                f"the {what} is not finite at step {step}, with learning rate "
                f"{training.settings.training.rate(step):.2g}.",
                "Lower training.lr, or make training.warmup longer.",
            )


def _is_logged(training: Training, step: int) -> bool:
    return step % training.settings.record.log_every == 0


def _validate(training: Training, step: int) -> float:
    settings = training.settings
    loss = validation_loss(
        training.model,
        training.text,
        settings.validation.batches,
        settings.training.batch_size,
        training.ranks,
        training.device,
    )
    if training.ranks.is_main:
        training.log.append({"step": step, "kind": "eval", "validation_loss": loss})
    return loss


def _write(training: Training, step: int) -> None:
    if not training.ranks.is_main:
        return
    settings, tokenizer = training.settings, training.text.tokenizer
    context = settings.text.window - 1
    for prompt, text in draw_samples(
        training.model, tokenizer, settings.samples, context, settings.seed, step
    ):
        training.samples.append({"step": step, "prompt": prompt, "text": text})


def _save(training: Training, step: int) -> None:
    require_finite(training)
    if training.ranks.is_main:
        keep = training.settings.record.keep_checkpoints
        save_checkpoint(training.run, step, training.model, training.optimizer, keep)
        training.on_saved(step)
