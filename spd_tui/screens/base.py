"""The base of every screen: title line, body, status line, command and search line, background work.

A screen is a subclass of `SpdScreen`:

    class ComponentsScreen(SpdScreen):
        MODE = "components"
        HINTS = "⏎ open  / narrow  s sort  ? keys"
        BINDINGS = [bind("sort"), bind("centre", "c", "centre the examples")]

        def compose_body(self) -> ComposeResult:
            yield FrameTable(id="components")

        def refresh_view(self) -> None:
            self.background.run(read_table, self.run, what="reading the harvest", done=self.show_table)

What a subclass may define, all of it optional but `compose_body`:

- `compose_body()`: the widgets between title and status line.
- `refresh_view()`: load what is shown; called once after the first paint and whenever `r` is pressed.
- `narrow(text)`: `/` search, called at every key with the text so far; the screen filters in the background.
- `commands()`: the `:` commands of this screen, added to those of every screen.
- `go_back()`: a step back inside the screen; False lets Backspace leave it.
- `loaded_text()`: what the status line says is loaded.

What it calls: `background.run`, `say`, `set_facts`, `set_hints`, `set_crumbs`, `copy`, `remember`,
`remembered`, `ask`, `context`, and of `self.app` (`SpdApp`): `navigation`, `clock`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.reactive import var
from textual.screen import Screen

from spd_tui.commands import Command
from spd_tui.keys import bind
from spd_tui.messages import Answered
from spd_tui.screens.background import Background
from spd_tui.screens.prompting import ask_command, ask_search, run_command
from spd_tui.widgets.breadcrumb import Breadcrumb
from spd_tui.widgets.notice import Kind, Notice
from spd_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from core.runs.catalogue import RunEntry
    from spd_tui.app import SpdApp
    from spd_tui.context import Context
    from spd_tui.widgets.command_line import CommandLine

Value = TypeVar("Value")


class SpdScreen(Screen[Any]):
    """A screen of the browser; see the module for what a subclass defines."""

    MODE: ClassVar[str] = ""
    """Name of its mode in `spd_tui.modes.MODES`; empty for a screen pushed over one."""
    HINTS: ClassVar[str] = "? keys"
    """The keys worth knowing, at the right of the status line, two spaces apart, the most important last."""
    PASSING: ClassVar[bool] = False
    """Whether it goes for good when another screen is asked for."""
    SEARCH_SIGN: ClassVar[str] = "/"
    """What stands before the search text."""
    AUTO_FOCUS = "FrameTable"
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (70, "-narrow"), (100, "-wide")]  # noqa: RUF012
    """Classes by width: the card is its own screen, goes under the table, or beside it."""
    BINDINGS: ClassVar = [
        bind("back"),
        bind("search"),
        bind("retry"),
        bind("command"),
        bind("help"),
        bind("next_pane"),
        bind("previous_pane"),
        bind("stop"),
    ]

    focused = var[Any](None)
    """As of every screen, but another focus is painted by the widgets it concerns, not by all of them."""

    if TYPE_CHECKING:

        @property
        def app(self) -> "SpdApp":
            """The browser."""
            ...

    def __init__(self) -> None:
        super().__init__()
        self._crumbs: tuple[str, ...] = ()
        self._facts = ""
        self._hints = self.HINTS
        self._search = ""
        self.background = Background(self)
        self._line: CommandLine | None = None

    # ---- what a subclass defines

    def compose_body(self) -> ComposeResult:
        """The widgets between the title and the status line."""
        yield from ()

    def refresh_view(self) -> None:
        """Load what is shown, in the background; called after the first paint and by `r`."""

    def narrow(self, text: str) -> None:
        """Show only what fits `text`; called at every key of a search, and with "" when it is given up."""

    def commands(self) -> list[Command]:
        """The `:` commands of this screen; those of every screen are in `shared_commands`."""
        return []

    def go_back(self) -> bool:
        """Take a step back inside the screen; False when there is none."""
        return False

    def run_at_cursor(self) -> str | None:
        """The run to open when a screen that needs one is asked for and none is open."""
        return None

    def known_runs(self) -> Sequence[str]:
        """What `:open` completes, asked of the first screen."""
        return ()

    def loaded_text(self) -> str:
        """What the status line says is loaded."""
        return self.context.describe()

    # ---- what a subclass calls

    @property
    def context(self) -> "Context":
        """What is open."""
        return self.app.context

    @property
    def run(self) -> "RunEntry":
        """The open run, for screens of a mode with `needs_run`.

        Raises:
            RuntimeError: no run is open.
        """
        if self.app.context.run is None:
            raise RuntimeError(f"the {self.MODE} screen was opened without a run")
        return self.app.context.run

    @property
    def search(self) -> str:
        """The text of the `/` search; empty without one."""
        return self._search

    @property
    def open_line(self) -> "CommandLine | None":
        """The command or search line, while it takes the keys."""
        return None if self._line is None or self._line.closed else self._line

    def say(self, text: str, kind: Kind = "info") -> None:
        """Say something over the status line until the next key."""
        self.query_one(Notice).say(text, kind)

    def unsay(self) -> None:
        """Take back what was said."""
        self.query_one(Notice).clear()

    def set_facts(self, facts: str) -> None:
        """What there is, at the right of the title: `12 runs  1 running`."""
        self._facts = facts
        self.show_title()

    def set_hints(self, hints: str) -> None:
        """The keys worth knowing now, two spaces apart."""
        self._hints = hints
        self.show_status()

    def set_crumbs(self, *crumbs: str) -> None:
        """Where we are inside the screen, after its name in the title."""
        self._crumbs = crumbs
        self.show_title()

    def copy(self, text: str, what: str) -> None:
        """Copy to the terminal's clipboard and to a file, and say so."""
        self.app.copy_text(text, what, self)

    def remember(self, **values: Any) -> None:
        """Keep plain JSON values for this person and screen until next time."""
        self.app.memory.of_screen(self.MODE).update(values)

    def remembered(self, name: str, otherwise: Value) -> Value:
        """A value kept by `remember`, if it is there and of the same type as `otherwise`."""
        value = self.app.memory.of_screen(self.MODE).get(name, otherwise)
        return value if isinstance(value, type(otherwise)) else otherwise

    def set_search(self, text: str) -> None:
        """Narrow to `text`, as if it had been typed after `/`."""
        self._search = text
        self.narrow(text)
        self.show_title()

    # ---- the frame

    def compose(self) -> ComposeResult:
        """Title line, body, notice, status line."""
        yield Breadcrumb(id="title")
        with Container(id="body"):
            yield from self.compose_body()
        yield Notice(id="notice")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        """Load after the first paint, so that it is not delayed by imports in a thread."""
        self.show_title()
        self.show_status()
        self.call_after_refresh(self.refresh_view)

    def on_screen_resume(self) -> None:
        """Other screens may have changed what is open meanwhile."""
        self.show_title()
        self.show_status()

    def on_unmount(self) -> None:
        """Nobody waits for the answers of a screen that has gone."""
        self.app.jobs.stop_all(self)

    def trail(self) -> tuple[str, ...]:
        """Where we are: the program, the run, the screen, the place inside it."""
        run = self.context.run
        needs_run = self.MODE not in ("", "runs") and run is not None
        names = [f"{run.manifest.recipe or 'imported'} {run.run_id}"] if needs_run and run else []
        return ("spd", *names, *([self.MODE] if self.MODE else []), *self._crumbs)

    def show_title(self) -> None:
        """Paint the title line, if it has changed."""
        if self.is_mounted:
            facts = f"{self._facts}   /{self._search}" if self._search else self._facts
            self.query_one(Breadcrumb).show(self.trail(), facts)

    def show_status(self) -> None:
        """Paint the status line, if it has changed."""
        for status in self.query(StatusLine):  # none before it is mounted and while the screen goes
            status.show(self.loaded_text(), self._hints)
            status.show_jobs(self.app.jobs.visible())

    def on_key(self, event: events.Key) -> None:
        """What was said has been read."""
        self.query_one(Notice).clear()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """`/` is there only where a search means something."""
        if action == "search":
            return type(self).narrow is not SpdScreen.narrow
        return super().check_action(action, parameters)

    def _on_answered(self, message: Answered) -> None:
        self.background.answered(message)

    # ---- keys of every screen

    def action_back(self) -> None:
        """Stop what is being worked on (Esc), else go a step back."""
        self.app.navigation.go_back()

    def action_retry(self) -> None:
        """Do again what failed, else load everything anew."""
        if not self.background.again():
            self.refresh_view()

    def action_stop(self) -> None:
        """Stop what is being worked on."""
        if not self.app.stop_jobs():
            self.say("Nothing is being worked on; q leaves.")

    def action_help(self) -> None:
        """Show the keys and commands of this screen."""
        self.app.show_help(self)

    def action_search(self) -> None:
        """Open the search line."""
        ask_search(self)

    def action_command(self, text: str = "") -> None:
        """Open the command line."""
        ask_command(self, text)

    def run_command(self, line: str) -> None:
        """Do what a `:` line says; what cannot be done is said."""
        run_command(self, line)

    def ask(self, sign: str, submitted: Callable[[str], object], **prompt: Any) -> None:
        """Ask for a line of text at the bottom; `prompt` are further fields of `command_line.Prompt`."""
        from spd_tui.widgets.command_line import CommandLine, Prompt

        if self.open_line is not None:
            self.open_line.close()
        self.query_one(Notice).clear()
        self._line = CommandLine(Prompt(sign, submitted, **prompt))
        self.mount(self._line)

    def action_next_pane(self) -> None:
        """The keys go to the next part of the screen."""
        self.focus_next()

    def action_previous_pane(self) -> None:
        """The keys go to the part before."""
        self.focus_previous()
