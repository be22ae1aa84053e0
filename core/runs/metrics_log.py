"""The metrics of a run: one JSON object a line, appended while it runs, cut back when it resumes."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from core.errors import UsageError
from core.runs.files import to_json, write_bytes, write_error

Number = float | int | str | bool | None


class MetricsLog:
    """Appends records to a metrics file; every record has a `step`.

    A line that a killed process left unfinished is removed before the first append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, record: Mapping[str, Number]) -> None:
        """Write one record and hand it to the system; keys keep their order, NaN is written as null.

        Raises:
            SpdError: the disk is full or the file cannot be written; no part of the record stays.
        """
        line = (to_json(dict(record)) + "\n").encode()
        try:
            file = self._file = self._file or _open_at_line_end(self.path)
            before = file.tell()
            try:
                _write_all(file, line)
            except OSError:
                file.truncate(before)
                file.seek(before)
                raise
        except OSError as error:
            raise write_error(self.path, error) from error

    def truncate_after(self, step: int) -> None:
        """Drop every record of a later step and an unfinished last line, in one rename.

        Raises:
            UsageError: a line before the last is not a record.
            SpdError: the file cannot be written.
        """
        self.close()
        if not self.path.exists():
            return
        kept = [line for line, record in _lines(self.path) if record.get("step", 0) <= step]
        write_bytes(self.path, b"".join(kept))

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All records of a metrics file, in order; an unfinished last line is left out, no file is no records.

    Raises:
        UsageError: the file cannot be read, or a line before the last is not a record.
    """
    return [record for _, record in _lines(path)] if path.exists() else []


def _open_at_line_end(path: Path) -> IO[bytes]:
    # Unbuffered: a full disk shows at the write, not at some later flush.
    file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    file.truncate(end)
    file.seek(end)
    return file


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    result: list[tuple[bytes, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not a JSON object")
        except ValueError as error:
            if number == len(lines):
                break
            raise UsageError(
                f"{path}, line {number}: not a metrics record ({error}).", "Remove that line to go on."
            ) from error
        result.append((line, record))
    return result
