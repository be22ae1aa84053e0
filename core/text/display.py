"""Tokens shown exactly: every byte of a token can be read off its display; nothing reaches a terminal raw.

    shown        stands for
    ·            a space
    ↵            a newline
    ⇥            a tab
    <0xE2>       a byte that is not part of a whole UTF-8 character within this token
    <U+00A0>     a character that cannot be seen or would disturb a terminal (control and format characters,
                 other spaces, private and unassigned characters, a combining mark that begins a token),
                 and also ·, ↵ and ⇥ themselves, and a < where one of these forms would begin
    <id 50300>   an id that has no token
    anything else   itself

The map from bytes to display is one to one, so tokens that look equal are equal.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Literal

Spelling = Literal["byte_level", "metaspace", "plain"]
"""How a vocabulary writes tokens: a character per byte; spaces as ▁ and bytes as <0xE2>; or as they are."""

SPACE, NEWLINE, TAB = "·", "↵", "⇥"

_SIGNS = {" ": SPACE, "\n": NEWLINE, "\t": TAB}
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
_FORM = re.compile(r"<(?=0x[0-9A-F]{2}>|U\+[0-9A-F]+>|id -?[0-9]+>)")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def display(data: bytes) -> str:
    """The bytes of one token as visible text (see the legend above)."""
    shown: list[str] = []
    while data:
        try:
            whole, rest, data = data.decode("utf-8"), b"", b""
        except UnicodeDecodeError as error:
            whole = data[: error.start].decode("utf-8")
            rest, data = data[error.start : error.end], data[error.end :]
        shown.append(_display_text(whole, begins=not shown))
        shown.extend(f"<0x{byte:02X}>" for byte in rest)
    return "".join(shown)


def display_missing(token_id: int) -> str:
    """What stands for an id without a token."""
    return f"<id {token_id}>"


def token_bytes(token: str, spelling: Spelling) -> bytes:
    """The bytes that an entry of a vocabulary stands for."""
    if spelling == "byte_level":
        table = byte_of_character()
        return b"".join(
            bytes((table[char],)) if char in table else char.encode("utf-8", "replace") for char in token
        )
    if spelling == "metaspace":
        byte = _BYTE.fullmatch(token)
        return bytes((int(byte[1], 16),)) if byte else token.replace("▁", " ").encode("utf-8", "replace")
    return token.encode("utf-8", "replace")


@lru_cache(maxsize=1)
def byte_of_character() -> dict[str, int]:
    """The alphabet of byte-level vocabularies: visible Latin-1 characters are themselves, and the other
    bytes take, in order, the characters from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


def _display_text(text: str, begins: bool) -> str:
    forms = {match.start() for match in _FORM.finditer(text)} if "<" in text else set()
    return "".join(
        "<U+003C>" if place in forms else _display_character(char, first=begins and place == 0)
        for place, char in enumerate(text)
    )


def _display_character(char: str, first: bool) -> str:
    if " " < char < "\x7f":
        return char
    if char in _SIGNS:
        return _SIGNS[char]
    category = unicodedata.category(char)
    if category in _HIDDEN or char in _SIGNS.values() or (first and category.startswith("M")):
        return f"<U+{ord(char):04X}>"
    return char
