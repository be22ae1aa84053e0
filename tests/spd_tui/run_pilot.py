"""The run screen in a test: a run made by hand, the app opened on it, its parts."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from textual.pilot import Pilot

from core.runs.directory import RunDirectory
from spd_tui.app import SpdApp
from spd_tui.screens.run import RunScreen
from spd_tui.widgets.curves import CurvesPlot
from spd_tui.widgets.curves_panel import CurvesPanel, SeriesTable
from tests.spd_tui.sample_runs import NOW, write_run
from tests.spd_tui.waiting import screen_text, wait_until

RUN = "s-00000001"
SIZES = [(200, 50), (100, 30), (80, 24), (60, 20)]


def evaluate(run: RunDirectory, step: int, **more: float) -> None:
    numbers = {
        "eval/loss/total": 0.3,
        "eval/mmcs/linear1": 0.987,
        "eval/live/linear1": 7.0,
        "eval/l0/linear1": 0.6,
    }
    with open(run.metrics, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "kind": "eval", **numbers, **more}) + "\n")


def make_run(root: Path, **fields: Any) -> RunDirectory:
    run = write_run(
        root, RUN, **{"step": 290, "steps": 1000, "status": "running", "age": timedelta(minutes=5), **fields}
    )
    evaluate(run, 290)
    run.figures.mkdir()
    for name, colour in (("l0_per_layer", "red"), ("weights", "blue")):
        Image.new("RGB", (60, 40), colour).save(run.figure(name))
    return run


@asynccontextmanager
async def opened(
    root: Path, size: tuple[int, int] = (100, 30), encoding: str = "utf-8"
) -> AsyncIterator[Pilot[Any]]:
    app = SpdApp(root, RUN, clock=lambda: NOW, encoding=encoding)
    async with app.run_test(size=size) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, RunScreen), "the screen opens")
        await wait_until(
            pilot, lambda: screen(pilot).look.details and series(pilot).cursor_key, "the run is read"
        )
        yield pilot


def screen(pilot: Pilot[Any]) -> RunScreen:
    assert isinstance(pilot.app.screen, RunScreen)
    return pilot.app.screen


def panel(pilot: Pilot[Any]) -> CurvesPanel:
    return screen(pilot).query_one(CurvesPanel)


def series(pilot: Pilot[Any]) -> SeriesTable:
    return screen(pilot).query_one(SeriesTable)


def plot_text(pilot: Pilot[Any]) -> str:
    return "\n".join(screen(pilot).query_one(CurvesPlot).lines())


def said(pilot: Pilot[Any]) -> str:
    return screen_text(pilot.app)
