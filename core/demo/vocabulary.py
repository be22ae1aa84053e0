"""A made-up vocabulary: words as byte-pair encodings cut them, and everything that is hard to show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.text.display import display

_FUNCTION_WORDS = """
the , . of and to a in that it was he for on she with as his her at be this had not are but from or have
an they which one you were all their there been if more when will would who so no said what up its about
into than them can only other time new some could these two may then do first any my now such like our
over man me even most made after also did many before must through back years where much your way well
down should because each just those people how too little state good very make world still own see men
work long get here between both life being under never day same another know while last might us great old
year off come since against go came right used take three
"""
_ROOTS = """
act add air answer arm art ask back ball band bank bar base bath bear beat bell bird black blood blow
board boat body bone book born box branch bread break bridge bright bring brother brown build burn buy
call camp care carry case catch cell center chair chance change charge check child choose circle city
claim class clean clear climb clock cloud coast cold color cook cool copy corn cost count course cover
cross crowd cry cut dance dark dead deal dear deep door draw dream dress drink drive drop dry dust ear
earth east edge egg end engine even event eye face fact fall farm fast father fear feed feel field fight
fill film find fire fish flat floor flow flower follow food foot force forest form frame free fresh friend
front fruit game garden gate gather gift glass gold grass gray green ground group grow guess guide hand
hang harbor hat head hear heart heat heavy help hill history hold hole home hope horse hour house hunt ice
iron island join jump key kind king knife lake lamp land laugh law lead leaf learn left letter level lie
lift light line list listen load lock look lose loud love low market mass matter meal mean measure meat
meet milk mind mine minute miss money month moon morning mother mountain mouth move music name need night
noise north nose note ocean offer oil open order page paint pair paper part pass path pay peace pen person
pick picture piece plain plan plant play point poor port post pound power press print problem pull push
race rain reach read ready reason record red rest rich ride ring rise river road rock roll room root rope
rose round rule run safe sail salt sand save school science score sea season seat seed sell send sense
serve set settle seven shade shape share sharp ship shoe shop shore short shoulder shout show side sign
silver sing sister sit skin sky sleep slip slow small smell smile snow soft soil song sort sound south
space speak speed spell spot spread spring square stand star start station stay steam steel step stick
stone stop store storm story stream street string strong sugar suit summer sun swim table tail talk teach
team tell test thick thin thought throw tie tool top touch town track trade train travel tree trip trouble
truck trust turn valley view village visit voice wait walk wall war warm wash watch water wave wear
weather week weight west wheel white wide wild wind window winter wire wish wonder wood word yard
"""
_ENDINGS = ("s", "ed", "ing", "er", "ers", "ly", "less", "ness", "able", "ful", "ish", "like")
_PIECES = (
    "ing",
    "ed",
    "ly",
    "er",
    "est",
    "s",
    "'s",
    "n't",
    "tion",
    "ment",
    "al",
    "ous",
    "un",
    "re",
    "th",
    "qu",
)
_HARD = (
    *(bytes((value,)) for value in (0x00, 0x07, 0x08, 0x1B, 0x7F)),
    *(bytes((value,)) for value in (0x80, 0x99, 0xA0, 0xC3, 0xE2, 0xE3, 0xF0, 0x9F, 0xFF)),
    b"\xe2\x80",
    b" \xe2\x80",
    b"\xf0\x9f\x98",
    *(
        text.encode()
        for text in (
            "\t",
            "\r\n",
            "  ",
            "    ",
            " " * 16,
            "\n\n",
            " \n",
            "\x1b[31mred\x1b[0m",
            "\x1b]52;c;aGVsbG8=\x07",
            "cafe\u0301",
            "\u0301",
            "e\u0301\u0323",
            "\u200d",
            "\u202eabc",
            "\ufeff",
            "\u00a0",
            "\u00ad",
            "·",
            "↵",
            "<0xE2>",
            "<|endoftext|>",
            "😀",
            " 🚀",
            "👩‍👩‍👧‍👦",
            "🇸🇪",
            "👍🏽",
            "❤️",
            "的",
            "日本",
            "語",
            " 漢字",
            "한국",
            "ありがとう",
            "שלום",
            "مرحبا",
            "नमस्ते",
            "ไทย",
            " Ångström",
            "naïve",
            "½",
            "∑",
            "→",
            "═" * 32,
            "-" * 64,
            "[bold]",
            "[/]",
            "\\n",
            " $\\alpha$",
            '"',
            "'",
            "%s",
            "{}",
        )
    ),
)
_ONSETS = ("B", "Br", "C", "D", "F", "G", "H", "K", "L", "M", "N", "P", "R", "S", "St", "T", "Tr", "V", "W")
_MIDDLES = ("a", "ar", "e", "el", "en", "i", "in", "o", "or", "u")
_CODAS = (
    "bury",
    "den",
    "field",
    "ham",
    "land",
    "lin",
    "low",
    "man",
    "mont",
    "ner",
    "sen",
    "son",
    "ton",
    "wick",
)


@dataclass(frozen=True)
class Vocabulary:
    """Texts of the token ids, and how often each comes up."""

    texts: tuple[str, ...]
    """What is shown for each id; see `core.text.display`."""
    frequencies: NDArray[np.float64]
    """Probability of each id in the stream, (vocabulary); a power of its rank."""
    hard: NDArray[np.int64]
    """Ids of the tokens that are hard to show."""


def make_vocabulary(size: int) -> Vocabulary:
    """The first `size` tokens: hard ones first, then words from the most to the least common.

    `size` is at least 512, so that every hard token is among them.
    """
    assert size >= 512
    common = _FUNCTION_WORDS.split()
    words = [(word if word in ",." else f" {word}").encode() for word in common]
    words.insert(8, b"\n")
    words += [f" {root}".encode() for root in _ROOTS.split()]
    words += [piece.encode() for piece in _PIECES]
    words += [f" {_inflected(root, ending)}".encode() for ending in _ENDINGS for root in _ROOTS.split()]
    words += [
        word.encode().strip().capitalize() for word in (f" {w}" for w in _FUNCTION_WORDS if w.isalpha())
    ]
    names = (f" {a}{b}{c}".encode() for c in _CODAS for b in _MIDDLES for a in _ONSETS)
    seen = dict.fromkeys(_HARD)
    for token in [*words, *names]:
        seen.setdefault(token)
    tokens = list(seen)[:size]
    tokens += [f" {number}".encode() for number in range(size - len(tokens))]
    hard = np.arange(len(_HARD))
    ranks = np.arange(size, dtype=np.float64) - len(_HARD) + 1
    # Hard tokens stand in the middle of the ranking: common enough to have examples.
    ranks[hard] = np.linspace(100, 1000, len(hard))
    frequencies = (ranks + 3.0) ** -1.05
    return Vocabulary(tuple(display(token) for token in tokens), frequencies / frequencies.sum(), hard)


def _inflected(root: str, ending: str) -> str:
    if ending == "s" and root.endswith(("s", "x", "sh", "ch")):
        return root + "es"
    if root.endswith("e") and ending[0] in "aei":
        return root[:-1] + ending
    return root + ending
