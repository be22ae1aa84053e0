"""All runs: what each is, how it stands, what exists of it; the panel explains the one at the cursor."""

import time
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer

from spd_tui.clipboard import home_relative
from spd_tui.commands import Command
from spd_tui.keys import bind
from spd_tui.loading import import_ahead, reason
from spd_tui.rows.pace import Pace
from spd_tui.rows.run_panel import RunDetail, panel, resume_command
from spd_tui.rows.runs import (
    FILTERS,
    RunRow,
    RunRows,
    columns,
    facts_text,
    next_filter,
    nothing_text,
    plain_line,
    select,
)
from spd_tui.screens.base import SpdScreen
from spd_tui.screens.deleting import ask_to_delete
from spd_tui.watching import Listing, RunsWatch, read_detail
from spd_tui.widgets.frame_table import FrameTable
from spd_tui.widgets.line_panel import LinePanel

LOOK_SECONDS = 2.0
"""Between two looks at the disk; more where looks take long, so that they take a tenth of the time."""
AGES_SECONDS = 60.0
"""Between two looks at the clock; only ages that read differently are painted."""
_NO_RUN = "There is no run under the cursor."
_SETTLE_SECONDS = 0.08
"""How long the cursor rests on a run before its files are read."""


class RunsScreen(SpdScreen):
    """The table of runs; looked at again every two seconds, in place, and only what changed is painted."""

    MODE = "runs"
    HINTS = "d delete  y copy id  v components  s sort  f filter  / search  ⏎ open  ? keys"
    BINDINGS: ClassVar = [
        bind("components", "v", "components of the run under the cursor"),
        bind("copy", description="copy the run's id"),
        bind("copy_command", "Y", "copy the command that goes on with the run"),
        bind("filter", description="next status: running, finished, failed, ..."),
        bind("sort"),
        bind("reverse"),
        bind("delete", description="delete the run, after a question"),
        bind("export", description="write the runs shown to a file"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._listing: Listing | None = None
        self._details: dict[str, tuple[RunRow, RunDetail]] = {}
        self._pace = Pace()
        self._status = "all"
        self._sort = "age"
        self._descending = False
        self._looker: Timer | None = None
        self._settling: Timer | None = None
        self._watch: RunsWatch | None = None

    def compose_body(self) -> ComposeResult:
        """The table over the panel."""
        yield FrameTable(id="runs", empty="reading the runs ...")
        yield LinePanel(id="panel")

    def on_mount(self) -> None:
        """What this person chose last time, and what is known before anything is read."""
        self._watch = RunsWatch(self.context.root)
        status, sort = self.remembered("filter", "all"), self.remembered("sort", "age")
        self._status = status if status in FILTERS else "all"
        self._sort = sort if sort in self.sortable() else "age"
        self._descending = self.remembered("descending", False)
        self.query_one(FrameTable).set_columns(columns(()))
        self._show_facts()
        self.set_interval(AGES_SECONDS, self._show_ages)

    # ---- reading

    def refresh_view(self) -> None:
        """Look at the disk now, and read every run anew."""
        self._details.clear()
        self._look(quiet=self._listing is not None, anew=True)

    def _look(self, quiet: bool = True, anew: bool = False) -> None:
        if self._looker is not None:
            self._looker.stop()
        assert self._watch is not None
        self.background.run(
            _look,
            self._watch,
            anew,
            what="reading the runs",
            done=self._looked,
            failed=self._look_failed,
            quiet=quiet,
        )

    def _looked(self, answer: tuple[Listing, float]) -> None:
        listing, seconds = answer
        self._looker = self.set_timer(max(LOOK_SECONDS, 10 * seconds), self._look)
        if listing != self._listing:
            first = self._listing is None
            self._listing = listing
            self._pace.look(listing.rows)
            self._show_rows(self.app.memory.run if first else None)
            if first:
                self.background.run(import_ahead, what="making ready for components", quiet=True)
            if listing.problem:
                self.say(listing.problem, "error")

    def _look_failed(self, error: BaseException) -> None:
        self.say(f"Reading the runs failed: {reason(error)} r tries again.", "error")

    # ---- showing

    @property
    def rows(self) -> tuple[RunRow, ...]:
        """Every run known, whatever is shown."""
        return self._listing.rows if self._listing is not None else ()

    @property
    def shown(self) -> list[RunRow]:
        """The runs in the table, in its order."""
        rows = self.query_one(FrameTable).rows
        return list(rows.rows) if isinstance(rows, RunRows) else []

    def row_at_cursor(self) -> RunRow | None:
        """The run under the cursor."""
        key = self.query_one(FrameTable).cursor_key
        return next((row for row in self.shown if row.run_id == key), None)

    def run_at_cursor(self) -> str | None:
        """Where the run under the cursor lies, unless it cannot be read."""
        row = self.row_at_cursor()
        return str(row.overview.path) if row is not None and row.overview is not None else None

    def known_runs(self) -> list[str]:
        """The ids and recipes that `:open` completes."""
        readable = [row for row in self.rows if row.overview is not None]
        return [row.run_id for row in readable] + sorted(
            {r.overview.recipe for r in readable if r.overview and r.overview.recipe}
        )

    def narrow(self, text: str) -> None:
        """Show the runs whose id, recipe, status or reason hold every word."""
        self._show_rows()

    def _show_rows(self, cursor: str | None = None) -> None:
        from core.runs.directory import output_root

        table = self.query_one(FrameTable)
        chosen = select(self.rows, self._status, self.search, self._sort, self._descending)
        table.set_columns(columns(chosen or self.rows))
        table.set_sort(self._sort, self._descending)
        root = self.context.root
        table.set_empty(nothing_text(home_relative(root), bool(self.rows), root == output_root()))
        table.set_rows(RunRows(chosen, self.app.clock), cursor=cursor)
        self._show_facts()
        self._show_panel()

    def _show_facts(self) -> None:
        rows = None if self._listing is None else self.rows
        self.set_facts(facts_text(home_relative(self.context.root), rows, len(self.shown), self._status))

    def _show_ages(self) -> None:
        self.query_one(FrameTable).refresh_rows()

    def _show_panel(self) -> None:
        widget, row = self.query_one(LinePanel), self.row_at_cursor()
        if row is None:
            widget.show([])
            return
        known = self._details.get(row.run_id)
        detail = known[1] if known is not None else None
        pace = self._pace.of(row, None if detail is None else detail.resumed)
        widget.show(panel(row, detail, pace, max(20, self.size.width - 2)))
        if (known is None or known[0] != row) and row.overview is not None:
            if self._settling is not None:
                self._settling.stop()
            self._settling = self.set_timer(
                _SETTLE_SECONDS, partial(self._read_detail, row, row.overview.path)
            )

    def _read_detail(self, row: RunRow, path: Path) -> None:
        def show(detail: RunDetail) -> None:
            self._details[row.run_id] = (row, detail)
            now = self.row_at_cursor()
            if now is not None and now.run_id == row.run_id:
                self._show_panel()

        def skip(error: BaseException) -> None:
            # A run that goes while it is read goes from the table at the next look.
            self._details.pop(row.run_id, None)

        self.background.run(
            read_detail,
            path,
            what=f"reading {row.run_id}",
            done=show,
            failed=skip,
            group="detail",
            quiet=True,
        )

    def on_frame_table_highlighted(self, event: FrameTable.Highlighted) -> None:
        """Explain the run the cursor rests on."""
        self._show_panel()

    def on_frame_table_chosen(self, event: FrameTable.Chosen) -> None:
        """Open the run."""
        self._open("run")

    def on_resize(self) -> None:
        """The panel's lines depend on the width."""
        self._show_panel()

    # ---- keys

    def action_components(self) -> None:
        """Open the run at its components."""
        self._open("components")

    def _open(self, mode: str) -> None:
        row = self.row_at_cursor()
        if row is None:
            self.say(_NO_RUN)
        elif row.overview is None:
            self.say(plain_line(row.problem), "error")
        else:
            self.app.navigation.open_run(str(row.overview.path), mode)

    def action_copy(self) -> None:
        """Copy the run's id."""
        if row := self.row_at_cursor():
            self.copy(row.run_id, row.run_id)
        else:
            self.say(_NO_RUN)

    def action_copy_command(self) -> None:
        """Copy the command that goes on with the run."""
        row = self.row_at_cursor()
        if row is None or row.overview is None or not row.overview.resumable:
            self.say("Only a run that stopped or failed can be gone on with.")
        else:
            command = resume_command(row.overview)
            self.copy(command, f"`{command}`")

    def action_filter(self) -> None:
        """Show the next status there is."""
        self.filter(next_filter(self._status, self.rows))

    def action_sort(self) -> None:
        """Sort by the next column that is on screen."""
        visible = self.query_one(FrameTable).visible_columns()
        names = [name for name in self.sortable() if name in visible]
        place = names.index(self._sort) if self._sort in names else -1
        self.sort(names[(place + 1) % len(names)], False)

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.sort(self._sort, not self._descending)

    def action_export(self) -> None:
        """Ask for the file to write the table to."""
        if self.shown:
            self.action_command("export runs.csv")
        else:
            self.say("No run is shown that could be written to a file.")

    def action_delete(self) -> None:
        """Ask before deleting the run under the cursor."""
        if row := self.row_at_cursor():
            ask_to_delete(self, row, self._look)
        else:
            self.say(_NO_RUN)

    # ---- what is shown, and in which order

    def commands(self) -> list[Command]:
        """See `runs_commands`."""
        from spd_tui.screens.runs_commands import runs_commands

        return runs_commands(self)

    def sortable(self) -> list[str]:
        """The columns that rows can be sorted by."""
        return [column.name for column in columns(()) if column.sortable]

    def sort(self, name: str, descending: bool) -> None:
        """Sort by a column."""
        self._sort, self._descending = name, descending
        self.remember(sort=name, descending=descending)
        self._show_rows()

    def filter(self, status: str) -> None:
        """Show the runs of one status, or `all`."""
        self._status = status
        self.remember(filter=status)
        self._show_rows()


def _look(watch: RunsWatch, anew: bool) -> tuple[Listing, float]:
    began = time.monotonic()
    if anew:
        watch.forget()
    return watch.look(), time.monotonic() - began
