"""Text broken into lines, but never within a number in groups or a `command`: it would read as two."""

import re
import textwrap

_KEPT_BLANK = "\N{NO-BREAK SPACE}"
_GROUPS = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_COMMAND = re.compile(r"`[^`]+`\S?")


def wrapped(text: str, width: int, indent: str = "", most: int | None = None) -> list[str]:
    """The lines of `text`, each of at most `width`; those after the first begin with `indent`.

    Of more than `most` lines the last one ends with ` …`.
    """
    kept = _COMMAND.sub(lambda found: _held(found[0], width - len(indent)), _GROUPS.sub(_KEPT_BLANK, text))
    lines = textwrap.wrap(
        kept,
        width,
        subsequent_indent=indent,
        replace_whitespace=False,
        max_lines=most,
        placeholder=" …",
    )
    return [line.replace(_KEPT_BLANK, " ") for line in lines]


def _held(command: str, width: int) -> str:
    return command.replace(" ", _KEPT_BLANK) if len(command) <= width else command
