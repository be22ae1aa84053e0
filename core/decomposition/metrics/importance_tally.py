"""Counts of causal importances over any number of batches, exact and mergeable.

Everything is an int64: counts as they are, sums of importances in fixed point. The result is therefore the
same bits for every way to cut the positions into batches, and for every order of merging.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.errors import UsageError
from core.parallel import Ranks
from core.shapes import ComponentActs
from core.stats.spectrum import SpectrumCut, cut_spectrum

BINS = 100
"""Bins of every histogram."""

IMPORTANCE_RANGE = (0.0, 1.0)
"""Range of the histogram of lower importances."""

PRE_SIGMOID_RANGE = (-5.0, 5.0)
"""Range of the histogram of values before the sigmoid; bin edges fall on 0 and 1."""

_SCALE = 2.0**32
"""Fixed point of importance sums: resolution 2.3e-10, room for 2^31 positions."""


@dataclass(frozen=True)
class ModuleTally:
    """Counts of one module, all int64, on the device the importances were on."""

    positions: Int[Tensor, ""]
    """Positions seen, by weight."""
    firings: Int[Tensor, "C"]
    """Positions at which the importance exceeded the threshold."""
    fixed_sum: Int[Tensor, "C"]
    """Sum of importances, in units of 2^-32."""
    importance_bins: Int[Tensor, "bins"]
    """Histogram of lower importances over `IMPORTANCE_RANGE`; values outside fall in the end bins."""
    pre_bins: Int[Tensor, "bins"]
    """Histogram before the sigmoid over `PRE_SIGMOID_RANGE`; values outside fall in the end bins."""

    def __add__(self, other: "ModuleTally") -> "ModuleTally":
        device = self.positions.device
        return ModuleTally(
            self.positions + other.positions.to(device),
            self.firings + other.firings.to(device),
            self.fixed_sum + other.fixed_sum.to(device),
            self.importance_bins + other.importance_bins.to(device),
            self.pre_bins + other.pre_bins.to(device),
        )


class ImportanceTally:
    """Importances of all modules, tallied batch by batch.

    `threshold`: a subcomponent fires at a position where its importance is strictly above this.
    """

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold
        self.modules: dict[str, ModuleTally] = {}

    @torch.no_grad()
    def add(
        self,
        lower: Mapping[str, ComponentActs],
        pre: Mapping[str, ComponentActs] | None = None,
        weights: Int[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    ) -> None:
        """Count one batch: importances in [0, 1] by module, and values before the sigmoid if there are any.

        `weights` (one per position, whole numbers or booleans) counts a position that often: 0 leaves
        padding out, n stands for n equal positions. Fractions are refused, since counts must stay exact.
        """
        if weights is not None and weights.is_floating_point():
            raise TypeError("weights of positions must be whole numbers or booleans")
        flat_weights = None if weights is None else weights.reshape(-1).to(torch.int64)
        for name, values in lower.items():
            counted = self._count(values, None if pre is None else pre[name], flat_weights)
            self.modules[name] = self.modules[name] + counted if name in self.modules else counted

    def merge(self, other: "ImportanceTally") -> "ImportanceTally":
        """The tally of both streams together, as if one had seen them all.

        Raises:
            ValueError: the two count firings above different thresholds.
        """
        if self.threshold != other.threshold:
            raise ValueError(f"tallies of thresholds {self.threshold} and {other.threshold} do not add up")
        merged = ImportanceTally(self.threshold)
        for name in dict.fromkeys((*self.modules, *other.modules)):
            parts = [t.modules[name] for t in (self, other) if name in t.modules]
            merged.modules[name] = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return merged

    def l0(self) -> dict[str, float]:
        """Mean number of firing subcomponents per position, by module."""
        return {n: int(t.firings.sum()) / max(int(t.positions), 1) for n, t in self.modules.items()}

    def group_l0(self, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Sum of the L0 of each group's modules; a group that matches nothing is absent (`in_group`)."""
        l0 = self.l0()
        sums: dict[str, float] = {}
        for group, patterns in groups.items():
            members = [value for name, value in l0.items() if in_group(name, patterns)]
            if members:
                sums[group] = sum(members)
        return sums

    def density(self) -> dict[str, Float[Tensor, "C"]]:
        """Fraction of positions at which each subcomponent fires (float64, CPU)."""
        return {n: _per_position(t.firings, t.positions) for n, t in self.modules.items()}

    def mean_importance(self) -> dict[str, Float[Tensor, "C"]]:
        """Mean importance of each subcomponent over positions (float64, CPU)."""
        return {n: _per_position(t.fixed_sum, t.positions) / _SCALE for n, t in self.modules.items()}

    def live_by_threshold(self, density_floor: float = 0.0) -> dict[str, Bool[Tensor, "C"]]:
        """Subcomponents that fire at more than `density_floor` of the positions; 0 means anywhere at all.

        The right count on probes. On long streams of data it grows with their length: prefer the spectrum.
        """
        return {n: density > density_floor for n, density in self.density().items()}

    def live_by_spectrum(self, without_cliff: float | None = None) -> dict[str, SpectrumCut]:
        """Subcomponents above the cliff in the curve of log mean importance, or, where there is no cliff,
        above a mean importance of `without_cliff` (see `cut_spectrum`).
        """
        means = self.mean_importance()
        return {n: cut_spectrum(means[n], int(t.positions), without_cliff) for n, t in self.modules.items()}

    def over_ranks(self, ranks: Ranks) -> "ImportanceTally":
        """The tally of all ranks together: every count is an exact sum."""
        if ranks.size == 1:
            return self
        merged = ImportanceTally(self.threshold)
        for name, part in self.modules.items():
            counts = [part.positions, part.firings, part.fixed_sum, part.importance_bins, part.pre_bins]
            summed = ranks.sum(torch.cat([count.reshape(-1) for count in counts]))
            sizes = [count.numel() for count in counts]
            parts = [s.view_as(c) for s, c in zip(summed.split(sizes), counts, strict=True)]
            merged.modules[name] = ModuleTally(*parts)
        return merged

    def _count(
        self, values: ComponentActs, pre: ComponentActs | None, weights: Int[Tensor, "N"] | None
    ) -> ModuleTally:
        g = values.detach().reshape(-1, values.shape[-1])
        fires = g > self.threshold
        fixed = (g.double() * _SCALE).round_().to(torch.int64)
        if weights is None:
            positions = torch.tensor(g.shape[0], dtype=torch.int64, device=g.device)
            firings, fixed_sum = fires.sum(0), fixed.sum(0)
        else:
            positions = weights.sum()
            column = weights.unsqueeze(1)
            firings, fixed_sum = (fires * column).sum(0), (fixed * column).sum(0)
        if pre is None:
            pre_bins = torch.zeros(BINS, dtype=torch.int64, device=g.device)
        else:
            pre_bins = _histogram(pre.detach().reshape(g.shape), PRE_SIGMOID_RANGE, weights)
        return ModuleTally(positions, firings, fixed_sum, _histogram(g, IMPORTANCE_RANGE, weights), pre_bins)


