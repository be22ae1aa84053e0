"""What a harvest reads: an endless row of sequences, each a function of its number alone.

Language models read the windows of their training text in the order in which training reads them. Targets
without a text are drawn inputs, a block at a time, so that a sequence is the same whatever batch it comes in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from core.targets.target import BatchFn, Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["text", "features", "tokens"]
"""Windows of text, vectors of sparse features, or windows of tokens that stand for no text."""

DRAWN_STREAM = "harvest"
"""Stream of the inputs that are drawn: apart from those of training and evaluation."""

DRAWN_TOGETHER = 1024
"""Sequences that one draw gives."""

_KEPT_BLOCKS = 16


@dataclass(frozen=True)
class HarvestInputs:
    """The sequences of a harvest, their vocabulary, and how to show it."""

    kind: Kind
    stream: str
    """Name of the target's stream."""
    length: int
    """Positions of one sequence S; 1 for vectors of features."""
    vocabulary: int
    """Token ids, or features."""
    texts: tuple[str, ...] | None
    """What is shown for each token id or feature; None: its number."""
    epoch: int | None
    """Sequences of one pass over the text; None where they are drawn or not known before they are read."""
    batch: Callable[[int, int], Tensor]
    """`(index, size)` -> sequences `index * size` to `index * size + size - 1`: token ids (size S), or values
    of features (size F)."""

    def features_of(self, sequences: "NDArray[np.uint64]") -> list[dict[int, float]]:
        """The active features of each of these sequences, drawn again, with their values."""
        assert self.kind == "features", f"inputs of kind {self.kind} have no features"
        found: dict[int, dict[int, float]] = {}
        for number in sorted(
            set(sequences.tolist())
        ):  # in order: what is drawn together is asked for together
            row = self.batch(number, 1)[0]
            active = row.nonzero().flatten().tolist()
            found[number] = dict(zip(active, row[active].tolist(), strict=True))
        return [found[number] for number in sequences.tolist()]


def open_inputs(target: Target, outputs: int) -> HarvestInputs:
    """What a harvest of this target reads; `outputs` is the last dimension of what its model returns."""
    batch = target.batch  # and not the target itself: its model need not be kept for the inputs
    if target.text is not None:
        return HarvestInputs(
            kind="text",
            stream="train",
            length=target.text.window,
            vocabulary=outputs,
            texts=tuple(target.text.tokenizer.pieces(range(outputs))),
            epoch=target.text.n_windows("train"),
            batch=lambda index, size: batch("train", index, size),
        )
    drawn = _drawn(batch)
    if target.probes is not None:
        features = target.probes.shape[0]
        texts = tuple(f"x{number}" for number in range(features))
        return HarvestInputs("features", DRAWN_STREAM, 1, features, texts, None, drawn)
    texts = None
    if target.name == "induction":
        texts = (*(str(number) for number in range(outputs - 1)), "BOS")
    return HarvestInputs("tokens", DRAWN_STREAM, drawn(0, 1).shape[1], outputs, texts, None, drawn)


def _drawn(draw: BatchFn) -> Callable[[int, int], Tensor]:
    """Sequences that do not depend on how many are asked for together."""
    block = lru_cache(maxsize=_KEPT_BLOCKS)(lambda number: draw(DRAWN_STREAM, number, DRAWN_TOGETHER))

    def batch(index: int, size: int) -> Tensor:
        start, stop = index * size, (index + 1) * size
        first = start // DRAWN_TOGETHER
        blocks = [block(number) for number in range(first, (stop - 1) // DRAWN_TOGETHER + 1)]
        offset = start - first * DRAWN_TOGETHER
        return torch.cat(blocks)[offset : offset + size]

    return batch
