"""The table of the Components screen, driven by its keys."""

import threading

import pytest

from spd_tui.app import SpdApp
from spd_tui.screens import component_card
from spd_tui.screens.component_card import ComponentCardScreen
from spd_tui.screens.components import ComponentsScreen
from tests.spd_tui.component_pilot import (
    RUN,
    card_of_cursor,
    command,
    notice,
    opened,
    screen,
    shown,
    title,
    type_search,
    with_card,
)
from tests.spd_tui.component_runs import add_feature_harvest, add_text_harvest, make_run
from tests.spd_tui.waiting import screen_text, wait_until

# ---- opening


@pytest.mark.parametrize("size", [(200, 50), (100, 30), (80, 24), (70, 20)])
async def test_table_and_card_are_both_there(harvested, size):
    async with with_card(harvested, size) as pilot:
        text = screen_text(pilot.app)
        assert "mean CI▼" in text
        assert "[examples]" in text
        assert "fires on" in text
        assert "46 live of 52" in title(pilot)
        table, panel = screen(pilot).table, screen(pilot).panel
        if size[0] >= 100:
            assert table.region.right <= panel.region.x and table.region.y == panel.region.y
        else:
            assert table.region.bottom <= panel.region.y


async def test_the_newest_harvest_is_opened_and_named(harvested):
    async with with_card(harvested) as pilot:
        assert pilot.app.context.harvest.folder.name == "h-20261102-120000"  # pyright: ignore[reportAttributeAccessIssue]
        assert "h-20261102-120000" in screen_text(pilot.app).splitlines()[-1]


async def test_a_narrow_terminal_gives_the_card_its_own_screen(harvested):
    async with opened(harvested, (60, 20)) as pilot:
        await wait_until(pilot, lambda: screen(pilot).table.cursor_key is not None)
        assert not screen(pilot).panel.display
        key = screen(pilot).table.cursor_key
        await pilot.press("enter")
        await wait_until(
            pilot, lambda: isinstance(pilot.app.screen, ComponentCardScreen) and shown(pilot) == key
        )
        assert "[examples]" in screen_text(pilot.app)
        await pilot.press("backspace")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ComponentsScreen))


async def test_a_run_without_a_harvest_says_what_makes_one(tmp_path):
    make_run(tmp_path, RUN)
    async with opened(tmp_path) as pilot:
        await wait_until(pilot, lambda: f"spd harvest {RUN}" in screen_text(pilot.app))
        assert "r looks again" in screen_text(pilot.app)
        for key in ("j", "s", "f", "a", "c", "m", "o", "right_square_bracket", "e", "y", "H", "enter"):
            await pilot.press(key)
        assert isinstance(pilot.app.screen, ComponentsScreen)


async def test_a_harvest_that_is_made_meanwhile_is_read_by_r(tmp_path):
    run = make_run(tmp_path, RUN)
    async with opened(tmp_path) as pilot:
        await wait_until(pilot, lambda: "spd harvest" in screen_text(pilot.app))
        add_text_harvest(run)
        await pilot.press("r")
        await card_of_cursor(pilot)


async def test_toys_show_input_features_and_values(tmp_path):
    add_feature_harvest(make_run(tmp_path, RUN))
    async with with_card(tmp_path) as pilot:
        assert "x1 = " in screen_text(pilot.app)
        assert "of inputs" in screen_text(pilot.app)


# ---- the table


async def test_the_card_follows_the_cursor(harvested):
    async with with_card(harvested) as pilot:
        first = shown(pilot)
        await pilot.press("j")
        assert await card_of_cursor(pilot) != first
        await pilot.press("G")
        last = await card_of_cursor(pilot)
        assert screen(pilot).table.cursor == 51
        await pilot.press("g", "k")
        assert await card_of_cursor(pilot) == first != last


async def test_of_many_moves_only_where_the_cursor_rests_is_read(harvested, monkeypatch):
    read = []
    original = component_card.read_card

    def counted(harvest, request):
        read.append(request.component)
        return original(harvest, request)

    async with with_card(harvested) as pilot:
        monkeypatch.setattr(component_card, "read_card", counted)
        await pilot.press(*"jjjjjjjjjj")
        rests = await card_of_cursor(pilot)
        assert read[-1] == rests
        assert len(read) <= 3


