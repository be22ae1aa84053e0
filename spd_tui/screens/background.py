"""The background work of a screen: begun, answered, stopped, and done again by `r`."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from spd_tui.loading import Job, reason
from spd_tui.messages import Answered

if TYPE_CHECKING:
    from spd_tui.screens.base import SpdScreen

Value = TypeVar("Value")


class Background:
    """What a screen has others do; it remembers what failed or was stopped, so that it can be done again."""

    def __init__(self, screen: "SpdScreen") -> None:
        self._screen = screen
        self._undone: dict[str, Job] = {}

    def run(
        self,
        function: Callable[..., Value],
        *args: Any,
        what: str,
        done: Callable[[Value], object] | None = None,
        failed: Callable[[BaseException], object] | None = None,
        group: str | None = None,
        quiet: bool = False,
        with_job: bool = False,
        **kwargs: Any,
    ) -> Job:
        """Call `function(*args, **kwargs)` in a thread; the screen stays usable.

        The function must touch no widget. Its value goes to `done` on the screen's own thread; its error goes
        to `failed`, else it is said in a notice and `r` does the work again. The status line names the work,
        counts its seconds, and Esc stops it (its answer is then thrown away).

        Args:
            function: The work.
            args: Its arguments, `kwargs` the named ones.
            what: What it does, as people read it: "reading the harvest".
            done: Gets the value.
            failed: Gets the error.
            group: A later job of the same group replaces an earlier one of this screen.
            quiet: Not shown and not stopped by Esc: small work that repeats.
            with_job: Pass the `Job` first, for work that asks `job.check()` whether it was stopped.
        """

        def start() -> Job:
            job = Job(what, self._screen, start, group or what, quiet, done, failed)
            self._undone.pop(job.group or what, None)
            work = partial(function, job, *args, **kwargs) if with_job else partial(function, *args, **kwargs)
            return self._screen.app.jobs.begin(job, work)

        return start()

    def answered(self, message: Answered) -> None:
        """Hand on what a job has brought, unless nobody waits for it any more."""
        job, error = message.job, message.error
        if not self._screen.app.jobs.finish(job):
            return
        if error is None:
            if job.done is not None:
                job.done(message.value)
        elif job.failed is not None:
            job.failed(error)
        else:
            self.stopped(job)
            self._screen.say(f"{job.what} failed: {reason(error)} r tries again.", "error")

    def stopped(self, job: Job) -> None:
        """A job has ended without its answer; `again` does it once more."""
        self._undone[job.group or job.what] = job

    def again(self) -> bool:
        """Do again what failed or was stopped; False when there is nothing of the kind."""
        undone, self._undone = self._undone, {}
        for job in undone.values():
            job.start()
        return bool(undone)
