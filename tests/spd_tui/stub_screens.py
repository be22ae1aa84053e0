"""An app whose Run and Components screens are bare, for tests of the shell."""

from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from spd_tui.app import SpdApp
from spd_tui.modes import Mode
from spd_tui.screens.base import SpdScreen
from spd_tui.screens.runs import RunsScreen
from spd_tui.widgets.frame_table import FrameTable
from spd_tui.widgets.notice import Notice
from tests.spd_tui.sample_runs import NOW
from tests.spd_tui.waiting import wait_until


class BareRun(SpdScreen):
    """Says which run it shows, and counts how often it was asked to load."""

    MODE = "run"

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.steps_inside = 0

    def compose_body(self) -> ComposeResult:
        yield Static("bare", id="bare")

    def refresh_view(self) -> None:
        self.loads += 1

    def go_back(self) -> bool:
        self.steps_inside -= 1
        return self.steps_inside >= 0


class BareComponents(BareRun):
    MODE = "components"


SCREENS = {"runs": RunsScreen, "run": BareRun, "components": BareComponents}


def use_bare_screens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modes lead to bare screens."""
    monkeypatch.setattr(Mode, "load", lambda mode: SCREENS[mode.name])


def make_app(root: Path, **options: Any) -> SpdApp:
    """The app on the runs under `root`, at a fixed time."""
    return SpdApp(root, **{"clock": lambda: NOW, "encoding": "utf-8", **options})


async def ready(pilot: Pilot[Any]) -> RunsScreen:
    """Wait until the runs are listed."""
    screen = pilot.app.screen
    assert isinstance(screen, RunsScreen)
    await wait_until(pilot, lambda: screen._listing is not None, "the runs are listed")
    await pilot.pause()
    return screen


def notice(pilot: Pilot[Any]) -> str:
    """What is said now."""
    return pilot.app.screen.query_one(Notice).text


def table(pilot: Pilot[Any]) -> FrameTable:
    """The table on the screen."""
    return pilot.app.screen.query_one(FrameTable)
