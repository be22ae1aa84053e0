"""Colours: dark, light, and the terminal's own 16; characters on their way to the terminal."""

import locale
import os
import re
import sys
from collections.abc import Mapping

from rich.cells import cell_len
from rich.segment import Segment
from rich.terminal_theme import TerminalTheme
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

THEMES: tuple[Theme, ...] = (
    Theme(
        name="dark",
        primary="#7fb4ff",
        secondary="#9ece9a",
        accent="#e6b673",
        warning="#e6b673",
        error="#ff7a85",
        success="#8fd694",
        foreground="#d8dee6",
        background="#12161b",
        surface="#12161b",
        panel="#1d242c",
        variables={"cursor-background": "#2b4a6f", "cursor-foreground": "#ffffff", "faint": "#8a96a3"},
    ),
    Theme(
        name="light",
        primary="#0b57a4",
        secondary="#2d6a2f",
        accent="#8a5300",
        warning="#8a5300",
        error="#b3001b",
        success="#1f6b2c",
        foreground="#1a1f24",
        background="#fbfbf8",
        surface="#fbfbf8",
        panel="#e9ebe6",
        dark=False,
        variables={"cursor-background": "#bcd7f5", "cursor-foreground": "#000000", "faint": "#5b656e"},
    ),
    Theme(
        name="16",
        ansi=True,
        primary="ansi_default",
        secondary="ansi_default",
        accent="ansi_default",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_green",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        variables={
            "cursor-background": "ansi_default",
            "cursor-foreground": "ansi_default",
            "faint": "ansi_default",
            "ansi-background": "ansi_default",
            "ansi-foreground": "ansi_default",
            "block-cursor-background": "ansi_default",
            "block-cursor-foreground": "ansi_default",
            "block-cursor-text-style": "reverse",
            "input-cursor-background": "ansi_default",
            "input-cursor-foreground": "ansi_default",
            "input-cursor-text-style": "reverse",
            "scrollbar": "ansi_default",
            "scrollbar-background": "ansi_default",
        },
    ),
)
"""`16` sends only the terminal's own colours, so its contrast is the one its owner chose."""

_DARK = ((255, 122, 133), (143, 214, 148), (230, 182, 115), (127, 180, 255), (214, 160, 255), (110, 211, 224))
_LIGHT = ((179, 0, 27), (31, 107, 44), (138, 83, 0), (11, 87, 164), (122, 30, 140), (0, 103, 120))
ANSI_DARK = TerminalTheme(
    (18, 22, 27),
    (216, 222, 230),
    [(58, 66, 75), *_DARK, (216, 222, 230)],
    [(138, 150, 163), *_DARK, (255, 255, 255)],
)
ANSI_LIGHT = TerminalTheme(
    (251, 251, 248),
    (26, 31, 36),
    [(26, 31, 36), *_LIGHT, (91, 101, 110)],
    [(91, 101, 110), *_LIGHT, (26, 31, 36)],
)
"""What `red` or `cyan` in a row's style is on a dark and on a light background: legible on both."""

THEME_NAMES = tuple(theme.name for theme in THEMES)

_ASCII: Mapping[str, str] = {
    **dict.fromkeys("▏▎▍▌│┃┆┊╎║▕", "|"),
    **dict.fromkeys("▋▊▉█▓▇▆", "#"),
    **dict.fromkeys("▒▅▄", "+"),
    **dict.fromkeys("▃░", "-"),
    **dict.fromkeys("▂▁·∙⋅", "."),
    **dict.fromkeys("─━┄┈╌═▔", "-"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬", "+"),
    **dict.fromkeys("▸▶›→❯", ">"),
    **dict.fromkeys("◀←‹", "<"),
    **dict.fromkeys("▲↑", "^"),
    **dict.fromkeys("▼↓", "v"),
    "✓": "+",
    "✗": "x",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "~",
    "⏎": "<",
    "⌫": "<",
    "␣": "_",
    "↵": "\\",
    "‖": "|",
    "●": "*",
    "○": "o",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    " ": " ",
}


def default_theme(environ: Mapping[str, str]) -> str:
    """The theme of a terminal nobody has chosen one for: `16` where there are no more colours, or none."""
    if "NO_COLOR" in environ:
        return "16"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "dark"
    term = environ.get("TERM", "")
    many = any(part in term for part in ("256", "direct", "kitty", "alacritty", "ghostty", "foot", "wezterm"))
    return "dark" if many or not term else "16"


def terminal_encoding(environ: Mapping[str, str] = os.environ) -> str:
    """The encoding the terminal is written in: that of the standard streams, else of the locale."""
    # Python writes UTF-8 in the C locale too; who asked for that one by name has a terminal without it.
    named = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG")
    if named in ("C", "POSIX") and "PYTHONUTF8" not in environ:
        return "ascii"
    for stream in (sys.__stderr__, sys.__stdout__):
        if stream is not None and getattr(stream, "encoding", None):
            return stream.encoding
    return locale.getpreferredencoding(False)


def shows_unicode(encoding: str) -> bool:
    """Whether blocks and arrows can be written in `encoding`."""
    try:
        "█▁▸…".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain_text(text: str, encoding: str = "ascii") -> str:
    """`text` with every character that `encoding` has not replaced by one that it has, of the same width."""
    try:
        text.encode(encoding)
        return text
    except (UnicodeEncodeError, LookupError):
        return "".join(_plain(character, encoding) for character in text)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class NoControls(LineFilter):
    """Takes out characters that a terminal would obey: a name in a file may hold an escape sequence."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments without them; their width is zero, so nothing moves."""
        if not any(_CONTROLS.search(text) for text, _, _ in segments):
            return segments
        return [
            segment if segment.control else Segment(_CONTROLS.sub("", segment.text), segment.style)
            for segment in segments
        ]


class PlainMarks(LineFilter):
    """Replaces what the terminal's encoding cannot write, on its way to the screen."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self.encoding = encoding

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments with plain marks, as wide as they were."""
        return [Segment(plain_text(text, self.encoding), style, control) for text, style, control in segments]


def last_filters(encoding: str) -> list[LineFilter]:
    """What every line goes through on its way to a terminal written in `encoding`."""
    return [NoControls(), *([] if shows_unicode(encoding) else [PlainMarks(encoding)])]


def _plain(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
        return character
    except (UnicodeEncodeError, LookupError):
        return _ASCII.get(character, "?" * cell_len(character))
