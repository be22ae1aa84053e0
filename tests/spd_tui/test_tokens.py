"""Windows of tokens on the cell grid."""

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.text.display import display
from spd_tui.rows.tokens import (
    NARROWEST,
    SHADINGS,
    View,
    background_style,
    harmless,
    largest_activation,
    window_lines,
)


@dataclass(frozen=True)
class Token:
    text: str
    importance: float = 0.0
    activation: float = 0.0


TOKENS = [
    Token("·and"),
    Token("·she", 0.9, -2.0),
    Token(",", 0.1, 1.0),
    Token("漢字", 0.5, 0.1),
    Token("👍", 0, 0.5),
]

texts = st.text(st.characters(codec="utf-8"), max_size=12)
tokens = st.builds(Token, texts, st.floats(0, 1, width=32), st.floats(-1e3, 1e3, allow_nan=False, width=32))
windows = st.lists(tokens, min_size=1, max_size=30)


def plain(lines):
    return [line.plain for line in lines]


def test_blocks_stand_under_their_tokens_and_brackets_around_the_firing_one():
    assert plain(window_lines(TOKENS, 1, 40, View(centred=False))) == [
        "·and[·she],漢字👍",
        "    ██████▁▄▄▄▄  ",
    ]


def test_signs_of_activations_can_be_read_and_narrow_tokens_make_room_for_them():
    view = View("activation", scale=2.0, centred=False)
    assert plain(window_lines(TOKENS, 1, 40, view)) == [
        "·and[·she], 漢字👍",
        "    -█████+▄    +▂",
    ]


def test_both_shows_importance_above_activation():
    _, importance, activation = plain(window_lines(TOKENS, 1, 40, View("both", 2.0, False)))
    assert "██████" in importance
    assert "-█████" in activation


def test_centred_windows_have_their_firing_token_in_one_column():
    first = window_lines(TOKENS, 1, 60, View())[0].plain
    second = window_lines([Token("·a·long·way·before"), *TOKENS], 2, 60, View())[0].plain
    assert first.index("[·she]") == second.index("[·she]") == 27


def test_what_does_not_fit_is_marked():
    many = [Token("·word")] * 9 + [Token("·she")] + [Token("·word")] * 9
    line = window_lines(many, 9, 30, View())[0].plain
    assert line.strip().startswith("…·word")
    assert line.endswith("…")
    assert "[·she]" in line


def test_a_firing_token_wider_than_the_screen_is_cut():
    lines = window_lines([Token("x" * 90, 1.0)], 0, 20, View())
    assert lines[0].plain.strip() == "[" + "x" * 15 + "…]"
    assert all(line.cell_len <= 20 for line in lines)


@given(windows, st.data(), st.integers(NARROWEST, 80), st.sampled_from(SHADINGS), st.booleans())
def test_every_row_of_a_window_is_aligned_and_fits(window, data, width, shading, centred):
    mark = data.draw(st.integers(0, len(window) - 1))
    view = View(shading, largest_activation([window]), centred)
    lines = window_lines(window, mark, width, view)
    rows = 3 if shading == "both" else 2
    assert len(lines) % rows == 0
    for start in range(0, len(lines), rows):
        assert len({line.cell_len for line in lines[start : start + rows]}) == 1
    assert max(line.cell_len for line in lines) <= width
    assert sum(line.plain.count("[") for line in lines[::rows]) >= 1


@given(st.text())
def test_nothing_that_a_terminal_would_obey_gets_through(text):
    shown = harmless(text)
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    assert not any(char.isspace() for char in shown)
    assert cell_len(shown) == sum(cell_len(char) for char in shown)
    assert harmless(shown) == shown


@given(st.binary(max_size=12))
def test_what_the_artifact_says_of_a_token_stays_as_it_is(data):
    shown = display(data)
    steady = harmless(shown)
    assert steady == shown or any(cell_len(char) != 1 or ord(char) >= 0x1160 for char in shown)


@pytest.mark.parametrize("tone", ["dark", "light"])
@pytest.mark.parametrize("sign", [0, 1, -1])
@pytest.mark.parametrize("strength", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_text_on_a_shade_has_contrast(strength, sign, tone):
    style = background_style(strength, sign, tone)
    assert style.color is not None and style.color.triplet is not None
    assert style.bgcolor is not None and style.bgcolor.triplet is not None

    def luminance(triplet):
        parts = [part / 255 for part in triplet]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(style.color.triplet), luminance(style.bgcolor.triplet)), reverse=True)
    assert (high + 0.05) / (low + 0.05) > 4.5
