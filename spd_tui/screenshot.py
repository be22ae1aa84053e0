"""A picture of a screen, drawn without a terminal: for documentation, and for tests that look at one."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from core.errors import SpdError, UsageError, nearest_names
from core.runs.files import write_text
from spd_tui.app import SpdApp
from spd_tui.memory import Memory
from spd_tui.modes import MODES, find_mode
from spd_tui.screens.base import SpdScreen

if TYPE_CHECKING:
    from textual.pilot import Pilot

DEEPER: dict[str, tuple[str, tuple[str, ...]]] = {
    "card": ("components", ("enter",)),
    "help": ("runs", ("question_mark",)),
}
"""Pictures that take keys on a mode's screen: name -> the mode and the keys."""

_REMOTE_FONT = re.compile(r"\s*@font-face\s*\{.*?\}", re.DOTALL)

_SECONDS = 60.0
"""Longest wait for a screen to have everything."""

_QUIET_SECONDS = 0.5
"""Longer than any panel waits for the cursor to rest."""


def picture_names() -> list[str]:
    """What can be photographed."""
    return [*(mode.name for mode in MODES), *DEEPER]


def take_screenshot(
    root: Path,
    run: str | None,
    screen: str,
    file: Path,
    size: tuple[int, int] = (100, 30),
    clock: Callable[[], datetime] | None = None,
) -> None:
    """Write an SVG of `screen` of `run` (by default the newest one) to `file`, `size` in columns and rows.

    `screen` is one of `picture_names()`; with `/TEXT` behind it, the screen is narrowed by that text.

    It does not depend on what somebody looked at before, only on the runs under `root`, the size and the time
    that `clock` tells.

    Raises:
        UsageError: there is no such screen or run.
        SpdError: the screen did not come up, or the file cannot be written.
    """
    name, _, text = screen.partition("/")
    if name not in picture_names():
        known = picture_names()
        raise UsageError(f"there is no screen {name!r} to photograph.", nearest_names(name, known))
    svg = asyncio.run(_photograph(root, run, name, text, size, clock or (lambda: datetime.now(UTC))))
    write_text(file, svg)


async def _photograph(
    root: Path, run: str | None, screen: str, text: str, size: tuple[int, int], clock: Callable[[], datetime]
) -> str:
    name, keys = DEEPER.get(screen, (screen, ()))
    mode = find_mode(name)
    app = SpdApp(root, None, "runs", clock=clock, encoding="utf-8")
    # A memory that was never loaded: what somebody looked at last does not belong into a picture.
    app.memory = Memory(app.memory.path)
    async with app.run_test(size=size) as pilot:
        app.theme = "dark"
        await settle(pilot)
        if mode.needs_run:
            app.navigation.open_run(run or "latest", name)
            await settle(pilot)
        if app.current_mode != name:
            raise SpdError(f"the {name} screen did not open: {_notice(app)}")
        if text and isinstance(app.screen, SpdScreen):
            app.screen.set_search(text)
            await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        return picture(app)


def picture(app: SpdApp) -> str:
    """The screen as SVG, which asks for no font from elsewhere: every cell has its width in the picture."""
    svg = app.export_screenshot(title="spd", simplify=True)
    return _REMOTE_FONT.sub("", svg).replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")


async def settle(pilot: "Pilot[None]", seconds: float = _SECONDS) -> None:
    """Wait until no background work runs any more and everything it brought is painted.

    Raises:
        SpdError: it took longer than `seconds`.
    """
    app = pilot.app
    assert isinstance(app, SpdApp)
    deadline = monotonic() + seconds
    quiet_since = monotonic()
    # Panels wait until the cursor rests before they read what it is on.
    while monotonic() - quiet_since < _QUIET_SECONDS:
        await pilot.pause(0.01)
        if app.jobs.visible():
            quiet_since = monotonic()
        if monotonic() > deadline:
            running = ", ".join(job.what for job in app.jobs.visible())
            raise SpdError(f"still {running or 'painting'} after {seconds:.0f} seconds.")


def _notice(app: SpdApp) -> str:
    from spd_tui.widgets.notice import Notice

    if isinstance(app.screen, SpdScreen):
        return app.screen.query_one(Notice).text
    return "no reason was given."
