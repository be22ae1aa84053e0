"""Following a run for the screen that shows it: a look at its folder, a rest, and the next look."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from spd_tui.loading import Job, reason
from spd_tui.rows.run import EMPTY
from spd_tui.run_follower import RunFollower, RunLook

if TYPE_CHECKING:
    from core.runs.directory import RunDirectory
    from spd_tui.screens.base import SpdScreen

RUNNING_SECONDS = 1.0
"""Between two looks at a run that is training."""

RESTING_SECONDS = 5.0
"""Between two looks at one that is not: it may be resumed, or deleted."""


class Following:
    """Looks again and again while its screen is shown.

    Args:
        screen: Whose background work it is.
        changed: Gets what a look has found, and what the one before it had, when they differ.
    """

    def __init__(self, screen: "SpdScreen", changed: Callable[[RunLook, RunLook], object]) -> None:
        self.look = RunLook(EMPTY, None)
        """What the last look found."""
        self._screen = screen
        self._changed = changed
        self._follower: RunFollower | None = None
        self._job: Job | None = None

    def begin(self, directory: "RunDirectory") -> None:
        """Read the run anew, and follow it from then on."""
        self._follower = RunFollower(directory)
        self._begin_look("reading the run", quiet=False)

    def go_on(self) -> None:
        """Look again at once, now that the screen is shown again, unless a look is under way or to come."""
        if self._follower is not None and (self._job is None or self._job.stopped):
            self._begin_look("following the run")

    def _begin_look(self, what: str, quiet: bool = True) -> None:
        follower = self._follower
        if follower is None or not self._screen.is_current:
            self._job = None
            return
        self._job = self._screen.background.run(
            follower.look,
            what=what,
            done=self._looked,
            failed=self._failed,
            group="look",
            quiet=quiet,
            with_job=True,
        )

    def _looked(self, look: RunLook | None) -> None:
        if look is not None:
            before, self.look = self.look, look
            self._changed(look, before)
        follower = self._follower

        def again() -> None:
            if self._follower is follower:
                self._begin_look("following the run")

        details = self.look.details
        running = details is not None and details.overview.status == "running"
        rest = RUNNING_SECONDS if running else RESTING_SECONDS
        self._screen.set_timer(0.01 if look is not None and look.more else rest, again)

    def _failed(self, error: BaseException) -> None:
        self._screen.say(f"Following the run failed: {reason(error)} r tries again.", "error")
        self._job = self._follower = None
