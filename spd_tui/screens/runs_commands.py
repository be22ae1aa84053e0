"""The `:` commands of the screen of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UsageError, nearest_names
from spd_tui.clipboard import home_relative
from spd_tui.commands import Command
from spd_tui.rows.runs import FILTERS
from spd_tui.widgets.frame_table import FrameTable

if TYPE_CHECKING:
    from spd_tui.screens.runs import RunsScreen


def runs_commands(screen: "RunsScreen") -> list[Command]:
    """Sort, filter, search, go to, delete, export."""
    return [
        Command(
            "sort",
            "sort; `desc` after it turns the order round",
            lambda text: sort_by(screen, text),
            "COLUMN",
            lambda _: screen.sortable(),
        ),
        Command(
            "filter", "show one status", lambda text: filter_by(screen, text), "STATUS", lambda _: FILTERS
        ),
        Command("search", "show what holds these words", screen.set_search, "[WORDS]"),
        Command(
            "goto",
            "put the cursor on a run",
            lambda text: go_to(screen, text),
            "RUN",
            lambda _: [row.run_id for row in screen.shown],
        ),
        Command("components", "components of the run under the cursor", lambda _: screen.action_components()),
        Command(
            "delete", "delete the run under the cursor, after a question", lambda _: screen.action_delete()
        ),
        Command("copy", "copy the run's id", lambda _: screen.action_copy()),
        Command(
            "export",
            "write the runs shown to FILE.csv or FILE.json",
            lambda text: export(screen, text),
            "FILE",
            lambda _: ("runs.csv", "runs.json"),
        ),
    ]


def sort_by(screen: "RunsScreen", argument: str) -> None:
    """Sort by a column; `desc` after its name turns the order round.

    Raises:
        UsageError: there is no such column or order.
    """
    name, _, order = argument.partition(" ")
    if name not in screen.sortable():
        raise UsageError(f"no column {name!r} to sort by.", nearest_names(name, screen.sortable()))
    if order not in ("", "asc", "desc"):
        raise UsageError(f"{order!r} is no order.", "Say asc, desc, or nothing.")
    screen.sort(name, order == "desc")


def filter_by(screen: "RunsScreen", status: str) -> None:
    """Show the runs of one status.

    Raises:
        UsageError: there is no such status.
    """
    if status not in FILTERS:
        raise UsageError(f"no status {status!r}.", nearest_names(status, FILTERS))
    screen.filter(status)


def go_to(screen: "RunsScreen", text: str) -> None:
    """Put the cursor on a run by its id or the beginning of it.

    Raises:
        UsageError: none or several of the runs shown fit.
    """
    known = [row.run_id for row in screen.shown]
    fitting = [name for name in known if name == text] or [name for name in known if name.startswith(text)]
    if len(fitting) != 1:
        raise UsageError(f"{text!r} names {len(fitting)} of the runs shown.", nearest_names(text, known))
    screen.query_one(FrameTable).go_to(fitting[0])


def export(screen: "RunsScreen", text: str) -> None:
    """Write the runs shown to a file."""
    from spd_tui.exporting import export_runs

    path = Path(text).expanduser().absolute()
    overviews = [row.overview for row in screen.shown if row.overview is not None]
    said = f"Wrote {len(overviews)} runs to {home_relative(path)}."
    screen.background.run(
        export_runs, overviews, path, what=f"writing {path.name}", done=lambda _: screen.say(said)
    )