def in_group(name: str, patterns: Sequence[str]) -> bool:
    """Whether a module belongs to a group of L0 patterns.

    A pattern is a regular expression in which `*` means `.*`, matched at the *start* of the name. Unlike the
    shell patterns that choose modules, `h.1.*` therefore also takes `h.10.mlp`, and `h.1.mlp` takes
    `h.1.mlp.c_fc`; write `h\\.1\\.` to take layer 1 alone.

    Raises:
        UsageError: a pattern is not a regular expression.
    """
    for pattern in patterns:
        try:
            if re.match(pattern.replace("*", ".*"), name):
                return True
        except re.error as error:
            raise UsageError(f"L0 group pattern {pattern!r} is not a regular expression: {error}.") from error
    return False


def bin_edges(limits: tuple[float, float]) -> Float[Tensor, "edges"]:
    """The `BINS` + 1 edges of a histogram over `limits`."""
    return torch.linspace(*limits, BINS + 1, dtype=torch.float64)


def _histogram(
    values: Float[Tensor, "N C"], limits: tuple[float, float], weights: Int[Tensor, "N"] | None
) -> Int[Tensor, "bins"]:
    low, high = limits
    scaled = (values.float() - low) * (BINS / (high - low))
    index = scaled.clamp_(0, BINS - 1).to(torch.int64).reshape(-1)
    if weights is None:
        return torch.bincount(index, minlength=BINS)
    # bincount adds weights in float64, which holds whole numbers exactly up to 2^53.
    repeated = weights.repeat_interleave(values.shape[1]).double()
    return torch.bincount(index, weights=repeated, minlength=BINS).to(torch.int64)


def _per_position(count: Int[Tensor, "C"], positions: Int[Tensor, ""]) -> Float[Tensor, "C"]:
    return count.cpu().double() / max(int(positions), 1)
