"""A window of tokens on a cell grid: under every token its strength as a block, on it as a shade.

Colour repeats what characters say: a block ▁ to █ under the token is the strength, + or - before it the sign
of the component activation, and [brackets] stand around the token where the component fires. Every cell is
measured as terminals do, so wide characters and combining marks keep the rows under each other.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.style import Style
from rich.text import Text

from core.blocks import HEIGHTS, height

Shading = Literal["importance", "activation", "both"]
Tone = Literal["dark", "light", "16"]
"""What shades are mixed with: a dark or a light background, or none: the terminal's own colours."""
SHADINGS: tuple[Shading, ...] = ("importance", "activation", "both")

ELLIPSIS = "…"
NARROWEST = 8
"""A window is never laid out in fewer cells."""

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥"}
_UNSTEADY = (
    *(range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)),
    *(range(0x1F1E6, 0x1F200), range(0x1F3FB, 0x1F400)),
)
"""Variation selectors, flag letters, skin tones: terminals disagree on how wide they make their neighbour."""

_GREEN, _BLUE, _ORANGE = (52, 211, 153), (96, 165, 250), (251, 146, 60)
_DARK, _LIGHT = (24, 24, 27), (250, 250, 250)


class TokenLike(Protocol):
    """One token of a window."""

    @property
    def text(self) -> str:
        """What is shown for it."""
        ...

    @property
    def importance(self) -> float:
        """Causal importance in [0, 1]."""
        ...

    @property
    def activation(self) -> float:
        """Component activation."""
        ...


@dataclass(frozen=True)
class View:
    """How windows are shown."""

    shading: Shading = "importance"
    scale: float = 1.0
    """Magnitude of activation that is a full block."""
    centred: bool = True
    """The marked token of every window in one column, else the whole window, wrapped."""
    tone: Tone = "dark"


@dataclass(frozen=True)
class _Cell:
    """A token ready to be put on the grid; all rows are `width` cells wide."""

    rows: tuple[tuple[str, Style], ...]
    width: int


def harmless(text: str) -> str:
    """Text with everything visible and nothing that a terminal would obey or measure differently.

    What `core.text.display` wrote stays as it is; this is the second lock on the same door.
    """
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return "".join(_harmless(char, place == 0) for place, char in enumerate(text))


def _harmless(char: str, first: bool) -> str:
    if "!" <= char <= "~":
        return char
    if char in _SIGNS:
        return _SIGNS[char]
    category = unicodedata.category(char)
    mark = category.startswith("M")
    unsteady = any(ord(char) in span for span in _UNSTEADY) or (not mark and cell_len(char) == 0)
    if category in _HIDDEN or unsteady or (first and mark):
        return f"<U+{ord(char):04X}>"
    return char


def largest_activation(windows: Iterable[Sequence[TokenLike]]) -> float:
    """The largest magnitude of activation in any of the windows; 1 if all are zero."""
    return max((abs(token.activation) for window in windows for token in window), default=0.0) or 1.0


def window_lines(tokens: Sequence[TokenLike], mark: int, width: int, view: View) -> list[Text]:
    """One window as lines of at most `width` cells: a line of tokens, a line of blocks, and so on.

    `mark` is the index of the token where the component fires.
    """
    width = max(width, NARROWEST)
    if not view.centred:
        return _wrapped(tokens, mark, width, view)
    return _centred(tokens, mark, width, view)


