"""The card on paper: blocks stand under their tokens, whatever the tokens are."""

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.blocks import height
from core.harvest.artifact import Harvest
from core.harvest.card import Example, ExampleToken
from core.text.display import display
from spd_cli.harvest_view import example_lines
from tests.spd_tui.component_runs import add_text_harvest, make_run

RUN = "s-0000aaaa"

WORDS = [" she", "漢字", "👍", "e\u0301", "\n", "\x1b[31m", "", "a", "🇩🇪", "क्षि", "ï", " " * 5]
TEXTS = [display(word.encode()) for word in WORDS]


@pytest.fixture
def harvest(tmp_path: Path) -> Harvest:
    return Harvest(add_text_harvest(make_run(tmp_path, RUN)))


def make_example(texts: Sequence[str], importances: Sequence[float], mark: int) -> Example:
    tokens = tuple(
        ExampleToken(place, text, importance, -1.0, importance > 0)
        for place, (text, importance) in enumerate(zip(texts, importances, strict=True))
    )
    return Example(3, 17, mark, tokens, None)


windows = st.lists(
    st.tuples(st.sampled_from(TEXTS), st.sampled_from([0.0, 0.01, 0.5, 1.0])), min_size=1, max_size=30
)


@given(windows, st.data(), st.integers(40, 120))
def test_blocks_stand_under_their_tokens(
    window: list[tuple[str, float]], data: st.DataObject, width: int
) -> None:
    mark = data.draw(st.integers(0, len(window) - 1))
    texts, importances = zip(*window, strict=True)
    example = make_example(texts, importances, mark)
    above, below = example_lines(example, width)
    assert "\x1b" not in above.plain and "\n" not in above.plain
    shown = texts[mark] or "∅"
    middle = f"»{shown}«"
    # The marked token in the middle, its blocks exactly below.
    left = (width - cell_len(middle)) // 2
    before = above.plain[: above.plain.index(middle)]
    assert cell_len(before) == left
    blocks = height(importances[mark]) * cell_len(shown)
    assert below.plain[left + 1 : left + 1 + len(blocks)] == blocks
    # On the right nothing is cut yet: every token's cells have its block.
    place = left + cell_len(middle)
    for text, importance in window[mark + 1 :]:
        size = cell_len(text or "∅")
        assert below.plain[place : place + size] == height(importance) * size
        place += size


@given(windows)
def test_the_left_side_is_cut_by_cells(window: list[tuple[str, float]]) -> None:
    texts, importances = zip(*window, strict=True)
    above, below = example_lines(make_example(texts, importances, len(window) - 1), 40)
    before = above.plain[: above.plain.rindex("»")]
    assert cell_len(before) == len(below.plain[: cell_len(before)])
    shown = before.lstrip(" ")
    assert "".join(text or "∅" for text in texts[:-1]).endswith(shown)


def test_colour_follows_importance_and_firing() -> None:
    above, _ = example_lines(make_example(["a", "b", "c"], [0.0, 0.2, 1.0], 1), 40)
    styles = {above.plain[span.start : span.end]: str(span.style) for span in above.spans}
    assert "on rgb" in styles["b"] and "underline" in styles["b"] and styles["b"] != styles["c"]
    assert "on rgb" not in styles.get("a", "")


@pytest.mark.parametrize("mark", [0, 2])
def test_the_mark_may_stand_at_either_end(mark: int) -> None:
    above, below = example_lines(make_example(["a", "b", "c"], [0.1, 0.2, 1.0], mark), 40)
    assert above.plain.strip() == ["»a«bc", "", "ab»c«"][mark]
    assert len(below.plain.rstrip()) <= 40


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_colours_unless_it_wants_none(harvest: Harvest, tmp_path: Path, colour: bool) -> None:
    command = [sys.executable, "-m", "spd_cli", "harvest", RUN, "--show", "c_fc:3", "--out", str(tmp_path)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "NO_COLOR": "" if colour else "1"}
    controller, terminal = pty.openpty()
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # what reading says at the end of a terminal
        while piece := os.read(controller, 65536):
            shown += piece
    os.close(controller)
    assert process.wait() == 0
    assert (b"48;" in shown) == colour
    assert "»" in shown.decode()


def test_a_locale_without_the_characters_is_no_crash(harvest: Harvest, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spd_cli", "harvest", RUN, "--show", "c_fc:3", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and b"\\u2588" in done.stdout and done.stderr == b""
