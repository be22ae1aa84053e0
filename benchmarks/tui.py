"""Measure the browser against its goals, in a terminal of its own (a pty) and through Textual's Pilot.

    python benchmarks/tui.py [--out FOLDER] [--components N] [--presses N] [--only PART ...]

Without `--out` a run of `--components` components is made in a temporary folder. Every program is started
afresh and behaves as for a person: the pty answers what Textual asks a terminal at its start, so frames are
marked by their beginning and end, and a frame's end is when it counts as painted.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from terminal import Session, tmux_client

from core.demo.synthetic import make_synthetic
from core.runs.directory import RunDirectory
from core.runs.manifest import new_manifest
from core.runs.observer import Silent

SPD = str(Path(sys.executable).with_name("spd"))
SIZE = (200, 50)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    note: str = ""

    def __str__(self) -> str:
        reached = "" if self.goal is None else ("yes" if self.value <= self.goal else "NO")
        goal = "" if self.goal is None else f"{self.goal:g}"
        return f"{self.what:<52} {self.value:>10.4g} {self.unit:<3} {goal:>8} {reached:>4}  {self.note}"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def browser(root: Path, *arguments: str) -> Iterator[Session]:
    """The program in a pty of `SIZE`, with a home folder of its own."""
    with (
        tempfile.TemporaryDirectory() as home,
        Session([SPD, "tui", "--out", str(root), *arguments], *SIZE, {"HOME": home}) as session,
    ):
        yield session


def start(root: Path, times: int) -> Iterator[Row]:
    """From the start of the process to the first frame, and to the list of runs."""
    painted, listed, computed = [], [], []
    for _ in range(times):
        with browser(root) as session:
            painted.append(perf_counter() - session.started)
            painted[-1] += session.wait_for(lambda text: "runs" in text)
            computed.append(session.cpu_seconds())
            session.wait_for(lambda text: "s-" in text or "synthetic-" in text)
            listed.append(perf_counter() - session.started)
    floor = statistics.median(_python_seconds() for _ in range(times))
    cpu = statistics.median(computed)
    note = f"best {min(painted):.2f}, CPU {cpu:.2f}; importing Textual alone {floor:.2f}"
    yield Row("start to first paint", statistics.median(painted), "s", 0.6, note)
    yield Row("start to the list of runs", statistics.median(listed), "s")


def _python_seconds() -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", "import textual.app, textual.screen"], check=True)
    return perf_counter() - began


def reading(run: RunDirectory) -> Iterator[Row]:
    """Opening and querying by themselves, in this process, once polars is imported."""
    from core.harvest.catalogue import open_harvest
    from core.harvest.filters import parse_query, select
    from core.harvest.listing import component_table

    def read() -> object:
        return component_table(open_harvest(run))

    yield Row("reading the harvest and its table", best(read), "s", 0.3, "best of 5, without the screen")
    table = component_table(open_harvest(run))
    for what, query in (
        ("sort", "sort:mean_importance"),
        ("filter", "layer:mlp density>0.001 sort:density"),
        ("search", 'token:" the"'),
    ):
        yield Row(f"{what}: {query}", best(lambda query=query: select(table, parse_query(query))), "s", 0.1)


def best(function: Callable[[], object], times: int = 5) -> float:
    """Least seconds of `times` calls."""
    seconds = []
    for _ in range(times):
        began = perf_counter()
        function()
        seconds.append(perf_counter() - began)
    return min(seconds)


def screens(root: Path, run: RunDirectory, presses: int) -> Iterator[Row]:
    """A walk through the components as a person sees it."""
    with browser(root, run.run_id) as session:
        session.wait_for(lambda text: "loss/" in text or "settings" in text)
        session.settle()
        os.write(session.terminal, b"3")
        yield Row(
            "key to the table of components", session.wait_for(_has_table), "s", 0.4, "opening and painting"
        )
        session.settle()
        yield from _commands(session)
        yield from _keys(session, "components", presses)
        yield from _idle(session, "components", 10)
        memory = session.memory()
        note = f"of it anonymous {memory['RssAnon']:.0f}"
        yield Row("memory with the run open", memory["VmRSS"], "MB", 250, note)


def in_tmux(root: Path, run: RunDirectory, presses: int) -> Iterator[Row]:
    """From a key at the terminal that tmux runs in until the cursor's new row has arrived there."""
    with (
        tempfile.TemporaryDirectory() as home,
        tmux_client([SPD, "tui", "--out", str(root), run.run_id], *SIZE, Path(home)) as session,
    ):
        session.wait_for(lambda text: "loss/" in text or "settings" in text)
        session.settle()
        os.write(session.terminal, b"3")
        session.wait_for(_has_table)
        session.settle()
        seconds, written = [], []
        for _ in range(presses):
            before, sent = _cursor_row(session.text()), session.written
            os.write(session.terminal, b"j")
            seconds.append(1e3 * session.wait_for(lambda text, before=before: _cursor_row(text) != before))
            session.settle(0.4)
            written.append(session.written - sent)
        yield Row("tmux: key to paint, median", quantile(seconds, 0.5), "ms")
        yield Row("tmux: key to paint, 99 %", quantile(seconds, 0.99), "ms", 50, f"max {max(seconds):.0f}")
        note = f"max {max(written):,}; as tmux says it again"
        yield Row("tmux: bytes for a key and a look, median", quantile(written, 0.5), "B", None, note)


