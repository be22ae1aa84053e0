"""All components of a harvest as one table, a row for each: what lists show, filter and sort."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.harvest.artifact import Harvest
from core.harvest.catalogue import naming_damage

if TYPE_CHECKING:
    import polars as pl

COLUMNS = (
    "component",
    "layer",
    "index",
    "key",
    "firings",
    "density",
    "mean_importance",
    "mean_importance_at_firings",
    "top_input",
    "top_input_text",
    "top_input_share",
    "top_output",
    "top_output_text",
    "top_output_share",
)
"""Columns of `component_table`, in this order:

component                    number through all layers
layer, index                 module path and number in it
key                          both, as `h.0.mlp.c_fc:17`
firings                      positions where it fires
density                      share of positions where it fires
mean_importance              causal importance, mean over all positions
mean_importance_at_firings   the same over its firings; null if it never fired
top_input, top_output        token (of toys: feature) most typical of its firings; null if there is none
..._text, ..._share          how it is shown, and P(token | fires) or its share of the output mass there
"""

FEW_FIRINGS = 100
"""Below this many firings, statistics of a component say little."""

DENSITY_DECADES = (-6, 0)
"""Powers of ten between which `BaseRates.histogram` counts, two bins to each."""


@dataclass(frozen=True)
class BaseRates:
    """How often components fire, over all of them."""

    components: int
    never: int
    """Components that never fired."""
    few: int
    """Components that fired, but fewer than `FEW_FIRINGS` times."""
    sparsity: float
    """L0: components that fire at a position, on average."""
    quantiles: dict[str, float]
    """Quantiles of the density of the components that fired, by name: `min`, `10%`, ... `max`."""
    histogram: tuple[int, ...]
    """Components that fired by density, two bins to a power of ten; what lies outside is in the end bins."""


def component_table(harvest: Harvest) -> "pl.DataFrame":
    """Every component of every layer in the order of numbers, with `COLUMNS`.

    Raises:
        SpdError: a file of the harvest is missing or damaged.
    """
    import polars as pl

    with naming_damage(harvest):
        table = harvest.scan("components").select(
            "component",
            pl.col("layer").cast(pl.String),
            "index",
            (pl.col("layer").cast(pl.String) + ":" + pl.col("index").cast(pl.String)).alias("key"),
            "firings",
            "density",
            "mean_importance",
            pl.when(pl.col("firings") > 0).then("mean_importance_at_firings"),
            "top_input",
            "top_input_share",
            "top_output",
            "top_output_share",
        )
        frame = table.collect()
        texts = harvest.tokens()["text"]
    shown = {f"{side}_text": texts.gather(frame[side]) for side in ("top_input", "top_output")}
    return frame.with_columns(**shown).select(COLUMNS)


def base_rates(table: "pl.DataFrame") -> BaseRates:
    """How often the components of a table (see `component_table`) fire."""
    import numpy as np
    import polars as pl

    fired = table.filter(pl.col("firings") > 0)
    density = fired["density"].to_numpy()
    names = {"min": 0.0, "10%": 0.1, "50%": 0.5, "90%": 0.9, "max": 1.0}
    low, high = DENSITY_DECADES
    bins = 2 * (high - low)
    places = np.clip(np.floor((np.log10(density) - low) * 2).astype(int), 0, bins - 1)
    return BaseRates(
        components=len(table),
        never=len(table) - len(fired),
        few=int((fired["firings"] < FEW_FIRINGS).sum()),
        sparsity=float(density.sum()),
        quantiles=(
            {name: float(np.quantile(density, share)) for name, share in names.items()} if len(fired) else {}
        ),
        histogram=tuple(np.bincount(places, minlength=bins).tolist()),
    )
