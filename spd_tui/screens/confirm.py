"""A question before something that cannot be undone."""

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from spd_tui.keys import bind
from spd_tui.screens.base import SpdScreen


class ConfirmScreen(SpdScreen):
    """A screen of its own: what is about to happen, `y` does it, anything that goes back does not."""

    HINTS = "y yes  n no"
    BINDINGS: ClassVar = [
        bind("confirm", "y", "yes, do it"),
        bind("refuse", "n", "no, go back"),
    ]

    def __init__(self, question: str, consequences: list[str], confirmed: Callable[[], object]) -> None:
        super().__init__()
        self._question = question
        self._consequences = consequences
        self._confirmed = confirmed

    def compose_body(self) -> ComposeResult:
        """The question and what it means."""
        text = Text("\n")
        text.append(self._question + "\n\n", "bold")
        for line in self._consequences:
            text.append(line + "\n")
        text.append("\ny", "bold reverse")
        text.append(" yes, do it    ")
        text.append("n", "bold reverse")
        text.append(" no, go back")
        yield Static(text, id="question")

    def on_mount(self) -> None:
        """Where we are."""
        self.set_crumbs("are you sure?")

    def action_confirm(self) -> None:
        """Do it, from the screen that asked."""
        self.app.pop_screen()
        self._confirmed()

    def action_refuse(self) -> None:
        """Do nothing."""
        self.app.pop_screen()