def _cursor_row(text: str) -> str:
    return next((line for line in text.splitlines() if line.startswith("▸")), "")[:60]


def _has_table(text: str) -> bool:
    return text.count(".mlp.") + text.count(".attn.") > 10


def _commands(session: Session) -> Iterator[Row]:
    """Searches, orders and filters of the whole table, in the end all rows again."""
    written = [session.press(key, quiet=0.5).written for key in (":", "\x1b", "/", "\x1b")]
    yield Row("bytes for opening or leaving the command line, worst", max(written), "B", 4096)
    session.press("/", quiet=0.5)
    seconds = [_until_new(session, key) for key in "the"]
    yield Row("key to the new table: search, worst letter of 3", max(seconds), "s", 0.1)
    session.press("\x1b", quiet=0.5)
    seconds = [_until_new(session, "s") for _ in range(3)]
    yield Row("key to the new table: sort, worst of 3", max(seconds), "s", 0.1)
    filtered = [session.press("f", quiet=0.5) for _ in range(3)]
    yield Row("key to the last byte: filter, worst of 3", max(each.settled for each in filtered), "s")
    while "components ›" in session.text():  # the filters come round to none
        session.press("f", quiet=0.3)


def _until_new(session: Session, key: str) -> float:
    """Seconds from the key until the first rows of the table are others."""

    def rows(text: str) -> list[str]:
        return [line[1:40] for line in text.splitlines()[2:20]]

    before = rows(session.text())
    os.write(session.terminal, key.encode())
    seconds = session.wait_for(lambda text: rows(text) != before)
    session.settle()
    return seconds


def _keys(session: Session, name: str, presses: int) -> Iterator[Row]:
    """Rows down one by one, waiting each time for all that follows the cursor; then held down."""
    session.press("g")
    answers = [session.press("j", quiet=0.4) for _ in range(presses)]
    painted = [1e3 * answer.painted for answer in answers]
    settled = [1e3 * answer.settled for answer in answers]
    written = [answer.written for answer in answers]
    yield Row(f"{name}: key to paint, median", quantile(painted, 0.5), "ms")
    yield Row(f"{name}: key to paint, 99 %", quantile(painted, 0.99), "ms", 50, f"max {max(painted):.0f}")
    note = f"99 % {quantile(settled, 0.99):.0f}; the card of the row too"
    yield Row(f"{name}: key to the last byte, median", quantile(settled, 0.5), "ms", None, note)
    note = f"max {max(written):,}; the card of the row too"
    yield Row(f"{name}: bytes for a key and a look, median", quantile(written, 0.5), "B", None, note)
    held = [session.press("j", quiet=1 / 30).written for _ in range(presses)]
    note = f"mean {statistics.mean(held):,.0f}, max {max(held):,}"
    yield Row(f"{name}: bytes for a key held down, median", quantile(held, 0.5), "B", 4096, note)


def _idle(session: Session, name: str, seconds: float) -> Iterator[Row]:
    session.settle(1.0)
    before, deadline = session.written, perf_counter() + seconds
    while (left := deadline - perf_counter()) > 0:
        session.show(session.read(left))
    yield Row(f"{name}: bytes in {seconds:g} idle seconds", session.written - before, "B", 0)


