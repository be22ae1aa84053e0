"""One process builds, the others wait: a lock that the system gives back when its holder dies."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from core.runs.files import write_error

T = TypeVar("T")

_POLL_SECONDS = 0.05


def built_once(
    lock: Path, opened: Callable[[], T | None], build: Callable[[], T | None], waiting: Callable[[], None]
) -> T:
    """What `opened` finds, else what `build` makes: one process builds, the others wait and open that.

    Args:
        lock: The folder that is built, or what several folders under one lock are called (see `build_lock`).
        opened: Opens what is there; None where it is not, or not whole.
        build: Makes it and opens it.
        waiting: Called once if another process builds it now.

    Raises:
        SpdError: the folder above cannot be written.
    """
    found = opened()
    if found is None:
        with build_lock(lock, waiting):
            found = opened()
            if found is None:
                found = build()
    assert found is not None, f"{lock} was just built"
    return found


@contextmanager
def build_lock(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the right to build `folder`; `waiting` is called once if another process has it now.

    What killed builders of `folder`, and of folders whose names begin so, left there is removed. Where the
    file system knows no locks, several may build at once, which costs time only: a folder appears by one
    rename.

    Raises:
        SpdError: the folder above cannot be written.
    """
    path = folder.with_name(f".{folder.name}.lock")
    descriptor = _locked(path, waiting)
    try:
        for left in folder.parent.glob(f".{folder.name}*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        with suppress(OSError):  # whoever waits on this file finds out that it is no longer the one at `path`
            path.unlink()
        os.close(descriptor)


def _locked(path: Path, waiting: Callable[[], None]) -> int:
    """A descriptor of the file at `path`, locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise write_error(path, error) from error
        try:
            _wait(descriptor, waiting)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:  # its last holder has taken it away
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _wait(descriptor: int, waiting: Callable[[], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                waiting()
                told = True
            time.sleep(_POLL_SECONDS)
        except OSError:  # no locks here
            return
