"""The run screen, driven by its keys: settings, figures, log, and a run that changes while it is open."""

import io
import json
import shutil
import sys

import pytest

from core.runs.metrics_log import MetricsLog
from spd_tui.screens.following import Following
from spd_tui.widgets.figure import FigureCells, FigureView
from spd_tui.widgets.figures_panel import FiguresPanel
from spd_tui.widgets.log_view import LogView
from spd_tui.widgets.settings_tree import SettingsTree
from tests.spd_tui.run_pilot import (
    RUN,
    evaluate,
    make_run,
    opened,
    panel,
    plot_text,
    said,
    screen,
)
from tests.spd_tui.sample_runs import add_records, write_run
from tests.spd_tui.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick_looks")


# ---- the other parts


async def test_settings_are_searched_and_copied(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("T", "slash", *"hidden", "enter")
        tree = screen(pilot).query_one(SettingsTree)
        await wait_until(pilot, lambda: "n_hidden: 2" in said(pilot) and "n_features" not in said(pilot))
        await pilot.press("G")
        assert tree.path == "target.n_hidden"
        await pilot.press("y")
        await wait_until(pilot, lambda: pilot.app.clipboard == "target.n_hidden=2")


async def test_the_figure_under_the_cursor_is_drawn_and_zoomed(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("P")
        figures = screen(pilot).query_one(FiguresPanel)
        await wait_until(pilot, lambda: "60 x 40" in said(pilot) and "▀▀▀" in said(pilot))
        assert "key E, evaluation" in said(pilot)
        await pilot.press("j", "y")
        await wait_until(pilot, lambda: pilot.app.clipboard == str(run.figure("weights")))
        await pilot.press("enter", "plus")
        await wait_until(pilot, lambda: "2x" in said(pilot))
        await pilot.press("up", "left", "0")
        await wait_until(pilot, lambda: "2x" not in said(pilot))
        await pilot.press("backspace")
        await wait_until(pilot, lambda: not figures.has_class("enlarged"))


async def test_a_damaged_figure_is_said(tmp_path):
    run = make_run(tmp_path)
    run.figure("l0_per_layer").write_bytes(b"\x89PNG no picture")
    async with opened(tmp_path) as pilot:
        await pilot.press("P")
        await wait_until(pilot, lambda: "l0_per_layer.png cannot be shown" in said(pilot))
        assert str(run.figure("l0_per_layer"))[-20:] in said(pilot)


async def test_the_log_stays_at_its_end(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("O")
        log = screen(pilot).query_one(LogView)
        await wait_until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y > 0)
        add_records(run, [777])
        await wait_until(pilot, lambda: "777  train" in said(pilot))
        await pilot.press("g")
        await wait_until(pilot, lambda: log.scroll_offset.y == 0)
        add_records(run, [888])
        await wait_until(pilot, lambda: "888  train" in log.text)
        assert log.scroll_offset.y == 0


async def test_a_log_that_is_not_seen_is_not_made(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    made: list[object] = []
    monkeypatch.setattr("spd_tui.screens.run.log_lines", lambda *given: made.append(given) or [])
    async with opened(tmp_path) as pilot:
        add_records(run, [777])
        await wait_until(pilot, lambda: screen(pilot).look.metrics.step == 777)
        assert not made
        await pilot.press("O")
        await wait_until(pilot, lambda: made)


async def test_tab_and_brackets_go_round(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("tab")
        assert screen(pilot).view == "evaluation"
        await pilot.press("right_square_bracket", "left_square_bracket", "shift+tab", "shift+tab")
        assert screen(pilot).view == "log"
        await pilot.press("backspace")
        assert screen(pilot).view == "curves"


async def test_commands_reach_parts_and_series(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("colon", *"settings", "enter")
        await wait_until(pilot, lambda: screen(pilot).view == "settings")
        await pilot.press("colon", *"plot l0/linear2", "enter")
        await wait_until(
            pilot, lambda: "l0/linear2" in panel(pilot).chosen and screen(pilot).view == "curves"
        )


# ---- a run that changes while it is open


async def test_a_training_is_followed(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        add_records(run, [300, 400])
        await wait_until(pilot, lambda: "400/1 000" in said(pilot))
        assert screen(pilot).look.metrics.step == 400
        evaluate(run, 400, **{"eval/mmcs/linear1": 0.5})
        await wait_until(pilot, lambda: "step 400: MMCS 0.500" in said(pilot))


async def test_nothing_is_painted_while_nothing_changes(tmp_path, monkeypatch):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await wait_until(pilot, lambda: "MMCS" in said(pilot))
        looks: list[object] = []
        looked = Following._looked
        monkeypatch.setattr(Following, "_looked", lambda self, look: (looks.append(look), looked(self, look)))
        painted: list[object] = []
        monkeypatch.setattr(type(pilot.app), "_display", lambda self, *args: painted.append(args))
        await wait_until(pilot, lambda: len(looks) > 5)
        assert set(looks) == {None}
        assert painted == []


async def test_the_first_series_waits_for_the_total_loss(tmp_path):
    run = write_run(tmp_path, RUN, status="running", records=0)
    evaluate(run, 0)
    async with opened(tmp_path) as pilot:
        run.metrics.write_text("")
        with MetricsLog(run.metrics) as log:
            log.append({"step": 0, "kind": "eval", "eval/loss/other": 1.0})
        await wait_until(pilot, lambda: panel(pilot).chosen == ["loss/other"])
        with MetricsLog(run.metrics) as log:
            log.append({"step": 1, "kind": "train", "loss/total": 1.0})
        await wait_until(pilot, lambda: panel(pilot).chosen == ["loss/total"])


async def test_a_resume_is_said(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        with MetricsLog(run.metrics) as log:
            log.truncate_after(100)
        await wait_until(pilot, lambda: "cut back to step 100" in said(pilot))


async def test_a_deleted_run_leaves_what_was_known(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        shutil.rmtree(run.path)
        await wait_until(pilot, lambda: "has been deleted" in said(pilot) and ":runs" in said(pilot))
        await wait_until(pilot, lambda: f"! {run.path.name} has been deleted" in said(pilot))
        await wait_until(pilot, lambda: "loss/total" in plot_text(pilot))
        await pilot.press("P", "j", "O", "r")
        await wait_until(pilot, lambda: "has been deleted" in screen(pilot).query_one(LogView).text)


async def test_another_schema_version_is_said(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        data = json.loads(run.manifest.read_text())
        run.manifest.write_text(json.dumps({**data, "schema_version": 99}))
        await wait_until(pilot, lambda: "schema version 99" in said(pilot))
        assert "loss/total" in plot_text(pilot)


async def test_a_look_that_dies_can_be_made_again(tmp_path, monkeypatch):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        from spd_tui.run_follower import RunFollower

        with monkeypatch.context() as broken:
            broken.setattr(RunFollower, "look", lambda self, job=None: 1 / 0)
            await wait_until(pilot, lambda: "Following the run failed: ZeroDivisionError" in said(pilot))
        before = screen(pilot).look
        await pilot.press("r")
        await wait_until(pilot, lambda: screen(pilot).look is not before and screen(pilot).look.metrics.count)


async def test_it_is_followed_again_after_another_screen_was_shown(tmp_path):
    run = make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        own = screen(pilot)
        await pilot.press("1")
        await wait_until(pilot, lambda: pilot.app.screen is not own)
        await wait_until(pilot, lambda: not pilot.app.jobs.running(own) and own._following._job is None)  # pyright: ignore
        add_records(run, [500])
        await pilot.press("2")
        await wait_until(pilot, lambda: screen(pilot).look.metrics.step == 500)
        add_records(run, [600])
        await wait_until(pilot, lambda: screen(pilot).look.metrics.step == 600)


@pytest.mark.parametrize("protocol", ["kitty", "sixel"])
async def test_a_terminal_that_shows_pictures_gets_one(tmp_path, monkeypatch, protocol):
    make_run(tmp_path)
    monkeypatch.setenv("SPD_PICTURES", protocol)
    terminal = Terminal()
    monkeypatch.setattr(sys, "__stdout__", terminal)
    async with opened(tmp_path) as pilot:
        await pilot.press("P")
        view = screen(pilot).query_one(FigureView)
        await wait_until(pilot, lambda: view.query(".picture") and not view.query_one(FigureCells).display)
        await wait_until(pilot, lambda: view.query_one(".picture").region.width > 10)
        if protocol == "kitty":
            await wait_until(pilot, lambda: "\x1b_G" in terminal.getvalue())
        else:
            await wait_until(pilot, lambda: '"1;1;' in said(pilot))
        await pilot.press("plus", "j", "C")
        await wait_until(pilot, lambda: "[curves]" in said(pilot))
    questions = ("\x1b[c", "\x1b[16t", "a=q")
    assert not any(question in terminal.getvalue() for question in questions)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
