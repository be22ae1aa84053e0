"""The numbers a harvest ends with."""

from typing import Any

import numpy as np

from core.harvest.kernel import HarvestEngine

RARE = 100
"""A component that fires less often than this is rare: its statistics are mostly noise."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summarise_counts(engine: HarvestEngine) -> dict[str, Any]:
    """How often components fire, by layer and in all.

    `never_fired` and `fired_rarely` (at least once, under `RARE` times) are numbers of components;
    `mean_active` is the mean number of components that fire at a position; `density_quantiles` are those of
    the share of positions at which a component fires, of the components that fire at all;
    `output_mass_dropped` is the share of output probability that was not kept, None where none is counted.
    """
    firings = engine.components().firings
    positions = max(engine.positions, 1)
    fired = firings[firings > 0]
    quantiles = np.quantile(fired / positions, QUANTILES).tolist() if len(fired) else []
    totals = engine.output_totals()
    layers, first = {}, 0
    for name, width in engine.layers:
        here = firings[first : first + width]
        first += width
        layers[name] = {
            "components": width,
            "fired": int((here > 0).sum()),
            "fired_rarely": int(((here > 0) & (here < RARE)).sum()),
            "mean_active": float(here.sum() / positions),
        }
    return {
        "components": len(firings),
        "never_fired": int((firings == 0).sum()),
        "fired_rarely": int((fired < RARE).sum()),
        "rare_below": RARE,
        "mean_active": float(firings.sum() / positions),
        "density_quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=False)),
        "output_mass_dropped": None if totals is None else totals[1] / max(totals[0], 1e-300),
        "layers": layers,
    }
