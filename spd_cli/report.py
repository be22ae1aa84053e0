"""Everything that reaches the terminal: results on stdout, talk and progress on stderr."""

import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from core.errors import SpdError
from core.numerals import grouped, three_digits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.text import Text

REDRAW_SECONDS = 0.25
"""Time between two redraws of the progress bar: smooth to the eye, little over a slow line."""

LINE_SECONDS = 5.0
"""Longest silence between plain progress lines at the start of a phase."""


class Pace:
    """Rate and remaining time of one phase, over about the last half minute."""

    def __init__(self, done: int, total: int, now: float, unit: str | None = "step") -> None:
        self.unit = unit
        self.total = total
        self.began = now
        self._samples: deque[tuple[float, int]] = deque([(now, done)])

    def add(self, done: int, now: float) -> None:
        """Take note that `done` of the total were done at `now` (seconds)."""
        if now - self._samples[-1][0] >= 0.5 or done >= self.total or len(self._samples) == 1:
            self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > 30:
            self._samples.popleft()

    @property
    def rate(self) -> float | None:
        """Of what is counted, a second; None before anything can be said."""
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def text(self, done: int) -> str:
        """Rate and remaining time, for people."""
        rate, unit = self.rate, self.unit
        if rate is None:
            return ""
        left = self.total - done
        remaining = f"{duration(left / rate)} left" if left > 0 else ""
        if unit is None:
            return remaining
        pace = f"{three_digits(rate)} {unit}s/s" if rate >= 1 else f"{three_digits(1 / rate)} s/{unit}"
        return f"{pace}, {remaining}" if remaining else pace


class Report:
    """What the user sees of a command that takes a while; also the observer that `core` reports to.

    On a terminal there is a progress bar, elsewhere a line about every ten percent or five seconds.
    """

    def __init__(self, quiet: bool = False, live: bool | None = None) -> None:
        self.quiet = quiet
        self.live = _is_terminal() if live is None else live
        self._phase: str | None = None
        self._pace = Pace(0, 0, 0.0)
        self._shown = 0.0
        self._percent = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def message(self, text: str) -> None:
        """One line of talk."""
        if self.quiet:
            return
        if self._bar is None:
            talk(text)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        """`done` of `total` of `phase`, in `unit`s; cheap, so it may be called every step."""
        if self.quiet:
            return
        now = monotonic()
        fresh = phase != self._phase or total != self._pace.total
        if fresh:
            # The first call comes after the first step of the phase (or of the rest of a resumed one),
            # whose time is unknown, so it counts as the start.
            self._phase, self._pace, self._percent = phase, Pace(done, total, now, unit), 0
        self._pace.add(done, now)
        if self.live:
            self._draw(phase, done, total, note, now, fresh)
        elif self._line_is_due(done, total, now, fresh):
            self._shown = now
            self._percent = 100 * done // max(total, 1)
            details = ", ".join(part for part in (self._pace.text(done), note) if part)
            self.message(f"{phase}: {_amount(done, total)}" + (f" ({details})" if details else ""))

    def close(self) -> None:
        """Take the progress bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line_is_due(self, done: int, total: int, now: float, fresh: bool) -> bool:
        if fresh or (total and done >= total):
            return True
        silence = now - self._shown
        # Lines grow rarer with time: a log of a long run is for reading, too.
        longest = max(LINE_SECONDS, 0.05 * (now - self._pace.began))
        return silence >= longest or (silence >= 1 and 100 * done // max(total, 1) >= self._percent + 10)

    def _draw(self, phase: str, done: int, total: int, note: str, now: float, fresh: bool) -> None:
        if not fresh and done < total and now - self._shown < REDRAW_SECONDS:
            return
        self._shown = now
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.start()
            fresh = True
        if fresh:
            if self._task is not None and self._task in self._bar.task_ids:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(phase, total=total, amount="", pace="")
        assert self._task is not None
        details = ", ".join(part for part in (self._pace.text(done), note) if part)
        amount = _amount(done, total).rjust(len(_amount(total, total)))
        self._bar.update(self._task, completed=done, amount=amount, pace=details)
        self._bar.refresh()


def result(text: str) -> None:
    """One line of a result, on stdout."""
    with _stdout():
        print(text, flush=True)


def result_json(value: Any) -> None:
    """A result as JSON on stdout: strictly valid (NaN as null), times in ISO form, paths as text."""
    from core.runs.files import to_json

    result(to_json(json.loads(json.dumps(value, default=_plain)), indent=2))


def result_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    title: str | None = None,
    dispensable: Sequence[str] = (),
) -> None:
    """A table on stdout; numbers to the right, an empty cell for None. Never cut off when piped.

    On a terminal that is too narrow the `dispensable` columns are left out, one after the other, until the
    table fits. The first column, by which rows are named, is never broken.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if title:
        result(title)
    console = _stdout_console()
    numeric = {
        name: all(isinstance(row[place], int | float | None) for row in rows)
        for place, name in enumerate(columns)
    }
    cells = {name: [_cell(row[place]) for row in rows] for place, name in enumerate(columns)}
    for name in dispensable:
        if _table_width(cells) <= console.width:
            break
        del cells[name]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(cells):
        justify = "right" if numeric[name] else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=place == 0)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))
    with _stdout():
        console.print(table)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _table_width(cells: Mapping[str, Sequence[str]]) -> int:
    from rich.cells import cell_len

    return sum(3 + max(map(cell_len, (name, *column))) for name, column in cells.items())


