"""Colours that keep their contrast, and plain marks of the same width where there is no Unicode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from spd_tui.theme import (
    ANSI_DARK,
    ANSI_LIGHT,
    THEMES,
    NoControls,
    default_theme,
    plain_text,
    shows_unicode,
    terminal_encoding,
)


def contrast(one: Color, other: Color) -> float:
    """The ratio of WCAG 2."""

    def luminance(color: Color) -> float:
        parts = [part / 255 for part in color.rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [theme for theme in THEMES if not theme.ansi], ids=lambda theme: theme.name)
def test_text_is_legible(theme):
    ground, panel = Color.parse(theme.background), Color.parse(theme.panel)
    for name in ("foreground", "primary", "success", "warning", "error"):
        assert contrast(Color.parse(getattr(theme, name)), ground) >= 4.5, name
        assert contrast(Color.parse(getattr(theme, name)), panel) >= 4.5, name
    cursor = theme.variables
    assert contrast(Color.parse(cursor["cursor-foreground"]), Color.parse(cursor["cursor-background"])) >= 7
    assert contrast(Color.parse(cursor["faint"]), ground) >= 4.5
    ansi = ANSI_DARK if theme.dark else ANSI_LIGHT
    for number in range(1, 7):
        red, green, blue = ansi.ansi_colors[number]
        assert contrast(Color(red, green, blue), ground) >= 4.5, number


def test_the_plain_theme_sends_the_terminals_own_colours_only():
    theme = next(theme for theme in THEMES if theme.name == "16")
    colours = [theme.primary, theme.foreground, theme.background, theme.panel, theme.error, theme.warning]
    assert all(str(colour).startswith("ansi_") for colour in colours)


def test_the_theme_follows_the_terminal():
    assert default_theme({"NO_COLOR": "1", "COLORTERM": "truecolor"}) == "16"
    assert default_theme({"TERM": "linux"}) == "16"
    assert default_theme({"TERM": "screen"}) == "16"
    assert default_theme({"TERM": "tmux-256color"}) == "dark"
    assert default_theme({"TERM": "xterm", "COLORTERM": "truecolor"}) == "dark"


def test_encodings():
    assert shows_unicode("utf-8") and not shows_unicode("latin-1") and not shows_unicode("no such one")
    assert terminal_encoding({"LC_ALL": "C"}) == "ascii"
    assert terminal_encoding({"LC_ALL": "en_US.UTF-8"})


@given(st.text(st.characters(blacklist_categories=["Cs"])), st.sampled_from(["ascii", "latin-1", "cp1252"]))
def test_plain_text_can_be_written_and_is_as_wide(text, encoding):
    plain = plain_text(text, encoding)
    plain.encode(encoding)
    assert sum(map(cell_len, plain)) == sum(map(cell_len, text))


def test_marks_stay_marks():
    assert plain_text("▏▎▌█ ▁▄█ ▸✓✗·…⏎") == "|||# .+# >+x.~<"


@given(st.text(max_size=20))
def test_no_character_that_a_terminal_obeys_gets_through(text):
    (segment,) = NoControls().apply([Segment(text)], Color(0, 0, 0))
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in segment.text)
    assert cell_len(segment.text) == cell_len(text)
    assert NoControls().apply([Segment("\x1b[31m é\x9b")], Color(0, 0, 0))[0].text == "[31m é"
