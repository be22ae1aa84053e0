"""The Components screen when files, sizes and readers fail."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from spd_tui.rows.components import Ranks
from spd_tui.screens import component_card
from spd_tui.widgets.frame_table import FrameTable, ListRows
from tests.spd_tui.component_pilot import (
    RUN,
    card_of_cursor,
    notice,
    opened,
    screen,
    type_line,
    with_card,
)
from tests.spd_tui.waiting import screen_text, wait_until


@pytest.fixture
def own(harvested: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(harvested, tmp_path / "own")
    return tmp_path / "own"


# ---- it survives


def unfolded(text: str) -> str:
    return "".join(line.strip() for line in text.splitlines())


@pytest.mark.parametrize("table", ["components", "tokens"])
async def test_a_damaged_table_is_named(own, table):
    path = own / "runs" / RUN / "harvest" / "h-20261102-120000" / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:100])
    async with opened(own) as pilot:
        await wait_until(pilot, lambda: f"{table}.parquet" in unfolded(screen_text(pilot.app)))
        assert "H chooses another harvest" in screen_text(pilot.app)
        await pilot.press("H")
        await type_line(pilot, "harvest h-20261101-120000")
        await pilot.press("enter")
        await card_of_cursor(pilot)


async def test_a_damaged_card_is_named_and_the_table_goes_on(own):
    path = own / "runs" / RUN / "harvest" / "h-20261102-120000" / "examples.parquet"
    path.write_bytes(b"no parquet at all, but long enough to look at" * 4)
    async with opened(own, (100, 30)) as pilot:
        await wait_until(
            pilot, lambda: "examples.parquet" in "".join(screen(pilot).panel.said()).replace("\n", "")
        )
        await pilot.press("j")
        assert screen(pilot).table.cursor == 1


async def test_a_harvest_that_is_deleted_while_it_is_open_is_said(own):
    async with with_card(own, (100, 30)) as pilot:
        shutil.rmtree(own / "runs" / RUN / "harvest")
        await pilot.press("j")
        await wait_until(pilot, lambda: "cannot be read" in " ".join(screen(pilot).panel.said()))
        await pilot.press("r")
        await wait_until(pilot, lambda: f"spd harvest {RUN}" in screen_text(pilot.app))


async def test_a_run_that_is_deleted_while_it_is_open_is_said(own):
    async with with_card(own, (100, 30)) as pilot:
        shutil.rmtree(own / "runs" / RUN)
        await pilot.press("r")
        await wait_until(pilot, lambda: "has been deleted" in screen_text(pilot.app))
        assert ":runs" in screen_text(pilot.app) and "no harvest" not in screen_text(pilot.app)
        await pilot.press("H")
        await wait_until(pilot, lambda: "has been deleted" in notice(pilot) and ":runs" in notice(pilot))


async def test_another_schema_version_is_said(own):
    path = own / "runs" / RUN / "harvest" / "h-20261102-120000" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema_version": 99}))
    async with opened(own) as pilot:
        await wait_until(pilot, lambda: "version 99" in screen_text(pilot.app))


async def test_a_storm_of_sizes(harvested):
    async with with_card(harvested) as pilot:
        for width, height in (
            (200, 50),
            (60, 20),
            (20, 8),
            (99, 24),
            (100, 24),
            (69, 20),
            (70, 5),
            (1, 1),
            (80, 24),
        ):
            await pilot.resize_terminal(width, height)
            await pilot.press("j", "right_square_bracket")
        await card_of_cursor(pilot)
        assert "fires on" in screen_text(pilot.app)


async def test_nothing_raw_reaches_the_terminal(harvested):
    async with with_card(harvested, (200, 50)) as pilot:
        for _ in range(12):
            await pilot.press("j", "right_square_bracket")
            await card_of_cursor(pilot)
            text = screen_text(pilot.app)
            assert not any(char in text for char in "\x1b\t\u200b\ufe0f\x00")


@pytest.mark.parametrize("theme", ["light", "16"])
async def test_other_themes(harvested, theme):
    async with with_card(harvested, (120, 40)) as pilot:
        pilot.app.theme = theme
        await pilot.press("a")
        await wait_until(pilot, lambda: screen(pilot).panel.view.tone == theme)
        assert "[examples]" in screen_text(pilot.app)


async def test_escape_stops_a_card_that_takes_long_and_the_next_one_is_read(harvested, monkeypatch):
    gate, started = threading.Event(), threading.Event()
    original = component_card.read_card

    def stuck(harvest, request):
        started.set()
        gate.wait(20)
        return original(harvest, request)

    async with with_card(harvested) as pilot:
        monkeypatch.setattr(component_card, "read_card", stuck)
        await pilot.press("j")
        await wait_until(pilot, started.is_set)
        await pilot.press("escape")
        await wait_until(pilot, lambda: "Stopped" in notice(pilot))
        monkeypatch.setattr(component_card, "read_card", original)
        await pilot.press("j")
        await card_of_cursor(pilot)
        gate.set()


async def test_tab_goes_between_table_and_card(harvested):
    async with with_card(harvested) as pilot:
        await pilot.press("tab")
        assert screen(pilot).panel.has_focus
        await pilot.press("tab")
        assert pilot.app.focused is screen(pilot).query_one(FrameTable)


async def test_answers_about_another_harvest_are_dropped(own):
    async with with_card(own) as pilot:
        here = screen(pilot)
        before, rows, ranks = here.data, here.table.rows, here.panel.ranks
        assert before is not None
        here.open_harvest("h-20261101-120000")
        await wait_until(pilot, lambda: here.data is not before)
        now = here.table.rows
        here._narrowed(before, rows)  # pyright: ignore[reportArgumentType]
        here._ranked(before, Ranks.of(before, "mean_importance"))
        assert here.table.rows is now and here.panel.ranks is ranks is None
        await card_of_cursor(pilot)


async def test_a_late_word_of_the_cursor_finds_other_rows(own):
    async with with_card(own) as pilot:
        here = screen(pilot)
        key = here.table.cursor_key
        here.table.set_rows(ListRows())
        here.table.post_message(FrameTable.Highlighted(here.table, key, 0))
        here.table.post_message(FrameTable.Chosen(here.table, key, 0))
        await pilot.pause()
        assert here.table.cursor_key is None and pilot.app.is_running


async def test_the_card_that_is_wanted_follows_one_that_cannot_be_read(own, monkeypatch):
    read, go = component_card.read_card, threading.Event()
    async with with_card(own) as pilot:
        here = screen(pilot)

        def damaged(harvest, request):
            monkeypatch.setattr(component_card, "read_card", read)
            go.wait(20)
            raise OSError("damaged")

        monkeypatch.setattr(component_card, "read_card", damaged)
        await pilot.press("j")
        await wait_until(pilot, lambda: component_card.read_card is read, "the first is being read")
        await pilot.press("j")
        await wait_until(pilot, lambda: here._timer is None)
        go.set()
        await card_of_cursor(pilot)
