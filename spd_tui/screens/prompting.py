"""What a screen asks for in a line at its bottom: a `:` command, or the words of a `/` search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spd_tui.commands import Command, Completion, completions, parse

if TYPE_CHECKING:
    from spd_tui.screens.base import SpdScreen


def ask_search(screen: "SpdScreen") -> None:
    """Open the search line; every key narrows, Esc goes back to the search before."""
    before, memory = screen.search, screen.app.memory

    def keep(text: str) -> None:
        memory.typed("search", text)
        if text != screen.search:
            screen.set_search(text)

    screen.ask(
        screen.SEARCH_SIGN,
        keep,
        value=before,
        changed=screen.set_search,
        cancelled=lambda: screen.set_search(before),
        history=memory.history("search"),
    )


def ask_command(screen: "SpdScreen", text: str = "") -> None:
    """Open the command line, with `text` in it."""
    commands = all_commands(screen)

    def complete(line: str) -> Sequence[Completion]:
        return completions(line, commands)

    screen.ask(
        ":",
        screen.run_command,
        value=text,
        complete=complete,
        history=screen.app.memory.history("command"),
    )


def all_commands(screen: "SpdScreen") -> list[Command]:
    """The commands of a screen and those of every screen; the screen's own win."""
    own = screen.commands()
    names = {command.name for command in own}
    return own + [command for command in screen.app.shared_commands() if command.name not in names]


def run_command(screen: "SpdScreen", line: str) -> None:
    """Do what a `:` line says; what cannot be done is said."""
    from core.errors import SpdError

    if not line.strip():
        return
    screen.app.memory.typed("command", line.strip())
    try:
        command, argument = parse(line, all_commands(screen))
        command.run(argument)
    except SpdError as error:
        screen.say(str(error), "error")
