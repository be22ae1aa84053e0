"""Cards, driven by their keys."""

import json

import pytest
from rich.cells import cell_len
from rich.style import Style

from spd_tui.rows.card import SECTIONS
from spd_tui.screens.components import ComponentsScreen
from tests.spd_tui.component_pilot import (
    RUN,
    card_of_cursor,
    card_screen,
    command,
    notice,
    opened,
    screen,
    shown,
    title,
    type_line,
    with_card,
)
from tests.spd_tui.component_runs import TEXTS, add_text_harvest, make_run
from tests.spd_tui.waiting import screen_text, wait_until

# ---- the card


async def test_brackets_go_through_the_sections(harvested):
    async with with_card(harvested, (200, 50)) as pilot:
        seen = []
        for _ in SECTIONS:
            seen.append(screen(pilot).panel.section)
            assert f"[{seen[-1]}]" in screen_text(pilot.app)
            await pilot.press("right_square_bracket")
            await pilot.pause()
        assert tuple(seen) == SECTIONS
        assert screen(pilot).panel.section == "examples"
        await pilot.press("left_square_bracket")
        await wait_until(pilot, lambda: "against rank" in screen_text(pilot.app))
        assert "▲ rank 1 of 52" in screen_text(pilot.app)
        await pilot.press("m")
        await wait_until(pilot, lambda: "density against rank" in screen_text(pilot.app))
        await command(pilot, "section tokens")
        await wait_until(pilot, lambda: "input tokens" in screen_text(pilot.app))


async def test_a_changes_what_shades_tokens(harvested):
    async with with_card(harvested) as pilot:
        assert "CI, █ 1" in screen_text(pilot.app)
        await pilot.press("a")
        await wait_until(pilot, lambda: "activation, █ ±" in screen_text(pilot.app))
        assert "-▄" in screen_text(pilot.app) or "+▄" in screen_text(pilot.app)
        await pilot.press("a")
        await wait_until(pilot, lambda: "CI, activation █ ±" in screen_text(pilot.app))
        await pilot.press("a")
        await wait_until(pilot, lambda: "CI, █ 1" in screen_text(pilot.app))


async def test_c_puts_firing_tokens_in_one_column(harvested):
    async with with_card(harvested) as pilot:

        def columns() -> set[int]:
            """Where the brackets of the firing tokens stand, by their underline."""
            return {
                cell_len(line.text.plain[: span.start])
                for line in screen(pilot).panel._lines
                for span in line.text.spans
                if isinstance(span.style, Style) and span.style.underline
            }

        assert len(columns()) == 1
        await pilot.press("c")
        await wait_until(pilot, lambda: len(columns()) > 1)
        await pilot.press("c")
        await wait_until(pilot, lambda: len(columns()) == 1)


async def test_m_changes_the_measure(harvested):
    async with with_card(harvested, (120, 40)) as pilot:
        await command(pilot, "section related")
        await wait_until(pilot, lambda: "by G²" in screen_text(pilot.app))
        for name in ("PMI nats", "lift", "Jaccard", "P(other|this)", "P(this|other)", "G²"):
            await pilot.press("m")
            await wait_until(pilot, lambda name=name: f"by {name}" in screen_text(pilot.app))
            assert screen(pilot).panel.section == "related"
        await command(pilot, "measure jackard")
        assert "jaccard" in notice(pilot)


async def test_o_shows_the_strongest_firings(harvested):
    async with with_card(harvested) as pilot:
        assert "uniform sample" in screen_text(pilot.app)
        await pilot.press("o")
        await wait_until(pilot, lambda: "strongest" in screen_text(pilot.app))
        card = screen(pilot).panel.card
        assert card is not None and card.strongest
        strengths = [example.tokens[example.mark].importance for example in card.examples]
        assert strengths == sorted(strengths, reverse=True)


