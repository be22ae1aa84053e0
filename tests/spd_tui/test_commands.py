"""`:` commands: names and beginnings, arguments, what completes them, what is said of mistakes."""

import pytest

from core.errors import UsageError
from spd_tui.commands import Command, completions, parse


def command(name: str, argument: str = "", complete=None) -> Command:
    return Command(name, f"do {name}", lambda _: None, argument, complete)


COMMANDS = [
    command("open", "RUN", lambda typed: ["s-11", "s-22", "tms_5-2"]),
    command("quit"),
    command("sort", "COLUMN", lambda typed: ["loss", "L0"]),
    command("search", "[WORDS]"),
]


def test_a_name_or_a_unique_beginning_of_it():
    assert parse("quit", COMMANDS)[0].name == "quit"
    assert parse("q", COMMANDS)[0].name == "quit"
    found, argument = parse("  open   s-11 and more ", COMMANDS)
    assert (found.name, argument) == ("open", "s-11 and more")
    assert parse("search", COMMANDS)[1] == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("opne x", ["'opne'", "Did you mean open"]),
        ("s loss", ["sort, search", "Tab"]),
        ("open", ["needs RUN", ":open RUN"]),
        ("quit now", ["nothing after it", "now"]),
        ("", ["no command"]),
    ],
)
def test_mistakes_are_explained(line, words):
    with pytest.raises(UsageError) as caught:
        parse(line, COMMANDS)
    assert all(word in str(caught.value) for word in words), caught.value


def test_names_complete_then_arguments():
    assert [option.line for option in completions("s", COMMANDS)] == ["search ", "sort "]
    assert [option.label for option in completions("", COMMANDS)][:2] == ["open RUN", "quit"]
    assert [option.line for option in completions("open s-", COMMANDS)] == ["open s-11", "open s-22"]
    assert [option.line for option in completions("open 5", COMMANDS)] == ["open tms_5-2"]
    assert [option.line for option in completions("sort l", COMMANDS)] == ["sort loss", "sort L0"]
    assert completions("quit ", COMMANDS) == [] == completions("nothing x", COMMANDS)
