"""What can be typed after `:`; the palette offers the same commands."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from core.errors import UsageError, nearest_names


@dataclass(frozen=True)
class Command:
    """One `:` command."""

    name: str
    """Its first word."""
    help: str
    """What it does, in a few words."""
    run: Callable[[str], object]
    """Called with what follows the name, stripped; raises `SpdError` for what cannot be done."""
    argument: str = ""
    """What follows the name, in capitals: `RUN`; `[FILE]` when it may be left out."""
    complete: Callable[[str], Iterable[str]] | None = None
    """Candidates for the argument, given what is typed of it; must be quick."""

    @property
    def usage(self) -> str:
        """How it is written."""
        return f"{self.name} {self.argument}".strip()


@dataclass(frozen=True)
class Completion:
    """One way to go on with a line."""

    line: str
    """The whole line when it is taken."""
    label: str
    """What is shown."""
    help: str = ""
    """What it does, when it is a command."""


def parse(line: str, commands: Sequence[Command]) -> tuple[Command, str]:
    """The command a line names, by its name or a unique beginning of it, and its argument.

    Raises:
        UsageError: no command or several fit, or the argument is missing.
    """
    name, _, argument = line.strip().partition(" ")
    argument = argument.strip()
    fitting = [command for command in commands if command.name == name]
    fitting = fitting or [command for command in commands if name and command.name.startswith(name)]
    if not fitting:
        raise UsageError(f"no command {name!r}.", nearest_names(name, {command.name for command in commands}))
    if len(fitting) > 1:
        names = ", ".join(command.name for command in fitting)
        raise UsageError(f"{name!r} may be {names}.", "Type more of it, or press Tab.")
    command = fitting[0]
    if command.argument and not command.argument.startswith("[") and not argument:
        raise UsageError(
            f"`:{command.name}` needs {command.argument}.", f"`:{command.usage}`: {command.help}."
        )
    if argument and not command.argument:
        raise UsageError(f"`:{command.name}` takes nothing after it, got {argument!r}.")
    return command, argument


def completions(line: str, commands: Sequence[Command], most: int = 200) -> list[Completion]:
    """The ways to go on with `line`: commands that begin so, or candidates for the argument."""
    name, space, argument = line.lstrip().partition(" ")
    if not space:
        chosen = sorted((command for command in commands if command.name.startswith(name)), key=_by_name)
        return [
            Completion(command.name + (" " if command.argument else ""), command.usage, command.help)
            for command in chosen
        ]
    found = [command for command in commands if command.name == name]
    if len(found) != 1 or found[0].complete is None:
        return []
    typed = argument.lstrip()
    candidates = [text for text in found[0].complete(typed) if _fits(typed, text)]
    candidates.sort(key=lambda text: not text.lower().startswith(typed.lower()))
    return [Completion(f"{name} {text}", text) for text in candidates[:most]]


def _fits(typed: str, candidate: str) -> bool:
    return typed.lower() in candidate.lower()


def _by_name(command: Command) -> str:
    return command.name
