"""A finished harvest on disk: parquet tables sorted by component, and a manifest. Reading needs no torch.

File                  one row for
`components.parquet`  every component of every layer
`cofiring.parquet`    every ordered pair of components that fire together, so that one component's partners
                      stand in one place
`tokens_in.parquet`   every component and input token it fires at
`tokens_out.parquet`  every component and output token with mass at its firings
`tokens.parquet`      every token of the vocabulary, with the text that is shown for it
`examples.parquet`    every example: a window of tokens around a firing; where the input is features instead
                      of tokens, the active ones and their values
`manifest.json`       schema version, layers, settings, totals

Row groups are small and carry the range of components they hold, so that a lazy scan with a filter on
`component` reads little more than what it returns. A finished harvest is never changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SpdError, UsageError, nearest_names
from core.runs.files import read_json

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 1

TABLES = ("components", "cofiring", "tokens_in", "tokens_out", "tokens", "examples")

ROWS_PER_GROUP = 131_072
"""Rows of the tables of pairs that are read together: a few components' worth, and few groups to list."""

EXAMPLES_PER_GROUP = 2048


@dataclass(frozen=True)
class Card:
    """What is stored of one component; tables as in their files, without the others' rows."""

    component: int
    """Its number through all layers."""
    layer: str
    """Module path."""
    index: int
    """Its number in the layer."""
    numbers: dict[str, Any]
    """Its row of `components.parquet`."""
    cofiring: "pl.DataFrame"
    tokens_in: "pl.DataFrame"
    tokens_out: "pl.DataFrame"
    examples: "pl.DataFrame"


class Harvest:
    """A finished harvest, opened lazily: nothing but the manifest is read before it is asked for.

    Raises:
        UsageError: there is no harvest in `folder`, or one of another schema version.
        SpdError: its manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "manifest.json").is_file():
            raise UsageError(f"{folder} holds no finished harvest.", "Run spd harvest first.")
        self.folder = folder
        try:
            self.manifest = read_json(folder / "manifest.json")
        except UsageError as error:
            raise SpdError(error.message, harvest_again(folder)) from error
        version = self.manifest.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"{folder} has harvest schema version {version}, "
                f"this program reads version {SCHEMA_VERSION}.",
                "Harvest again, or use the version of spd that made it.",
            )
        try:
            layers = [(str(name), int(width)) for name, width in self.manifest["layers"]]
            self._positions = int(self.manifest["positions"])
        except (KeyError, TypeError, ValueError) as error:
            raise SpdError(
                f"{folder / 'manifest.json'} is damaged: {type(error).__name__} {error}.",
                harvest_again(folder),
            ) from error
        self.layers: tuple[tuple[str, int], ...] = tuple(layers)
        self._scans: dict[str, pl.LazyFrame] = {}
        self._tokens: pl.DataFrame | None = None
        self._firings: pl.Series | None = None
        self._top_inputs: pl.Series | None = None

    @property
    def positions(self) -> int:
        """Token positions that were counted."""
        return self._positions

    def scan(self, table: str) -> "pl.LazyFrame":
        """One of `TABLES`, lazily.

        Raises:
            UsageError: there is no such table.
            SpdError: its file is missing.
        """
        if table not in TABLES:
            raise UsageError(f"a harvest has no table {table}.", nearest_names(table, TABLES))
        if table not in self._scans:
            import polars as pl

            path = self.folder / f"{table}.parquet"
            if not path.is_file():
                raise SpdError(
                    f"the harvest {self.folder} is incomplete: {path.name} is missing.",
                    harvest_again(self.folder),
                )
            self._scans[table] = pl.scan_parquet(path)
        return self._scans[table]

    def number(self, layer: str, index: int) -> int:
        """The number through all layers of a component.

        Raises:
            UsageError: there is no such layer, or it has fewer components.
        """
        first = 0
        for name, width in self.layers:
            if name == layer:
                if not 0 <= index < width:
                    raise UsageError(f"layer {layer} has components 0 to {width - 1}, not {index}.")
                return first + index
            first += width
        raise UsageError(
            f"the harvest has no layer {layer}.", nearest_names(layer, [name for name, _ in self.layers])
        )

    def name(self, component: int) -> tuple[str, int]:
        """Layer and index in it of a component number.

        Raises:
            UsageError: there is no such component.
        """
        index = component
        for name, width in self.layers:
            if 0 <= index < width:
                return name, index
            index -= width
        total = sum(width for _, width in self.layers)
        raise UsageError(f"component {component} is not one of 0 to {total - 1}.")

    def card(self, component: int) -> Card:
        """Everything stored of one component.

        Raises:
            UsageError: there is no such component.
        """
        layer, index = self.name(component)
        numbers = self._rows("components", component).to_dicts()[0]
        found = {name: self._rows(name, component) for name in TABLES[1:4]}
        examples = self._rows("examples", component)
        return Card(component, layer, index, numbers, *found.values(), examples=examples)

    def firings(self) -> "pl.Series":
        """Positions at which each component fires, by component number; read once."""
        if self._firings is None:
            self._firings = self.scan("components").select("firings").collect().to_series()
        return self._firings

    def top_inputs(self) -> "pl.Series":
        """Token most typical of each component's firings, by component number; read once."""
        if self._top_inputs is None:
            self._top_inputs = self.scan("components").select("top_input").collect().to_series()
        return self._top_inputs

    def tokens(self) -> "pl.DataFrame":
        """`tokens.parquet`, one row for each token id; read once."""
        if self._tokens is None:
            self._tokens = self.scan("tokens").collect()
        return self._tokens

    def _rows(self, table: str, component: int) -> "pl.DataFrame":
        import polars as pl

        return self.scan(table).filter(pl.col("component") == component).collect()


def harvest_again(folder: Path) -> str:
    """What to do about a damaged harvest; its folder stands in that of its run's harvests."""
    return f"Harvest again: spd harvest {folder.absolute().parent.parent.name}."


def write_table(
    path: Path,
    schema: "dict[str, pl.DataType | type[pl.DataType]]",
    parts: Callable[[], Iterator["pl.DataFrame"]],
    rows_per_group: int = ROWS_PER_GROUP,
) -> None:
    """Write the parts, which follow each other in the order of components, as one parquet file."""
    import polars as pl
    from polars.io.plugins import register_io_source

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        yield from parts()

    frame = register_io_source(source, schema=pl.Schema(schema))
    frame.sink_parquet(
        path, compression="zstd", compression_level=1, row_group_size=rows_per_group, maintain_order=True
    )
