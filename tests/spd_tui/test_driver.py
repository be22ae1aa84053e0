import os
import pty
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

NOISE = """
import os
from textual.app import App
from spd_tui.driver import terminal_driver


class Noisy(App[None]):
    def on_mount(self):
        os.write(2, b"meanwhile")
        self.call_after_refresh(self.exit)


Noisy(driver_class=terminal_driver()).run()
os.write(2, b"afterwards")
"""


def spawn(*arguments: str, home: Path | None = None) -> tuple[int, int]:
    """Python in a terminal of its own: its process and the other end of the terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", LC_ALL="C.UTF-8")
        if home is not None:
            os.environ.update(HOME=str(home), XDG_STATE_HOME=str(home), XDG_CONFIG_HOME=str(home))
        os.execv(sys.executable, [sys.executable, *arguments])
    return child, terminal


def written(
    terminal: int, until: bytes | None = None, meanwhile: Callable[[], object] = lambda: None
) -> bytes:
    """What comes out of the terminal until it holds `until` or its program has ended.

    `meanwhile` is called at first, and whenever nothing has come for a second.
    """
    seen, deadline = b"", monotonic() + 60.0
    meanwhile()
    while until is None or until not in seen:
        if monotonic() > deadline:
            pytest.fail(f"waited 60 s for {until!r}; this came: {seen.decode(errors='replace')!r}")
        if not select.select([terminal], [], [], 1.0)[0]:
            meanwhile()
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other end of a terminal is closed
            break
        if not piece:
            break
        seen += piece
    return seen


def test_native_code_cannot_write_over_the_screen():
    child, terminal = spawn("-c", NOISE)
    seen = written(terminal)
    assert os.waitpid(child, 0)[1] == 0, seen.decode(errors="replace")
    os.close(terminal)
    assert b"\x1b[?1049h" in seen and b"\x1b[?1049l" in seen
    assert b"meanwhile" not in seen
    assert seen.rstrip().endswith(b"afterwards")


def test_a_killed_browser_gives_the_terminal_back_and_remembers(tmp_path):
    child, terminal = spawn("-m", "spd_cli", "tui", "--out", str(tmp_path), home=tmp_path)
    before = termios.tcgetattr(terminal)
    assert b"There are no runs" in written(terminal, until=b"There are no runs")
    assert termios.tcgetattr(terminal) != before
    os.kill(child, signal.SIGTERM)
    seen = written(terminal, until=b"\x1b[?1049l")
    assert b"\x1b[?1049l" in seen
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal)[3] == before[3], "echo and line editing are as they were"
    os.close(terminal)
    assert (tmp_path / "spd" / "tui.json").exists()


@pytest.fixture
def without_runs(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The browser that has painted that there are no runs."""
    child, terminal = spawn("-m", "spd_cli", "tui", "--out", str(tmp_path), home=tmp_path)
    written(terminal, until=b"There are no runs")
    yield child, terminal
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)


def test_a_line_laid_over_the_screen_sends_nothing_else_again(without_runs: tuple[int, int]):
    _, terminal = without_runs
    os.write(terminal, b":")
    seen = written(terminal, until=b"components  copy")
    os.write(terminal, b"\x1b")
    seen += written(terminal, until=b"/ search")
    assert b"There are no runs" not in seen


def test_everything_is_sent_again_once_a_size_has_come_to_rest(without_runs: tuple[int, int]):
    child, terminal = without_runs
    # The terminal may have been small and large again.
    seen = written(terminal, until=b"There are no runs", meanwhile=lambda: os.kill(child, signal.SIGWINCH))
    assert b"There are no runs" in seen


def test_a_key_sends_everything_again(without_runs: tuple[int, int]):
    _, terminal = without_runs
    os.write(terminal, b"\x0c")
    assert b"There are no runs" in written(terminal, until=b"There are no runs")
