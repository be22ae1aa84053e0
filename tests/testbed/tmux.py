"""A program in a real terminal: keys go in as a person types them, the screen is read back."""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import join
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import pytest

SECONDS = 30.0
"""How long to wait for something on the screen; much more than it takes, so that only a fault gets there."""

_SETTINGS = """
set -g status off
set -g remain-on-exit on
set -sg escape-time 0
set -g focus-events off
set -g set-clipboard on
set -g default-terminal "{terminal}"
"""


def need(program: str, package: str) -> str:
    """The path of `program`; without it the test is skipped (in CI it fails), saying how to install it."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        missing = pytest.fail if "CI" in os.environ else pytest.skip
        missing(f"needs {program}: apt-get install -y {package}")
    return path


class Terminal:
    """`command` in a tmux session of its own server, `columns` by `rows`.

    `environment` is added to that of the tests; None takes a variable away.
    """

    def __init__(
        self,
        command: Sequence[str],
        columns: int,
        rows: int,
        environment: Mapping[str, str | None] | None = None,
        *,
        terminal: str = "tmux-256color",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tmux-")
        folder = Path(self._folder.name)
        (folder / "tmux.conf").write_text(_SETTINGS.format(terminal=terminal))
        socket = folder / f"socket-{secrets.token_hex(4)}"
        self._tmux = [need("tmux", "tmux"), "-u", "-S", str(socket), "-f", str(folder / "tmux.conf")]
        settings = [f"{name}={value}" for name, value in (environment or {}).items()]
        self._run(
            "new-session", "-d", "-x", str(columns), "-y", str(rows), join(["env", *settings, *command])
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, *keys: str) -> None:
        """Press keys; names as tmux has them (`Enter`, `BSpace`, `C-c`), anything else is typed."""
        for key in keys:
            # One call for each, as a person types: together they could be taken for one pasted text.
            self._run("send-keys", key)

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal another size."""
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def text(self) -> str:
        """The screen, without colours and without blanks at line ends."""
        return self._run("capture-pane", "-p")

    def styled(self) -> str:
        """The screen with the escape codes of its colours."""
        return self._run("capture-pane", "-p", "-e")

    def clipboard(self) -> str:
        """What the program has put on the terminal's clipboard; empty when nothing."""
        return self._run("show-buffer") if self._run("list-buffers") else ""

    def exit_status(self) -> int | None:
        """The status the program left with, minus the signal that killed it; None while it runs."""
        dead, status, signal = self._run(
            "display-message", "-p", "#{pane_dead}/#{pane_dead_status}/#{pane_dead_signal}"
        ).split("/")
        if dead == "1" and not status and not signal:
            # A pane is dead once its terminal is closed; how its process ended is known later, and now and
            # then tmux misses that it did. The end of another child makes it look at all of them.
            self._run("run-shell", "true")
            return None
        if signal:
            return -int(signal)
        return int(status) if status else None

    def wait_for(self, *patterns: str, seconds: float = SECONDS) -> str:
        """Wait until every regular expression is found on one screen; returns that screen."""
        return self.wait_until(
            lambda text: all(re.search(each, text) for each in patterns), patterns, seconds
        )

    def wait_until(
        self, condition: Callable[[str], object], what: object = "a condition", seconds: float = SECONDS
    ) -> str:
        """Wait until the screen meets a condition; returns that screen."""
        deadline = monotonic() + seconds
        while not condition(text := self.text()):
            if monotonic() > deadline:
                pytest.fail(f"waited {seconds:.0f} s for {what}; the screen is\n{text}", pytrace=False)
            sleep(0.02)
        return text

    def wait_for_exit(self, seconds: float = SECONDS) -> int:
        """Wait until the program has ended; returns its status."""
        deadline = monotonic() + seconds
        while (status := self.exit_status()) is None:
            if monotonic() > deadline:
                pytest.fail(
                    f"still running after {seconds:.0f} s; the screen is\n{self.text()}", pytrace=False
                )
            sleep(0.02)
        return status

    def close(self) -> None:
        """End the program and its tmux server."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)
        self._folder.cleanup()

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout.rstrip("\n")
