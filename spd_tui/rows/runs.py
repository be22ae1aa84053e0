"""The table of runs: pure functions of what was read from disk."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.numerals import grouped, three_digits
from spd_tui.rows.columns import Column
from spd_tui.rows.tokens import harmless

if TYPE_CHECKING:
    from core.runs.overview import RunOverview

ABSENT = "·"
"""Stands where a run has nothing of a kind."""

FILTERS = ("all", "running", "finished", "failed", "interrupted", "unreadable")
"""What `f` steps through."""

SIGNS = {"running": "▶", "finished": "✓", "failed": "✗", "interrupted": "‖", "unreadable": "✗"}
STYLES = {
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "interrupted": "yellow",
    "unreadable": "red",
}


@dataclass(frozen=True)
class RunRow:
    """One run of the table, readable or not."""

    run_id: str
    overview: "RunOverview | None"
    """None when it cannot be read."""
    problem: str = ""
    """Why it cannot be read."""

    @property
    def status(self) -> str:
        """How it stands; `unreadable` when nobody can tell."""
        return "unreadable" if self.overview is None else self.overview.status

    @property
    def is_running(self) -> bool:
        """Whether a process works on it."""
        return self.status == "running"

    @property
    def newest_first(self) -> tuple[float, str]:
        """Sorting key of the usual order; runs that cannot be read stand last."""
        return (-self.overview.created.timestamp() if self.overview else 0.0, self.run_id)

    @property
    def recipe(self) -> str:
        """Recipe of its settings, else where it was imported from."""
        if self.overview is None:
            return ABSENT
        return plain_line(
            self.overview.recipe or ("imported" if self.overview.imported_from else "own settings")
        )


def columns(rows: Sequence[RunRow]) -> list[Column]:
    """The table's columns, as wide as these rows need."""
    recipe = max((len(row.recipe) for row in rows), default=0)
    step = max((len(step_text(row)) for row in rows), default=0)
    ids = max((len(row.run_id) for row in rows), default=0)
    status = max((len(status_text(row)) for row in rows), default=0)
    host = max((len(row.overview.host) for row in rows if row.overview), default=0)
    return [
        Column("recipe", "recipe", minimum=min(max(9, recipe), 14), maximum=max(9, recipe), hide=1),
        Column("id", "id", min(max(10, ids), 20)),
        Column("step", "step", min(max(5, step), 17), "right", hide=3),
        Column("loss", "loss", 8, "decimal", hide=4),
        Column("L0", "L0", 5, "decimal", hide=5),
        Column("status", "status", min(max(8, status), 24)),
        Column("age", "age", 4, "right", hide=2),
        Column("has", "has", 7, sortable=False, hide=6),
        Column("took", "took", 7, "right", hide=7),
        Column("seed", "seed", 4, "right", hide=8),
        Column("host", "host", min(max(4, host), 24), hide=9),
    ]


def cells(row: RunRow, now: datetime) -> list[str | Text]:
    """The cells of one row."""
    overview = row.overview
    status = Text(status_text(row), STYLES[row.status])
    if overview is None:
        return [row.recipe, plain_line(row.run_id), "", "", "", status]
    return [
        row.recipe,
        plain_line(row.run_id),
        step_text(row),
        three_digits(overview.loss),
        three_digits(overview.sparsity),
        status,
        age_text((now - overview.created).total_seconds()),
        " ".join(_marks(overview)),
        duration(overview.seconds) if overview.seconds else "",
        str(overview.seed),
        plain_line(overview.host),
    ]


class RunRows:
    """Rows for a `FrameTable`, in the order given; ages are as of the moment they are painted."""

    def __init__(self, rows: Sequence[RunRow], clock: Callable[[], datetime]) -> None:
        self.rows = rows
        self._clock = clock
        self._places = {row.run_id: place for place, row in enumerate(rows)}

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, index: int) -> Sequence[str | Text]:
        """The cells of one row."""
        return cells(self.rows[index], self._clock())

    def key(self, index: int) -> str:
        """Its run id."""
        return self.rows[index].run_id

    def index_of(self, key: Hashable) -> int | None:
        """Where a run is."""
        return self._places.get(key)  # pyright: ignore[reportArgumentType]


def select(
    rows: Sequence[RunRow], status: str = "all", text: str = "", sort: str = "age", descending: bool = False
) -> list[RunRow]:
    """The runs of a status that hold every word of `text`, in order; what has no value stands last.

    By age the youngest comes first.
    """
    words = text.lower().split()
    kept = [row for row in rows if status in ("all", row.status) and _holds(row, words)]
    known = [row for row in kept if _value(row, sort) is not None]
    unknown = [row for row in kept if _value(row, sort) is None]
    known.sort(key=lambda row: row.newest_first)
    known.sort(key=lambda row: _value(row, sort), reverse=descending)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return known + unknown


