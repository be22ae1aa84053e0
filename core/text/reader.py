"""The endless training text of a streamed dataset, read from any place that was noted before."""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from core.text.corpus import is_held_out
from core.text.dataset import HubCorpus
from core.text.document import Document
from core.text.settings import TextSettings
from core.text.tokenizer import Tokenizer
from core.text.tokens import RowWindows, empty_corpus, encode_documents, holds_ids


@dataclass(frozen=True)
class Position:
    """A place between two tokens of the endless training text."""

    epoch: int = 0
    """How often the whole dataset was read before."""
    document: int = 0
    """Number of the row in the dataset."""
    state: dict[str, Any] | None = None
    """What `datasets` needs to go on with this row; None: the first."""
    skip: int = 0
    """Tokens that come before the place, of those the row gives: its own, or the window it gives or fills."""
    joined: list[int] = field(default_factory=list)
    """Where rows hold ids: those of shorter rows before this one that wait for their window to be full."""


class StreamReader:
    """Takes ids from the training text, from `position` on; `position` is always where the next ids begin.

    Where rows hold ids, the text is made of whole windows of `window` ids.
    """

    def __init__(
        self,
        settings: TextSettings,
        corpus: HubCorpus,
        tokenizer: Tokenizer,
        seed: int,
        window: int,
        position: Position,
    ) -> None:
        self.position = position
        self._settings = settings
        self._corpus = corpus
        self._seed = seed
        self._left = np.zeros(0, dtype=np.int64)
        self._skip = position.skip
        self._rows = RowWindows(window, position.joined) if holds_ids(settings) else None
        documents = self._documents(position)
        self._encoded = encode_documents(documents, tokenizer, settings.lowercase, corpus.name)
        # Left open, the library's generators complain when the interpreter ends.
        weakref.finalize(self, self._encoded.close)

    def take(self, count: int) -> Int[np.ndarray, " count"]:
        """The next `count` ids.

        Raises:
            UsageError: the dataset has no text, or not what the settings say.
        """
        taken: list[np.ndarray] = []
        while count > 0:
            if not len(self._left):
                self.position, ids = next(self._encoded)
                if self._rows is not None:
                    self.position = replace(self.position, joined=self._rows.joined)
                    ids = self._rows.add(ids)
                self._left = ids[self._skip :]
                self.position = replace(self.position, skip=len(ids) - len(self._left))
                self._skip = 0
            taken.append(self._left[:count])
            self._left = self._left[count:]
            count -= len(taken[-1])
            self.position = replace(self.position, skip=self.position.skip + len(taken[-1]))
        return np.concatenate(taken)

    def _documents(self, position: Position) -> Iterator[tuple[Position, Document]]:
        """Training documents, pass after pass, each with the position of its first token."""
        epoch, index, state = position.epoch, position.document, position.state
        while True:
            from_first, found = index == 0, False
            for before, value in self._corpus.rows_from(state):
                document = self._corpus.checked(value)
                if document is not None and not self._is_held_out(index):
                    found = True
                    yield Position(epoch, index, before), document
                index += 1
            if from_first and not found:
                raise empty_corpus(self._corpus)
            epoch, index, state = epoch + 1, 0, None

    def _is_held_out(self, index: int) -> bool:
        return not self._corpus.has_eval and is_held_out(self._seed, index, self._settings.eval_fraction)
