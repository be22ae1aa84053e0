"""The application: how it starts and ends, its settings, what every screen may do."""

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import platformdirs
from textual.app import App
from textual.screen import Screen

from spd_tui.clipboard import home_relative, write_clipboard_file
from spd_tui.commands import Command
from spd_tui.context import Context
from spd_tui.driver import terminal_driver
from spd_tui.keys import KeySettings, bind, known_actions, read_key_settings
from spd_tui.loading import Jobs, collect_seldom
from spd_tui.memory import Memory
from spd_tui.modes import MODES
from spd_tui.navigation import Navigation
from spd_tui.screens.base import SpdScreen
from spd_tui.screens.prompting import all_commands
from spd_tui.terminal_app import TerminalApp
from spd_tui.theme import (
    ANSI_DARK,
    ANSI_LIGHT,
    THEME_NAMES,
    THEMES,
    default_theme,
    last_filters,
    shows_unicode,
    terminal_encoding,
)

if TYPE_CHECKING:
    from textual.app import SystemCommand
    from textual.filter import LineFilter

    from spd_tui.widgets.notice import Kind


def _now() -> datetime:
    return datetime.now(UTC)


class SpdApp(TerminalApp):
    """The browser.

    Args:
        root: The output folder with `runs/` in it.
        run: A run to open at once: anything `core.runs.catalogue.resolve_run` understands. Without one and
            without `mode`, it begins where this person left it.
        mode: The screen to begin with.
        clock: The time now, for ages; fixed in tests and pictures.
        encoding: What the terminal is written in; by default that of the standard streams.
    """

    TITLE = "spd"
    CSS_PATH = Path(__file__).with_name("spd.tcss")
    DEFAULT_MODE = "runs"
    BINDINGS: ClassVar = [
        *(bind(f"go_{mode.name}", mode.key, mode.title, action=f"mode('{mode.name}')") for mode in MODES),
        bind("palette", action="command_palette"),
    ]

    def __init__(
        self,
        root: Path,
        run: str | None = None,
        mode: str | None = None,
        clock: Callable[[], datetime] = _now,
        encoding: str | None = None,
    ) -> None:
        no_color = "NO_COLOR" in os.environ
        # Without colours even grey would be one: only the terminal's own two are used.
        super().__init__(driver_class=terminal_driver(), ansi_color=True if no_color else None)
        self.animation_level = "none"
        self.context = Context(root)
        self.clock = clock
        self.jobs = Jobs(self._show_jobs)
        self.memory = Memory(platformdirs.user_state_path("spd") / "tui.json")
        self.config_path = platformdirs.user_config_path("spd") / "tui.toml"
        self._asked = (run, mode)
        self.encoding = encoding or terminal_encoding()
        self._last_filters = last_filters(self.encoding)
        for theme in THEMES:
            self.register_theme(theme)
        self.navigation = Navigation(self)
        self.memory.load()
        self._settings = self._read_settings()
        chosen = self._settings.theme or self.memory.theme
        usual = chosen if chosen in THEME_NAMES else default_theme(os.environ)
        self._set_colours("16" if no_color else usual)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The variables of the style sheet that Textual's own themes lack."""
        return dict(THEMES[0].variables)

    def get_line_filters(self) -> "Sequence[LineFilter]":
        """What every line goes through on its way to the terminal."""
        return [*super().get_line_filters(), *self._last_filters]

    # ---- start and end

    def _set_colours(self, theme: str) -> None:
        """The colours to begin with, set without telling anybody: there is nothing to paint anew yet."""
        self.set_reactive(App.ansi_theme_dark, ANSI_DARK)
        self.set_reactive(App.ansi_theme_light, ANSI_LIGHT)
        self.set_reactive(App.theme, theme)
        self._refresh_truecolor_filter(self.ansi_theme)
        self.stylesheet.set_variables(self.get_css_variables())

    def on_load(self) -> None:
        """Keys are settled before anything is painted."""
        if self._settings.keymap:
            self.set_keymap(self._settings.keymap)

    def on_mount(self) -> None:
        """Everything that may wait, waits for the first paint."""
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        collect_seldom()
        self._say_problems()
        run, mode = self._asked
        if run is not None:
            self.navigation.open_run(run, mode or "run")
        elif mode is None and self.memory.run and self.memory.mode not in ("", "runs"):
            if self.memory.root == str(self.context.root) and self.memory.mode in {
                mode.name for mode in MODES
            }:
                self.navigation.open_run(self.memory.run, self.memory.mode, quiet=True)
        elif mode not in (None, "runs"):
            self.navigation.open_run(self.memory.run or "latest", mode)

    def _say_problems(self) -> None:
        problems = [*self._settings.problems]
        if self.memory.problem:
            problems.append(self.memory.problem)
        if not shows_unicode(self.encoding):
            problems.append(
                f"The terminal's encoding is {self.encoding}, which has no blocks or arrows: plain marks "
                "(| # . >) stand for them, and ? for other characters. The locale C.UTF-8 has them all."
            )
        if problems:
            self.say("\n".join(problems), "warning")

    def _read_settings(self) -> KeySettings:
        settings = read_key_settings(self.config_path, known_actions(), THEME_NAMES)
        if not settings.problems:
            return settings
        # A key of one screen only is known once that screen's module is; most people never need this.
        for mode in MODES:
            try:
                mode.load()
            except (ImportError, AttributeError):
                continue
        return read_key_settings(self.config_path, known_actions(), THEME_NAMES)

    async def action_quit(self) -> None:
        """Leave, and remember where we were."""
        self.remember_place()
        self.exit()

    def remember_place(self) -> None:
        """Write down the run, the screen and the filters for next time."""
        from core.errors import SpdError

        self.memory.mode = self.current_mode
        self.memory.root = str(self.context.root)
        if self.context.run is not None:
            self.memory.run = self.context.run.run_id
        try:
            self.memory.save()
        except SpdError as error:
            self.exit_message = str(error)

    exit_message: str | None = None
    """What to say on the command line after leaving; None when there is nothing."""

    async def action_mode(self, name: str) -> None:
        """A number key: go to a screen."""
        self.navigation.go_to(name)

    # ---- what every screen may do

    def stop_jobs(self) -> bool:
        """Stop the background work a person can see; False when there is none."""
        jobs = self.jobs.stop_visible()
        for job in jobs:
            if isinstance(job.owner, SpdScreen):
                job.owner.background.stopped(job)
        if jobs:
            self.say(f"Stopped {', '.join(job.what for job in jobs)}; r does it again.")
        return bool(jobs)

    def say(self, text: str, kind: "Kind" = "info") -> None:
        """Say something on the screen that is shown."""
        if isinstance(self.screen, SpdScreen):
            self.screen.say(text, kind)

    def copy_text(self, text: str, what: str, screen: SpdScreen) -> None:
        """Copy to the terminal's clipboard and to a file, and say so on `screen`."""
        from core.errors import SpdError

        self.copy_to_clipboard(text)
        try:
            path = write_clipboard_file(self.memory.path.parent, text)
        except SpdError as error:
            screen.say(f"Copied {what} to the clipboard only: {error}", "warning")
        else:
            screen.say(f"Copied {what}; it is in {home_relative(path)} too.")

    def show_help(self, screen: SpdScreen) -> None:
        """The keys and commands of `screen`."""
        from spd_tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(screen))

    def shared_commands(self) -> list[Command]:
        """The `:` commands of every screen."""
        modes = [
            Command(mode.name, f"go to {mode.title}", lambda _, name=mode.name: self.navigation.go_to(name))
            for mode in MODES
        ]
        return [
            *modes,
            Command("open", "open a run", self.navigation.open_run, "RUN", self._known_runs),
            Command("back", "go back", lambda _: self.navigation.go_back()),
            Command("help", "the keys of this screen", lambda _: self._help()),
            Command("theme", "colours", self.set_theme, "NAME", lambda _: THEME_NAMES),
            Command("retry", "read again, restart what failed", lambda _: self._retry()),
            Command("quit", "leave", lambda _: self.call_later(self.action_quit)),
        ]

    def set_theme(self, name: str) -> None:
        """Choose the colours, now and next time.

        Raises:
            UsageError: no such theme.
        """
        from core.errors import UsageError

        if name not in THEME_NAMES:
            raise UsageError(f"no theme {name!r}.", f"There are {', '.join(THEME_NAMES)}.")
        if self.no_color and name != "16":
            raise UsageError("NO_COLOR is set, so there are no colours.", "Unset it to have a theme.")
        self.theme = self.memory.theme = name

    def get_system_commands(self, screen: Screen[object]) -> Iterable["SystemCommand"]:
        """What the palette offers: the commands of the screen."""
        from textual.app import SystemCommand

        if not isinstance(screen, SpdScreen):
            return
        for command in all_commands(screen):
            takes = bool(command.argument)
            act = partial(screen.action_command, f"{command.name} ") if takes else partial(command.run, "")
            yield SystemCommand(command.usage, command.help, act)

    def action_help_quit(self) -> None:
        """Ctrl+C where nothing else takes it."""
        self.say("q leaves.")

    def _known_runs(self, typed: str) -> Sequence[str]:
        runs = self.get_screen_stack("runs")[0]
        return ("latest", *(runs.known_runs() if isinstance(runs, SpdScreen) else ()))

    def _help(self) -> None:
        if isinstance(self.screen, SpdScreen):
            self.show_help(self.screen)

    def _retry(self) -> None:
        if isinstance(self.screen, SpdScreen):
            self.screen.action_retry()

    def _show_jobs(self) -> None:
        if self.screen_stack and isinstance(self.screen, SpdScreen):
            self.screen.show_status()
