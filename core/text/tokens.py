"""A whole corpus as two arrays of token ids on disk, built once and then memory-mapped.

    <root>/text/<digest>/train.bin       ids, uint16 (uint32 for a vocabulary above 65,536), no header
                         eval.bin
                         tokenizer.json  what made them
                         manifest.json   counts, sizes, and what the digest was made of

Where the corpus is tokenised already, the ids are whole windows one after the other, and the window is part
of the digest. The folder appears whole, by one rename; of several processes that need it one builds and the
others wait.
"""

import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from jaxtyping import Int

from core.errors import UsageError
from core.runs.files import new_folder, read_json, write_json
from core.settings import to_plain
from core.text.corpus import Corpus, is_held_out
from core.text.document import Document
from core.text.locking import built_once
from core.text.settings import DatasetCorpus, TextSettings, TokenizerFile, TrainedTokenizer
from core.text.tokenizer import Tokenizer, train_bpe
from core.text.tokenizer_files import JSON_FILE, load_tokenizer, tokenizer_from

K = TypeVar("K")

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much (0: not known)."""

SCHEMA_VERSION = 2
"""Part of every digest; raised when the same settings would give other ids."""

SPLITS: tuple[str, ...] = ("train", "eval")
MANIFEST_FILE = "manifest.json"

_BATCH_CHARACTERS = 1 << 20
"""Text that is tokenised at a time; longer documents are cut, at a line end where they have one."""

_BATCH_DOCUMENTS = 256

_TRAINING_CHARACTERS = 50_000_000
"""Text from which a tokenizer is trained, at most."""


@dataclass(frozen=True)
class TokenFiles:
    """The tokenised corpus of one folder."""

    folder: Path
    tokenizer: Tokenizer
    ids: dict[str, np.ndarray]
    """Split to its ids, (tokens) uint16 or uint32, memory-mapped."""
    documents: dict[str, int]
    """Split to the number of its documents."""


def token_type(vocabulary: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest type that holds every id."""
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


def text_digest(
    settings: TextSettings, corpus: Corpus, tokenizer: Tokenizer | None, seed: int, *more: int
) -> str:
    """Sixteen hex digits that name everything the ids depend on; `tokenizer` None: trained on the corpus."""
    held_out = None if corpus.has_eval else [settings.eval_fraction, seed]
    named = {
        "schema": SCHEMA_VERSION,
        "corpus": to_plain(settings.corpus),
        "identity": corpus.identity(),
        "tokenizer": to_plain(settings.tokenizer) if tokenizer is None else tokenizer.digest,
        "lowercase": settings.lowercase,
        "held_out": held_out,
        "more": more,
    }
    return hashlib.blake2b(json.dumps(named, sort_keys=True).encode(), digest_size=8).hexdigest()


class RowWindows:
    """Cuts windows out of rows of ids, so that only rows shorter than `window` share one.

    `joined` are the ids of short rows that wait for others to fill their window; fewer than `window`.
    """

    def __init__(self, window: int, joined: Sequence[int] = ()) -> None:
        self._window = window
        self.joined = list(joined)

    def add(self, ids: Int[np.ndarray, " row"]) -> Int[np.ndarray, " tokens"]:
        """The window that the next row gives or fills; no ids where it does neither."""
        if len(ids) >= self._window:
            return ids[: self._window]
        # Never in place: a position may hold the list.
        together = [*self.joined, *ids.tolist()]
        full = len(together) // self._window * self._window
        self.joined = together[full:]
        return np.asarray(together[:full], dtype=ids.dtype)


def holds_ids(settings: TextSettings) -> bool:
    """Whether the corpus is tokenised already."""
    return isinstance(settings.corpus, DatasetCorpus) and settings.corpus.tokenized


def given_tokenizer(settings: TextSettings) -> Tokenizer | None:
    """The tokenizer that the settings name; None where one is to be trained.

    Raises:
        UsageError: it cannot be loaded, or ids are given without the tokenizer that made them.
    """
    if isinstance(settings.tokenizer, TokenizerFile):
        return load_tokenizer(settings.tokenizer)
    if isinstance(settings.corpus, DatasetCorpus) and holds_ids(settings):
        raise UsageError(
            f"{settings.corpus.path} holds token ids already, from which no tokenizer can be trained.",
            "Name the tokenizer that made them with --set ...tokenizer='{kind: file, path: ...}'.",
        )
    return None


