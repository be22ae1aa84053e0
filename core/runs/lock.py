"""One process per run: a lock file that names its owner, taken over when that owner is dead."""

import fcntl
import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import SpdError
from core.runs.directory import RunDirectory
from core.runs.files import write_error
from core.runs.processes import start_mark, this_host, why_dead

_GRACE_SECONDS = 10.0
"""A lock without readable content this young may be one that is just being written."""


class ProcessLock:
    """Holds what the file `path` stands for, called `what`, for this process while the `with` block lasts.

    Raises (on entry):
        SpdError: another living process holds it, or the lock cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self._content = ""

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, also from a dead process."""
        pid = os.getpid()
        # The token tells two holders within one process apart.
        holder = {"pid": pid, "host": this_host(), "mark": start_mark(pid), "token": secrets.token_hex(4)}
        self._content = json.dumps(holder)
        for _ in range(3):
            if self._create() or self._take_over():
                return
        raise SpdError(f"{self.path} changes hands while it is being taken.", "Try again.")

    def release(self) -> None:
        """Give the lock back; one that somebody else has taken since is left alone."""
        if _read(self.path) == self._content:
            with suppress(OSError):
                self.path.unlink()

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise write_error(self.path, error) from error
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._content)
        except OSError as error:
            with suppress(OSError):
                self.path.unlink()
            raise write_error(self.path, error) from error
        return True

    def _take_over(self) -> bool:
        """Put our name into the lock of a dead process; False when the lock has gone meanwhile."""
        try:
            with open(self.path, "r+", encoding="utf-8", errors="replace") as file:
                # Several newcomers may find the same dead owner: one at a time looks and writes.
                with suppress(OSError):  # a file system without flock: the look alone must do
                    fcntl.flock(file, fcntl.LOCK_EX)
                if not _is_at(file.fileno(), self.path):
                    return False
                holder = _living_holder(self.path, file.read())
                if holder is not None:
                    raise SpdError(
                        f"{self._what} is being worked on by {holder}.",
                        f"Wait for it or stop it; if that process is gone, remove {self.path}.",
                    )
                file.seek(0)
                file.truncate()
                file.write(self._content)
                file.flush()
                return True
        except FileNotFoundError:
            return False
        except OSError as error:
            raise write_error(self.path, error) from error


class RunLock(ProcessLock):
    """Holds a run; see `ProcessLock`."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(run.lock, f"the run {run.path.name}")


def lock_holder(run: RunDirectory) -> str | None:
    """Who trains the run now, as text; None when nobody does."""
    return _holder(run.lock)


def harvest_holder(run: RunDirectory, name: str | None = None) -> str | None:
    """Who harvests the run now, or works on its harvest `name`, as text; None when nobody does."""
    names = run.unfinished_harvests() if name is None else [name]
    found = (_holder(run.harvest_lock(name)) for name in names)
    return next((holder for holder in found if holder is not None), None)


def _holder(path: Path) -> str | None:
    content = _read(path)
    return None if content is None else _living_holder(path, content)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`; FileNotFoundError when none is there."""
    here, there = os.fstat(descriptor), os.stat(path)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _living_holder(path: Path, content: str) -> str | None:
    try:
        data = json.loads(content)
        pid, host, mark = int(data["pid"]), str(data["host"]), data.get("mark")
    except (ValueError, KeyError, TypeError, AttributeError):
        try:
            age = time.time() - path.stat().st_mtime
        except OSError:
            return None
        return "a process that is just starting" if age < _GRACE_SECONDS else None
    if why_dead(host, pid, mark) is not None:
        return None
    return f"process {pid} on {host}"
