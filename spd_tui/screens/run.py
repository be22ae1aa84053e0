"""One run: its curves as they grow, evaluation, settings, figures and the end of its log."""

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.widget import Widget

from spd_tui.commands import Command
from spd_tui.keys import bind
from spd_tui.rows.evaluation import Evaluation, read_evaluation
from spd_tui.rows.log import log_lines
from spd_tui.rows.run import Metrics
from spd_tui.rows.run_facts import WHERE_OTHERS_ARE, facts, seconds_a_step
from spd_tui.rows.settings_tree import settings_nodes
from spd_tui.run_follower import RunLook
from spd_tui.screens.base import SpdScreen
from spd_tui.screens.following import Following
from spd_tui.screens.run_views import HINTS_OF, VIEWS, WHAT
from spd_tui.widgets.curves_panel import CurvesPanel
from spd_tui.widgets.evaluation import EvaluationSheet, EvaluationWords
from spd_tui.widgets.figures_panel import FiguresPanel
from spd_tui.widgets.log_view import LogView, ViewLine
from spd_tui.widgets.settings_tree import SettingsTree
from spd_tui.widgets.view_tabs import ViewTabs


class RunScreen(SpdScreen):
    """The open run, followed while it trains."""

    SCOPED_CSS = False

    MODE = "run"
    AUTO_FOCUS = "#series"
    DEFAULT_CSS = """
    RunScreen .view { height: 1fr; }
    RunScreen #words { padding: 0 1; }
    RunScreen.-narrow #words, RunScreen.-tiny #words { max-height: 2; }
    """
    BINDINGS: ClassVar = [
        bind("copy"),
        bind("export"),
        *(bind(f"view_{name}", key, WHAT[name], action=f"view('{name}')") for name, key in VIEWS.items()),
        bind("next_section", "right_square_bracket", "next part of the screen"),
        bind("previous_section", "left_square_bracket", "part before"),
        bind("add_series", "space", "add the series to the plot, or take it away"),
        bind("kinds", "t", "training, evaluation, or both"),
        bind("axis", "x", "horizontal axis: steps or time"),
        bind("log_axis", "L", "logarithmic axis"),
        bind("zoom_in", "plus,equals_sign", "enlarge the plot or the figure"),
        bind("zoom_out", "minus,underscore", "make it smaller"),
        bind("whole", "0", "the whole plot or figure"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.view = "curves"
        self._following = Following(self, self._show)
        self._said: tuple[str, ...] = ()
        self._evaluation: Evaluation | None = None

    @property
    def look(self) -> RunLook:
        """What the last look at the run's folder found."""
        return self._following.look

    # ---- what is on it

    def compose_body(self) -> ComposeResult:
        """All parts; one of them is shown."""
        yield ViewTabs(list(VIEWS.items()), id="views")
        with Container(id="curves", classes="view"):
            yield CurvesPanel(id="curves-panel")
            yield EvaluationWords(id="words")
        yield EvaluationSheet(id="evaluation")
        yield SettingsTree(id="settings")
        with Horizontal(id="figures", classes="view"):
            yield FiguresPanel(id="figures-panel")
        yield LogView(id="log")

    def on_mount(self) -> None:
        """Begin where this person left it."""
        view = self.remembered("view", "curves")
        panel = self.query_one(CurvesPanel)
        panel.restore(
            self.remembered("series", list[str]()),
            self.remembered("kinds", "both"),
            self.remembered("log", True),
        )
        self.show_view(view if view in VIEWS else "curves")

    def show_view(self, name: str) -> None:
        """Show one part of the screen and give it the keys."""
        if self.search and name != self.view:
            self.set_search("")
        self.view = name
        for other in VIEWS:
            self.query_one(f"#{other}").display = other == name
        self._show_log(self.look)
        self.query_one(ViewTabs).show(name, self._note())
        self.remember(view=name)
        self._focus_view()
        self.set_hints(HINTS_OF[name])
        self.refresh_bindings()

    # ---- following

    def refresh_view(self) -> None:
        """Read the run anew."""
        self._said = ()
        self._following.begin(self.run.directory)

    def on_screen_resume(self) -> None:
        """Look again at once."""
        super().on_screen_resume()
        self._following.go_on()

    def _show(self, look: RunLook, before: RunLook) -> None:
        """Paint what has changed."""
        details = look.details
        if look.metrics is not before.metrics or details is not before.details:
            pace = None if details is None else seconds_a_step(details.manifest)
            self.query_one(CurvesPanel).show(look.metrics, pace)
        if details is not before.details or look.metrics.evaluation is not before.metrics.evaluation:
            self._show_evaluation(look.metrics)
        if details is not None and details is not before.details:
            resumed = bool(details.manifest.get("resumed"))
            self.set_facts(facts(details.overview, self.app.clock(), resumed))
            self.query_one(SettingsTree).show(settings_nodes(details.settings))
        if look.figures != before.figures:
            self.query_one(FiguresPanel).show(look.figures)
        self._show_log(look)
        self.query_one(ViewTabs).show(self.view, self._note())
        self._say_problems(look, before)

    def _show_evaluation(self, metrics: Metrics) -> None:
        details = self.look.details
        record = metrics.evaluation or (details.evaluation if details else {})
        found = read_evaluation(details.summary if details else None, record)
        if found != self._evaluation or not self.query_one(EvaluationWords).text:
            self._evaluation = found
            self.query_one(EvaluationWords).show(found)
            self.query_one(EvaluationSheet).show_evaluation(found)

    def _show_log(self, look: RunLook) -> None:
        if self.view != "log":  # its lines take longer to make than all that is seen of a look
            return
        details = look.details
        status, reason = (details.overview.status, details.overview.reason) if details else ("unknown", "")
        error = details.manifest.get("error") if details else None
        lines = log_lines(
            look.metrics.tail, look.problems, status, reason, error, max(40, self.size.width - 1)
        )
        words = self.search.lower().split()
        kept = [line for line in lines if all(word in line.lower() for word in words)]
        self.query_one(LogView).show([ViewLine(line, strong=line.startswith("!")) for line in kept])

    def _say_problems(self, look: RunLook, before: RunLook) -> None:
        fresh = [problem for problem in look.problems if problem not in self._said]
        if fresh:
            self.say("\n".join([*fresh, *([WHERE_OTHERS_ARE] if look.gone else [])]), "error")
        elif look.restarted and before.metrics.count:
            self.say(
                f"The metrics were cut back to step {look.metrics.step}: the run was resumed or replaced."
            )
        self._said = look.problems

    def _note(self) -> str:
        """What matters most now, at the right of the tabs."""
        look = self.look
        if look.more:
            return f"reading: {look.metrics.count} records so far"
        if look.problems:
            # The room is small, and which run is known.
            path = self.run.directory.path
            return f"! {look.problems[0]}".replace(f"{path}/", "").replace(str(path), path.name)
        overview = look.details.overview if look.details else None
        if overview is not None and overview.status in ("failed", "interrupted"):
            return f"{overview.status}: {overview.reason}".splitlines()[0]
        return ""

    # ---- keys

    def narrow(self, text: str) -> None:
        """`/` searches the part that is shown."""
        if self.view == "curves":
            self.query_one(CurvesPanel).narrow(text)
        elif self.view == "settings":
            self.query_one(SettingsTree).narrow(text)
        elif self.view == "figures":
            self.query_one(FiguresPanel).narrow(text)
        elif self.view == "log":
            self._show_log(self.look)
        elif text:
            self.query_one(EvaluationSheet).find(text)

    def commands(self) -> list[Command]:
        """See `run_commands`."""
        from spd_tui.screens.run_commands import run_commands

        return run_commands(self)

    def go_back(self) -> bool:
        """Out of the enlarged plot or figure, then to the curves."""
        if self.view == "curves" and self.query_one(CurvesPanel).leave():
            return True
        if self.view == "figures" and self.query_one(FiguresPanel).leave():
            return True
        if self.search:
            self.set_search("")
            return True
        if self.view != "curves":
            self.show_view("curves")
            return True
        return False

    def action_view(self, name: str) -> None:
        """Show one part of the screen."""
        self.show_view(name)

    def action_next_pane(self) -> None:
        """The next part."""
        self._step_view(1)

    def action_previous_pane(self) -> None:
        """The part before."""
        self._step_view(-1)

    action_next_section, action_previous_section = action_next_pane, action_previous_pane

    def action_add_series(self) -> None:
        """Plot the series under the cursor, or stop plotting it."""
        panel = self.query_one(CurvesPanel)
        if (refused := panel.toggle()) is not None:
            self.say(refused, "warning")
        self.remember(series=panel.chosen)

    def action_kinds(self) -> None:
        """Training, evaluation, or both."""
        panel = self.query_one(CurvesPanel)
        self.remember(kinds=panel.next_kinds())
        self.say(
            {"both": "training and evaluation", "train": "training only", "eval": "evaluation only"}[
                panel.kinds
            ]
        )

    def action_axis(self) -> None:
        """Steps or time."""
        if (refused := self.query_one(CurvesPanel).next_axis()) is not None:
            self.say(refused, "warning")

    def action_log_axis(self) -> None:
        """A logarithmic vertical axis, or a linear one."""
        self.remember(log=self.query_one(CurvesPanel).toggle_log())

    def action_zoom_in(self) -> None:
        """Look closer."""
        self._of_view(CurvesPanel.zoom_in, FiguresPanel.zoom_in)

    def action_zoom_out(self) -> None:
        """Look from farther away."""
        self._of_view(CurvesPanel.zoom_out, FiguresPanel.zoom_out)

    def action_whole(self) -> None:
        """Everything."""
        self._of_view(CurvesPanel.whole, FiguresPanel.whole)

    def action_copy(self) -> None:
        """Copy what the cursor is on."""
        text, what = self._copied()
        if text:
            self.copy(text, what)
        else:
            self.say("There is nothing to copy here.", "warning")

    def action_export(self) -> None:
        """Ask for the file to write the plotted series to."""
        self.action_command("export curves.csv")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean something in the part that is shown."""
        if action in ("add_series", "kinds", "axis", "log_axis", "export"):
            return self.view == "curves"
        if action in ("zoom_in", "zoom_out", "whole"):
            return self.view in ("curves", "figures")
        return super().check_action(action, parameters)

    def on_resize(self, event: events.Resize) -> None:
        """The list gives way to the plot."""
        self.query_one(CurvesPanel).fit(event.size.width)
        self._show_log(self.look)

    # ---- small things

    def _step_view(self, by: int) -> None:
        names = list(VIEWS)
        self.show_view(names[(names.index(self.view) + by) % len(names)])

    def _of_view(
        self, of_curves: Callable[[CurvesPanel], object], of_figures: Callable[[FiguresPanel], object]
    ) -> None:
        if self.view == "curves":
            of_curves(self.query_one(CurvesPanel))
        else:
            of_figures(self.query_one(FiguresPanel))

    def _focus_view(self) -> None:
        if self.view == "curves":
            self.query_one(CurvesPanel).take_keys()
        elif self.view == "figures":
            self.query_one(FiguresPanel).take_keys()
        else:
            self.query_one(f"#{self.view}", Widget).focus()

    def _copied(self) -> tuple[str, str]:
        if self.view == "curves":
            return self.query_one(CurvesPanel).copied()
        if self.view == "settings":
            return self.query_one(SettingsTree).copied(), "the setting"
        if self.view == "figures":
            return self.query_one(FiguresPanel).copied(), "the figure's path"
        widget = self.query_one(EvaluationSheet if self.view == "evaluation" else LogView)
        return widget.text, f"the {self.view}"
