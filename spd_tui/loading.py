"""Slow work in threads that touch no widget and answer by messages.

The threads are daemons, so `q` leaves at once even when a file system hangs. A thread cannot be killed: to
stop a job means that its answer is thrown away, and `Job.check` raises `Stopped` in a function that asks.
"""

import contextvars
import gc
import importlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spd_tui.messages import Answered

if TYPE_CHECKING:
    from textual.screen import Screen


class Stopped(Exception):
    """Raised inside background work that was stopped and asked whether it was."""


@dataclass(eq=False)
class Job:
    """One piece of background work."""

    what: str
    """What it does, as people read it: `reading the runs`."""
    owner: "Screen[Any]"
    """The screen that gets the answer."""
    start: Callable[[], "Job"]
    """Does the same again."""
    group: str | None = None
    """At most one job of a group runs for a screen; a later one replaces an earlier one."""
    quiet: bool = False
    """Not shown and not stopped by a key: small work that repeats."""
    done: Callable[[Any], object] | None = None
    """Gets the value on the screen's own thread."""
    failed: Callable[[BaseException], object] | None = None
    """Gets the error instead of the screen's usual notice."""
    started: float = field(default_factory=time.monotonic)
    """When it began, on the monotonic clock."""
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._stop.is_set()

    def check(self) -> None:
        """For the work itself, now and then.

        Raises:
            Stopped: nobody waits for the answer any more.
        """
        if self.stopped:
            raise Stopped(self.what)

    def stop(self) -> None:
        """Throw the answer away."""
        self._stop.set()

    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started


class Jobs:
    """The background work of an app; `changed` is called on the app's thread when `visible` has changed."""

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        self._running: list[Job] = []

    def visible(self) -> list[Job]:
        """The jobs a person should see, oldest first."""
        return [job for job in self._running if not job.quiet]

    def running(self, owner: "Screen[Any] | None" = None) -> list[Job]:
        """The jobs that run (for `owner`), quiet ones too."""
        return [job for job in self._running if owner is None or job.owner is owner]

    def begin(self, job: Job, work: Callable[[], Any]) -> Job:
        """Run `work` in a thread; its answer reaches `job.owner` as `Answered`."""
        for other in self._running[:]:
            if job.group is not None and other.group == job.group and other.owner is job.owner:
                self.stop(other)
        self._running.append(job)
        # The context carries which app this is; a message made in a bare thread would not know.
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(_work, job, work), name=f"spd {job.what}", daemon=True
        ).start()
        self._tell(job)
        return job

    def finish(self, job: Job) -> bool:
        """Take a job off the list; False when its answer is not wanted any more."""
        if job not in self._running:
            return False
        self._running.remove(job)
        self._tell(job)
        return not job.stopped

    def _tell(self, job: Job) -> None:
        if not job.quiet:  # nobody sees those, and they come and go while nothing else happens
            self._changed()

    def stop(self, job: Job) -> None:
        """Stop one job."""
        job.stop()
        self.finish(job)

    def stop_visible(self) -> list[Job]:
        """Stop what a person can see, and say what that was."""
        jobs = self.visible()
        for job in jobs:
            self.stop(job)
        return jobs

    def stop_all(self, owner: "Screen[Any]") -> None:
        """Stop everything a screen has started."""
        for job in self.running(owner):
            self.stop(job)


def _work(job: Job, work: Callable[[], Any]) -> None:
    try:
        answer = Answered(job, value=work())
    except Stopped:
        return
    except BaseException as error:
        answer = Answered(job, error=error)
    try:
        job.owner.post_message(answer)
    except RuntimeError:
        # The app's loop has ended meanwhile; there is nobody left to tell.
        job.stop()


def reason(error: BaseException) -> str:
    """What went wrong, as a sentence: our own errors are sentences already."""
    from core.errors import SpdError

    return str(error) if isinstance(error, SpdError) else f"{type(error).__name__}: {error}."


def collect_seldom() -> None:
    """Keep the garbage collector out of the way of keys.

    With a large harvest open a full collection takes 100 ms and more, and a key would wait for it: what is
    there now is never looked through again, and the rest ten times less often.
    """
    gc.freeze()
    gc.set_threshold(700, 10, 100)


def import_ahead() -> None:
    """Import what the first table of components would wait for; runs in a thread, when nobody waits."""
    for module in ("polars", "numpy", "core.harvest.listing", "core.harvest.card"):
        importlib.import_module(module)