async def test_the_last_request_wins_over_a_slow_one(harvested, monkeypatch):
    gate, started = threading.Event(), threading.Event()
    original = component_card.read_card

    def slow(harvest, request):
        started.set()
        assert gate.wait(20)
        return original(harvest, request)

    async with with_card(harvested) as pilot:
        monkeypatch.setattr(component_card, "read_card", slow)
        await pilot.press("j")
        await wait_until(pilot, started.is_set)
        before = screen(pilot).table.cursor
        await pilot.press("j", "j")
        assert screen(pilot).table.cursor == before + 2, "the cursor does not wait for the card"
        gate.set()
        await card_of_cursor(pilot)


async def test_typing_narrows_live_and_escape_restores(harvested):
    async with with_card(harvested) as pilot:
        await type_search(pilot, "layer:q_proj")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 12)
        assert "12 of 52" in title(pilot)
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 52)
        await type_search(pilot, 'in:" she" density>1%')
        await pilot.press("enter")
        await wait_until(pilot, lambda: 0 < len(screen(pilot).table.rows) < 12)
        assert '/in:" she" density>1%' in title(pilot)


async def test_a_query_that_is_wrong_is_explained_while_it_is_typed(harvested):
    async with with_card(harvested) as pilot:
        await type_search(pilot, "densty>0.1")
        await wait_until(pilot, lambda: "densty" in notice(pilot))
        assert "density" in notice(pilot)
        assert len(screen(pilot).table.rows) == 52, "the rows stay"
        await type_search(pilot, "density>0.01")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) < 52)
        assert notice(pilot) == "", "and what is right says nothing more"


async def test_nothing_fits(harvested):
    async with with_card(harvested) as pilot:
        await type_search(pilot, "density>2")
        await wait_until(pilot, lambda: "no component fits" in screen_text(pilot.app))
        await pilot.press("enter")
        await pilot.press("j", "enter", "y", "e", "m")
        assert isinstance(pilot.app.screen, ComponentsScreen)


async def test_s_sorts_by_the_next_column_and_S_turns_it_round(harvested):
    async with with_card(harvested) as pilot:
        key = screen(pilot).table.cursor_key
        await pilot.press("s")
        await wait_until(pilot, lambda: "top in▲" in screen_text(pilot.app))
        frame = screen(pilot).table.rows.frame  # pyright: ignore[reportAttributeAccessIssue]
        texts = [text for text in frame["top_input_text"] if text is not None]
        assert texts == sorted(texts)
        assert screen(pilot).table.cursor_key == key, "the cursor stays on its component"
        await pilot.press("S")
        await wait_until(pilot, lambda: "top in▼" in screen_text(pilot.app))
        await command(pilot, "sort density")
        await wait_until(pilot, lambda: "density %▼" in screen_text(pilot.app))
        await command(pilot, "sort dens")
        assert "density" in notice(pilot)


async def test_a_search_that_sorts_says_so_in_the_header(harvested):
    async with with_card(harvested, (200, 50)) as pilot:
        await type_search(pilot, "sort:+density")
        await wait_until(pilot, lambda: "density %▲" in screen_text(pilot.app))


async def test_f_goes_through_all_live_and_silent(harvested):
    async with with_card(harvested) as pilot:
        for name, rows in (("live", 46), ("silent", 6), ("", 52)):
            await pilot.press("f")
            await wait_until(pilot, lambda rows=rows: len(screen(pilot).table.rows) == rows)
            assert title(pilot).split("  ")[0].endswith(name or "components")


async def test_filters_are_remembered(harvested):
    async with with_card(harvested) as pilot:
        await type_search(pilot, "layer:c_fc")
        await pilot.press("enter")
        await command(pilot, "sort density")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 24)
        await pilot.press("q")
    async with with_card(harvested) as pilot:
        assert len(screen(pilot).table.rows) == 24
        assert "density %▼" in screen_text(pilot.app)
        assert "/layer:c_fc" in title(pilot)