def counts(rows: Sequence[RunRow]) -> dict[str, int]:
    """How many runs there are of each status that occurs, in the order of `FILTERS`."""
    found = [row.status for row in rows]
    return {status: found.count(status) for status in FILTERS if status in found}


def next_filter(now: str, rows: Sequence[RunRow]) -> str:
    """The filter after `now` among those that would show something."""
    there = ["all", *counts(rows)]
    return there[(there.index(now) + 1) % len(there)] if now in there else "all"


def facts_text(place: str, rows: Sequence[RunRow] | None, shown: int, status: str) -> str:
    """What there is in a few words, for the title: where, how many runs, what needs a look, the filter."""
    parts = [place]
    if rows is not None:
        found = counts(rows)
        some = f"{shown} of " if shown < len(rows) else ""
        parts.append(f"{some}{len(rows)} run{'s' * (len(rows) != 1)}")
        parts += [f"{found[name]} {name}" for name in ("running", "failed", "unreadable") if name in found]
    if status != "all":
        parts.append(f"only {status}")
    return "  ".join(parts)


def nothing_text(place: str, hidden: bool, usual: bool) -> str:
    """What stands where the table has no rows: what to do.

    Args:
        place: The output folder.
        hidden: There are runs, but none that fits.
        usual: It is the folder that commands write to of themselves.
    """
    if hidden:
        return "No run fits.\n\nEsc gives the search up; f, or :filter all, shows the other runs."
    return (
        f"There are no runs in {place}.\n\n"
        "spd demo               makes a small one within a minute\n"
        "spd decompose tms_5-2  decomposes a toy model\n"
        "spd decompose --list   lists what else can be decomposed\n\n"
        + ("" if usual else f"They write there with --out {place}\n\n")
        + "A run is shown here as soon as there is one. q leaves."
    )


def status_text(row: RunRow) -> str:
    """A sign and a word or two: `▶ 46 %`, `✓ 5/5 features`, `✗ failed`."""
    overview, sign = row.overview, SIGNS[row.status]
    if overview is None:
        return f"{sign} unreadable"
    share = f"{100 * overview.step / overview.steps:.0f} %" if overview.steps else ""
    if overview.status == "running":
        return f"{sign} {share or 'running'}"
    if overview.status == "finished":
        return f"{sign} {plain_line(overview.verdict or 'finished')}"
    return f"{sign} {overview.status if overview.status == 'failed' else 'stopped'} {share}".rstrip()


def step_text(row: RunRow) -> str:
    """Steps done, and asked for where that is more: `2 340/5 000`."""
    if row.overview is None:
        return ""
    step, steps = row.overview.step, row.overview.steps
    return grouped(step) if step >= steps else f"{grouped(step)}/{grouped(steps)}"


def age_text(seconds: float) -> str:
    """How long ago: `now`, `12m`, `2h`, `5d`, `3y`."""
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return "now"


def duration(seconds: float) -> str:
    """A time as people say it: `42 s`, `12 min`, `3.5 h`, `2 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def plain_line(text: str) -> str:
    """Text from a file as one harmless line: no character that a terminal would obey; spaces stay."""
    return "".join(character if character == " " else harmless(character) for character in text)


def _marks(overview: "RunOverview") -> list[str]:
    kinds = (
        ("C", overview.checkpoints),
        ("H", overview.harvests),
        ("A", overview.attributions),
        ("L", overview.labels),
    )
    return [letter if there else ABSENT for letter, there in kinds]


def _value(row: RunRow, sort: str) -> Any:
    overview = row.overview
    if sort == "id":
        return row.run_id
    if overview is None:
        return None
    values = {
        "recipe": row.recipe,
        "step": overview.step,
        "loss": overview.loss,
        "L0": overview.sparsity,
        "status": (FILTERS.index(row.status), status_text(row)),
        "age": -overview.created.timestamp(),
        "took": overview.seconds or None,
        "seed": overview.seed,
        "host": overview.host,
    }
    return values.get(sort)


def _holds(row: RunRow, words: Sequence[str]) -> bool:
    overview = row.overview
    parts = [row.run_id, row.recipe, row.status, row.problem]
    if overview is not None:
        parts += [overview.reason, overview.host, overview.verdict or ""]
    text = " ".join(parts).lower()
    return all(word in text for word in words)
