"""A few records spread evenly over a metrics file, found without reading the rest of it."""

import json
import os
from pathlib import Path
from typing import IO, Any

_PIECE = 16 << 10
_LONGEST_LINE = 1 << 20


def sampled_records(path: Path, count: int) -> list[dict[str, Any]]:
    """At most `count` records of the file at `path` in their order, the last whole one among them.

    Places are taken evenly by bytes, which is evenly by steps as far as lines are alike. No file, or one that
    cannot be read, has no records; what is no record is passed over.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0 or count < 1:
                return []
            found: dict[int, dict[str, Any]] = {}
            for number in range(count):
                line = _line_from(file, size * number // count)
                if line is not None:
                    found[line[0]] = line[1]
            last = _last_line(file, size)
            if last is not None:
                found[last[0]] = last[1]
            return [found[start] for start in sorted(found)][-count:]
    except OSError:
        return []


def _line_from(file: IO[bytes], place: int) -> tuple[int, dict[str, Any]] | None:
    """The first whole record that begins at `place` or later, with where it begins."""
    start = place
    file.seek(max(0, place - 1))
    if place:
        skipped = file.readline(_LONGEST_LINE)
        start = place - 1 + len(skipped)
    for _ in range(8):
        line = file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            return None
        record = _record(line)
        if record is not None:
            return start, record
        start += len(line)
    return None


def _last_line(file: IO[bytes], size: int) -> tuple[int, dict[str, Any]] | None:
    start = max(0, size - _PIECE)
    file.seek(start)
    data = file.read(size - start)
    end = data.rfind(b"\n")
    begin = data.rfind(b"\n", 0, end) + 1
    if end < 0 or (begin == 0 and start > 0):
        return None
    record = _record(data[begin:end])
    return None if record is None else (start + begin, record)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