async def test_a_remembered_filter_is_in_sight_and_stays_with_its_run(harvested):
    async with with_card(harvested) as pilot:
        await pilot.press("f")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 46)
        await pilot.press("q")
    async with with_card(harvested) as pilot:
        assert len(screen(pilot).table.rows) == 46 and "components › live" in title(pilot)
        screen(pilot).remember(run="s-00000000", search="layer:of.another.run", filter="is:silent")
        await pilot.press("q")
    async with with_card(harvested) as pilot:
        assert len(screen(pilot).table.rows) == 52 and "components  " in title(pilot)


async def test_an_open_quote_does_not_swallow_the_filter(harvested):
    async with with_card(harvested) as pilot:
        await pilot.press("f")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 46)
        await type_search(pilot, 'layer:"c_fc')
        await wait_until(pilot, lambda: 0 < len(screen(pilot).table.rows) < 24)


async def test_escape_takes_a_search_away_before_it_leaves(harvested):
    async with with_card(harvested) as pilot:
        await type_search(pilot, "layer:c_fc")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 24)
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 52)
        assert pilot.app.current_mode == "components" and "layer" not in title(pilot)


async def test_a_column_is_found_by_what_stands_above_it(harvested):
    async with with_card(harvested) as pilot:
        await command(pilot, "sort mean CI")
        await wait_until(pilot, lambda: "mean CI▼" in screen_text(pilot.app))
        await command(pilot, "sort top out")
        await wait_until(pilot, lambda: "top out▲" in screen_text(pilot.app))
        await command(pilot, "sort meen CI")
        await wait_until(pilot, lambda: "mean CI" in notice(pilot))


async def test_a_harvest_that_is_not_there_is_said_and_changes_nothing(harvested):
    async with with_card(harvested) as pilot:
        await command(pilot, "harvest j")
        await wait_until(pilot, lambda: "no harvest j" in notice(pilot))
        assert len(screen(pilot).table.rows) == 52


async def test_a_remembered_query_that_does_not_fit_is_said_and_left(harvested):
    async with with_card(harvested) as pilot:
        run = screen(pilot).run.run_id
        screen(pilot).remember(run=run, search="confidence>0.5", sort="confidence")
        await pilot.press("q")
    async with with_card(harvested) as pilot:
        assert "confidence" in notice(pilot)
        assert len(screen(pilot).table.rows) == 52
        await pilot.press("S")
        await wait_until(pilot, lambda: "mean CI▲" in screen_text(pilot.app))


async def test_a_component_is_found_by_name(harvested):
    async with with_card(harvested) as pilot:
        await command(pilot, "component 1.attn.q_proj:3")
        await wait_until(pilot, lambda: shown(pilot) == 24 + 16 + 3)
        await command(pilot, "component 1.attn.q_proj:99")
        assert "0 to 11" in notice(pilot)
        await type_search(pilot, "layer:c_fc")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 24)
        assert screen(pilot).table.has_focus, "after a search the keys go where they went before"
        await card_of_cursor(pilot)
        await pilot.pause()
        await command(pilot, "component 1.attn.q_proj:3")
        await wait_until(pilot, lambda: shown(pilot) == 24 + 16 + 3)


async def test_the_first_card_is_read_once(harvested, monkeypatch):
    read = []
    original = component_card.read_card

    def counted(harvest, request):
        read.append(request.component)
        return original(harvest, request)

    monkeypatch.setattr(component_card, "read_card", counted)
    async with with_card(harvested) as pilot:
        await pilot.press("s")
        await wait_until(pilot, lambda: "top in▲" in screen_text(pilot.app))
        assert read == [screen(pilot).table.cursor_key]


async def test_what_is_typed_while_the_harvest_opens_is_not_lost(harvested, monkeypatch):
    from spd_tui.screens import components

    gate = threading.Event()
    original = components.open_table

    def slow(*asked):
        assert gate.wait(20)
        return original(*asked)

    monkeypatch.setattr(components, "open_table", slow)
    app = SpdApp(harvested, RUN, "components")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, ComponentsScreen) and app.jobs.running())
        screen(pilot).set_search("layer:q_proj")
        gate.set()
        await wait_until(pilot, lambda: len(screen(pilot).table.rows) == 12)
