"""What a terminal draws with, and saying it once: over ssh most of what a screen costs is colours said again.

Textual writes each piece of text as its whole style, the text, and a reset. Here only what differs from the
style before is written, which leaves the same screen with a third of the bytes or less.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_STYLE = re.compile(r"\x1b\[([0-9;]*)m")
_MOVE = re.compile(r"(?:\x1b\[\d+;\d+H|\x1b\[\d+C|\r\n)*")
"""What goes to another place and shows nothing, so that the style there does not matter."""


class Style(NamedTuple):
    """What a terminal draws with."""

    flags: frozenset[str] = frozenset()
    """Bold, underline and so on, by number."""
    foreground: str = "39"
    background: str = "49"


PLAIN = Style()

SEEN_ON_BLANKS = frozenset(("4", "5", "6", "7", "8", "9", "21", "51", "52", "53"))
"""Underline, reverse and the like."""


class StyleThrift:
    """Shortens what is written to one terminal; remembers the style it was left with."""

    def __init__(self) -> None:
        self._style: Style | None = PLAIN

    def shorten(self, data: str) -> str:
        """Text that does to the terminal what `data` would, styles included."""
        pieces = _STYLE.split(data)
        shown = wanted = self._style
        written: list[str] = []
        for number, piece in enumerate(pieces):
            if number % 2:
                wanted = changed(wanted, piece)
                if wanted is None:  # a style that is not understood is passed on, and whatever follows it
                    written.append(f"\x1b[{piece}m")
                    shown = None
            elif piece:
                if shown is not wanted and wanted is not None and not _MOVE.fullmatch(piece):
                    target = wanted if piece.strip(" ") or shown is None else on_blanks(shown, wanted)
                    written.append(transition(shown, target))
                    shown = target
                written.append(piece)
        if shown is not wanted and wanted is not None:
            written.append(transition(shown, wanted))
        self._style = wanted
        return "".join(written)


@lru_cache(maxsize=4096)
def changed(style: Style | None, numbers: str) -> Style | None:
    """`style` after a terminal was told `numbers`; None when that is not known."""
    parts = numbers.split(";") if numbers else ["0"]
    if parts[0] in ("0", ""):
        style, parts = PLAIN, parts[1:]
    if style is None:
        return None
    flags, foreground, background = set(style.flags), style.foreground, style.background
    while parts:
        part, *parts = parts
        if part in ("38", "48"):
            count = {"5": 2, "2": 4}.get(parts[0] if parts else "", 0)
            if not count or len(parts) < count:
                return None
            colour, parts = ";".join([part, *parts[:count]]), parts[count:]
            foreground, background = (colour, background) if part == "38" else (foreground, colour)
        elif re.fullmatch("3[0-79]|9[0-7]", part):
            foreground = part
        elif re.fullmatch("4[0-79]|10[0-7]", part):
            background = part
        elif re.fullmatch("[1-9]|21|5[1-3]", part):
            flags.add(part)
        else:
            return None
    # One object for each style, so that comparing two is comparing addresses.
    return _the_same(Style(frozenset(flags), foreground, background))


@lru_cache(maxsize=4096)
def on_blanks(before: Style, after: Style) -> Style:
    """What blanks of style `after` may as well be drawn with: nothing of them is seen but the background."""
    if (before.flags | after.flags) & SEEN_ON_BLANKS:
        return after
    return _the_same(before._replace(background=after.background))


@lru_cache(maxsize=4096)
def transition(before: Style | None, after: Style) -> str:
    """The shortest sequence that leads from one style to the other; from None it says everything."""
    parts = sorted(after.flags)
    parts += [after.foreground] if after.foreground != "39" else []
    parts += [after.background] if after.background != "49" else []
    anew = f"\x1b[{';'.join(['0', *parts]) if parts else '0'}m"
    if before is None or not after.flags >= before.flags:
        return anew
    if before == after:
        return ""
    parts = sorted(after.flags - before.flags)
    parts += [after.foreground] if after.foreground != before.foreground else []
    parts += [after.background] if after.background != before.background else []
    return min(f"\x1b[{';'.join(parts)}m", anew, key=len)


@lru_cache(maxsize=4096)
def _the_same(style: Style) -> Style:
    return PLAIN if style == PLAIN else style
