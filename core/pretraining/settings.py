"""What decides a pretrained language model: architecture, text, optimisation; and what is measured."""

import hashlib
import json
import math

from pydantic import Field, model_validator

from core.language_models.settings import ArchitectureSettings
from core.settings import Settings, to_plain
from core.text.settings import TextSettings

SCHEMA_VERSION = 1
"""Part of every digest; raised when the same settings would train to other weights."""


class LanguageTrainingSettings(Settings):
    """AdamW with linear warm-up and cosine decay."""

    steps: int = Field(gt=0)
    """Updates of the weights."""

    batch_size: int = Field(gt=0)
    """Windows per update, over all ranks together."""

    lr: float = Field(gt=0)
    """Learning rate after warm-up."""

    warmup: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises from near zero."""

    final: float = Field(default=0.1, ge=0, le=1)
    """Learning rate of the last update as a fraction of `lr`."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's running means of gradients and of their squares."""

    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of matrices; gains and biases have none."""

    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; null never clips."""

    compile: bool = False
    """Whether steps go through torch.compile, which takes a minute at first: for long trainings on a GPU."""

    @model_validator(mode="after")
    def _check_betas(self) -> "LanguageTrainingSettings":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas = {list(self.betas)}; both must be at least 0 and below 1")
        return self

    def rate(self, step: int) -> float:
        """Learning rate of update `step`, from 0: linear to `lr`, then half a cosine to `final` of it."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup - 1)
        return self.lr * (self.final + (1 - self.final) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)


class ValidationSettings(Settings):
    """The loss on text that is not trained on."""

    every: int = Field(default=250, gt=0)
    """Updates between two measurements; one is made before the first update and one after the last."""

    batches: int = Field(default=10, gt=0)
    """Batches of `training.batch_size` windows, the same ones every time."""


class SampleSettings(Settings):
    """Text that the model writes while it learns, and when it is done."""

    every: int = Field(default=500, gt=0)
    """Updates between two samples; one is always drawn at the end."""

    prompts: tuple[str, ...] = ("",)
    """What the samples begin with; the empty prompt stands for the beginning of a document."""

    tokens: int = Field(default=48, gt=0)
    """Tokens drawn for each prompt."""

    temperature: float = Field(default=0.8, ge=0)
    """Divides the logits; 0 always takes the likeliest token."""

    top_k: int | None = Field(default=40, gt=0)
    """Only so many of the likeliest tokens may be drawn; null allows all."""


class PretrainRecordSettings(Settings):
    """What is written while training."""

    log_every: int = Field(default=20, gt=0)
    """Updates between lines of training loss in metrics.jsonl."""

    checkpoint_every: int = Field(default=500, gt=0)
    """Updates between checkpoints."""

    keep_checkpoints: int = Field(default=2, gt=0)
    """Newest checkpoints that are kept until the training is done."""


class PretrainSettings(Settings):
    """One pretraining, whole: written as settings.yaml into the target it makes."""

    recipe: str = "custom"
    """Name of the recipe these settings came from."""

    seed: int = Field(default=0, ge=0)
    """Seed of the first weights, of the order of the text and of the samples."""

    model: ArchitectureSettings
    """The architecture."""

    text: TextSettings
    """The text and its tokenizer; a window holds one token more than the model reads, since each predicts the
    next."""

    training: LanguageTrainingSettings
    """Steps, batch and learning rate."""

    validation: ValidationSettings = ValidationSettings()
    """How the loss on held-out text is measured."""

    samples: SampleSettings = SampleSettings()
    """Text that the model writes."""

    record: PretrainRecordSettings = PretrainRecordSettings()
    """What is written, and how often."""

    @model_validator(mode="after")
    def _check_window(self) -> "PretrainSettings":
        window, context = self.text.window, self.model.context
        if not 2 <= window <= context + 1:
            raise ValueError(f"text.window = {window}; model.context = {context} allows 2 to {context + 1}")
        return self

    def digest(self) -> str:
        """Twelve hexadecimal digits that name the weights and their measured loss, given the text's content.

        The recipe's name, the samples and how often something is written change neither, and do not count.
        """
        plain = to_plain(self)
        for name in ("recipe", "samples", "record"):
            del plain[name]
        text = json.dumps({"schema_version": SCHEMA_VERSION, **plain}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def name(self) -> str:
        """The architecture and the digest, with which the name of the target's folder begins."""
        return f"{self.model.kind}-{self.digest()}"
