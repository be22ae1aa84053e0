"""Where a sorted curve of mean causal importances breaks off: which subcomponents are live.

Counting everything that ever exceeds a fixed importance grows with the number of positions looked at,
because a dead subcomponent fires once in a while. The curve of log10 mean importance, sorted, instead has
a cliff: live subcomponents lie above it, dead ones below.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST_MEAN = 1e-6
"""Mean importance below which nothing is told apart, whatever the number of positions."""

POSITIONS_RESOLVED = 0.1
"""Total importance, in positions, below which a subcomponent counts as silent: the estimate's resolution."""

NEVER_DEAD = 1e-2
"""A mean importance above this is never called dead, so a gap among busy subcomponents is not a cliff."""

SMALLEST_GAP = 0.5
"""Decades a gap must span to count as a cliff."""

WIDEST_CHANCE_GAP = 1.0
"""Decades by which a single firing stands above the resolution of the sample, so that a gap down to it says
nothing where importances are spread over many decades."""

POSITIONS_LIVE = 0.5
"""Total importance, in positions, that a live subcomponent must have at least where there is no cliff."""


@dataclass(frozen=True)
class SpectrumCut:
    """The live subcomponents of one module, with what is needed to judge the cut."""

    live: Bool[Tensor, "C"]
    """Which subcomponents lie above the cut."""
    threshold: float
    """Mean importance at the cut: the geometric middle of the gap; where there is none the floor, or what was
    given for that case."""
    gap_decades: float
    """Width of the gap that was cut, in powers of ten; 0 where there is none."""
    runner_up_decades: float
    """Width of the next widest gap at which one could have cut; close to `gap_decades` means doubtful."""
    separated: bool
    """Whether a gap of at least `SMALLEST_GAP` decades was found, or everything is silent."""

    @property
    def count(self) -> int:
        """Number of live subcomponents."""
        return int(self.live.sum())


def cut_spectrum(
    mean_importance: Float[Tensor, "C"], positions: int, without_cliff: float | None = None
) -> SpectrumCut:
    """Cut the sorted curve of log10 mean importance at its widest gap.

    1. Means below the floor max(1e-6, 0.1 / positions) are raised to it: the logarithm of what a sample of
       this size cannot resolve has no meaning, and would be the widest gap of all. They are never live.
    2. Of the gaps between neighbours in the sorted curve, those count whose lower end is at most 1e-2 (or
       the floor, if that is higher) and that span at least half a decade. The widest is the cliff; of equal
       ones the lowest, which keeps more.
    3. No such gap: everything above the floor is live and `separated` is False, for instance early in
       training, or when there are no more subcomponents than needed. Everything at the floor: none is live.

    Language models often have no cliff: mean importances are spread evenly over many decades, and then what
    lies above the floor grows with the sample. With `without_cliff`, a gap that ends at the floor must span
    more than a decade, and where no gap is left the live subcomponents are those whose mean importance
    exceeds max(without_cliff, 0.5 / positions).

    `positions` is the number of positions the means were taken over.
    """
    means = mean_importance.detach().to("cpu", torch.float64)
    floor = max(SMALLEST_MEAN, POSITIONS_RESOLVED / max(positions, 1))
    above = means > floor
    if not bool(above.any()):
        return SpectrumCut(above, floor, 0.0, 0.0, separated=True)
    curve = means.clamp_min(floor).log10().sort(descending=True).values
    upper, lower = curve[:-1], curve[1:]
    ceiling = torch.tensor(max(NEVER_DEAD, floor), dtype=torch.float64).log10()
    gaps = torch.where(lower <= ceiling, upper - lower, torch.zeros_like(lower))
    if without_cliff is not None:
        by_chance = (lower < math.log10(floor) + 1e-9) & (gaps < WIDEST_CHANCE_GAP + 1e-9)
        gaps = torch.where(by_chance, torch.zeros_like(gaps), gaps)
    ranked = [*gaps.sort(descending=True).values.tolist(), 0.0, 0.0]
    if ranked[0] < SMALLEST_GAP and without_cliff is not None:
        threshold = max(without_cliff, POSITIONS_LIVE / max(positions, 1))
        return SpectrumCut(means > threshold, threshold, 0.0, ranked[0], separated=False)
    if ranked[0] < SMALLEST_GAP:
        return SpectrumCut(above, floor, 0.0, ranked[0], separated=False)
    place = int((gaps == ranked[0]).nonzero().max())
    middle = float((upper[place] + lower[place]) / 2)
    return SpectrumCut(means > 10.0**middle, 10.0**middle, ranked[0], ranked[1], separated=True)
