"""A dataset too large to tokenise at once, read in chunks of windows.

    <root>/text/<digest>/start/          tokenizer.json, eval.bin, manifest.json
                         chunk-00000012/ train.bin, manifest.json; only the newest few are kept
                         positions/      where in the dataset each chunk begins

Chunk k holds windows k * n to (k + 1) * n - 1 of the training stream, shuffled among themselves. A position
names the document in which a chunk begins, how the library finds it again, how many of its tokens belong to
the chunk before, and, where rows hold ids, the ids of shorter rows that wait for their window to be full. So
a chunk that is gone, or wanted by a resumed run, is made again without reading what stands before it. After
the last document the first follows. Several processes on one machine share chunks.
"""

import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from core.errors import UsageError
from core.runs.files import new_folder, read_json, write_json
from core.settings import to_plain
from core.text.dataset import HubCorpus
from core.text.locking import built_once
from core.text.packed import Order
from core.text.reader import Position, StreamReader
from core.text.settings import TextSettings
from core.text.tokenizer import Tokenizer
from core.text.tokenizer_files import tokenizer_from
from core.text.tokens import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Report,
    RowWindows,
    assigned_documents,
    encode_documents,
    given_tokenizer,
    holds_ids,
    new_tokenizer,
    open_ids,
    text_digest,
    token_type,
)

_KEPT_CHUNKS = 4
_OPEN_CHUNKS = 2


@dataclass(frozen=True)
class StreamStart:
    """What is made before the first chunk."""

    folder: Path
    """Folder of everything that belongs to the stream."""
    tokenizer: Tokenizer
    held_out: Int[np.ndarray, " tokens"]
    """Ids of the evaluation."""


def start_stream(
    settings: TextSettings,
    corpus: HubCorpus,
    seed: int,
    root: Path,
    report: Report,
    window: int,
) -> StreamStart:
    """The tokenizer and the evaluation text of a stream, made now unless they are there already.

    Raises:
        UsageError: the dataset or the tokenizer is not there or does not fit.
        SpdError: the folder cannot be written.
    """
    given = given_tokenizer(settings)
    folder = root / "text" / text_digest(settings, corpus, given, seed, window)
    place = folder / "start"

    def build() -> tuple[Tokenizer, Int[np.ndarray, " tokens"]] | None:
        with new_folder(place) as temporary:
            _build_start(temporary, settings, corpus, given, seed, report, window)
        return _open_start(place, given)

    found = built_once(
        place,
        lambda: _open_start(place, given),
        build,
        lambda: report("waiting for another process to tokenise", 0, 0),
    )
    return StreamStart(folder, *found)


