"""Terminal output: a bar on a terminal, sparse lines elsewhere, results on stdout only."""

import json
import math
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from core.numerals import grouped
from spd_cli import report
from spd_cli.report import Pace, Report


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(report, "monotonic", clock)
    return clock


def drive(clock: Clock, steps: int, seconds_per_step: float, first: int = 1) -> None:
    with Report(live=False) as observer:
        for step in range(first, steps + 1):
            observer.progress("decompose", step, steps)
            clock.now += seconds_per_step


@pytest.mark.parametrize(
    ("steps", "seconds_per_step", "least", "most"),
    [(1000, 0.02, 9, 14), (1000, 0.0001, 2, 3), (100, 10.0, 30, 101), (100_000, 0.1, 20, 120)],
)
def test_plain_lines_are_neither_many_nor_few(
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    steps: int,
    seconds_per_step: float,
    least: int,
    most: int,
) -> None:
    drive(clock, steps, seconds_per_step)
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert least <= len(lines) <= most
    assert lines[-1].startswith(f"decompose: {grouped(steps)}/{grouped(steps)}")
    assert told.out == ""


def test_plain_lines_say_rate_and_remaining_time(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    drive(clock, 1000, 0.1)
    middle = [line for line in capsys.readouterr().err.splitlines() if "left" in line][4]
    assert "10.0 steps/s" in middle and " left)" in middle


def test_a_resumed_run_does_not_count_old_steps_as_fast(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    drive(clock, 1000, 0.1, first=900)
    assert "10.0 steps/s" in capsys.readouterr().err.splitlines()[1]


def test_phases_are_told_apart(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Report(live=False) as observer:
        for phase in ("target", "warm-up", "decompose"):
            for step in (1, 2, 3):
                observer.progress(phase, step, 3, note="loss 0.1")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["target"] * 2 + ["warm-up"] * 2 + ["decompose"] * 2
    assert all("loss 0.1" in line for line in lines)


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Report(quiet=True, live=True) as observer:
        observer.message("hello")
        observer.progress("decompose", 1, 2)
    told = capsys.readouterr()
    assert told.err == told.out == ""


def test_phases_that_count_no_steps_say_only_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Report(live=False) as observer:
        for done in range(0, 11_000, 1000):
            observer.progress("harvest", done, 10_000, "500 tokens/s", unit=None)
            clock.now += 2
    lines = capsys.readouterr().err.splitlines()
    assert "16 s left, 500 tokens/s" in "".join(lines) and not any("step" in line for line in lines)


def test_large_numbers_are_grouped(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Report(live=False) as observer:
        for done in (0, 123_456):
            observer.progress("harvest", done, 1_000_000)
            clock.now += 10
    count, pace = f"{grouped(123_456)}/{grouped(1_000_000)}", f"{grouped(12_346)} steps/s"
    assert f"harvest: {count} ({pace}" in capsys.readouterr().err


def test_pace() -> None:
    pace = Pace(0, 100, now=0.0)
    assert pace.rate is None and pace.text(0) == ""
    pace.add(1, now=4.0)
    assert pace.text(1) == "4.00 s/step, 6 min 36 s left"
    for second in range(5, 100):
        pace.add(2 * second, now=float(second))
    assert pace.rate == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.97, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_json_results_are_strict(capsys: pytest.CaptureFixture[str]) -> None:
    report.result_json({"a": math.nan, "when": datetime(2030, 1, 1, tzinfo=UTC), "b": (1, 2)})
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "when": "2030-01-01T00:00:00+00:00",
        "b": [1, 2],
    }


def test_tables_keep_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a/long/path/" + "x" * 60
    report.result_table(("name", "value"), [("[bold]module", 0.123456), (path, None)], title="5 [of] 5")
    told = capsys.readouterr()
    assert "[bold]module" in told.out and path in told.out and "0.1235" in told.out and "5 [of] 5" in told.out
    assert told.err == ""


def test_on_a_terminal_a_bar_is_drawn_and_taken_down() -> None:
    code = (
        "from time import sleep\n"
        "from spd_cli.report import Report, result\n"
        "with Report() as r:\n"
        "    for i in range(1, 9):\n"
        "        r.progress('decompose', 1000 * i, 8000); sleep(0.1)\n"
        "    r.message('half [way]')\n"
        "result('done')\n"
    )
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment,
        text=True,
        check=False,
    )
    os.close(slave)
    shown = os.read(master, 1_000_000).decode()
    os.close(master)
    assert done.returncode == 0
    assert done.stdout == "done\n"
    assert (
        f"{grouped(8000)}/{grouped(8000)}" in shown
        and "decompose" in shown
        and "steps/s" in shown
        and "half [way]" in shown
    )
    assert "\x1b[?25h" in shown, "the cursor must come back"
