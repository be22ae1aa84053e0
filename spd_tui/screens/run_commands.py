"""The `:` commands of the screen of one run."""

from pathlib import Path
from typing import TYPE_CHECKING

from spd_tui.clipboard import home_relative
from spd_tui.commands import Command
from spd_tui.rows.run import series_records
from spd_tui.screens.run_views import VIEWS, WHAT
from spd_tui.widgets.curves_panel import CurvesPanel

if TYPE_CHECKING:
    from spd_tui.screens.run import RunScreen


def run_commands(screen: "RunScreen") -> list[Command]:
    """A command for every part of the screen, and those of the curves."""
    parts = [Command(name, WHAT[name], lambda _, name=name: screen.show_view(name)) for name in VIEWS]
    return [
        *parts,
        Command(
            "plot",
            "add a series to the plot",
            lambda name: plot(screen, name),
            "SERIES",
            lambda _: screen.look.metrics.names(),
        ),
        Command(
            "export",
            "write the plotted series to FILE.csv or FILE.json",
            lambda text: export(screen, text),
            "FILE",
            lambda _: ("curves.csv", "curves.json"),
        ),
    ]


def plot(screen: "RunScreen", name: str) -> None:
    """Add a series to the plot."""
    screen.show_view("curves")
    panel = screen.query_one(CurvesPanel)
    if (refused := panel.add(name)) is not None:
        screen.say(refused, "warning")
    screen.remember(series=panel.chosen)


def export(screen: "RunScreen", text: str) -> None:
    """Write the plotted series to a file."""
    from spd_tui.exporting import export_records

    path = Path(text).expanduser().absolute()
    series = screen.query_one(CurvesPanel).plotted()
    screen.background.run(
        lambda: export_records(series_records(series), path),
        what=f"writing {path.name}",
        done=lambda _: screen.say(f"Wrote {len(series)} series to {home_relative(path)}."),
    )