def tokenised_corpus(
    settings: TextSettings, corpus: Corpus, seed: int, root: Path, report: Report, window: int
) -> TokenFiles:
    """The ids of the whole corpus, tokenised now unless they are there already.

    `window` matters only where the corpus holds ids: its rows are cut then, and the rest of them not kept.

    Raises:
        UsageError: the corpus is empty or cannot be read, or the tokenizer does not fit.
        SpdError: the folder cannot be written.
    """
    tokenizer = given_tokenizer(settings)
    cut = (window,) if holds_ids(settings) else ()
    folder = root / "text" / text_digest(settings, corpus, tokenizer, seed, *cut)

    def build() -> TokenFiles | None:
        with new_folder(folder) as temporary:
            _build(temporary, settings, corpus, tokenizer, seed, report, window)
        return _open(folder, tokenizer)

    return built_once(
        folder,
        lambda: _open(folder, tokenizer),
        build,
        lambda: report("waiting for another process to tokenise", 0, 0),
    )


def trained_tokenizer(
    settings: TextSettings, kind: TrainedTokenizer, corpus: Corpus, seed: int, report: Report
) -> Tokenizer:
    """A tokenizer trained on the training documents; on all where every one of a few is held out."""
    report("training the tokenizer", 0, 0)

    def texts(splits: tuple[str, ...]) -> Iterator[str]:
        found = (str(text) for split, text in assigned_documents(settings, corpus, seed) if split in splits)
        return (text.lower() for text in found) if settings.lowercase else found

    for splits in (("train",), SPLITS):
        if next(texts(splits), None) is not None:
            return train_bpe(_limited(texts(splits)), kind.vocabulary)
    raise empty_corpus(corpus)


def assigned_documents(settings: TextSettings, corpus: Corpus, seed: int) -> Iterator[tuple[str, Document]]:
    """Every document with its split, in the order of the corpus."""
    if corpus.has_eval:
        yield from ((split, document) for split in SPLITS for document in corpus.documents(split))
        return
    for index, document in enumerate(corpus.documents("train")):
        held_out = is_held_out(seed, index, settings.eval_fraction)
        yield ("eval" if held_out else "train"), document


def encode_documents(
    documents: Iterable[tuple[K, Document]], tokenizer: Tokenizer, lowercase: bool, name: str
) -> Generator[tuple[K, Int[np.ndarray, " tokens"]], None, None]:
    """The ids of each document, an end of text after it; documents of ids stay as they are.

    The first of each pair is handed through. `name` is what the corpus is called in errors.

    Raises:
        UsageError: an id that the tokenizer does not have.
    """
    vocabulary, end = tokenizer.vocabulary, None
    texts: list[tuple[K, str]] = []
    waiting = 0
    for key, document in documents:
        if not isinstance(document, str):
            yield key, _checked_ids(document, vocabulary, name)
            continue
        end = tokenizer.end_of_text if end is None else end
        texts.append((key, document.lower() if lowercase else document))
        waiting += len(document)
        if waiting >= _BATCH_CHARACTERS or len(texts) >= _BATCH_DOCUMENTS:
            yield from _encode(texts, tokenizer, end)
            texts, waiting = [], 0
    if end is not None:
        yield from _encode(texts, tokenizer, end)


def new_tokenizer(
    folder: Path, settings: TextSettings, corpus: Corpus, seed: int, report: Report
) -> Tokenizer:
    """Train the tokenizer of a text and keep it in its folder."""
    assert isinstance(settings.tokenizer, TrainedTokenizer)
    tokenizer = trained_tokenizer(settings, settings.tokenizer, corpus, seed, report)
    tokenizer.save(folder / JSON_FILE)
    return tokenizer


def _build(
    folder: Path,
    settings: TextSettings,
    corpus: Corpus,
    given: Tokenizer | None,
    seed: int,
    report: Report,
    window: int,
) -> None:
    tokenizer = given or new_tokenizer(folder, settings, corpus, seed, report)
    kind = np.dtype(token_type(tokenizer.vocabulary))
    tokens: dict[str, int] = dict.fromkeys(SPLITS, 0)
    documents: dict[str, int] = dict.fromkeys(SPLITS, 0)
    total = sum(corpus.count(split) for split in (SPLITS if corpus.has_eval else ("train",)))
    rows = {split: RowWindows(window) for split in SPLITS} if holds_ids(settings) else None
    report("tokenising", 0, total)
    with open(folder / "train.bin", "wb") as train, open(folder / "eval.bin", "wb") as held_out:
        files: dict[str, BinaryIO] = {"train": train, "eval": held_out}
        pairs = assigned_documents(settings, corpus, seed)
        for split, ids in encode_documents(pairs, tokenizer, settings.lowercase, corpus.name):
            kept = ids if rows is None else rows[split].add(ids)
            files[split].write(kept.astype(kind).tobytes())
            tokens[split] += len(kept)
            documents[split] += 1
            report("tokenising", sum(documents.values()), total)
    if not sum(documents.values()):
        raise empty_corpus(corpus)
    if not corpus.has_eval:
        tokens = _balance(folder, kind, tokens, settings.eval_fraction, 1 if rows is None else window)
    manifest = {
        "schema": SCHEMA_VERSION,
        "corpus": to_plain(settings.corpus),
        "tokenizer": tokenizer.digest,
        "vocabulary": tokenizer.vocabulary,
        "type": kind.name,
        "tokens": tokens,
        "documents": documents,
    }
    write_json(folder / MANIFEST_FILE, manifest)


