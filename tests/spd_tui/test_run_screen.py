"""The run screen, driven by its keys: layout and curves."""

import json

import pytest

from spd_tui.screens.run_views import VIEWS
from spd_tui.widgets.curves import CurvesPlot
from spd_tui.widgets.figure import FigureCells
from tests.spd_tui.run_pilot import (
    RUN,
    SIZES,
    make_run,
    opened,
    panel,
    plot_text,
    said,
    screen,
    series,
)
from tests.spd_tui.sample_runs import write_run
from tests.spd_tui.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick_looks")


# ---- what is on it


@pytest.mark.parametrize("size", SIZES)
async def test_every_part_is_shown_at_every_size(tmp_path, size):
    make_run(tmp_path)
    async with opened(tmp_path, size) as pilot:
        for name, key in VIEWS.items():
            await pilot.press(key)
            await wait_until(pilot, lambda name=name: screen(pilot).view == name)
            await wait_until(pilot, lambda name=name: f"[{name}]" in said(pilot))
        await pilot.press("C")
        await wait_until(pilot, lambda: "MMCS 0.987" in said(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_the_plot_is_beside_the_list_under_it_or_alone(tmp_path, size):
    make_run(tmp_path)
    async with opened(tmp_path, size) as pilot:
        plot, table = screen(pilot).query_one(CurvesPlot), series(pilot)
        if size[0] >= 100:
            assert table.region.right <= plot.region.x and table.region.y == plot.region.y
        elif size[0] >= 70:
            assert table.region.bottom <= plot.region.y
        else:
            assert not plot.display or not plot.region
        await pilot.press("enter")
        await wait_until(pilot, lambda: plot.region.width == size[0] and not table.region)
        assert "●" in plot_text(pilot)
        await pilot.press("backspace")
        await wait_until(pilot, lambda: table.region.width > 0 and table.has_focus)


async def test_a_storm_of_sizes_does_no_harm(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        for key in VIEWS.values():
            await pilot.press(key)
            for size in ((200, 50), (60, 20), (20, 6), (80, 24), (5, 3), (100, 30)):
                await pilot.resize_terminal(*size)
        await pilot.press("C")
        await wait_until(pilot, lambda: "[curves]" in said(pilot))


async def test_status_and_steps_are_in_the_title(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await wait_until(pilot, lambda: "▶ running 290/1 000 steps" in said(pilot).splitlines()[0])


async def test_a_failed_run_says_why(tmp_path):
    make_run(tmp_path, status="failed", error="out of memory: 24 GiB asked for")
    async with opened(tmp_path) as pilot:
        await wait_until(pilot, lambda: "failed: out of memory" in said(pilot).splitlines()[1])
        await pilot.press("O")
        await wait_until(pilot, lambda: "! it failed with:" in said(pilot))


# ---- curves


async def test_space_adds_a_series_and_takes_it_away(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        assert panel(pilot).chosen == ["loss/total"]
        series(pilot).go_to("l0/linear1")
        await pilot.press("space")
        await wait_until(pilot, lambda: "▲ l0/linear1 train" in plot_text(pilot))
        assert "△ l0/linear1 eval" in plot_text(pilot)
        await pilot.press("space")
        await wait_until(pilot, lambda: "▲" not in plot_text(pilot))


async def test_space_on_a_heading_takes_its_series(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        series(pilot).go_to("l0/")
        await pilot.press("space")
        assert panel(pilot).chosen == ["loss/total", "l0/total", "l0/linear1", "l0/linear2"]
        await pilot.press("space")
        assert panel(pilot).chosen == ["loss/total"]


async def test_more_series_than_can_be_told_apart_are_refused(tmp_path):
    run = write_run(tmp_path, RUN, records=0)
    run.metrics.write_text(
        json.dumps({"step": 0, "kind": "train", **{f"l0/m{i}": 1.0 for i in range(9)}}) + "\n"
    )
    async with opened(tmp_path) as pilot:
        series(pilot).go_to("l0/")
        await pilot.press("space")
        await wait_until(pilot, lambda: "cannot be told apart" in said(pilot))


async def test_t_steps_through_the_kinds(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await wait_until(pilot, lambda: "loss/total eval" in plot_text(pilot))
        await pilot.press("t")
        await wait_until(pilot, lambda: "loss/total eval" not in plot_text(pilot))
        await pilot.press("t")
        await wait_until(pilot, lambda: "loss/total train" not in plot_text(pilot))
        assert "loss/total eval" in plot_text(pilot)


async def test_axes_zoom_and_pan(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        plot = screen(pilot).query_one(CurvesPlot)
        assert "log" in plot_text(pilot)
        await pilot.press("L")
        assert not plot.log_axis
        await pilot.press("plus")
        assert not plot.window.whole and "zoomed" in plot_text(pilot)
        left = plot.window.left
        await pilot.press("right")
        assert left is not None and plot.window.left is not None and plot.window.left > left
        await pilot.press("left", "minus")
        assert plot.window.whole
        await pilot.press("plus", "0")
        assert plot.window.whole


async def test_time_is_an_axis_once_the_pace_is_known(tmp_path):
    run = make_run(tmp_path)
    manifest = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps({**manifest, "step": 0}))
    async with opened(tmp_path) as pilot:
        await pilot.press("x")
        await wait_until(pilot, lambda: "not known before its first checkpoint" in said(pilot))
        assert "time" not in plot_text(pilot)
    run.manifest.write_text(json.dumps({**manifest, "step": 10, "seconds": 6000.0}))
    async with opened(tmp_path) as pilot:
        await pilot.press("x")
        await wait_until(pilot, lambda: "time at the mean pace" in plot_text(pilot))


async def test_a_search_narrows_the_list(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("slash", *"linear2", "enter")
        rows = series(pilot).rows
        assert [rows.key(i) for i in range(len(rows))] == ["l0/", "l0/linear2"]
        await pilot.press("backspace")
        await wait_until(pilot, lambda: len(series(pilot).rows) > 2)


async def test_the_log_axis_says_what_it_leaves_out(tmp_path):
    run = write_run(tmp_path, RUN, records=0)
    records = [{"step": i, "kind": "train", "loss/total": float(i - 2)} for i in range(9)]
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    async with opened(tmp_path) as pilot:
        await wait_until(
            pilot, lambda: "3 of 9 points of loss/total train are zero or negative" in plot_text(pilot)
        )


async def test_without_unicode_the_plot_is_ascii(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path, encoding="ascii") as pilot:
        assert plot_text(pilot).isascii()
        assert "* loss/total train" in plot_text(pilot)
        await pilot.press("P")
        await wait_until(pilot, lambda: screen(pilot).query_one(FigureCells)._strips)


async def test_the_plot_is_exported(tmp_path, monkeypatch):
    make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    async with opened(tmp_path) as pilot:
        await pilot.press("e", "enter")
        await wait_until(pilot, (tmp_path / "curves.csv").exists)
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert lines[0] == "name,kind,step,value"
    assert len(lines) == 1 + 30 + 1


async def test_what_was_chosen_is_remembered(tmp_path):
    make_run(tmp_path)
    async with opened(tmp_path) as pilot:
        series(pilot).go_to("l0/linear1")
        await pilot.press("space", "L", "T")
        await pilot.press("q")
    async with opened(tmp_path) as pilot:
        assert screen(pilot).view == "settings"
        assert panel(pilot).chosen == ["loss/total", "l0/linear1"]
        assert not screen(pilot).query_one(CurvesPlot).log_axis
