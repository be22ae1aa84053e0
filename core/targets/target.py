"""The target: a frozen model with its data, its output distance and what is known about its features."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from core.text.windows import TextWindows

PROBE_VALUE = 0.75
"""Value of the one active feature in a probe input."""

BatchFn = Callable[[str, int, int], Tensor]
"""`(stream, index, size) -> model inputs`; the same three arguments always give the same batch."""


@dataclass(frozen=True)
class Target:
    """A trained model ready to be decomposed.

    Nothing in it changes after it is made: the parameters do not require gradients, the model is in
    evaluation mode and float32, and every batch is a pure function of its name.
    """

    name: str
    """Kind of target: `toy_superposition`, `residual_mlp`, `induction` or `language_model`."""

    model: nn.Module
    """The frozen network; `model(inputs)` gives outputs with the width or vocabulary last."""

    batch: BatchFn
    """Inputs of batch `index` of a stream (`train` or `eval`), on the CPU, `size` rows."""

    distance: Literal["mse", "kl"]
    """How two outputs are compared: squared error of vectors or divergence of logits."""

    probes: Tensor | None
    """One input per feature, `PROBE_VALUE` at that feature and 0 elsewhere, (F F); None without features."""

    ties: tuple[tuple[str, str], ...]
    """Pairs `(first, second)` of modules where the weight of `second` is the transpose of `first`'s."""

    digest: str
    """Names the model and its data; equal digests mean bit-identical targets."""

    folder: Path | None
    """Where the model lies on disk; None for one made in memory or read from the hub."""

    text: TextWindows | None = None
    """The text that `batch` gives windows of, with its tokenizer; None for a target that reads none."""


@dataclass(frozen=True)
class TargetProgress:
    """One report about the making of a target."""

    phase: Literal["training", "pretraining", "rejected", "accepted", "cached"]
    """What happened: a number of steps done, something to tell about a pretraining, an attempt thrown away or
    kept, a cached target read."""

    step: int
    """Steps done of this attempt, or of `work`."""

    steps: int
    """Steps it takes when it runs to its end."""

    loss: float | None
    """Training loss at `step`; None when nothing was trained."""

    attempt: int
    """Number of the attempt, from 0; each starts from its own derived seed."""

    note: str = ""
    """The quality of the target in words, for `rejected`, `accepted` and `cached`; else how it goes."""

    work: str = ""
    """What the steps are of, where they are no attempt: of a pretraining, of cutting text into tokens."""

    @property
    def title(self) -> str:
        """What is being done, in words."""
        return self.work or f"target (attempt {self.attempt + 1})"


ReportFn = Callable[[TargetProgress], None]
"""Receives the progress reports of `load_target`."""


def freeze(model: nn.Module) -> nn.Module:
    """Put a model in evaluation mode and switch the gradients of its parameters off; returns it."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model
