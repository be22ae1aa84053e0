"""From an engine to the artifact: tables written a few hundred components at a time, in one atomic step."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.harvest.artifact import EXAMPLES_PER_GROUP, SCHEMA_VERSION, write_table
from core.harvest.kernel import HarvestEngine
from core.harvest.leading import LeadingTokens
from core.harvest.tables import IMPORTANCE_BINS, importance_edges
from core.runs.files import new_folder, write_json
from core.settings import to_plain

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

COMPONENTS_PER_PART = 64

Inputs = Callable[["NDArray[np.uint64]"], Sequence[dict[int, float]]]
"""The active features of sequences, given by their numbers, with their values."""


def write_harvest(
    engine: HarvestEngine,
    folder: Path,
    details: dict[str, Any] | None = None,
    texts: Sequence[str] | None = None,
    inputs: Inputs | None = None,
) -> None:
    """Write everything the engine counted to `folder`, which appears whole or not at all.

    `details` go into the manifest as they are (where the stream came from, commands, versions). `texts` is
    what is shown for each token id, the number itself where nothing is given. `inputs` gives the input of
    sequences whose positions have features instead of tokens; examples then show it.

    Raises:
        SpdError: the disk is full or the folder may not be written.
    """
    assert texts is None or len(texts) == engine.vocabulary, "one text for every token id"
    fired = engine.fired()
    with new_folder(folder) as new:
        _write_tokens(engine, new / "tokens.parquet", texts)
        _write_cofiring(engine, fired, new / "cofiring.parquet")
        leading_in = _write_input(engine, fired, new / "tokens_in.parquet")
        leading_out, dropped = _write_output(engine, fired, new / "tokens_out.parquet")
        _write_components(engine, new / "components.parquet", leading_in, leading_out, dropped)
        _write_examples(engine, fired, new / "examples.parquet", inputs)
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
        write_json(new / "manifest.json", manifest)


def _write_components(
    engine: HarvestEngine,
    path: Path,
    leading_in: LeadingTokens,
    leading_out: LeadingTokens,
    dropped: "NDArray[np.float64]",
) -> None:
    import polars as pl

    table = engine.components()
    widths = [width for _, width in engine.layers]
    positions = max(engine.positions, 1)
    per_firing = np.maximum(table.firings, 1).astype(np.float64)
    leading = {"input": leading_in, "output": leading_out}
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
            **{f"top_{kind}": tokens.tokens() for kind, tokens in leading.items()},
            **{f"top_{kind}_share": tokens.shares() for kind, tokens in leading.items()},
        },
        schema_overrides={
            "importance_histogram": pl.Array(pl.UInt64, IMPORTANCE_BINS),
            **{f"top_{kind}": pl.UInt32 for kind in leading},
            **{f"top_{kind}_share": pl.Float64 for kind in leading},
        },
    )
    frame.write_parquet(path, compression="zstd", row_group_size=4096)


def _write_tokens(engine: HarvestEngine, path: Path, texts: Sequence[str] | None) -> None:
    import polars as pl

    table = engine.tokens()
    frame = pl.DataFrame(
        {
            "token": np.arange(engine.vocabulary, dtype=np.uint32),
            "text": [str(token) for token in range(engine.vocabulary)] if texts is None else list(texts),
            "occurrences": table.occurrences,
            "output_mass": table.output_mass,
            "output_mass_kept": table.kept_mass,
        },
        schema_overrides={"text": pl.String, "output_mass": pl.Float64, "output_mass_kept": pl.Float64},
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


def _write_input(engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path) -> LeadingTokens:
    """Write the input tokens; returns the one that goes most with each component."""
    import polars as pl

    leading = LeadingTokens(engine.components().firings, engine.tokens().occurrences, engine.positions)

    def part(start: int, stop: int) -> pl.DataFrame:
        table = engine.input_tokens(start, stop)
        leading.note(fired[start:stop], table.starts, table.tokens, table.counts)
        component = _repeated(fired[start:stop], table.starts)
        return pl.DataFrame({"component": component, "token": table.tokens, "count": table.counts})

    schema = {"component": pl.UInt32, "token": pl.UInt32, "count": pl.UInt64}
    write_table(path, schema, _parts(len(fired), part))
    return leading


def _write_output(
    engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path
) -> "tuple[LeadingTokens, NDArray[np.float64]]":
    """Write the output tokens, an empty table when no output was counted.

    Returns the one that goes most with each component, and the mass dropped at each one's firings.
    """
    import polars as pl

    firings, kept = engine.components().firings, engine.tokens().kept_mass
    leading = LeadingTokens(firings, np.zeros(0) if kept is None else kept, engine.positions)
    dropped = np.zeros(len(firings))

    def part(start: int, stop: int) -> pl.DataFrame:
        table = engine.output_tokens(start, stop)
        assert table is not None
        dropped[fired[start:stop]] = table.dropped
        leading.note(fired[start:stop], table.starts, table.tokens, table.masses)
        component = _repeated(fired[start:stop], table.starts)
        return pl.DataFrame({"component": component, "token": table.tokens, "mass": table.masses})

    schema = {"component": pl.UInt32, "token": pl.UInt32, "mass": pl.Float64}
    write_table(path, schema, _parts(0 if kept is None else len(fired), part))
    return leading, dropped


def _write_examples(
    engine: HarvestEngine, fired: "NDArray[np.uint32]", path: Path, inputs: Inputs | None
) -> None:
    import polars as pl

    threshold = engine.settings.threshold
    heads = ("component", "strongest", "sequence", "position", "mark")
    lists = {"tokens": pl.UInt32, "importances": pl.Float32, "activations": pl.Float32, "fires": pl.Boolean}
    given = {"features": pl.List(pl.UInt32), "feature_values": pl.List(pl.Float32)}

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
        features = pl.DataFrame(_features(table.sequences, inputs), schema=given)
        return pl.DataFrame(dict(zip(heads, values, strict=True))).hstack(grouped).hstack(features)

    schema = {
        "component": pl.UInt32,
        "strongest": pl.Boolean,
        "sequence": pl.UInt64,
        "position": pl.UInt32,
        "mark": pl.UInt32,
        **{name: pl.List(kind) for name, kind in lists.items()},
        **given,
    }
    write_table(path, schema, _parts(len(fired), part, 32), EXAMPLES_PER_GROUP)


def _features(sequences: "NDArray[np.uint64]", inputs: Inputs | None) -> dict[str, list[list[float] | None]]:
    """Active features of every sequence, ascending, and their values; nothing where inputs are tokens."""
    if inputs is None:
        return {name: [None] * len(sequences) for name in ("features", "feature_values")}
    different, places = np.unique(sequences, return_inverse=True)
    active = [dict(sorted(values.items())) for values in inputs(different)]
    ids, values = [list(each) for each in active], [list(each.values()) for each in active]
    return {"features": [ids[at] for at in places], "feature_values": [values[at] for at in places]}


def _parts(
    count: int, part: "Callable[[int, int], pl.DataFrame]", size: int = COMPONENTS_PER_PART
) -> "Callable[[], Iterator[pl.DataFrame]]":
    def parts() -> "Iterator[pl.DataFrame]":
        for start in range(0, count, size):
            yield part(start, min(start + size, count))

    return parts


def _repeated(keys: "NDArray[np.uint32]", starts: "NDArray[np.uint64]") -> "NDArray[np.uint32]":
    return np.repeat(keys, np.diff(starts.astype(np.int64)))