@pytest.mark.parametrize("size", [(200, 50), (80, 24), (60, 20)])
async def test_enter_follows_a_related_component_and_backspace_returns(harvested, size):
    async with opened(harvested, size) as pilot:
        await wait_until(pilot, lambda: screen(pilot).table.cursor_key is not None)
        start = screen(pilot).table.cursor_key
        await pilot.press("enter")
        await wait_until(pilot, lambda: shown(pilot) == start)
        await command(pilot, "section related")
        await pilot.press("j")
        item = card_screen(pilot).panel.item
        assert item is not None
        await pilot.press("enter")
        await wait_until(pilot, lambda: shown(pilot) == item.component)
        assert title(pilot).rstrip().count("›") >= 3
        await pilot.press("enter")
        await wait_until(pilot, lambda: shown(pilot) not in (item.component,))
        await pilot.press("backspace")
        await wait_until(pilot, lambda: shown(pilot) == item.component)
        await pilot.press("backspace")
        await wait_until(pilot, lambda: shown(pilot) == start)
        assert card_screen(pilot).panel.section == "related"
        assert card_screen(pilot).panel.item == item, "back where it was left"
        await pilot.press("backspace")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ComponentsScreen))
        await wait_until(pilot, lambda: screen(pilot).table.has_focus)


async def test_the_status_line_explains_what_the_cursor_is_on(harvested):
    async with with_card(harvested) as pilot:
        await pilot.press("enter")
        await wait_until(pilot, lambda: "activation" in screen_text(pilot.app).splitlines()[-1])
        before = screen_text(pilot.app).splitlines()[-1]
        await pilot.press("j")
        await wait_until(pilot, lambda: screen_text(pilot.app).splitlines()[-1] != before)


async def test_every_line_of_a_card_can_be_reached(harvested):
    async with with_card(harvested) as pilot:
        await pilot.press("enter", "right_square_bracket", "G")
        panel = screen(pilot).panel
        await wait_until(pilot, lambda: panel.scroll_offset.y == panel.max_scroll_y > 0)
        await pilot.press("g")
        await wait_until(pilot, lambda: panel.scroll_offset.y == 0)
        for key in ("pagedown", "pageup", "ctrl+d", "ctrl+u", "down", "up"):
            await pilot.press(key)
        assert panel.item is not None


async def test_y_copies_the_key_and_what_the_cursor_is_on(harvested, tmp_path):
    async with with_card(harvested) as pilot:
        card = screen(pilot).panel.card
        assert card is not None
        await pilot.press("y")
        assert pilot.app.clipboard == card.key
        await pilot.press("enter", "right_square_bracket", "y")
        assert pilot.app.clipboard in TEXTS


async def test_e_asks_for_the_file_to_write_the_card_to(harvested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with with_card(harvested) as pilot:
        card = screen(pilot).panel.card
        assert card is not None
        target = tmp_path / f"{RUN}-{card.key.replace(':', '-')}.json"
        await pilot.press("e")
        await wait_until(pilot, lambda: f":export {target.name}" in screen_text(pilot.app))
        assert not target.exists(), "nothing is written before it is confirmed"
        await pilot.press("enter")
        await wait_until(pilot, lambda: target.name in notice(pilot).replace("\n", ""))
        written = json.loads(target.read_text())
        assert written["key"] == card.key
        assert written["numbers"]["firings"] == card.numbers["firings"]
        await command(pilot, f"export {tmp_path}/nowhere/at/all.json")
        await wait_until(pilot, lambda: "nowhere" in notice(pilot))


async def test_H_chooses_among_harvests(harvested):
    async with with_card(harvested) as pilot:
        await pilot.press("H")
        await wait_until(pilot, lambda: screen_text(pilot.app).splitlines()[-2].count("h-2026"))
        await type_line(pilot, "harvest h-20261101-120000")
        await pilot.press("enter")
        await wait_until(pilot, lambda: pilot.app.context.harvest.folder.name == "h-20261101-120000")  # pyright: ignore[reportAttributeAccessIssue]
        await card_of_cursor(pilot)
        await command(pilot, "harvest h-1999")
        await wait_until(pilot, lambda: "no harvest h-1999" in screen_text(pilot.app))


async def test_only_one_harvest_is_said(tmp_path):
    add_text_harvest(make_run(tmp_path, RUN))
    async with with_card(tmp_path) as pilot:
        await pilot.press("H")
        assert "one harvest" in notice(pilot)


async def test_a_click_chooses_and_follows(harvested):
    async with with_card(harvested, (120, 40)) as pilot:
        await command(pilot, "section related")
        await pilot.click("#card", offset=(4, 8))
        await wait_until(pilot, lambda: screen(pilot).panel.item is not None)
        item = screen(pilot).panel.item
        await pilot.click("#card", offset=(4, 8))
        assert item is not None
        await wait_until(pilot, lambda: shown(pilot) == item.component)
