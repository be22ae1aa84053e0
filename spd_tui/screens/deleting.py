"""Deleting a run: what cannot go is said, and nothing goes without a question."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spd_tui.clipboard import home_relative
from spd_tui.rows.run_panel import losses
from spd_tui.rows.runs import RunRow, plain_line

if TYPE_CHECKING:
    from spd_tui.screens.base import SpdScreen


def ask_to_delete(screen: "SpdScreen", row: RunRow, deleted: Callable[[], object]) -> None:
    """Ask whether the run of `row` shall go; `deleted` is called once it has gone."""
    from spd_tui.screens.confirm import ConfirmScreen

    if row.overview is None:
        screen.say(f"{plain_line(row.problem)} Remove its folder by hand.", "error")
    elif row.is_running:
        screen.say(f"{row.run_id} is running ({plain_line(row.overview.reason)}): stop it first.", "error")
    else:
        path = row.overview.path

        def delete() -> None:
            screen.background.run(
                _delete, screen.context.root, path, what=f"deleting {row.run_id}", done=lambda _: gone()
            )

        def gone() -> None:
            run = screen.context.run
            if run is not None and run.directory.path == path:
                screen.app.navigation.close_run()
            screen.say(f"Deleted {row.run_id}.")
            deleted()

        told = [home_relative(path), "", *losses(row), "", "It goes for good, with everything in it."]
        screen.app.push_screen(ConfirmScreen(f"Delete {row.run_id} {row.recipe}?", told, delete))


def _delete(root: Path, path: Path) -> None:
    from core.runs.catalogue import delete_run

    delete_run(root, str(path))
