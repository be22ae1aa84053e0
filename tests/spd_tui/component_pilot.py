"""Driving the component screens: opening a run, waiting for its card, reading what is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input

from spd_tui.app import SpdApp
from spd_tui.screens.component_card import CardScreen
from spd_tui.screens.components import ComponentsScreen
from spd_tui.widgets.breadcrumb import Breadcrumb
from spd_tui.widgets.command_line import CommandLine
from spd_tui.widgets.notice import Notice
from tests.spd_tui.component_runs import add_text_harvest, make_run
from tests.spd_tui.waiting import wait_until

RUN = "s-0000aaaa"


def make_harvested(root: Path) -> Path:
    """A root with one run that has two harvests."""
    run = make_run(root, RUN)
    add_text_harvest(run, "h-20261101-120000")
    add_text_harvest(run, "h-20261102-120000", seed=5)
    return root


@asynccontextmanager
async def opened(root: Path, size: tuple[int, int] = (80, 24), run: str = RUN) -> AsyncIterator[Pilot]:
    app = SpdApp(root, run, "components")
    async with app.run_test(size=size) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, ComponentsScreen))
        await wait_until(pilot, lambda: not app.jobs.visible() and screen(pilot).is_mounted)
        yield pilot


@asynccontextmanager
async def with_card(root: Path, size: tuple[int, int] = (80, 24), run: str = RUN) -> AsyncIterator[Pilot]:
    async with opened(root, size, run) as pilot:
        await card_of_cursor(pilot)
        yield pilot


def screen(pilot: Pilot) -> ComponentsScreen:
    assert isinstance(pilot.app.screen, ComponentsScreen)
    return pilot.app.screen


def card_screen(pilot: Pilot) -> CardScreen:
    assert isinstance(pilot.app.screen, CardScreen)
    return pilot.app.screen


def shown(pilot: Pilot) -> int | None:
    card = card_screen(pilot).panel.card
    return None if card is None else card.component


async def card_of_cursor(pilot: Pilot) -> int:
    await wait_until(
        pilot,
        lambda: screen(pilot).table.cursor_key is not None and shown(pilot) == screen(pilot).table.cursor_key,
    )
    found = shown(pilot)
    assert found is not None
    return found


def notice(pilot: Pilot) -> str:
    return pilot.app.screen.query_one(Notice).text


def title(pilot: Pilot) -> str:
    return pilot.app.screen.query_one(Breadcrumb).render().plain


async def type_search(pilot: Pilot, text: str) -> None:
    """Type after `/`, opening the search line if it is not there."""
    if not pilot.app.screen.query(CommandLine):
        await pilot.press("slash")
    await type_line(pilot, text)


async def type_line(pilot: Pilot, text: str) -> None:
    """Type into the line at the bottom."""
    await wait_until(pilot, lambda: pilot.app.screen.query_one(CommandLine).query_one(Input).has_focus)
    pilot.app.screen.query_one(CommandLine).query_one(Input).value = text
    await pilot.pause()


async def command(pilot: Pilot, text: str) -> None:
    card_screen(pilot).run_command(text)
    await pilot.pause()
