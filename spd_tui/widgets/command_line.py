"""The line at the bottom that takes a command, a search or an answer, in place of the status line."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Static

from spd_tui.commands import Completion


@dataclass
class Prompt:
    """What is asked, and what happens with the answer."""

    sign: str
    """What stands before the text: `:`, `/` or a question."""
    submitted: Callable[[str], object]
    """Gets the text on Enter; the line is closed by then."""
    value: str = ""
    """The text to begin with."""
    changed: Callable[[str], object] | None = None
    """Gets the text whenever it has changed."""
    cancelled: Callable[[], object] | None = None
    """Called on Esc, or Backspace with nothing left."""
    complete: Callable[[str], Sequence[Completion]] | None = None
    """Ways to go on with a text."""
    history: Sequence[str] = field(default_factory=tuple)
    """Earlier texts, oldest first, for the up and down keys."""


class _Line(Input):
    """An input whose up, down, Tab and Esc belong to the command line around it."""

    KEYS: ClassVar[frozenset[str]] = frozenset({"up", "down", "tab", "shift+tab", "escape"})

    async def _on_key(self, event: events.Key) -> None:
        await self.take(event)

    async def take(self, event: events.Key) -> bool:
        """Deal with a key that is text or belongs to the command line; False for any other."""
        leaves = event.key == "backspace" and not self.value
        if event.key in self.KEYS or leaves:
            event.stop()
            event.prevent_default()
            line = self.query_ancestor(CommandLine)
            line.take_key("escape" if leaves else event.key)
            return True
        await super()._on_key(event)
        return event.is_printable


class CommandLine(Widget):
    """One line of text with, above it, the ways to go on; Tab takes them in turn."""

    DEFAULT_CSS = """
    CommandLine { layer: notice; dock: bottom; height: auto; layout: vertical; }
    CommandLine #candidates { height: 1; }
    CommandLine #candidates.none { display: none; }
    CommandLine Horizontal { height: 1; }
    CommandLine #sign { width: auto; padding: 0 0 0 1; }
    CommandLine _Line, CommandLine _Line:focus {
        width: 1fr; height: 1; border: none; padding: 0; background: transparent;
    }
    """

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self.prompt = prompt
        self._options: Sequence[Completion] = ()
        self._chosen = -1
        self._typed = prompt.value
        self._past = len(prompt.history)
        self._setting: str | None = None
        self._before: Widget | None = None
        self._given_up = False
        self._has_keys = asyncio.Event()

    def compose(self) -> ComposeResult:
        """The candidates over the sign and the text."""
        yield Static(id="candidates", classes="none", markup=False)
        with Horizontal():
            yield Static(self.prompt.sign, id="sign", markup=False)
            yield _Line(self.prompt.value, select_on_focus=False, compact=True)

    def on_mount(self) -> None:
        """Take the keys; a blinking cursor would send bytes for nothing."""
        if not self._given_up:
            self._before = self.screen.focused
            line = self.query_one(_Line)
            line.cursor_blink = False
            self.screen.set_focus(line)  # now: `focus` does it after the keys that wait
            self._offer(self.prompt.value)
        self._has_keys.set()

    def on_resize(self) -> None:
        """As many candidates as fit."""
        self._show_options()

    @property
    def closed(self) -> bool:
        """Whether it was answered, given up or replaced; it is on its way out then."""
        return self._given_up

    @property
    def takes_keys(self) -> bool:
        """Whether it has the focus; a click elsewhere takes it away."""
        focused = self.screen.focused
        return focused is not None and self in focused.ancestors

    async def ready(self) -> None:
        """Wait until it has the keys: a few milliseconds, and never so long that keys seem dead."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._has_keys.wait()

    async def take(self, event: events.Key) -> bool:
        """Deal with a key at once: text, Enter, and those that are not of a line; False for any other."""
        if event.key == "enter":
            self._submit(self.text)
            return True
        return await self.query_one(_Line).take(event)

    @property
    def text(self) -> str:
        """What is typed."""
        return self.query_one(_Line).value

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell the screen, and look for ways to go on."""
        event.stop()
        if self._given_up:
            return
        if event.value == self._setting:
            self._setting = None
        else:
            self._typed = event.value
            self._past = len(self.prompt.history)
            self._offer(event.value)
        if self.prompt.changed is not None:
            self.prompt.changed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close and hand the text over."""
        event.stop()
        self._submit(event.value)

    def _submit(self, text: str) -> None:
        if not self._given_up:
            self.close()
            self.prompt.submitted(text)

    def take_key(self, key: str) -> None:
        """A key that is not text: complete, go through the history, or give up."""
        if key == "escape":
            self.close()
            if self.prompt.cancelled is not None:
                self.prompt.cancelled()
        elif key in ("tab", "shift+tab"):
            self._complete(1 if key == "tab" else -1)
        else:
            self._go_through_history(-1 if key == "up" else 1)

    def close(self) -> None:
        """Go, and give the keys back."""
        self._given_up = True
        self._has_keys.set()
        if self._before is not None and self._before.is_attached:
            self.screen.set_focus(self._before, scroll_visible=False)
        self.remove()

    def _complete(self, direction: int) -> None:
        if not self._options:
            return
        first = 0 if direction > 0 else len(self._options) - 1
        single = len(self._options) == 1
        self._chosen = first if self._chosen < 0 else (self._chosen + direction) % len(self._options)
        line = self._options[self._chosen].line
        if single:
            # Nothing to choose from: go straight on to what follows.
            self._typed = line
            self._set(line)
            self._offer(line)
        else:
            self._set(line)
            self._show_options()

    def _go_through_history(self, direction: int) -> None:
        history = self.prompt.history
        place = max(0, min(len(history), self._past + direction))
        if place != self._past:
            self._past = place
            self._set(self._typed if place == len(history) else history[place])

    def _set(self, text: str) -> None:
        line = self.query_one(_Line)
        if line.value != text:
            self._setting = text
            line.value = text
        line.cursor_position = len(text)

    def _offer(self, text: str) -> None:
        self._options = self.prompt.complete(text) if self.prompt.complete is not None else ()
        self._chosen = -1
        self._show_options()

    def _show_options(self) -> None:
        candidates = self.query_one("#candidates", Static)
        candidates.set_class(not self._options, "none")
        if self._options:
            # The screen's width: its own is not known yet when the line opens.
            candidates.update(self._options_text(max(10, self.screen.size.width - 2)))

    def _options_text(self, width: int) -> Text:
        """The candidates that fit, the chosen one among them; the help of that one at the end."""
        text = Text(" ", no_wrap=True, overflow="crop")
        if len(self._options) == 1 or self._chosen >= 0:
            explained = self._options[max(0, self._chosen)]
            help_text = f"  {explained.help}" if explained.help else ""
        else:
            help_text = ""
        room = width - cell_len(help_text) - 4
        start = max(0, self._chosen)
        while start > 0 and sum(len(option.label) + 2 for option in self._options[start - 1 :]) <= room:
            start -= 1
        if start:
            text.append("… ")
        for number in range(start, len(self._options)):
            label = self._options[number].label
            if text.cell_len + cell_len(label) > room and number > start:
                text.append("…")
                break
            text.append(label, "reverse bold" if number == self._chosen else "")
            text.append("  ")
        text.append(help_text, "dim")
        return text
