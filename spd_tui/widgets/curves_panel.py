"""The list of series beside (or above) the plot of those that are chosen."""

from collections.abc import Hashable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container

from core.numerals import three_digits
from spd_tui.keys import bind
from spd_tui.rows.curves import Curve
from spd_tui.rows.run import (
    EMPTY,
    MOST_CHOSEN,
    SHOWN,
    Metrics,
    Series,
    SeriesKey,
    SeriesRow,
    Shown,
    default_names,
    group_of,
    series_rows,
    sparkline,
)
from spd_tui.rows.runs import duration
from spd_tui.widgets.curves import PAN, ZOOM, CurvesPlot
from spd_tui.widgets.frame_table import Column, FrameTable

SPARK_WIDTH = 12
_COLUMNS = (
    Column("plotted", "", 2),
    Column("name", "series", minimum=18),
    Column("course", "course", SPARK_WIDTH, hide=1),
    Column("train", "train", 8, align="decimal"),
    Column("eval", "eval", 8, align="decimal"),
)


class SeriesTable(FrameTable):
    """The list of series; left and right move the plot."""

    def action_left(self) -> None:
        """Show what was before."""
        self.screen.query_one(CurvesPlot).pan(-PAN)

    def action_right(self) -> None:
        """Show what comes after."""
        self.screen.query_one(CurvesPlot).pan(PAN)


