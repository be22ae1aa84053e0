"""Where a table's rows come from."""

from collections.abc import Hashable, Sequence
from typing import Protocol, runtime_checkable

from rich.text import Text

Cell = str | Text


class RowSource(Protocol):
    """Where a table's rows come from. `cells` and `key` are called for the rows on screen only."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def cells(self, index: int) -> Sequence[Cell]:
        """The cells of one row, one per column. They must hold no control characters."""
        ...

    def key(self, index: int) -> Hashable:
        """What names the row for good, whatever the order: a run id, a component's number."""
        ...


@runtime_checkable
class IndexedRows(Protocol):
    """A row source that finds a row by its key faster than by looking through all of them."""

    def index_of(self, key: Hashable) -> int | None:
        """The row of `key`, None when it is not among the rows."""
        ...


class ListRows:
    """Rows from a list of (key, cells)."""

    def __init__(self, rows: Sequence[tuple[Hashable, Sequence[Cell]]] = ()) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, index: int) -> Sequence[Cell]:
        """The cells of one row."""
        return self._rows[index][1]

    def key(self, index: int) -> Hashable:
        """The key of one row."""
        return self._rows[index][0]
