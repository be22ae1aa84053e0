"""A whole session in a real terminal: what was sent shows the same as all that Textual painted."""

import json
import os
import pty
import sys
from pathlib import Path
from typing import Any

import pyte
import pytest

COLUMNS, ROWS = 120, 36
SESSION = """
import json, sys
from pathlib import Path
from spd_tui.app import SpdApp
from tests.spd_tui.waiting import wait_until

record = open(sys.argv[2], "w", encoding="utf-8")
app = SpdApp(Path(sys.argv[1]))


class Recording(app.driver_class):
    def shortened(self, data):
        sent = super().shortened(data)
        print(json.dumps([data, sent]), file=record)
        return sent


app.driver_class = Recording


async def press(pilot):
    await wait_until(pilot, lambda: app.screen.query("#runs") and app.screen.shown)
    for key in json.loads(sys.argv[3]):
        await pilot.press(key)
        await wait_until(pilot, lambda: not app.jobs.visible())
        await pilot.pause()
    app.exit()


app.run(auto_pilot=press)
"""


def shown(screen: pyte.Screen) -> list[list[Any]]:
    """Every cell; of a blank only what is seen."""
    return [[_seen(screen.buffer[row][column]) for column in range(COLUMNS)] for row in range(ROWS)]


def _seen(cell: Any) -> Any:
    hidden = cell.data == " " and not (cell.underscore or cell.reverse or cell.strikethrough)
    return cell._replace(fg="default", bold=False, italics=False) if hidden else cell


KEYS = {  # separated by blanks
    "runs": "j k G g s S f colon escape slash s y n escape question_mark j escape d n ctrl+l j y",
    "run": "enter E j T slash s t e p enter P O C plus minus l h t x L question_mark escape 1 2",
    "components": "3 j j j slash t h enter s S G g ctrl+d j escape H escape n question_mark escape",
    "card": "3 j enter j j tab j tab enter backspace ctrl+d ctrl+u G g c y escape backspace 1",
}


@pytest.mark.parametrize("name", KEYS)
def test_what_was_sent_shows_what_was_painted(harvested_root: Path, tmp_path: Path, name: str) -> None:
    record = tmp_path / "record"
    arguments = [str(harvested_root), str(record), json.dumps(KEYS[name].split())]
    child, terminal = pty.fork()
    if child == 0:
        home = {each: str(tmp_path) for each in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")}
        size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
        os.environ.update(home | size, TERM="xterm-256color", COLORTERM="truecolor", LC_ALL="C.UTF-8")
        os.execv(sys.executable, [sys.executable, "-c", SESSION, *arguments])
    said = b""
    while True:
        try:
            said += os.read(terminal, 65536)
        except OSError:  # its program has ended
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said.decode(errors="replace")[-2000:]

    painted, sent = pyte.Screen(COLUMNS, ROWS), pyte.Screen(COLUMNS, ROWS)
    streams = pyte.Stream(painted), pyte.Stream(sent)
    frames = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    for number, frame in enumerate(frames):
        for stream, data in zip(streams, frame, strict=True):
            stream.feed(data)
        assert shown(sent) == shown(painted), f"write {number}: {frame}"
    whole, less = (sum(len(frame[side]) for frame in frames) for side in (0, 1))
    assert less < whole / 2, f"{less:,} characters were sent of {whole:,} painted"
