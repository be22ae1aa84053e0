"""How often components fire, in all and by layer: the last words of a harvest."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RARE = 100
"""A component that fires less often than this is rare: its statistics are mostly noise."""

DENSITY_DECADES = (-6, 0)
"""Powers of ten between which `BaseRates.density_histogram` counts, two bins to each."""

_QUANTILES = {"min": 0.0, "10%": 0.1, "50%": 0.5, "90%": 0.9, "max": 1.0}


@dataclass(frozen=True)
class BaseRates:
    """How often components fire; the density of a component is the share of positions at which it fires."""

    components: int
    never_fired: int
    fired_rarely: int
    """Components that fired, but fewer than `RARE` times."""
    mean_active: float
    """L0: components that fire at a position, on average."""
    density_quantiles: dict[str, float]
    """Of the components that fired, by name: `min`, `10%`, ... `max`; empty when none did."""
    density_histogram: tuple[int, ...]
    """Components that fired by density, two bins to a power of ten; what lies outside is in the end bins."""
    layers: dict[str, dict[str, Any]]
    """`components`, `fired`, `fired_rarely` and `mean_active` of each module path."""

    @property
    def fired(self) -> int:
        """Components that fired at least once."""
        return self.components - self.never_fired


def base_rates(firings: "NDArray[np.uint64]", positions: int, layers: Iterable[tuple[str, int]]) -> BaseRates:
    """Base rates from the positions at which each component fires, (C) through all `layers`."""
    import numpy as np

    positions = max(positions, 1)
    density = firings[firings > 0] / positions
    low, high = DENSITY_DECADES
    bins = 2 * (high - low)
    places = np.clip(np.floor((np.log10(density) - low) * 2).astype(int), 0, bins - 1)
    by_layer, first = {}, 0
    for name, width in layers:
        here = firings[first : first + width]
        first += width
        by_layer[name] = {
            "components": width,
            "fired": int((here > 0).sum()),
            "fired_rarely": _rare(here),
            "mean_active": float(here.sum() / positions),
        }
    return BaseRates(
        components=len(firings),
        never_fired=int((firings == 0).sum()),
        fired_rarely=_rare(firings),
        mean_active=float(firings.sum() / positions),
        density_quantiles=(
            {name: float(np.quantile(density, share)) for name, share in _QUANTILES.items()}
            if len(density)
            else {}
        ),
        density_histogram=tuple(np.bincount(places, minlength=bins).tolist()),
        layers=by_layer,
    )


def _rare(firings: "NDArray[np.uint64]") -> int:
    return int(((firings > 0) & (firings < RARE)).sum())
