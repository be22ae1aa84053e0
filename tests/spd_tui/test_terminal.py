"""The browser as a person meets it: the program in tmux, on one's own machine and over ssh."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.testbed.sshd import ssh_server
from tests.testbed.tmux import Terminal

SPD = [sys.executable, "-m", "spd_cli", "tui"]
PLAIN: dict[str, str | None] = {"LC_ALL": "C.UTF-8", "NO_COLOR": None, "COLORTERM": None}
COLOUR = re.compile(r"\x1b\[[0-9;]*?\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[0-9;]*m")
MANY_COLOURS = re.compile(r"\x1b\[[0-9;]*?[34]8[;:][25]")
COMPONENT = r"(?m)^.\d\.\w+\.\w+ +\d+ "
"""A row of the table of components."""


@pytest.fixture(scope="module")
def root(harvested_root: Path) -> Path:
    return harvested_root


@contextmanager
def browser(
    root: Path, home: Path, columns: int, rows: int, environment: dict[str, str | None] | None = None
) -> Iterator[Terminal]:
    changes = {
        **PLAIN,
        "HOME": str(home),
        "XDG_STATE_HOME": None,
        "XDG_CONFIG_HOME": None,
        **(environment or {}),
    }
    with Terminal([*SPD, "--out", str(root)], columns, rows, changes) as terminal:
        yield terminal


def walk(terminal: Terminal) -> None:
    """Runs, a run, its components, a card, all the way back, and out."""
    terminal.wait_for("spd [›>] runs", "synthetic-480 ", r"(?m)^[▸>]\w+ +synthetic-480-seed1")
    terminal.send("G")
    terminal.wait_for(r"(?m)^[▸>]\w+ +synthetic-480 ")
    terminal.send("Enter")
    terminal.wait_for(r"synthetic-480 [›>] run\b", "minimality")
    terminal.send("3")
    text = terminal.wait_for(r"[›>] components", COMPONENT, "live of 480", r"\d firin")
    second = list(re.finditer(COMPONENT, text))[1][0][1:]
    terminal.send("j")
    terminal.wait_for(f"(?m)^[▸>]{re.escape(second)}")
    layer, index = second.split()
    terminal.send("Enter")
    terminal.wait_for(rf"{re.escape(layer)}:{index}\b", r"\d firin", r"\[examples\]", r"position \d+")
    terminal.send("BSpace")
    terminal.wait_until(lambda text: not re.search(r"position \d+", text), "the table after the card")
    terminal.send("BSpace")
    terminal.wait_for(r"^ *spd [›>] .*synthetic-480 [›>] run\b")
    terminal.send("BSpace")
    terminal.wait_for(r"^ *spd [›>] runs")
    terminal.send("q")
    assert terminal.wait_for_exit() == 0


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_a_walk_through_every_screen_and_back(root: Path, tmp_path: Path, columns: int, rows: int) -> None:
    with browser(root, tmp_path, columns, rows) as terminal:
        walk(terminal)


def test_the_walk_over_ssh(root: Path, tmp_path: Path) -> None:
    (tmp_path / "ssh").mkdir()
    with ssh_server(tmp_path / "ssh") as server:
        remote = f"cd {Path.cwd()} && HOME={tmp_path} LC_ALL=C.UTF-8 {' '.join(SPD)} --out {root}"
        with Terminal(server.command(remote, terminal=True), 80, 24, PLAIN) as terminal:
            walk(terminal)


def test_without_colours_no_colour_is_sent(root: Path, tmp_path: Path) -> None:
    with browser(root, tmp_path, 100, 30, {"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("synthetic-480 ")
        assert not COLOUR.search(terminal.styled())
        terminal.send("3")
        terminal.wait_for(COMPONENT, r"\d firin", r"\[\S+\]\S*…")
        styled = terminal.styled()
        assert not COLOUR.search(styled), COLOUR.search(styled)
        assert "▸" in terminal.text()


def test_a_terminal_of_16_colours_gets_only_those(root: Path, tmp_path: Path) -> None:
    with browser(root, tmp_path, 100, 30, {"TERM": "xterm"}) as terminal:
        terminal.wait_for("synthetic-480 ")
        terminal.send("3")
        terminal.wait_for(COMPONENT, r"\d firin", r"\[\S+\]\S*…")
        assert not MANY_COLOURS.search(terminal.styled())


def test_a_locale_without_unicode_gets_plain_marks_and_is_told(root: Path, tmp_path: Path) -> None:
    with browser(root, tmp_path, 100, 30, {"LC_ALL": "C"}) as terminal:
        assert terminal.wait_for("synthetic-480 ", "encoding is ascii").isascii()
        terminal.send("3")
        text = terminal.wait_for(COMPONENT, r"\d firin", r"\[\S+\]\S*~")
        assert text.isascii()
        assert re.search(r"(?m)^>\d\.\w+", text)


def test_it_goes_on_through_a_storm_of_sizes(root: Path, tmp_path: Path) -> None:
    with browser(root, tmp_path, 200, 50) as terminal:
        terminal.wait_for("synthetic-480 ")
        terminal.send("3")
        terminal.wait_for(COMPONENT)
        for columns, rows in [(60, 20), (200, 50), (70, 21), (99, 24), (101, 60), (30, 8), (80, 24)] * 3:
            terminal.resize(columns, rows)
        terminal.wait_for("components", COMPONENT, r"\d firin")
        terminal.send("q")
        assert terminal.wait_for_exit() == 0


def test_tokens_never_act_on_the_terminal(root: Path, tmp_path: Path) -> None:
    with browser(root, tmp_path, 120, 40) as terminal:
        terminal.wait_for("synthetic-480 ")
        terminal.send("3")
        terminal.wait_for(COMPONENT)
        terminal.send("/", "U+00", "Enter")
        terminal.wait_for(COMPONENT, r"<U\+00[0-9A-F]{2}>")
        assert terminal.clipboard() == ""


def test_a_copy_reaches_the_clipboard_and_a_file(root: Path, tmp_path: Path) -> None:
    with browser(root, tmp_path, 100, 30) as terminal:
        terminal.wait_for("synthetic-480 ")
        terminal.send("G")
        terminal.wait_for(r"(?m)^▸\w+ +synthetic-480 ")
        terminal.send("y")
        terminal.wait_for("Copied")
        assert terminal.clipboard() == "synthetic-480"
        assert any(
            path.read_text().strip() == terminal.clipboard()
            for path in tmp_path.rglob("*")
            if path.is_file() and path.stat().st_size < 100
        )
