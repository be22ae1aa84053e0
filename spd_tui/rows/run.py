"""The metrics of a run as series to choose from and to plot: pure, from records to rows."""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from spd_tui.rows.bars import course

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["train", "eval"]
Shown = Literal["train", "eval", "both"]

SHOWN: tuple[Shown, ...] = ("both", "train", "eval")
"""What `t` steps through."""

TOTAL_L0 = "l0/total"
"""Series of the L0 summed over modules; made here where it is not logged."""

KEPT_RECORDS = 300
"""Records kept whole, for the log's end."""

MARKERS = "●○▲△■□◆◇★☆▼▽"
"""Signs of curves: of each chosen name a full one for training and a hollow one for evaluation."""

PLAIN_MARKERS = "*+#x@o%=&~$^"
"""The same for terminals without these characters."""

MOST_CHOSEN = len(MARKERS) // 2
"""Names that may be plotted at once."""

_NOT_SERIES = frozenset(("step", "kind"))
_FIRST, _LAST = ("loss", "l0", "live"), ("grad_norm", "schedule")
_LARGEST = 1e300


class SeriesKey(NamedTuple):
    """Names one series."""

    name: str
    """Name without `eval/`, its group first: `loss/total`, `l0/h.0.mlp.up`."""
    kind: Kind