class CurvesPanel(Container):
    """Everything about curves: which are chosen, of which kind, on which axes."""

    SCOPED_CSS = False

    DEFAULT_CSS = """
    CurvesPanel { layout: horizontal; height: 1fr; }
    CurvesPanel > SeriesTable { width: 46; margin-right: 1; }
    CurvesPanel > CurvesPlot { width: 1fr; }
    .-narrow CurvesPanel { layout: vertical; }
    .-narrow CurvesPanel > SeriesTable { width: 1fr; height: 40%; margin-right: 0; }
    .-tiny CurvesPanel > SeriesTable { width: 1fr; margin-right: 0; }
    .-tiny CurvesPanel > CurvesPlot { display: none; }
    CurvesPanel.enlarged > SeriesTable { display: none; }
    CurvesPanel.enlarged > CurvesPlot { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.kinds: Shown = "both"
        self.over_time = False
        self._metrics: Metrics = EMPTY
        self._pace: float | None = None
        self._slots: dict[str, int] = {}
        self._touched = False
        self._courses = _Courses()
        self._narrowed = ""
        self._remembered: list[str] = []
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """List and plot."""
        table = SeriesTable(id="series", empty="no metrics yet")
        table.set_columns(_COLUMNS)
        yield table
        yield PlotPane(id="plot")

    @property
    def chosen(self) -> list[str]:
        """Names of the plotted series."""
        return list(self._slots)

    def restore(self, names: Sequence[str], kinds: str, log: bool) -> None:
        """Choose what was chosen last time, as far as this run has it."""
        self._remembered = [str(name) for name in names][:MOST_CHOSEN]
        self.kinds = SHOWN[SHOWN.index(kinds)] if kinds in SHOWN else "both"
        self._plot.set_log(log)

    def show(self, metrics: Metrics, pace: float | None) -> None:
        """Show these metrics; nothing is painted where nothing has changed.

        `pace` is the run's mean seconds a step; records carry no times, so the axis of time is steps at it.
        """
        self._metrics, self._pace = metrics, pace
        if not self._touched and metrics.series:
            # The first records of a run have but few of the series, so the choice waits for better ones.
            known = set(metrics.names())
            names = [name for name in self._remembered if name in known] or default_names(metrics)
            if names != self.chosen:
                self._slots = {name: slot for slot, name in enumerate(names)}
                self._fill(cursor=names[0])
        self._fill()
        self._draw()

    def narrow(self, text: str) -> None:
        """List only series with these words."""
        self._narrowed = text
        self._fill()

    def fit(self, width: int) -> None:
        """Give the list its share of a screen so wide."""
        table = self.query_one(SeriesTable)
        table.styles.width = None if width < 100 else max(46, min(64, width * 2 // 5))

    # ---- what keys do

    def toggle(self) -> str | None:
        """Add the series under the cursor to the plot or take it away; says why it cannot."""
        key = self.query_one(SeriesTable).cursor_key
        if not isinstance(key, str):
            return "There is no series under the cursor."
        if key.endswith("/"):
            return self._toggle_group(key)
        if key in self._slots:
            del self._slots[key]
            self._touched = True
            self._repaint()
            return None
        return self.add(key)

    def add(self, name: str) -> str | None:
        """Plot a series too; says why it cannot."""
        if name not in self._metrics.names():
            return f"This run has no series {name!r}."
        if name not in self._slots:
            free = next((slot for slot in range(MOST_CHOSEN) if slot not in self._slots.values()), None)
            if free is None:
                return f"{MOST_CHOSEN} series are plotted, more cannot be told apart: space takes one away."
            self._slots[name] = free
            self._touched = True
            self._repaint()
        return None

    def next_kinds(self) -> Shown:
        """Show the next of: both kinds, training, evaluation."""
        self.kinds = SHOWN[(SHOWN.index(self.kinds) + 1) % len(SHOWN)]
        self._repaint()
        return self.kinds

    def next_axis(self) -> str | None:
        """Steps or time; says why there is no time."""
        if self._pace is None:
            return "The pace of this run is not known before its first checkpoint; the axis stays in steps."
        self.over_time = not self.over_time
        self._plot.whole()
        self._repaint()
        return None

    def toggle_log(self) -> bool:
        """A logarithmic axis, or not; whether it is now."""
        self._plot.set_log(not self._plot.log_axis)
        return self._plot.log_axis

    def zoom_in(self) -> None:
        """A shorter stretch."""
        self._plot.zoom(ZOOM)

    def zoom_out(self) -> None:
        """A longer stretch."""
        self._plot.zoom(1 / ZOOM)

    def whole(self) -> None:
        """All of it."""
        self._plot.whole()

    def enlarge(self) -> None:
        """Give the plot the whole screen."""
        if not self._slots:
            self.toggle()
        self.add_class("enlarged")
        self._plot.focus()

    def leave(self) -> bool:
        """Back to the list; False when it is there."""
        if not self.has_class("enlarged"):
            return False
        self.remove_class("enlarged")
        self.query_one(SeriesTable).focus()
        return True

    def take_keys(self) -> None:
        """Keys go to the list, or to the plot when it is alone."""
        (self._plot if self.has_class("enlarged") else self.query_one(SeriesTable)).focus()

    def copied(self) -> tuple[str, str]:
        """The last values of the series under the cursor, and what that is called."""
        key = self.query_one(SeriesTable).cursor_key
        values = [f"{one.key.kind} {one.last}" for one in self._metrics.of(str(key))]
        return (f"{key} {' '.join(values)}" if values else ""), f"the last values of {key}"

    def plotted(self) -> list[Series]:
        """The series in the plot, in order."""
        return [one for name in self._slots for one in self._metrics.of(name, self.kinds)]

    def on_frame_table_chosen(self, event: FrameTable.Chosen) -> None:
        """Enter: the plot alone, with this series in it."""
        event.stop()
        if isinstance(event.key, str) and not event.key.endswith("/") and event.key not in self._slots:
            self.add(event.key)
        self.enlarge()

    # ---- painting

    @property
    def _plot(self) -> CurvesPlot:
        return self.query_one(CurvesPlot)

    def _toggle_group(self, group: str) -> str | None:
        names = [
            name for name in self._metrics.names(self.kinds, self._narrowed) if group_of(name) == group[:-1]
        ]
        if all(name in self._slots for name in names):
            self._slots = {name: slot for name, slot in self._slots.items() if name not in names}
            self._touched = True
            self._repaint()
            return None
        return next((said for name in names if (said := self.add(name)) is not None), None)

    def _repaint(self) -> None:
        self._fill()
        self._draw()

    def _fill(self, cursor: str | None = None) -> None:
        rows = series_rows(self._metrics, self.kinds, self._narrowed)
        table = self.query_one(SeriesTable)
        table.set_empty("no series has these words" if self._narrowed else "no metrics yet")
        source = _SeriesSource(
            rows, self._metrics, self.kinds, self._slots, self._plot.markers, self._courses
        )
        table.set_rows(source, cursor=cursor)

    def _draw(self) -> None:
        curves: list[Curve] = []
        legend: list[tuple[str, int]] = []
        metrics = self._metrics
        pace = self._pace if self.over_time else None
        for name, slot in self._slots.items():
            for one in metrics.of(name, self.kinds):
                marker = 2 * slot + (one.key.kind == "eval")
                curves.append(Curve(f"{name} {one.key.kind}", one.steps * (pace or 1), one.values, marker))
                legend.append((f"{name} {one.key.kind} {three_digits(one.last)}", marker))
        state = [(curve.name, len(curve.x), curve.marker) for curve in curves], self.over_time
        state = (state, [float(curve.x[-1]) for curve in curves if len(curve.x)], legend)
        if state != self._drawn:
            self._drawn = state
            self._plot.show(
                curves, legend, "time at the mean pace" if pace else "steps", duration if pace else None
            )


class PlotPane(CurvesPlot, can_focus=True):
    """The plot; the keys move it when it is alone on the screen."""

    BINDINGS = [bind("left"), bind("right")]  # noqa: RUF012

    def action_left(self) -> None:
        """Show what was before."""
        self.pan(-PAN)

    def action_right(self) -> None:
        """Show what comes after."""
        self.pan(PAN)


class _SeriesSource:
    """Rows of the list: painted from the metrics when they are looked at."""

    def __init__(
        self,
        rows: Sequence[SeriesRow],
        metrics: Metrics,
        kinds: Shown,
        slots: dict[str, int],
        markers: str,
        drawn: "_Courses",
    ) -> None:
        self._rows, self._metrics, self._slots, self._markers = rows, metrics, dict(slots), markers
        self._kinds: Shown = kinds
        self._drawn = drawn
        self._courses: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> Hashable:
        """The series' name."""
        return self._rows[index].name

    def cells(self, index: int) -> Sequence[str | Text]:
        """Sign in the plot, name, course, last values."""
        row = self._rows[index]
        if row.heading:
            return ("", Text(row.label, "bold"), "", "", "")
        shown = {one.key.kind: one for one in self._metrics.of(row.name, self._kinds)}
        slot = self._slots.get(row.name)
        sign = "" if slot is None else "".join(self._markers[2 * slot + (kind == "eval")] for kind in shown)
        train, evaluated = (
            three_digits(shown[kind].last) if kind in shown else "" for kind in ("train", "eval")
        )
        return (sign, row.label, self._course(row.name), train, evaluated)

    def _course(self, name: str) -> str:
        if name not in self._courses:
            longest = max(self._metrics.of(name, self._kinds), key=lambda one: len(one.steps), default=None)
            self._courses[name] = "" if longest is None else self._drawn.of(longest)
        return self._courses[name]


class _Courses:
    """Sparklines as they were drawn, each until its series has grown."""

    def __init__(self) -> None:
        self._known: dict[SeriesKey, tuple[Series, str]] = {}

    def of(self, series: Series) -> str:
        """The sparkline of a series."""
        known = self._known.get(series.key)
        if known is None or known[0] is not series:
            known = self._known[series.key] = (series, sparkline(series.values, SPARK_WIDTH))
        return known[1]
