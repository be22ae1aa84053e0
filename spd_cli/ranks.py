"""`--dp N`: one command as N processes."""

import sys

import typer

from core.errors import SpdError
from core.launching import end_with_launcher, launch, launched_place


def spread(dp: int | None) -> None:
    """Where `--dp N` asks for N processes and they are not there yet: start them, and end with their code.

    Returns in each of the processes themselves, and where one is enough. Ranks other than 0 are silent.

    Raises:
        SpdError: a rank other than 0 failed first; with the end of what it said.
    """
    if launched_place(dp) is not None:
        end_with_launcher()
        return
    if dp in (None, 1):
        return
    code, wrong = launch([sys.executable, "-m", "spd_cli", *sys.argv[1:]], dp)
    if wrong:
        raise SpdError(wrong)
    raise typer.Exit(code)


def lost_partner(error: Exception) -> bool:
    """Whether an error only says that another rank has ended."""
    if launched_place(None) is None:
        return False
    return type(error).__name__ == "DistBackendError" or any(
        sign in str(error) for sign in ("Connection closed by peer", "Connection reset by peer", "gloo")
    )


def is_follower(dp: int | None) -> bool:
    """Whether this process is a rank that leaves the talking to rank 0."""
    place = launched_place(dp)
    return place is not None and place.rank > 0