def _centred(tokens: Sequence[TokenLike], mark: int, width: int, view: View) -> list[Text]:
    middle = _cell(tokens[mark], True, width - 2, view)
    start = max(1, min(width * 9 // 20, width - 1 - middle.width))
    left: list[_Cell] = []
    room = start
    for place in range(mark - 1, -1, -1):
        cell = _cell(tokens[place], False, width, view)
        if cell.width > room - (place > 0):
            break
        left.append(cell)
        room -= cell.width
    if len(left) < mark:
        left.append(_plain(ELLIPSIS, view))
        room -= 1
    cells = [_plain(" " * room, view)] if room > 0 else []
    cells += [*reversed(left), middle]
    room = width - start - middle.width
    for place in range(mark + 1, len(tokens)):
        cell = _cell(tokens[place], False, width, view)
        if cell.width > room - (place + 1 < len(tokens)):
            cells.append(_plain(ELLIPSIS, view))
            break
        cells.append(cell)
        room -= cell.width
    return _joined(cells, view)


def _wrapped(tokens: Sequence[TokenLike], mark: int, width: int, view: View) -> list[Text]:
    lines: list[Text] = []
    line: list[_Cell] = []
    room = width
    for place, token in enumerate(tokens):
        cell = _cell(token, place == mark, width, view)
        if cell.width > room and line:
            lines += _joined(line, view)
            line, room = [], width
        line.append(cell)
        room -= cell.width
    return lines + (_joined(line, view) if line else [])


def _joined(cells: Sequence[_Cell], view: View) -> list[Text]:
    rows = 3 if view.shading == "both" else 2
    lines = []
    for row in range(rows):
        line = Text(no_wrap=True, end="")
        for cell in cells:
            line.append(*cell.rows[row])
        lines.append(line)
    return lines


def _plain(text: str, view: View) -> _Cell:
    width = cell_len(text)
    blank = (" " * width, Style.null())
    return _Cell(((text, Style(dim=True)), blank, blank)[: 3 if view.shading == "both" else 2], width)


def _cell(token: TokenLike, marked: bool, widest: int, view: View) -> _Cell:
    text = harmless(token.text) or "∅"
    signed = view.shading != "importance"
    strength = _activation_block(token.activation, view.scale) if signed else " "
    brackets = 2 if marked else 0
    if cell_len(text) > widest - brackets:
        text = set_cell_size(text, max(widest - brackets - 1, 1)) + ELLIPSIS
    if signed and strength != " " and cell_len(text) + brackets < 2:
        text += " "  # room for a sign and a block
    if marked:
        text = f"[{text}]"
    width = cell_len(text)
    sign = 1 if token.activation >= 0 else -1
    importance = (height(min(token.importance, 1.0)) * width, shade_style(token.importance, 0, view.tone))
    blocks = strength * width if strength == " " else "+-"[sign < 0] + strength * (width - 1)
    magnitude = abs(token.activation) / view.scale if strength != " " else 0.0
    activation = (blocks, shade_style(magnitude, sign, view.tone))
    under = {
        "importance": (importance,),
        "activation": (activation,),
        "both": (importance, activation),
    }[view.shading]
    if view.shading == "activation":
        style = background_style(magnitude, sign, view.tone)
    else:
        style = background_style(token.importance, 0, view.tone)
    if marked:
        style += Style(bold=True, underline=True)
    return _Cell(((text, style), *under), width)


def _activation_block(activation: float, scale: float) -> str:
    """Rounded to the nearest height: activations are hardly ever zero, and small ones should not distract."""
    level = round(min(abs(activation) / scale, 1.0) * 8)
    return HEIGHTS[level]


def shade_style(strength: float, sign: int, tone: Tone) -> Style:
    """Colour of the blocks: green for a causal importance (sign 0), blue for +, orange for - activation."""
    return _shade(_level(strength), sign, tone, False)


def background_style(strength: float, sign: int, tone: Tone) -> Style:
    """The same as a background, with text on it that can be read; four shades, the blocks have eight."""
    return _shade((_level(strength) + 1) // 2 * 2, sign, tone, True)


def _level(strength: float) -> int:
    return HEIGHTS.index(height(min(strength, 1.0)))


@lru_cache(maxsize=256)
def _shade(level: int, sign: int, tone: Tone, background: bool) -> Style:
    if level == 0:
        return Style.null()
    if tone == "16":
        own = {0: "green", 1: "blue", -1: "yellow"}[sign]
        return Style(color=own, reverse=background and level > 4)
    tint = {0: _GREEN, 1: _BLUE, -1: _ORANGE}[sign]
    if not background:
        tint = tint if tone == "dark" else tuple(part // 2 for part in tint)
        return Style(color=Color.from_triplet(ColorTriplet(*tint)))
    amount = 0.12 + 0.80 * level / 8
    base = _DARK if tone == "dark" else _LIGHT
    mixed = [round(low + (high - low) * amount) for low, high in zip(base, tint, strict=True)]
    light = _luminance(mixed) > 0.18  # from here on black has more contrast than white
    ink = ColorTriplet(0, 0, 0) if light else ColorTriplet(255, 255, 255)
    return Style(color=Color.from_triplet(ink), bgcolor=Color.from_triplet(ColorTriplet(*mixed)))


def _luminance(color: Sequence[int]) -> float:
    """Relative luminance of sRGB parts, as contrast is reckoned with."""
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
