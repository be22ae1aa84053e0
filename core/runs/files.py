"""Files that are either whole or not there: written beside their place, synced, then renamed into it."""

import errno
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import SpdError, UsageError

_REMEDIES = {
    errno.ENOSPC: "The disk is full; free some space or choose another folder with --out.",
    errno.EDQUOT: "Your disk quota is used up; free some space or choose another folder with --out.",
    errno.EACCES: "You may not write there; choose another folder with --out.",
    errno.EPERM: "You may not write there; choose another folder with --out.",
    errno.EROFS: "That file system is read-only; choose another folder with --out.",
}


class WriteError(SpdError):
    """A file cannot be written."""

    def __init__(self, message: str, remedy: str, place_refuses: bool) -> None:
        super().__init__(message, remedy)
        self.place_refuses = place_refuses
        """There is no room, or no permission; nothing is broken or gone."""


def write_error(path: Path, error: OSError) -> WriteError:
    """The error to raise when writing `path` failed with `error`: what failed, why, what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "Check the disk, or choose another folder with --out.")
    reason = error.strerror or str(error)
    return WriteError(
        f"cannot write {path}: {reason}; what was there before is untouched.",
        remedy,
        place_refuses=error.errno in _REMEDIES,
    )


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`; what is written there becomes `path` in one rename.

    The temporary file is removed when the body fails, and an earlier `path` then stays as it was.

    Raises:
        SpdError: the disk is full, the folder is missing or may not be written.
    """
    temporary = _temporary_name(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        cause = _system_error(error, path.parent)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if cause is not None:
            raise write_error(path, cause) from error
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; with all that is put into it, it becomes `path` in one rename.

    An earlier folder at `path` is replaced. On failure the temporary folder is removed with its content.

    Raises:
        SpdError: the disk is full or the folder may not be written.
    """
    temporary = _temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        _sync_folder(temporary)
        _swap_folder(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        cause = _system_error(error, path.parent)
        shutil.rmtree(temporary, ignore_errors=True)
        if cause is not None:
            raise write_error(path, cause) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step (see `new_file` for the errors)."""
    with new_file(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` in one step (see `new_file` for the errors)."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON in one step; NaN and infinities become null."""
    write_text(path, to_json(data, indent=2) + "\n")


def to_json(data: Any, indent: int | None = None) -> str:
    """`data` as strictly valid JSON: NaN and infinities become null, keys keep their order."""
    return json.dumps(_finite(data), indent=indent, ensure_ascii=False, allow_nan=False)


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        UsageError: the file is missing, unreadable, not JSON or not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error}).", "It may have been cut short.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a JSON object, got {type(data).__name__}.")
    return data


def ensure_writable(folder: Path) -> None:
    """Check that files can be created in `folder`, or in its nearest existing parent; leaves nothing there.

    Permission bits do not tell (a read-only mount, root, quotas), so a file is made and removed.

    Raises:
        UsageError: they cannot.
    """
    place = folder.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    remedy = "Choose another folder with --out, or set SPD_OUT_DIR."
    if not place.is_dir():
        raise UsageError(f"the output folder {folder} cannot be used: {place} is not a folder.", remedy)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UsageError(
            f"the output folder {folder} is not writable: {error.strerror} in {place}.", remedy
        ) from error


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file (name -> dtype, shape, data_offsets; `__metadata__` -> strings).

    Checks that the file is as long as its header says, so a truncated one is found before it is loaded.

    Raises:
        UsageError: missing, truncated, or not a safetensors file.
    """
    remedy = "Use another checkpoint of the run, or fetch the file again."
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise UsageError(f"{path} is truncated or not a safetensors file ({size} bytes).", remedy)
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("the header is not an object")
        tensors = (value for name, value in header.items() if name != "__metadata__")
        data = max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.", remedy) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{path} is not a safetensors file ({error}).", remedy) from error
    if size != 8 + length + data:
        raise UsageError(
            f"{path} is truncated or damaged: {size} bytes where its header announces {8 + length + data}.",
            remedy,
        )
    return header


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _system_error(error: BaseException, folder: Path) -> OSError | None:
    """The system's error behind `error`, if a write failed.

    safetensors gives its number only in its text and torch does not give it at all, so a megabyte is tried.
    """
    if isinstance(error, OSError):
        return error
    if isinstance(error, SpdError) or not isinstance(error, Exception):
        return None
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
            return None if file.tell() == 1 << 20 else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as cause:
        return cause


def _sync(path: Path) -> None:
    # "r+b", not "rb": some network file systems flush only through a writable descriptor.
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only once its folder is synced; not every file system can do that.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _swap_folder(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.replace(temporary, path)
        return
    # A folder cannot be renamed onto a full one; the old one steps aside, and back if that fails.
    aside = _temporary_name(path)
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
