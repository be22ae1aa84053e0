"""Packed windows of tokens, each pass over them in an order of its own: what training and evaluation read.

Window number n of a stream stands in epoch n // N at place n mod N, where N windows are in the stream; the
order of an epoch is a permutation named by (seed, stream, epoch). So a batch is a pure function of its
number, and a resumed run needs no position of the data saved.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from core.errors import UsageError
from core.text.corpus import Corpus, open_corpus
from core.text.dataset import HubCorpus
from core.text.packed import PackedWindows, WindowSource, epoch_order, fixed_order
from core.text.settings import TextSettings
from core.text.stream import ChunkedWindows, start_stream
from core.text.tokenizer import Tokenizer
from core.text.tokens import SPLITS, Report, tokenised_corpus

_COUNTED_TOKENS = 1 << 24


class TextWindows:
    """Batches of token windows of the streams "train" and "eval".

    `window` is the number of tokens per window, `vocabulary` the number of ids, `digest` names text,
    tokenizer, window and order together.
    """

    def __init__(
        self,
        sources: dict[str, WindowSource],
        tokenizer: Tokenizer,
        window: int,
        n_tokens: dict[str, int | None],
        digest: str,
    ) -> None:
        self._sources = sources
        self._n_tokens = n_tokens
        self.tokenizer = tokenizer
        self.vocabulary = tokenizer.vocabulary
        self.window = window
        self.digest = digest

    def batch(self, stream: str, index: int, size: int) -> Int[Tensor, "size window"]:
        """Batch number `index` of a stream, int64 on the CPU: row j is window index * size + j of an endless
        sequence of epochs. The same arguments always give the same batch."""
        rows = self._sources[stream].rows(index * size, size)
        return torch.from_numpy(rows.astype(np.int64))

    def n_windows(self, stream: str) -> int | None:
        """Windows of one epoch; None for the training stream of a dataset that is streamed."""
        return self._sources[stream].n_windows

    def n_tokens(self, stream: str) -> int | None:
        """Tokens of one epoch; None for the training stream of a dataset that is streamed."""
        return self._n_tokens[stream]

    def unigram_entropy(self) -> float:
        """Nats per token that knowing only the frequencies of tokens costs: the cross-entropy of the
        evaluation stream under the training stream's counts, one added to each.

        A model that reads its context must do better. When streaming, the first chunk is counted.
        """
        train = self._counts(self._sources["train"]) + 1.0
        held_out = self._counts(self._sources["eval"])
        return float(-(held_out @ np.log(train / train.sum())) / held_out.sum())

    def _counts(self, source: WindowSource) -> np.ndarray:
        ids = source.counted()
        counts = np.zeros(self.vocabulary, dtype=np.float64)
        for start in range(0, len(ids), _COUNTED_TOKENS):
            counts += np.bincount(ids[start : start + _COUNTED_TOKENS], minlength=self.vocabulary)
        return counts


def open_text(
    settings: TextSettings, seed: int, root: Path, report: Report | None = None, window: int | None = None
) -> TextWindows:
    """The windows of a corpus, tokenised under `root` unless that was done before.

    `window` overrides `settings.window`. `report(phase, done, total)` is told how far the work is.

    Raises:
        UsageError: the corpus or the tokenizer is not there, cannot be read, or is shorter than a window.
        SpdError: nothing can be written under `root`.
    """
    window = settings.window if window is None else window
    corpus = open_corpus(settings.corpus)
    tell = report or (lambda phase, done, total: None)
    order = epoch_order(seed, "train") if settings.shuffle else None
    split_seed = settings.split_seed
    if isinstance(corpus, HubCorpus) and corpus.streaming:
        start = start_stream(settings, corpus, split_seed, root, tell, window)
        _ensure_window(corpus, "eval", len(start.held_out), window)
        train: WindowSource = ChunkedWindows(settings, corpus, split_seed, start, window, order, tell)
        tokenizer, folder, held_out, n_train = start.tokenizer, start.folder, start.held_out, None
    else:
        files = tokenised_corpus(settings, corpus, split_seed, root, tell, window)
        tokenizer, folder, held_out = files.tokenizer, files.folder, files.ids["eval"]
        n_train = len(files.ids["train"])
        for split in SPLITS:
            _ensure_window(corpus, split, len(files.ids[split]), window, sum(files.documents.values()))
        train = PackedWindows(files.ids["train"], window, order)
    held_out_windows = PackedWindows(held_out, window, fixed_order(split_seed) if settings.shuffle else None)
    return TextWindows(
        {"train": train, "eval": held_out_windows},
        tokenizer,
        window,
        {"train": n_train, "eval": len(held_out)},
        _windows_digest(folder.name, window, settings.shuffle, seed),
    )


def _windows_digest(text: str, window: int, shuffle: bool, seed: int) -> str:
    """Sixteen hex digits that name the ids (`text` is their digest), how they are cut and their order."""
    named = f"{text}/{window}/{seed if shuffle else 'as they stand'}"
    return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


def _ensure_window(
    corpus: Corpus, split: str, n_tokens: int, window: int, documents: int | None = None
) -> None:
    if n_tokens >= window:
        return
    use = {"train": "training", "eval": "evaluation"}[split]
    of = "" if documents is None else f" (it has {documents} document{'s' if documents != 1 else ''})"
    share = (
        "" if corpus.has_eval or split == "train" else ", or hold out more with --set ...eval_fraction=..."
    )
    raise UsageError(
        f"{corpus.name} gives {n_tokens} tokens for {use}, fewer than one window of {window}{of}.",
        f"Give more text or use a shorter window{share}.",
    )
