"""What goes with a component, on demand: other components, input and output tokens, by any measure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.errors import UsageError, nearest_names
from core.harvest.artifact import Harvest
from core.stats.association import MEASURES, Counts, top_and_bottom

if TYPE_CHECKING:
    import polars as pl

Partner = Literal["component", "input", "output"]


@dataclass(frozen=True)
class Ranking:
    """The strongest and the weakest associates of a component by one measure.

    Columns: `other` or `token`, `both`, `this`, `other_count` (positions or mass), and every measure.
    """

    top: "pl.DataFrame"
    bottom: "pl.DataFrame"


def associations(harvest: Harvest, component: int, partner: Partner) -> "pl.DataFrame":
    """Every partner that occurs with a component at least once, with counts and all measures.

    "this" is the component. Partners are other components that fire at the same position, tokens at which it
    fires, or tokens that the target model predicts there (counts are then probability mass as far as it was
    kept, over the kept mass of the token at all positions).

    Raises:
        UsageError: there is no such component.
    """
    import polars as pl

    harvest.name(component)
    table, key, value = {
        "component": ("cofiring", "other", "count"),
        "input": ("tokens_in", "token", "count"),
        "output": ("tokens_out", "token", "mass"),
    }[partner]
    rows = harvest.scan(table).filter(pl.col("component") == component).collect()
    keys = rows[key].to_numpy()
    if partner == "component":
        other = harvest.firings().to_numpy()[keys]
    else:
        column = "occurrences" if partner == "input" else "output_mass_kept"
        other = harvest.tokens()[column].to_numpy()[keys]
    this = np.full(len(keys), harvest.firings()[component])
    counts = Counts.of(rows[value].to_numpy(), this, other, np.full(len(keys), harvest.positions))
    return pl.DataFrame(
        {
            key: keys,
            "both": rows[value],
            "this": this,
            "other_count": other,
            **{name: measure(counts) for name, measure in MEASURES.items()},
        }
    )


def ranking(harvest: Harvest, component: int, partner: Partner, measure: str, count: int) -> Ranking:
    """The `count` strongest and weakest partners of a component by a measure.

    Raises:
        UsageError: there is no such component or measure.
    """
    if measure not in MEASURES:
        raise UsageError(f"there is no measure {measure}.", nearest_names(measure, MEASURES))
    table = associations(harvest, component, partner)
    top, bottom = top_and_bottom(table[measure].to_numpy(), count)
    return Ranking(table[top], table[bottom])