class ChunkedWindows:
    """The training windows of a streamed dataset; `order` shuffles within a chunk, None: as they stand."""

    def __init__(
        self,
        settings: TextSettings,
        corpus: HubCorpus,
        seed: int,
        start: StreamStart,
        window: int,
        order: Order | None,
        report: Report,
    ) -> None:
        self._settings = settings
        self._corpus = corpus
        self._size = corpus.chunk_windows
        self._seed = seed
        self._start = start
        self._window = window
        self._order = order
        self._report = report
        self._type = np.dtype(token_type(start.tokenizer.vocabulary))
        self._open: dict[int, np.ndarray] = {}
        self._reader: StreamReader | None = None

    @property
    def n_windows(self) -> None:
        """Not known: the dataset is only read as it is needed."""
        return None

    def rows(self, start: int, count: int) -> Int[np.ndarray, "count window"]:
        """The windows number `start` to `start + count - 1`, over the borders of chunks too."""
        chunks, places = np.divmod(np.arange(start, start + count), self._size)
        found = np.empty((count, self._window), dtype=self._type)
        for number in range(start // self._size, (start + count - 1) // self._size + 1):
            here = chunks == number
            found[here] = self._chunk(number)[places[here]]
        return found

    def counted(self) -> Int[np.ndarray, " tokens"]:
        """The ids of the first chunk."""
        return self._chunk(0).reshape(-1)

    def _chunk(self, number: int) -> Int[np.ndarray, "n window"]:
        """A chunk in the order in which it is read."""
        if number not in self._open:
            folder = self._start.folder / f"chunk-{number:08d}"
            # One lock for all chunks: whoever builds reads the dataset onwards, the others wait for it.
            ids = built_once(
                self._start.folder / "chunk",
                lambda: self._read(folder),
                lambda: self._make(number, folder),
                lambda: self._report("waiting for a chunk", 0, 0),
            )
            windows = ids.reshape(self._size, self._window)
            while len(self._open) >= _OPEN_CHUNKS:
                self._open.pop(next(iter(self._open)))
            self._open[number] = windows if self._order is None else windows[self._order(number, self._size)]
        return self._open[number]

    def _read(self, folder: Path) -> Int[np.ndarray, " tokens"] | None:
        with suppress(ValueError):
            return open_ids(folder / "train.bin", self._type.name, self._size * self._window)
        return None

    def _make(self, number: int, folder: Path) -> Int[np.ndarray, " tokens"]:
        """Build a chunk, and those before it whose end nobody knows."""
        first = number
        while first > 0 and not self._position_file(first).is_file():
            first -= 1
        for chunk in range(first, number + 1):
            self._report("tokenising", chunk - first, number + 1 - first)
            reader = self._reader_at(chunk)
            ids = reader.take(self._size * self._window).astype(self._type)
            self._position_file(chunk).parent.mkdir(exist_ok=True)
            write_json(self._position_file(chunk + 1), asdict(reader.position))
            if chunk == number:
                with new_folder(folder) as temporary:
                    ids.tofile(temporary / "train.bin")
                    write_json(temporary / MANIFEST_FILE, {"schema": SCHEMA_VERSION, "chunk": chunk})
                self._drop_old()
                return ids
        raise AssertionError("the loop ends with the chunk asked for")

    def _reader_at(self, chunk: int) -> StreamReader:
        position = Position()
        if chunk > 0:
            position = Position(**read_json(self._position_file(chunk)))
        if self._reader is None or self._reader.position != position:
            self._reader = StreamReader(
                self._settings, self._corpus, self._start.tokenizer, self._seed, self._window, position
            )
        return self._reader

    def _position_file(self, chunk: int) -> Path:
        return self._start.folder / "positions" / f"{chunk:08d}.json"

    def _drop_old(self) -> None:
        def age(folder: Path) -> int:
            try:
                return folder.stat().st_mtime_ns
            except FileNotFoundError:
                return 0

        chunks = sorted(self._start.folder.glob("chunk-*"), key=age)
        for folder in chunks[:-_KEPT_CHUNKS]:
            shutil.rmtree(folder, ignore_errors=True)


def _open_start(folder: Path, given: Tokenizer | None) -> tuple[Tokenizer, Int[np.ndarray, " tokens"]] | None:
    if not (folder / MANIFEST_FILE).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST_FILE)
        held_out = open_ids(folder / "eval.bin", manifest["type"], manifest["tokens"])
        tokenizer = given or tokenizer_from(str(folder))
    except (UsageError, KeyError, TypeError, ValueError):
        return None
    return (tokenizer, held_out) if tokenizer.digest == manifest["tokenizer"] else None


def _build_start(
    folder: Path,
    settings: TextSettings,
    corpus: HubCorpus,
    given: Tokenizer | None,
    seed: int,
    report: Report,
    window: int,
) -> None:
    """Train the tokenizer, if one is to be trained, and tokenise the windows for the evaluation."""
    tokenizer = given or new_tokenizer(folder, settings, corpus, seed, report)
    documents = (
        (("eval", document) for document in corpus.documents("eval"))
        if corpus.has_eval
        else (pair for pair in assigned_documents(settings, corpus, seed) if pair[0] == "eval")
    )
    rows = RowWindows(window) if holds_ids(settings) else None
    wanted = corpus.eval_windows * window
    parts: list[np.ndarray] = []
    count = 0
    for _, ids in encode_documents(documents, tokenizer, settings.lowercase, corpus.name):
        kept = ids if rows is None else rows.add(ids)
        parts.append(kept[: wanted - count])
        count += len(parts[-1])
        report("tokenising the evaluation", count, wanted)
        if count == wanted:
            break
    kind = np.dtype(token_type(tokenizer.vocabulary))
    ids = np.concatenate(parts) if parts else np.zeros(0)
    ids.astype(kind).tofile(folder / "eval.bin")
    manifest = {
        "schema": SCHEMA_VERSION,
        "corpus": to_plain(settings.corpus),
        "tokenizer": tokenizer.digest,
        "vocabulary": tokenizer.vocabulary,
        "type": kind.name,
        "tokens": count,
    }
    write_json(folder / MANIFEST_FILE, manifest)