def result_lines(lines: Callable[[int], Iterable["Text"]]) -> None:
    """Lines made for a width in cells, on stdout: the terminal's; elsewhere $COLUMNS or 80, and no colour."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns
    console = _new_console(width=width) if terminal else _new_console(width=width, color_system=None)
    with _stdout():
        for line in lines(width):
            console.print(line, soft_wrap=True, highlight=False)


def talk(text: str) -> None:
    """One line that is not a result, on stderr; where it cannot be written, the work goes on without."""
    if sys.stderr is None:  # closed by `2>&-`; print would then fall back to stdout
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError as failed:
        if isinstance(failed, BrokenPipeError):  # left to `spd_cli.app`, which also drops what still waits
            raise


def error(text: str) -> None:
    """One error message, on stderr."""
    talk(f"error: {text}")


def working(text: str, quiet: bool = False) -> AbstractContextManager[Any]:
    """Shows `text` with a spinner while the block lasts, on a terminal; nothing elsewhere."""
    if quiet or not _is_terminal():
        return nullcontext()
    return _new_console(stderr=True).status(text)


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _amount(done: int, total: int) -> str:
    return f"{grouped(done)}/{grouped(total)}" if total else grouped(done)  # 0 stands for an unknown total


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _stdout_console() -> "Console":
    # A pipe has no width; a table that is read by a program or a file must not be folded at 80.
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return _new_console() if terminal else _new_console(width=200, no_color=True)


def _new_console(**options: Any) -> "Console":
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            # Rich would end the process with 1; `spd_cli.app` knows what to do.
            error = sys.exception()
            assert error is not None, "Rich calls this where it has caught one"
            raise error

    return _Console(**options)


def unwritten_result(failed: OSError) -> SpdError:
    """The error to raise when writing to stdout failed with `failed`."""
    reason = failed.strerror or str(failed)
    return SpdError(f"cannot write the result to standard output: {reason}.", "Send it elsewhere.")


@contextmanager
def _stdout() -> Iterator[None]:
    """Says so when a result cannot be written; a reader that has gone (`| head`) is left to `spd_cli.app`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as failed:
        raise unwritten_result(failed) from failed


def _new_bar() -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[amount]}", markup=False, style="progress.download"),
        TextColumn("{task.fields[pace]}", markup=False),
        TimeElapsedColumn(),
        console=_new_console(stderr=True),
        # Drawn from `progress` itself: a drawing thread would take time from the training loop.
        auto_refresh=False,
        transient=True,
        expand=True,
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
