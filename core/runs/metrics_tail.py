"""Following a metrics file that another process writes: only what is new is read, whatever becomes of it.

No numpy and no polars: this runs before anything is painted.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Record = dict[str, Any]

READ_BYTES = 16 << 20
"""Most that one `MetricsTail.read` takes in, so that a long file is followed in pieces (`Update.more`)."""

END_BYTES = 64 << 10
"""How much of the end of a file `last_records` reads at first."""

MOST_END_BYTES = 16 << 20
"""How far back it goes at most."""

_ANCHOR_BYTES = 256


@dataclass(frozen=True)
class Update:
    """What has come since the last look."""

    records: list[Record]
    """New records in their order; all of them after a restart."""
    restarted: bool = False
    """The file is not the one that was followed (cut back by a resume, replaced): forget earlier records."""
    problem: str | None = None
    """What is wrong with the file as it stands, a sentence without a full stop; None while all is well."""
    more: bool = False
    """There is more to read at once: call again."""


class MetricsTail:
    """Reads a metrics file from where the last `read` ended.

    A file that is not there yet has no records; an unfinished last line waits until it is finished; lines
    that are no records are left out, counted and named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad_lines = 0
        """Lines passed over because they are no records."""
        self._first_bad = ""
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._line = 0
        self._anchor = b""

    def read(self, most: int = READ_BYTES) -> Update:
        """The records written since the last call, at most about `most` bytes of them."""
        try:
            with open(self.path, "rb") as file:
                return self._read(file, most)
        except FileNotFoundError:
            gone = f"{self.path} is gone" if self._identity else None
            return Update([], problem=gone)
        except OSError as error:
            return Update([], problem=f"cannot read {self.path}: {error.strerror or error}")

    def _read(self, file: IO[bytes], most: int) -> Update:
        state = os.fstat(file.fileno())
        identity = (state.st_dev, state.st_ino)
        restarted = self._identity is not None and not self._goes_on(file, identity, state.st_size)
        if restarted or self._identity is None:
            self.bad_lines, self._first_bad = 0, ""
            self._offset, self._line, self._anchor = 0, 0, b""
        self._identity = identity
        data = _whole_lines(file, self._offset, most)
        records = self._parse(data)
        self._offset += len(data)
        self._anchor = (self._anchor + data[-_ANCHOR_BYTES:])[-_ANCHOR_BYTES:]
        # Not told by what is left over: that may be a line still being written.
        unseen = file.tell() < state.st_size
        return Update(records, restarted, self._problem(), unseen)

    def _goes_on(self, file: IO[bytes], identity: tuple[int, int], size: int) -> bool:
        """Whether the open file begins with what has been read."""
        if identity != self._identity or size < self._offset:
            return False
        # It may have been cut back and have grown past that place again between two looks.
        file.seek(self._offset - len(self._anchor))
        return file.read(len(self._anchor)) == self._anchor

    def _parse(self, data: bytes) -> list[Record]:
        lines = data.split(b"\n")[:-1]
        first, self._line = self._line + 1, self._line + len(lines)
        try:
            # One call for all lines takes little more than half the time of one for each.
            records = json.loads(b"[" + b",".join(lines) + b"]")
            if len(records) == len(lines) and all(type(record) is dict for record in records):
                return records
        except (ValueError, RecursionError):
            pass  # the lines are looked at one by one below
        records = []
        for number, line in enumerate(lines, first):
            record = _record(line)
            if record is not None:
                records.append(record)
                continue
            self.bad_lines += 1
            self._first_bad = self._first_bad or f"line {number} of {self.path} is not a metrics record"
        return records

    def _problem(self) -> str | None:
        if self.bad_lines <= 1:
            return self._first_bad or None
        return f"{self._first_bad}, nor are {self.bad_lines - 1} others"


def last_records(path: Path) -> Iterator[Record]:
    """The records at the end of a metrics file, the last first; nothing of the file's head is read.

    What is no record is passed over, and no file is no records: for numbers at a glance.
    """
    try:
        with open(path, "rb") as file:
            end = os.fstat(file.fileno()).st_size
            stop = max(0, end - MOST_END_BYTES)
            rest, piece = b"", END_BYTES
            # A last line that is being written is no record yet, so it is passed over like any other text.
            while end > stop:
                start = max(stop, end - piece)
                file.seek(start)
                lines = (file.read(end - start) + rest).split(b"\n")
                rest = lines[0]
                yield from (record for line in reversed(lines[1:]) if (record := _record(line)) is not None)
                end, piece = start, 4 * piece
            if end == 0 and (record := _record(rest)) is not None:
                yield record
    except OSError:
        return


def _whole_lines(file: IO[bytes], offset: int, most: int) -> bytes:
    """From `offset` to the end of the last whole line among the next `most` bytes, or of the first line."""
    file.seek(offset)
    data = b""
    while True:
        piece = file.read(most)
        data += piece
        end = data.rfind(b"\n") + 1
        if end or not piece:
            return data[:end]


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
