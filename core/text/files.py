"""Documents out of local files: plain text, JSON lines, JSON lists, parquet; gzip where it is named."""

import gzip
import json
import zlib
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from core.errors import UsageError, nearest_names
from core.text.settings import FilesCorpus
from core.text.tokenizer import half_character

KNOWN = (".txt", ".text", ".md", ".jsonl", ".ndjson", ".json", ".parquet")
"""What is taken from a folder; each but parquet also with .gz."""

_ROWS = 1024


class FileCorpus:
    """The documents of local files, in the order of their paths.

    Raises:
        UsageError: nothing matches a path.
    """

    has_eval = False

    def __init__(self, settings: FilesCorpus) -> None:
        paths = [settings.path] if isinstance(settings.path, str) else settings.path
        self._column = settings.column
        self._files = list(dict.fromkeys(file for path in paths for file in _expand(path)))
        if not self._files:
            raise UsageError("no file is named.", "Name one with --set ...corpus.path=FILE.")
        self.name = str(self._files[0]) if len(self._files) == 1 else f"{paths[0]} ({len(self._files)} files)"

    def identity(self) -> Any:
        """Path, size and time of change of every file."""
        stats = [(file, file.stat()) for file in self._files]
        return [[str(file.absolute()), stat.st_size, stat.st_mtime_ns] for file, stat in stats]

    def count(self, split: str) -> int:
        """How many documents there are, if all files are plain text."""
        return len(self._files) if all(_form(file) == "text" for file in self._files) else 0

    def documents(self, split: str) -> Iterator[str]:
        """The documents that are not empty, as they stand in the files."""
        for file in self._files:
            form = _form(file)
            if form == "text":
                found: Iterator[str] = iter((read_text_file(file),))
            elif form == "parquet":
                found = _parquet_rows(file, self._column)
            else:
                found = _json_rows(file, self._column, lines=form == "lines")
            yield from (text for text in found if text)


def read_text_file(path: Path) -> str:
    """The whole of a UTF-8 text file, line ends and all.

    Raises:
        UsageError: it cannot be read, or is not text.
    """
    return _decode(_read(path), path)


def _expand(path: str) -> list[Path]:
    place = Path(path).expanduser()
    if place.is_dir():
        found = [file for file in sorted(place.rglob("*")) if file.is_file() and _plain_suffix(file) in KNOWN]
        if not found:
            raise UsageError(
                f"the folder {path} holds no text: no file there ends in {', '.join(KNOWN)} (or .gz).",
                "Name the files themselves with --set ...corpus.path=...",
            )
        return found
    if place.exists():
        return [place]
    found = [Path(file) for file in sorted(glob(str(place), recursive=True)) if Path(file).is_file()]
    if not found:
        what = f"no file matches {path}" if has_magic(path) else f"no file {path}"
        raise UsageError(f"{what} (in {Path.cwd()}).", "Name files that exist with --set ...corpus.path=...")
    return found


def _plain_suffix(path: Path) -> str:
    """The ending that tells the form, without .gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _form(path: Path) -> str:
    return {".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".parquet": "parquet"}.get(
        _plain_suffix(path), "text"
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def _decode(data: bytes, path: Path, start: int = 0) -> str:
    """Bytes as text; `start` is where in the file they begin.

    Raises:
        UsageError: they hold a NUL or are not UTF-8.
    """
    at, why = data.find(b"\0"), "a zero byte"
    if at < 0:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            at, why = error.start, f"the byte 0x{data[error.start]:02X}, which is not UTF-8"
    raise UsageError(
        f"{path} is not a text file: {why} stands at byte {start + at}.",
        "Give UTF-8 text, or a .jsonl, .json or .parquet table.",
    )


def _json_rows(path: Path, column: str, lines: bool) -> Iterator[str]:
    for place, row in _json_lines(path) if lines else _json_list(path):
        if isinstance(row, dict) and column not in row:
            raise no_column(f"{path}, {place},", column, list(row))
        value = row[column] if isinstance(row, dict) else row
        if value is not None:
            yield _checked(value, f"{path}, {place}", column)


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    offset = 0
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    text = _decode(line, path, offset)
                    try:
                        yield f"line {number}", json.loads(text)
                    except ValueError as error:
                        raise UsageError(f"{path}, line {number}: not valid JSON ({error}).") from error
                offset += len(line)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def _json_list(path: Path) -> Iterator[tuple[str, Any]]:
    text = _decode(_read(path), path)
    try:
        rows = json.loads(text)
    except ValueError as error:
        if (
            isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        ):  # JSON lines by another name
            yield from _json_lines(path)
            return
        raise UsageError(f"{path} is not valid JSON ({error}).") from error
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise UsageError(f"{path}: expected a list of objects, got {type(rows).__name__}.")
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _parquet_rows(path: Path, column: str) -> Iterator[str]:
    import polars
    from polars.exceptions import PolarsError

    try:
        table = polars.scan_parquet(path)
        columns = table.collect_schema().names()
        if column not in columns:
            raise no_column(str(path), column, columns)
        number = 0
        for block in table.select(column).collect_batches(chunk_size=_ROWS, maintain_order=True):
            for value in block[column]:
                number += 1
                if value is not None:
                    yield _checked(value, f"{path}, row {number}", column)
    except (PolarsError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UsageError(f"{path} is not a parquet file that can be read ({reason}).") from error


def _checked(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise UsageError(
            f"{place}: the column {column!r} holds {type(value).__name__}, not text.",
            "Name the column with the text with --set ...corpus.column=NAME.",
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can name what UTF-8 cannot hold
        raise half_character(place, value[error.start]) from error
    return value


def no_column(place: str, column: str, columns: list[str]) -> UsageError:
    """The error for a column that is not there, naming those that are."""
    listed = ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
    offer = nearest_names(column, columns) if len(columns) > 20 else ""
    remedy = f"Name one with --set ...corpus.column=NAME. {offer}".strip()
    return UsageError(f"{place} has no column {column!r}; it has: {listed or 'none'}.", remedy)
