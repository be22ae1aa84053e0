"""The last line of every screen: what is loaded, what is being worked on and how to stop it, a few keys."""

from rich.text import Text
from textual.timer import Timer
from textual.widget import Widget

from spd_tui.loading import Job

PATIENCE = 0.3
"""Seconds before background work is worth a word; shorter work would only flicker."""


class StatusLine(Widget):
    """One line; the seconds of background work count up while there is any, else nothing ticks."""

    DEFAULT_CSS = "StatusLine { height: 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._jobs: list[Job] = []
        self._loaded = ""
        self._hints = ""
        self._timer: Timer | None = None

    def show(self, loaded: str, hints: str) -> None:
        """What is loaded (left) and the keys worth knowing here (right)."""
        if (loaded, hints) != (self._loaded, self._hints):
            self._loaded, self._hints = loaded, hints
            self.refresh()

    def show_jobs(self, jobs: list[Job]) -> None:
        """The background work a person should know of."""
        was_shown = any(job.seconds() >= PATIENCE for job in self._jobs)
        self._jobs = jobs
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if jobs:
            self._timer = self.set_timer(PATIENCE, self._tick)
        if was_shown:
            self.refresh()

    def _tick(self) -> None:
        self.refresh()
        self._timer = self.set_timer(1.0, self._tick) if self._jobs else None

    def render(self) -> Text:
        """The line, as wide as the screen."""
        width = self.size.width
        left = Text(" ", no_wrap=True)
        jobs = [job for job in self._jobs if job.seconds() >= PATIENCE]
        if jobs:
            more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
            left.append(f"{jobs[0].what}{more} {jobs[0].seconds():.0f} s", "bold")
            left.append(" · Esc stops")
        else:
            left.append(self._loaded)
        hints = Text(self._hints, no_wrap=True)
        room = width - left.cell_len - 2
        if hints.cell_len > room:
            hints = Text(self._shortened(max(0, room)), no_wrap=True)
        left.truncate(max(0, width - hints.cell_len - 1), overflow="ellipsis")
        left.pad_right(max(0, width - left.cell_len - hints.cell_len - 1))
        line = left + hints
        line.truncate(width, overflow="crop")
        return line

    def _shortened(self, room: int) -> str:
        """As many hints, from the right, as fit: the last ones (help) matter most."""
        kept: list[str] = []
        for hint in reversed(self._hints.split("  ")):
            if len("  ".join([hint, *kept])) > room:
                break
            kept.insert(0, hint)
        return "  ".join(kept)
