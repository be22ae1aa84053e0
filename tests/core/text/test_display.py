import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from core.text.display import byte_of_character, display, token_bytes

ESCAPE = re.compile(r"<0x([0-9A-F]{2})>|<U\+([0-9A-F]+)>|(.)", re.DOTALL)
SIGNS = {"·": " ", "↵": "\n", "⇥": "\t"}


def undisplay(shown: str) -> bytes:
    """The bytes back from their display, which proves that no two share one."""
    found = b""
    for byte, code, char in ESCAPE.findall(shown):
        found += (
            bytes((int(byte, 16),))
            if byte
            else str(chr(int(code, 16)) if code else SIGNS.get(char, char)).encode()
        )
    return found


@given(st.binary() | st.text().map(str.encode) | st.text("<>0xU+E2idA1· ↵\n").map(str.encode))
@example(b"<0xE2>")
@example("·".encode())
@example(b"\xe2\x82")
@example(b"<U+00B7> <id 5>")
@example("\u0301a\x1b[31m\u200b\u2028\u00a0".encode())
def test_display_can_be_read_back_and_is_safe(data: bytes) -> None:
    shown = display(data)
    assert undisplay(shown) == data
    assert not {unicodedata.category(char) for char in shown} & {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
        "Zs",
    }
    assert not shown or not unicodedata.category(shown[0]).startswith("M")


def test_legend() -> None:
    assert display(" a\n\té".encode()) == "·a↵⇥é"
    assert display("€".encode()[:2]) == "<0xE2><0x82>"
    assert display("·<0xE2>".encode()) == "<U+00B7><U+003C>0xE2>"
    assert display(b"\x1b[2J") == "<U+001B>[2J"


def test_spellings() -> None:
    assert sorted(byte_of_character().values()) == list(range(256))
    assert token_bytes("ĠtheÃ", "byte_level") == b" the\xc3"
    assert token_bytes("▁the", "metaspace") == b" the"
    assert token_bytes("<0xE2>", "metaspace") == b"\xe2"
    assert token_bytes("##ing", "plain") == b"##ing"
