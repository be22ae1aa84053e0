"""Following a run's folder from a thread: what has changed since the last look, whatever becomes of it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from core.errors import SpdError
from core.runs.catalogue import open_run
from core.runs.directory import RunDirectory
from core.runs.metrics_tail import MetricsTail
from core.runs.overview import RunDetails, run_details, run_overview
from spd_tui.loading import Job
from spd_tui.rows.picture import FigureFile
from spd_tui.rows.run import EMPTY, Metrics, MetricsStore

PIECE_BYTES = 1 << 19
"""Read at once: small, for a thread that parses keeps the screen waiting for as long as one piece takes."""

PATIENCE = 0.4
"""Seconds after which a look at a long file gives what it has, and goes on with the next look."""

GIVEN_WAY = 0.001
"""Seconds left to the screen after each piece."""

_Marks = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class RunLook:
    """What a run's folder holds at some moment."""

    metrics: Metrics
    details: RunDetails | None
    """None when it has never been readable."""
    figures: tuple[FigureFile, ...] = ()
    problems: tuple[str, ...] = ()
    """What is wrong, a sentence each; the rest is what was known before."""
    gone: bool = False
    """The folder is not there any more."""
    restarted: bool = False
    """Since the last look the metrics began anew or were cut back."""
    more: bool = False
    """There is more to read at once."""


class RunFollower:
    """Looks at one run again and again."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self._tail = MetricsTail(directory.metrics)
        self._store = MetricsStore()
        self._metrics: Metrics = EMPTY
        self._details: RunDetails | None = None
        self._marks: _Marks = ()
        self._last: RunLook | None = None
        self._problem: str | None = None
        self._looking = Lock()

    def look(self, job: Job | None = None) -> RunLook | None:
        """What there is now; None when nothing has changed since the last look.

        Raises:
            Stopped: `job` was stopped.
        """
        with self._looking:  # a look that was stopped may still be at it
            return self._look(job)

    def _look(self, job: Job | None) -> RunLook | None:
        restarted, more, metrics_problem = self._read_metrics(job)
        folder_problems, gone = self._read_folder()
        problems = (*folder_problems, *([metrics_problem] if metrics_problem and not gone else []))
        figures = tuple(map(FigureFile.of, self._details.figures)) if self._details is not None else ()
        look = RunLook(self._metrics, self._details, figures, problems, gone, restarted, more)
        if look == self._last:
            return None
        self._last = look
        return look

    def _read_metrics(self, job: Job | None) -> tuple[bool, bool, str | None]:
        end = time.monotonic() + PATIENCE
        restarted, changed = False, False
        while True:
            if job is not None:
                job.check()
            update = self._tail.read(PIECE_BYTES)
            if update.restarted:
                self._store, restarted, changed = MetricsStore(), True, True
            if update.records:
                self._store.add(update.records)
                changed = True
            if not update.more or time.monotonic() > end:
                break
            time.sleep(GIVEN_WAY)
        if changed:
            self._metrics = self._store.snapshot()
        return restarted, update.more, f"{update.problem}." if update.problem else None

    def _read_folder(self) -> tuple[tuple[str, ...], bool]:
        """Read the small files again if they have changed, or if the run's process may have ended."""
        marks = self._look_at_files()
        known = self._details
        running = known is not None and known.overview.status == "running"
        if marks != self._marks or running:
            try:
                self._details = self._read_details(marks, known)
                self._problem = None
            except SpdError as error:
                self._problem = f"{self.directory.path} has been deleted." if self._gone() else str(error)
            self._marks = marks
        return self._known_problems(), self._gone()

    def _read_details(self, marks: _Marks, known: RunDetails | None) -> RunDetails:
        entry = open_run(self.directory.path)
        if known is None or self._problem is not None or marks[1:] != self._marks[1:]:
            return run_details(entry)
        if marks == self._marks and entry.status == known.overview.status:
            return known
        # Only the metrics have grown: the settings and figures need not be read again every second.
        return replace(known, overview=run_overview(entry))

    def _known_problems(self) -> tuple[str, ...]:
        if self._problem is not None:
            return (self._problem,)
        return self._details.problems if self._details is not None else ()

    def _gone(self) -> bool:
        return not self.directory.path.is_dir()

    def _look_at_files(self) -> _Marks:
        run = self.directory
        paths = (run.metrics, run.manifest, run.summary, run.settings, run.figures, run.checkpoints)
        return tuple(_mark(path) for path in paths)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Tells a file from itself after a change; None when it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
