"""`spd demo` and `spd tui`: what they hand on, and what they refuse."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from core.runs.directory import RunDirectory
from core.runs.observer import Observer
from spd_cli import app
from tests.spd_tui.component_runs import make_run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stand-ins for the work were called with."""
    asked: list[Any] = []

    def make_demo(root: Path, observer: Observer) -> RunDirectory:
        asked.append("demo")
        return make_run(root, "s-0000dddd")

    def make_synthetic(root: Path, components: int, seed: int, observer: Observer) -> RunDirectory:
        asked.append((components, seed))
        return make_run(root, f"synthetic-{components}")

    def take_screenshot(root: Path, run: str | None, screen: str, file: Path, size: tuple[int, int]) -> None:
        asked.append((run, screen, file, size))

    stand_ins = {
        "core.demo.real": {"make_demo": make_demo},
        "core.demo.synthetic": {"make_synthetic": make_synthetic},
        "spd_tui.screenshot": {"take_screenshot": take_screenshot},
    }
    for name, functions in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
    return asked


@pytest.fixture
def spd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = app.run([*arguments, "--out", str(tmp_path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_demo_prints_the_run_and_how_to_open_it(spd: Call, asked: list[Any], tmp_path: Path) -> None:
    code, out, _ = spd("demo")
    assert code == 0 and asked == ["demo"]
    assert "s-0000dddd" in out and f"spd tui s-0000dddd --out {tmp_path}" in out


def test_demo_json(spd: Call, asked: list[Any], tmp_path: Path) -> None:
    code, out, err = spd("demo", "--components", "40000", "--seed", "3", "--json", "--quiet")
    assert code == 0 and err == "" and asked == ["demo", (40000, 3)]
    assert [row["run_id"] for row in json.loads(out)] == ["s-0000dddd", "synthetic-40000"]
    assert all(Path(row["path"]).is_dir() for row in json.loads(out))


def test_screenshots(spd: Call, asked: list[Any], tmp_path: Path) -> None:
    make_run(tmp_path, "s-0000eeee")
    code, out, _ = spd("tui", "s-0000", "--screenshot", "components", "a.svg", "--size", "80x24")
    assert code == 0 and out == "a.svg\n"
    assert asked == [("s-0000eeee", "components", Path("a.svg"), (80, 24))]
    assert spd("tui", "--demo", "--screenshot", "runs", "b.svg")[0] == 0
    assert asked[1:] == ["demo", ("s-0000dddd", "runs", Path("b.svg"), (100, 30))]


def test_a_run_elsewhere_is_opened_by_its_path(spd: Call, asked: list[Any], tmp_path: Path) -> None:
    run = make_run(tmp_path / "elsewhere")
    assert spd("tui", str(run.path), "--screenshot", "run", "a.svg")[0] == 0
    assert asked[0][0] == str(run.path)


@pytest.mark.parametrize("size", ["80", "80x", "x24", "10x24", "80x2", "80x24x3", "99999x24"])
def test_sizes_that_are_none(spd: Call, asked: list[Any], size: str) -> None:
    code, out, err = spd("tui", "--screenshot", "runs", "a.svg", "--size", size)
    assert code == 2 and out == "" and "--size" in err and asked == []


@pytest.mark.parametrize("stream", ["input", "output"])
def test_the_browser_needs_a_terminal(stream: str, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "spd_cli", "tui"],
            stdin=subprocess.DEVNULL if stream == "input" else terminal,
            stdout=terminal if stream == "input" else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SPD_OUT_DIR": str(tmp_path)},
            check=False,
        )
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 2 and f"standard {stream} is none" in done.stderr
