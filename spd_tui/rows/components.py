"""The table of components: what its columns are called and how the visible rows are written out.

The frame may hold tens of thousands of rows; a row becomes text only when it is painted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from core.numerals import MISSING, align_decimal, grouped, three_digits
from spd_tui.rows.tokens import harmless

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from core.harvest.artifact import Harvest
    from core.runs.directory import RunDirectory

Kind = Literal["layer", "text", "index", "count", "number", "percent", "share"]


@dataclass(frozen=True)
class ComponentColumn:
    """One column of the table: what it shows of the frame and how."""

    name: str
    """Column of the frame, and what it is sorted by."""
    title: str
    """Heading, with the unit."""
    kind: Kind
    width: int
    """Cells it takes at least."""
    hide: int = 0
    """Of those above 0 the column with the greatest leaves first where there is no room."""


COLUMNS = (
    ComponentColumn("layer", "layer", "layer", 10),
    ComponentColumn("index", "#", "index", 5),
    ComponentColumn("density", "density %", "percent", 9),
    ComponentColumn("mean_importance", "mean CI", "number", 8),
    ComponentColumn("mean_importance_at_firings", "CI firing", "number", 9, 7),
    ComponentColumn("label", "label", "text", 24, 3),
    ComponentColumn("top_input_text", "top in", "text", 11, 1),
    ComponentColumn("top_input_share", "in %", "share", 7, 5),
    ComponentColumn("top_output_text", "top out", "text", 11, 2),
    ComponentColumn("top_output_share", "out %", "share", 7, 6),
    ComponentColumn("firings", "firings", "count", 9, 8),
)
"""The known columns in the order in which they stand; those that a frame lacks are left out."""

_SILENT = frozenset(("component", "key", "top_input", "top_output"))
"""Columns that say what another one shows already."""

_ROOM: dict[str, tuple[int, int]] = {
    "density": (3, 6),
    "mean_importance": (1, 6),
    "mean_importance_at_firings": (1, 6),
    "top_input_share": (3, 4),
    "top_output_share": (3, 4),
}
"""Cells before the decimal point and from it on: points align in rows that were never read together."""


@dataclass(frozen=True)
class ComponentData:
    """An open harvest, read as far as its table needs."""

    harvest: "Harvest"
    table: "pl.DataFrame"
    """`core.harvest.listing.component_table`."""
    layers: Mapping[str, str]
    """Short layer names."""
    fired: int
    """Components that fired at least once."""
    unit: str
    """What a position is: `tokens`, or `inputs` of a toy."""
    hidden: frozenset[str]
    """Columns that say nothing of any component, as the top output where no output was counted."""


def load_components(run: "RunDirectory", name: str | None) -> ComponentData:
    """Open a harvest of a run (the newest without a name) and read its table of components.

    Raises:
        SpdError: there is none, or a file of it is missing or damaged.
    """
    from core.harvest.catalogue import open_harvest
    from core.harvest.listing import component_table

    harvest = open_harvest(run, name)
    table = component_table(harvest)
    shortened = short_layers([layer for layer, _ in harvest.layers])
    return ComponentData(
        harvest=harvest,
        table=table,
        layers={layer: harmless(short) for layer, short in shortened.items()},
        fired=int((table["firings"] > 0).sum()),
        hidden=frozenset(name for name in table.columns if table[name].null_count() == table.height),
        unit="inputs" if harvest.manifest.get("kind") == "features" else "tokens",
    )


@dataclass(frozen=True)
class Order:
    """What the table is sorted by."""

    column: str = "mean_importance"
    descending: bool = True


def narrow(data: ComponentData, text: str, order: Order) -> "ComponentRows":
    """The rows that a query leaves, in its own order if it names one, else in `order`.

    Raises:
        UsageError: the query cannot be understood; the message says why.
    """
    from core.harvest.filters import parse_query, select

    query = parse_query(text, data.table.columns, being_typed=True)
    if query.sort is None:
        query = replace(query, sort=order.column, descending=order.descending)
    assert query.sort is not None
    order = Order(query.sort, query.descending)
    return ComponentRows(select(data.table, query), data.layers, order, data.hidden)


def short_layers(layers: Sequence[str]) -> dict[str, str]:
    """Layer names without the path that all of them begin with, at least their last part."""
    parts = [layer.split(".") for layer in layers]
    shared = 0
    while len(layers) > 1 and all(len(part) > shared + 1 for part in parts):
        if len({part[shared] for part in parts}) > 1:
            break
        shared += 1
    return {layer: ".".join(part[shared:]) for layer, part in zip(layers, parts, strict=True)}


def visible_columns(names: Sequence[str], layers: Mapping[str, str]) -> list[ComponentColumn]:
    """The columns for a frame with these columns: the known ones, then whatever else it has."""
    widest = max((len(short) for short in layers.values()), default=0)
    known = {column.name for column in COLUMNS}
    shown = [column for column in COLUMNS if column.name in names]
    shown += [
        ComponentColumn(name, name.replace("_", " "), "number", max(9, len(name)), 4)
        for name in names
        if name not in known and name not in _SILENT
    ]
    return [
        ComponentColumn(column.name, column.title, column.kind, min(max(widest, 5), 24))
        if column.kind == "layer"
        else column
        for column in shown
    ]


class ComponentRows:
    """Rows of a frame of components, written out one at a time; a row's key is its component number."""

    def __init__(
        self,
        frame: "pl.DataFrame",
        layers: Mapping[str, str],
        order: Order | None = None,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self.frame = frame
        self.order = order
        """What they are sorted by."""
        self.columns = visible_columns([name for name in frame.columns if name not in hidden], layers)
        self._layers = layers
        self._places = [frame.columns.index(column.name) for column in self.columns]
        self._key = frame.columns.index("component")
        self._numbers: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return self.frame.height

    def key(self, index: int) -> int:
        """The component number of a row."""
        return int(self.frame.row(index)[self._key])

    def index_of(self, key: object) -> int | None:
        """The row of a component number, None if it is not among the rows."""
        import numpy as np

        if self._numbers is None:
            self._numbers = self.frame["component"].to_numpy()
        found = np.flatnonzero(self._numbers == key)
        return int(found[0]) if len(found) else None

    def cells(self, index: int) -> list[str]:
        """The cells of one row, as text ready to be painted."""
        row = self.frame.row(index)
        return [
            self._cell(column, row[place]) for column, place in zip(self.columns, self._places, strict=True)
        ]

    def _cell(self, column: ComponentColumn, value: Any) -> str:
        if value is None:
            # No sign stands for no token: it may be one.
            text = "" if column.kind == "text" else MISSING
        elif isinstance(value, str):
            return self._layers.get(value, value) if column.kind == "layer" else harmless(value) or "∅"
        elif column.kind == "count":
            return grouped(int(value))
        elif isinstance(value, bool) or column.kind == "index":
            return str(value)
        elif column.kind == "share":
            text = written_share(value)
        elif isinstance(value, int | float):
            text = written(value, column.kind)
        else:
            return harmless(str(value))
        if column.name in _ROOM:
            return align_decimal([text], *_ROOM[column.name])[0]
        return text


def written(value: float, kind: Kind) -> str:
    """A number as its kind of column shows it."""
    if kind == "percent":
        return three_digits(100 * value)
    return str(value) if isinstance(value, int) else three_digits(value)


def written_share(share: float) -> str:
    """A share in per cent, to three digits or thousandths: what is less is none to speak of."""
    percent = 100 * share
    if percent >= 1 or percent == 0 or math.isnan(percent):
        return three_digits(percent)
    return f"{percent:.3f}" if percent >= 0.001 else "<0.001"


@dataclass(frozen=True)
class Ranks:
    """All components in the order of one number, largest first."""

    column: str
    values: "NDArray[np.float64]"
    order: "NDArray[np.int64]"
    """Component at each rank."""
    places: "NDArray[np.int64]"
    """Rank of each component, from 0."""
    widths: tuple[tuple[str, int], ...]
    """Layers and their numbers of components, in the order of component numbers."""

    @classmethod
    def of(cls, data: ComponentData, column: str) -> "Ranks":
        """Ranks of the whole table, whose rows are in the order of component numbers."""
        import numpy as np

        values = np.nan_to_num(data.table[column].cast(float).fill_null(0.0).to_numpy())
        order = np.argsort(-values, kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return cls(column, values[order], order, places, data.harvest.layers)
