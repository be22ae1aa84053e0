"""The errors a person may meet, each with what to do next and the exit code it ends a command with."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_NAMES = 20


class SpdError(Exception):
    """Something went wrong while doing what was asked (exit code 1).

    `message` names the thing, its value and what is allowed; `remedy` is the next step.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


class UsageError(SpdError):
    """What was asked cannot be done as asked: a wrong name, value, file or flag (exit code 2)."""

    exit_code = 2


class Interrupted(SpdError):
    """The user stopped the work; everything up to the stop is saved (exit code 130, as shells do)."""

    exit_code = 130


def nearest_names(name: str, known: Iterable[str]) -> str:
    """A phrase that offers the names closest to `name`, or the known ones (twenty at most) when none is."""
    known = sorted(set(known))
    close = sorted(get_close_matches(name, known, n=3, cutoff=0.55))
    if close:
        *others, last = close
        return f"Did you mean {', '.join(others)} or {last}?" if others else f"Did you mean {last}?"
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"Known: {', '.join(known[:_MOST_NAMES])}{more}."
