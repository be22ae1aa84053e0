"""A program in a pty, by itself or in tmux, and what arrives there: how much, and when."""

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from time import perf_counter
from types import TracebackType
from typing import Self

import pyte

FRAME_END = b"\x1b[?2026l"
"""What ends a frame when the terminal can take frames whole."""

_ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[?2048$p": b"\x1b[?2048;0$y"}
"""What a terminal says when it is asked what it can do: frames whole, size changes by signal only."""


@dataclass(frozen=True)
class Answer:
    """What came back for one key."""

    painted: float
    """Seconds until the first frame had arrived."""
    settled: float
    """Seconds until the last byte."""
    written: int
    """Bytes."""


class Session:
    """`command` in a terminal of `columns` by `rows`; the clock starts before the process does."""

    def __init__(
        self, command: Sequence[str], columns: int, rows: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._asked = b""
        self.written = 0
        self.started = perf_counter()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            settings = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
            os.execvpe(command[0], list(command), {**os.environ, **settings, **(environment or {})})
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def read(self, seconds: float) -> bytes:
        """What the program writes next; empty when it writes nothing for `seconds`."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self.terminal, 1 << 16)
        except OSError:  # the program has left
            return b""
        self.written += len(data)
        for question, answer in _ANSWERS.items():
            if question in self._asked[-len(question) :] + data:
                os.write(self.terminal, answer)
        self._asked = data
        return data

    def show(self, data: bytes) -> None:
        """Draw what was read; slow, so never while the clock runs."""
        self._stream.feed(data.replace(b"\x1b[>", b"\x1b[").replace(b"\x1b[<u", b""))

    def text(self) -> str:
        """The screen as it is drawn."""
        return "\n".join(self.screen.display)

    def wait_for(self, condition: Callable[[str], bool], seconds: float = 30) -> float:
        """Seconds from now until the screen meets `condition`, measured at the last byte it needs.

        Raises:
            TimeoutError: it did not; the screen is in the message.
        """
        start = perf_counter()
        waiting: list[tuple[float, bytes]] = []
        while perf_counter() - start < seconds:
            # Drawing is slow, so it is left for when nothing comes, and each part is drawn at its own time.
            if data := self.read(0.01):
                waiting.append((perf_counter(), data))
                continue
            for arrived, part in waiting:
                self.show(part)
                if condition(self.text()):
                    self._show_all(part for when, part in waiting if when > arrived)
                    return arrived - start
            waiting.clear()
        raise TimeoutError(f"waited {seconds:g} s; the screen is\n{self.text()}")

    def press(self, keys: str | bytes, quiet: float = 0.1) -> Answer:
        """Press a key and wait until nothing has come for `quiet` seconds.

        Raises:
            TimeoutError: nothing came at all.
        """
        start = perf_counter()
        os.write(self.terminal, keys.encode() if isinstance(keys, str) else keys)
        parts: list[bytes] = []
        painted = settled = 0.0
        while data := self.read(quiet if parts else 5.0):
            settled = perf_counter() - start
            parts.append(data)
            if not painted and FRAME_END in b"".join(parts[-2:]):
                painted = settled
        self._show_all(parts)
        if not parts:
            raise TimeoutError(f"{keys!r} did nothing; the screen is\n{self.text()}")
        return Answer(painted or settled, settled, sum(map(len, parts)))

    def settle(self, quiet: float = 0.5) -> None:
        """Read until nothing has come for `quiet` seconds."""
        while data := self.read(quiet):
            self.show(data)

    def memory(self) -> dict[str, float]:
        """Megabytes resident, and of those not shared with a file."""
        fields = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
            if ":" in line
        )
        kilobytes = {name: float(fields[name].split()[0]) for name in ("VmRSS", "RssAnon")}
        return {name: value * 1024 / 1e6 for name, value in kilobytes.items()}

    def cpu_seconds(self) -> float:
        """CPU time the program has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _show_all(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.show(part)


@contextmanager
def tmux_client(command: Sequence[str], columns: int, rows: int, folder: Path) -> Iterator[Session]:
    """`command` in a tmux of its own, and the terminal that tmux is looked at through.

    `folder` is its home, and holds the socket.

    Raises:
        FileNotFoundError: there is no tmux.
    """
    tmux = shutil.which("tmux")
    if tmux is None:
        raise FileNotFoundError("tmux is not installed: apt-get install -y tmux")
    server = [tmux, "-u", "-f", os.devnull, "-S", str(folder / "socket")]
    settings = ["set", "-g", "status", "off", ";", "set", "-sg", "escape-time", "0", ";"]
    try:
        with Session(
            [*server, *settings, "new-session", join(command)],
            columns,
            rows,
            {"HOME": str(folder), "TMUX": ""},
        ) as session:
            yield session
    finally:
        subprocess.run([*server, "kill-server"], capture_output=True, check=False)