def _open(folder: Path, given: Tokenizer | None) -> TokenFiles | None:
    """What is in the folder; None if it is not there or was damaged, so that it must be built (again)."""
    if not (folder / MANIFEST_FILE).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST_FILE)
        ids = {
            split: open_ids(folder / f"{split}.bin", manifest["type"], manifest["tokens"][split])
            for split in SPLITS
        }
        tokenizer = given or tokenizer_from(str(folder))
        documents = {split: int(manifest["documents"][split]) for split in SPLITS}
    except (UsageError, KeyError, TypeError, ValueError):
        return None
    if tokenizer.digest != manifest["tokenizer"]:
        return None
    return TokenFiles(folder, tokenizer, ids, documents)


def open_ids(path: Path, kind: str, count: int) -> Int[np.ndarray, " tokens"]:
    """Memory-map a file of ids.

    Raises:
        ValueError: it is missing or not as long as it should be.
    """
    size = path.stat().st_size if path.is_file() else -1
    if size != count * np.dtype(kind).itemsize:
        raise ValueError(f"{path} has {size} bytes where {count} {kind} ids are expected")
    return np.memmap(path, dtype=kind, mode="r") if count else np.zeros(0, dtype=kind)


def _balance(
    folder: Path, kind: np.dtype[Any], tokens: dict[str, int], fraction: float, unit: int
) -> dict[str, int]:
    """Where a few documents fell badly, move ids across the border, `unit` of them staying together; the end
    of the text is held out."""
    total = sum(tokens.values())
    share = {"eval": round(total * fraction / unit) * unit}
    share["train"] = total - share["eval"]
    short = [split for split in SPLITS if 2 * tokens[split] < share[split]]
    if not short:
        return tokens
    held = {split: np.fromfile(folder / f"{split}.bin", dtype=kind) for split in SPLITS}
    together = np.concatenate([held["train"], held["eval"]])
    held["train"], held["eval"] = np.split(together, [share["train"]])
    for split in SPLITS:
        held[split].tofile(folder / f"{split}.bin")
    return share


def _encode(
    texts: list[tuple[K, str]], tokenizer: Tokenizer, end: int
) -> Iterator[tuple[K, Int[np.ndarray, " tokens"]]]:
    parts = [(number, part) for number, (_, text) in enumerate(texts) for part in _cut(text)]
    ids: list[list[np.ndarray]] = [[] for _ in texts]
    for (number, _), found in zip(parts, tokenizer.encode_batch([part for _, part in parts]), strict=True):
        ids[number].append(np.asarray(found, dtype=np.int64))
    for (key, _), found in zip(texts, ids, strict=True):
        yield key, np.concatenate([*found, np.asarray([end])])


def _cut(text: str) -> list[str]:
    """A long text in parts, cut where a line begins with something other than white space.

    No token of a usual tokenizer reaches over such a place, so the ids are those of the whole.
    """
    if len(text) <= _BATCH_CHARACTERS:
        return [text]
    parts, start = [], 0
    line = re.compile(r"\n(?=\S)")
    while len(text) - start > _BATCH_CHARACTERS:
        found = line.search(text, start + _BATCH_CHARACTERS)
        if found is None:
            break
        parts.append(text[start : found.end()])
        start = found.end()
    return [*parts, text[start:]]


def _checked_ids(document: list[int], vocabulary: int, name: str) -> Int[np.ndarray, " tokens"]:
    ids = np.asarray(document, dtype=np.int64)
    wrong = ids[(ids < 0) | (ids >= vocabulary)]
    if wrong.size:
        raise UsageError(
            f"{name} holds the token id {wrong[0]}, but the tokenizer has only ids 0 to {vocabulary - 1}.",
            "Name the tokenizer that made the ids with --set ...tokenizer.path=...",
        )
    return ids


def _limited(texts: Iterator[str]) -> Iterator[str]:
    """Texts until there are enough characters to train a tokenizer."""
    left = _TRAINING_CHARACTERS
    for text in texts:
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return


def empty_corpus(corpus: Corpus) -> UsageError:
    """The error for a corpus without any text."""
    return UsageError(
        f"{corpus.name} is empty: no document there has any text.",
        "Name another corpus with --set ...corpus.path=...",
    )