def following(root: Path, lines: int) -> Iterator[Row]:
    """A metrics file of `lines` records read, and followed while it grows under the open screen."""
    from core.runs.metrics_tail import MetricsTail

    run = _growing_run(root, lines)
    tail, count, parts = MetricsTail(run.metrics), 0, []
    while count < lines:
        began = perf_counter()
        count += len(tail.read().records)
        parts.append(perf_counter() - began)
    note = f"in {len(parts)} parts, longest {max(parts):.2f}"
    yield Row(f"metrics.jsonl of {lines:,} lines, read", sum(parts), "s", 1, note)
    with browser(root, run.run_id) as session:
        yield Row(
            "the same on the screen",
            session.wait_for(lambda text: f"{lines - 1:,}" in text.replace(" ", ",")),
            "s",
        )
        session.settle(1.0)
        painted = []
        with run.metrics.open("a") as file:
            for step in range(lines, lines + 200):
                file.write(_record(step))
                file.flush()
                painted.append(1e3 * session.press("j" if step % 2 else "k", quiet=0.03).painted)
        yield Row(
            "run: key to paint while it grows, 99 %",
            quantile(painted, 0.99),
            "ms",
            50,
            f"max {max(painted):.0f}",
        )


def _growing_run(root: Path, lines: int) -> RunDirectory:
    """A run of this process that says it is still running."""
    run = RunDirectory.create(root, "s-growing0")
    new_manifest(run_id=run.run_id, settings_digest="0" * 16, recipe="tms_5-2", steps=2 * lines).write(
        run.manifest
    )
    run.settings.write_text("recipe: tms_5-2\n")
    run.metrics.write_text("".join(_record(step) for step in range(lines)))
    return run


def _record(step: int) -> str:
    values = {
        f"loss/{name}": 1 / (1 + step) for name in ("minimality", "faithfulness", "stochastic", "total")
    }
    values |= {f"l0/{name}": 5 / (1 + step / 1000) for name in ("linear1", "linear2")}
    return json.dumps({"step": step, "kind": "train", **values, "lr": 1e-3}) + "\n"


async def piloted(root: Path, run: RunDirectory, presses: int) -> list[Row]:
    """The same keys through Textual's Pilot, without a terminal."""
    from spd_tui.app import SpdApp
    from spd_tui.screenshot import settle

    app = SpdApp(root, run.run_id, "components", encoding="utf-8")
    rows = []
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        painted: list[float] = []
        display = app._display

        def noting(screen: Any, renderable: Any) -> None:
            display(screen, renderable)
            painted.append(perf_counter())

        app._display = noting
        seconds = []
        for _ in range(presses):
            painted.clear()
            began = perf_counter()
            await pilot.press("j")
            seconds.append(1e3 * (painted[0] - began))
            await asyncio.sleep(0.05)
        rows.append(Row("Pilot: key to paint, median", quantile(seconds, 0.5), "ms"))
        note = f"max {max(seconds):.0f}"
        rows.append(Row("Pilot: key to paint, 99 %", quantile(seconds, 0.99), "ms", 50, note))
        began = perf_counter()
        for _ in range(20):
            app.screen._compositor.render_update(full=True)
        rows.append(Row("Pilot: painting the whole screen", (perf_counter() - began) / 20, "s", 0.1))
    return rows


def machine() -> str:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    python = f"Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, load {load}; {python}; {SIZE[0]}x{SIZE[1]}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="folder with runs, among them the synthetic one")
    parser.add_argument("--components", type=int, default=40_000)
    parser.add_argument("--presses", type=int, default=300)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument(
        "--only", nargs="+", choices=["start", "reading", "screens", "tmux", "pilot", "following"]
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.out or Path(folder)
        run = make_synthetic(root, options.components, 0, Silent())
        print(machine(), flush=True)
        print(f"{'':<52} {'measured':>14} {'goal':>8}")
        parts = {
            "start": lambda: start(root, options.times),
            "reading": lambda: reading(run),
            "screens": lambda: screens(root, run, options.presses),
            "tmux": lambda: in_tmux(root, run, options.presses),
            "pilot": lambda: asyncio.run(piloted(root, run, options.presses)),
            "following": lambda: following(Path(folder) / "growing", 100_000),
        }
        for name, part in parts.items():
            if options.only is None or name in options.only:
                for row in part():
                    print(row, flush=True)


if __name__ == "__main__":
    main()
