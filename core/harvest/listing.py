"""All components of a harvest as one table, a row for each: what lists show, filter and sort."""

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
