"""Pictures as cells, and which way a terminal shows them."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spd_tui.rows.picture import Look, View, fitted, open_picture, to_cells
from spd_tui.widgets import figure
from spd_tui.widgets.figure import picture_protocol


def half_and_half(size=(40, 20)):
    image = Image.new("RGB", size, "white")
    image.paste((200, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image


def test_half_blocks_have_two_pixels_a_cell():
    cells = to_cells(half_and_half(), View(), 20, 10, "blocks")
    assert len(cells.rows) == 5 and len(cells.rows[0]) == 20
    assert cells.rows[0][0] == ("▀", (200, 0, 0), (200, 0, 0))
    assert cells.rows[0][-1] == ("▀", (255, 255, 255), (255, 255, 255))


def test_without_colours_the_background_is_empty():
    image = Image.new("RGB", (40, 40), "white")
    image.paste("black", (0, 0, 10, 10))
    looks: tuple[tuple[Look, str], ...] = (("dots", "⣿"), ("ascii", "@"))
    for look, full in looks:
        cells = to_cells(image, View(), 20, 10, look)
        assert cells.rows[0][0] == (full, None, None)
        assert cells.rows[-1][-1] == (" ", None, None)


def test_an_enlarged_part_is_seen():
    view = View().zoomed(4.0).panned(-10.0, 0.0)
    cells = to_cells(half_and_half(), view, 20, 10, "blocks")
    assert {cell[1] for row in cells.rows for cell in row} == {(200, 0, 0)}


@given(
    st.lists(
        st.tuples(st.sampled_from(("zoom", "pan")), st.floats(0.01, 4.0), st.floats(-3.0, 3.0)), max_size=12
    )
)
def test_what_is_seen_stays_inside_the_picture(steps):
    view = View()
    for kind, a, b in steps:
        view = view.zoomed(a) if kind == "zoom" else view.panned(b, a)
        left, top, right, bottom = view.box(100, 50)
        assert -1e-6 <= left < right <= 100 + 1e-6
        assert -1e-6 <= top < bottom <= 50 + 1e-6


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 200), st.integers(1, 60))
def test_a_picture_fits_its_room(width, height, columns, rows):
    across, down = fitted(Image.new("1", (width, height)), columns, rows)
    assert 1 <= across <= columns and 1 <= down <= rows


def test_transparency_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_damaged_picture_is_an_error_that_can_be_said(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises((OSError, ValueError)):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "sixel"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "dumb", "SPD_PICTURES": "sixel"}, "sixel"),
        ({"TERM": "xterm-kitty", "SPD_PICTURES": "blocks"}, "blocks"),
        ({}, "blocks"),
    ],
)
def test_the_terminal_is_known_by_its_name(environ, protocol):
    assert picture_protocol(environ) == protocol


class Questioned(io.StringIO):
    def isatty(self):
        return True


def test_the_terminal_is_asked_nothing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("textual_image")]:
        monkeypatch.delitem(sys.modules, name)
    terminal = Questioned()
    monkeypatch.setattr(sys, "__stdout__", terminal)
    for protocol in ("kitty", "sixel"):
        assert figure.picture_widget(protocol).__name__
    assert sys.__stdout__ is terminal
    assert terminal.getvalue() == ""
