"""The ways between screens: which run is open, which screens belong to it, and the way back."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.screen import Screen

from spd_tui.loading import Job
from spd_tui.modes import MODES, Mode, find_mode
from spd_tui.screens.base import SpdScreen

if TYPE_CHECKING:
    from core.runs.catalogue import RunEntry
    from spd_tui.app import SpdApp


class Navigation:
    """Where the app is and has been. It alone changes which run is open."""

    def __init__(self, app: "SpdApp") -> None:
        self._app = app
        self._visited: list[str] = []
        self._opening: Job | None = None
        for mode in MODES:
            self._add(mode)

    def _add(self, mode: Mode) -> None:
        def make() -> Screen[None]:
            return mode.load()()

        self._app.add_mode(mode.name, make)

    # ---- to a screen

    def go_to(self, name: str) -> None:
        """Go to a screen by its mode; when none is open, one that needs a run takes that at the cursor."""
        app, screen, mode = self._app, self._app.screen, find_mode(name)
        self._give_up_opening()
        if isinstance(screen, SpdScreen) and screen.PASSING:
            app.pop_screen()
            screen = app.screen
        if name == app.current_mode:
            while len(app.screen_stack) > 1:
                app.pop_screen()
        elif not mode.needs_run or app.context.run is not None:
            self._switch(mode)
        elif reference := screen.run_at_cursor() if isinstance(screen, SpdScreen) else None:
            self.open_run(reference, name)
        else:
            app.say(f"The {name} screen shows one run: open one first, with Enter or :open RUN.", "warning")

    def _switch(self, mode: Mode) -> None:
        try:
            mode.load()
        except (ImportError, AttributeError) as error:
            self._app.say(f"The {mode.name} screen cannot be loaded: {error}.", "error")
            return
        self._visited = [name for name in self._visited if name != mode.name]
        if self._app.current_mode != mode.name:
            self._visited.append(self._app.current_mode)
        self._app.switch_mode(mode.name)

    def go_back(self) -> None:
        """Stop what is being worked on, else go a step back in the screen, else to the screen before."""
        app = self._app
        if app.stop_jobs():
            return
        screen = app.screen
        if isinstance(screen, SpdScreen) and screen.go_back():
            return
        if isinstance(screen, SpdScreen) and screen.search:
            screen.set_search("")
        elif len(app.screen_stack) > 1:
            app.pop_screen()
        elif self._visited:
            app.switch_mode(self._visited.pop())
        else:
            app.say("This is the first screen; q leaves.")

    # ---- to a run

    def open_run(self, reference: str, mode: str = "run", quiet: bool = False) -> None:
        """Open a run (id, path, `latest`, recipe) in the background, then show it in `mode`.

        With `quiet` a run that has gone is not an error: it was only remembered.
        """
        screen = self._app.screen
        if not isinstance(screen, SpdScreen):
            return
        find_mode(mode)
        self._give_up_opening()

        def failed(error: BaseException) -> None:
            if not quiet:
                screen.say(f"{error}", "error")

        self._opening = screen.background.run(
            _resolve,
            self._app.context.root,
            reference,
            what=f"opening {reference}",
            done=partial(self._show_run, mode),
            failed=failed,
            group="open",
        )

    def _give_up_opening(self) -> None:
        """Who has gone on elsewhere is not taken to the run that was asked for before."""
        if self._opening is not None:
            self._app.jobs.stop(self._opening)
            self._opening = None

    def _show_run(self, mode: str, entry: "RunEntry") -> None:
        """Make `entry` the open run and go to `mode`; screens of another run are thrown away."""
        context = self._app.context
        if context.run is None or context.run.directory.path != entry.directory.path:
            self._close_run_screens()
            context.harvest = None
        context.run = entry
        if mode != self._app.current_mode:
            self._switch(find_mode(mode))

    def close_run(self) -> None:
        """Nothing is open any more, as after the open run was deleted."""
        self._close_run_screens()
        self._app.context.run = self._app.context.harvest = None

    def _close_run_screens(self) -> None:
        app = self._app
        kept = {mode.name for mode in MODES if not mode.needs_run}
        for job in app.jobs.running():
            # The screens go a little later, and no answer about the run before may come in between.
            if not (isinstance(job.owner, SpdScreen) and job.owner.MODE in kept):
                app.jobs.stop(job)
        if app.current_mode not in kept:
            app.switch_mode("runs")
        for mode in MODES:
            if mode.needs_run:
                # Not awaited: the screen that asked for it may be one of those that go.
                app.remove_mode(mode.name)
                self._add(mode)
        self._visited = [name for name in self._visited if name in kept]


def _resolve(root: Path, reference: str) -> "RunEntry":
    from core.runs.catalogue import resolve_run

    return resolve_run(root, reference)