@dataclass(frozen=True, eq=False)
class Series:
    """Logged values of one number, in the order of their steps. Never changes: new records make a new one."""

    key: SeriesKey
    steps: "NDArray[Any]"
    """Training steps, `n` ascending floats."""
    values: "NDArray[Any]"
    """`n` floats; NaN for what was logged as null."""
    last: float | None
    """Last value that is a number."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """Everything logged up to some moment."""

    series: Mapping[SeriesKey, Series]
    count: int
    """Records so far."""
    step: int
    """Last step."""
    tail: tuple[dict[str, Any], ...]
    """The last records, oldest first."""
    evaluation: Mapping[str, Any] | None = None
    """The last evaluation record, names without `eval/`; None before the first."""

    def names(self, shown: Shown = "both", narrow: str = "") -> list[str]:
        """Names of the series there are, in the order of the list, with every word of `narrow` in them."""
        words = narrow.lower().split()
        found = dict.fromkeys(key.name for key in self.series if shown in ("both", key.kind))
        groups = {group: place for place, group in enumerate(dict.fromkeys(map(group_of, found)))}
        kept = (name for name in found if all(word in name.lower() for word in words))
        return sorted(kept, key=lambda name: (*_place(name), groups[group_of(name)]))

    def of(self, name: str, shown: Shown = "both") -> list[Series]:
        """The series of that name: training, then evaluation."""
        kinds: tuple[Kind, ...] = ("train", "eval") if shown == "both" else (shown,)
        return [self.series[key] for kind in kinds if (key := SeriesKey(name, kind)) in self.series]


EMPTY = Metrics({}, 0, 0, ())


class MetricsStore:
    """Takes records in and gives `Metrics` out; snapshots stay as they are while it grows.

    One thread may add while others read snapshots.
    """

    def __init__(self) -> None:
        self._columns: dict[SeriesKey, _Column] = {}
        self._tail: deque[dict[str, Any]] = deque(maxlen=KEPT_RECORDS)
        self._evaluation: Mapping[str, Any] | None = None
        self._count = self._step = 0

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in records as they are logged; what is no number is passed over."""
        alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for record in records:
            self._count += 1
            self._tail.append(dict(record))
            step, kind = record.get("step"), record.get("kind")
            if kind == "eval":
                self._evaluation = record
            if type(step) is not int and (type(step) is not float or not math.isfinite(step)):
                continue
            self._step = int(step)
            # Records are taken apart by columns: nearly all have the same names in the same order.
            alike.setdefault((str(kind), *record), []).append(tuple(record.values()))
        for (kind, *names), rows in alike.items():
            self._add_alike(kind == "eval", names, rows)

    def _add_alike(self, evaluated: bool, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        steps = _floats(columns["step"])
        if steps is None:
            return
        kind: Kind = "eval" if evaluated or any(name.startswith("eval/") for name in names) else "train"
        total: Any = None
        for name, column in columns.items():
            values = None if name in _NOT_SERIES else _floats(column)
            if values is None:
                continue
            own = _series_name(name)
            self._column(SeriesKey(own, kind)).extend(steps, values)
            # Of an evaluation, L0 is also logged for named groups of modules, which are counted already.
            if own.startswith("l0/") and (kind == "train" or f"eval/live/{own[3:]}" in columns):
                total = values if total is None else total + values
        if total is not None and not any(_series_name(name) == TOTAL_L0 for name in names):
            self._column(SeriesKey(TOTAL_L0, kind)).extend(steps, total)

    def _column(self, key: SeriesKey) -> "_Column":
        return self._columns.setdefault(key, _Column(key))

    def snapshot(self) -> Metrics:
        """All that was taken in so far."""
        series = {key: column.series() for key, column in self._columns.items()}
        evaluation = self._evaluation and {
            name.removeprefix("eval/"): value for name, value in self._evaluation.items() if name != "kind"
        }
        return Metrics(series, self._count, self._step, tuple(self._tail), evaluation)


class _Column:
    """A growing pair of arrays; what was handed out is never written again."""

    def __init__(self, key: SeriesKey) -> None:
        self.key = key
        self.length = 0
        self._arrays: Any = None
        self._series: Series | None = None

    def extend(self, steps: "NDArray[Any]", values: "NDArray[Any]") -> None:
        import numpy as np

        end = self.length + len(steps)
        if self._arrays is None or end > self._arrays.shape[1]:
            grown = np.empty((2, max(64, end + end // 2)))
            if self._arrays is not None:
                grown[:, : self.length] = self._arrays[:, : self.length]
            self._arrays = grown
        self._arrays[0, self.length : end] = steps
        self._arrays[1, self.length : end] = values
        self.length = end
        self._series = None

    def series(self) -> Series:
        """What there is so far; the same object until there is more."""
        import numpy as np

        if self._series is None:
            steps, values = self._arrays[:, : self.length]
            if np.any(steps[1:] < steps[:-1]):
                self._arrays = self._arrays[:, np.argsort(steps, kind="stable")]
                steps, values = self._arrays
            known = np.flatnonzero(~np.isnan(values))
            last = float(values[known[-1]]) if len(known) else None
            self._series = Series(self.key, steps, values, last)
        return self._series


@dataclass(frozen=True)
class SeriesRow:
    """One line of the list of series."""

    name: str
    """Name of the series; of a heading the group's with `/` at its end."""
    label: str
    """What is shown for it."""
    heading: bool = False


def series_rows(metrics: Metrics, shown: Shown, narrow: str = "") -> list[SeriesRow]:
    """Headings of groups with their series under them."""
    rows: list[SeriesRow] = []
    group = None
    for name in metrics.names(shown, narrow):
        if group_of(name) != group:
            group = group_of(name)
            rows.append(SeriesRow(f"{group}/", group.replace("/", " ").replace("_", " "), heading=True))
        rows.append(SeriesRow(name, f" {name.removeprefix(f'{group}/')}"))
    return rows


def series_records(series: Sequence[Series]) -> list[dict[str, Any]]:
    """A record for every value, for other programs; what was logged as null is None."""
    return [
        {"name": one.key.name, "kind": one.key.kind, "step": step, "value": None if value != value else value}
        for one in series
        for step, value in zip(one.steps.tolist(), one.values.tolist(), strict=True)
    ]


def group_of(name: str) -> str:
    """What a series is listed under: all of its name but the last part."""
    return name.rpartition("/")[0]


def default_names(metrics: Metrics) -> list[str]:
    """What to plot before anything is chosen: the total loss, else the first series."""
    names = metrics.names()
    wanted = [name for name in ("loss/total",) if name in names]
    return wanted or names[:1]


def sparkline(values: "Sequence[float] | NDArray[Any]", width: int) -> str:
    """The course of a series in `width` block characters, oldest first; a space where nothing was logged."""
    return course(_bucket_means(values, width))


def _bucket_means(values: "Sequence[float] | NDArray[Any]", width: int) -> list[float]:
    import numpy as np

    data = np.asarray(values, dtype=float)
    if width < 1 or not data.size:
        return []
    most = _LARGEST / 10**6
    if data.size <= width:
        return np.clip(data, -most, most).tolist()
    starts = (np.arange(width) * data.size) // width
    with np.errstate(over="ignore"):
        means = np.add.reduceat(data, starts) / np.diff(starts, append=data.size)
    if np.isfinite(means).all():  # nearly always, and in a tenth of the time
        return means.tolist()
    data = np.clip(data, -most, most)
    known = ~np.isnan(data)
    sums = np.add.reduceat(np.where(known, data, 0.0), starts)
    counts = np.add.reduceat(known.astype(float), starts)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).tolist()


def _series_name(name: str) -> str:
    name = name.removeprefix("eval/")
    if name == "l0_total":
        return TOTAL_L0
    if name == "lr" or name.startswith("p/"):
        return f"schedule/{name}"
    return name if "/" in name else f"other/{name}"


def _floats(column: Sequence[Any]) -> "NDArray[Any] | None":
    """Logged values as floats, NaN for null, infinities and what is no number; None if none is one."""
    import numpy as np

    kinds = set(map(type, column))
    if not kinds <= {int, float, type(None)}:
        if not kinds & {int, float}:
            return None
        column = [value if type(value) in (int, float) else None for value in column]
    try:
        values = np.array(column, dtype=float)
    except OverflowError:
        values = np.array([value if abs(value or 0) < _LARGEST else None for value in column], dtype=float)
    values[~np.isfinite(values)] = np.nan
    return np.clip(values, -_LARGEST, _LARGEST)


def _place(name: str) -> tuple[int, str, int]:
    """Sorts by group, totals first and finer names later; what is equal keeps the order it was logged in."""
    group, _, rest = name.partition("/")
    rank = _FIRST.index(group) if group in _FIRST else 10 + (_LAST.index(group) + 1 if group in _LAST else 0)
    return rank, group, 0 if rest == "total" else 1 + rest.count("/")
