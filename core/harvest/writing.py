"""From an engine to the artifact: tables written a few hundred components at a time, in one atomic step."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.harvest.artifact import EXAMPLES_PER_GROUP, SCHEMA_VERSION, write_table
from core.harvest.kernel import HarvestEngine
from core.harvest.tables import IMPORTANCE_BINS, importance_edges
from core.runs.files import new_folder, write_json
from core.settings import to_plain

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

COMPONENTS_PER_PART = 64


def write_harvest(engine: HarvestEngine, folder: Path, details: dict[str, Any] | None = None) -> None:
    """Write everything the engine counted to `folder`, which appears whole or not at all.

    `details` go into the manifest as they are (where the stream came from, commands, versions).

    Raises:
        SpdError: the disk is full or the folder may not be written.
    """
    fired = engine.fired()
    with new_folder(folder) as new:
        _write_components(engine, new / "components.parquet")
        _write_tokens(engine, new / "tokens.parquet")
        _write_cofiring(engine, fired, new / "cofiring.parquet")
        _write_input(engine, fired, new / "tokens_in.parquet")
        dropped = _write_output(engine, fired, new / "tokens_out.parquet")
        _write_examples(engine, fired, new / "examples.parquet")
        totals = engine.output_totals()
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "layers": [list(layer) for layer in engine.layers],
            "vocabulary": engine.vocabulary,
            "positions": engine.positions,
            "components_fired": len(fired),
            "settings": to_plain(engine.settings),
            "importance_histogram_edges": importance_edges(),
            "output_mass": None if totals is None else {"total": totals[0], "dropped": totals[1]},
            **(details or {}),
        }
        assert dropped == (totals is not None)
        write_json(new / "manifest.json", manifest)


def _write_components(engine: HarvestEngine, path: Path) -> None:
    import polars as pl

    table = engine.components()
    fired, dropped = engine.fired(), np.zeros(len(table.firings))
    for start in range(0, len(fired), COMPONENTS_PER_PART):
        output = engine.output_tokens(start, start + COMPONENTS_PER_PART)
        if output is not None:
            dropped[fired[start : start + COMPONENTS_PER_PART]] = output.dropped
    widths = [width for _, width in engine.layers]
    positions = max(engine.positions, 1)
    per_firing = np.maximum(table.firings, 1).astype(np.float64)
    frame = pl.DataFrame(
        {
            "component": np.arange(len(table.firings), dtype=np.uint32),
            "layer": np.repeat([name for name, _ in engine.layers], widths),
            "index": np.concatenate([np.arange(width, dtype=np.uint32) for width in widths]),
            "firings": table.firings,
            "density": table.firings / positions,
            "mean_importance": table.importance_sum / positions,
            "mean_activation": table.activation_sum / positions,
            "mean_importance_at_firings": table.firing_importance_sum / per_firing,
            "mean_activation_at_firings": table.firing_activation_sum / per_firing,
            "output_mass_dropped": dropped,
            "importance_histogram": table.importance_histogram,
        },
        schema_overrides={"importance_histogram": pl.Array(pl.UInt64, IMPORTANCE_BINS)},
    )
    frame.write_parquet(path, compression="zstd", row_group_size=4096)


def _write_tokens(engine: HarvestEngine, path: Path) -> None:
    import polars as pl

    table = engine.tokens()
    frame = pl.DataFrame(
        {
            "token": np.arange(engine.vocabulary, dtype=np.uint32),
            "occurrences": table.occurrences,
            "output_mass": table.output_mass,
            "output_mass_kept": table.kept_mass,
        },
        schema_overrides={"output_mass": pl.Float64, "output_mass_kept": pl.Float64},
    )
    frame.write_parquet(path, compression="zstd")


def _write_cofiring(engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path) -> None:
    import polars as pl

    def part(start: int, stop: int) -> pl.DataFrame:
        table = engine.cofiring(start, stop)
        component = _repeated(fired[start:stop], table.starts)
        return pl.DataFrame({"component": component, "other": table.others, "count": table.counts})

    schema = {"component": pl.UInt32, "other": pl.UInt32, "count": pl.UInt64}
    write_table(path, schema, _parts(len(fired), part))


def _write_input(engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path) -> None:
    import polars as pl

    def part(start: int, stop: int) -> pl.DataFrame:
        table = engine.input_tokens(start, stop)
        component = _repeated(fired[start:stop], table.starts)
        return pl.DataFrame({"component": component, "token": table.tokens, "count": table.counts})

    schema = {"component": pl.UInt32, "token": pl.UInt32, "count": pl.UInt64}
    write_table(path, schema, _parts(len(fired), part))


def _write_output(engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path) -> bool:
    """Write the output tokens, an empty table when no output was counted; says whether it was."""
    import polars as pl

    counted = engine.output_totals() is not None

    def part(start: int, stop: int) -> pl.DataFrame:
        table = engine.output_tokens(start, stop)
        assert table is not None
        component = _repeated(fired[start:stop], table.starts)
        return pl.DataFrame({"component": component, "token": table.tokens, "mass": table.masses})

    schema = {"component": pl.UInt32, "token": pl.UInt32, "mass": pl.Float64}
    write_table(path, schema, _parts(len(fired) if counted else 0, part))
    return counted


def _write_examples(engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path) -> None:
    import polars as pl

    threshold = engine.settings.threshold
    heads = ("component", "strongest", "sequence", "position", "mark")
    lists = {"tokens": pl.UInt32, "importances": pl.Float32, "activations": pl.Float32, "fires": pl.Boolean}

    def part(start: int, stop: int) -> pl.DataFrame:
        table = engine.examples(start, stop)
        values = (table.components, table.strongest, table.sequences, table.positions, table.marks)
        example = _repeated(np.arange(len(table.components), dtype=np.uint32), table.starts)
        windows = pl.DataFrame(
            {
                "example": example,
                "tokens": table.tokens,
                "importances": table.importances,
                "activations": table.activations,
                "fires": table.importances > np.float32(threshold),
            }
        )
        grouped = windows.group_by("example", maintain_order=True).agg(pl.exclude("example")).drop("example")
        return pl.DataFrame(dict(zip(heads, values, strict=True))).hstack(grouped)

    schema = {
        "component": pl.UInt32,
        "strongest": pl.Boolean,
        "sequence": pl.UInt64,
        "position": pl.UInt32,
        "mark": pl.UInt32,
        **{name: pl.List(kind) for name, kind in lists.items()},
    }
    write_table(path, schema, _parts(len(fired), part, 32), EXAMPLES_PER_GROUP)


def _parts(
    count: int, part: "Callable[[int, int], pl.DataFrame]", size: int = COMPONENTS_PER_PART
) -> "Callable[[], Iterator[pl.DataFrame]]":
    def parts() -> "Iterator[pl.DataFrame]":
        for start in range(0, count, size):
            yield part(start, min(start + size, count))

    return parts


def _repeated(keys: "NDArray[np.uint32]", starts: "NDArray[np.uint64]") -> "NDArray[np.uint32]":
    return np.repeat(keys, np.diff(starts.astype(np.int64)))
