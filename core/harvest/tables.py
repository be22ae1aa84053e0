"""The tables a harvest comes out as, in memory; components are numbered through all layers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IMPORTANCE_BINS = 32
"""Bins of the histogram of causal importances at firings, two to an octave."""

Starts = NDArray[np.uint64]
"""Where the entries of each component asked for start; one more than there are components."""


def importance_edges() -> list[float]:
    """Lower edge of every bin: 0, 2^-15, 1.5 x 2^-15, 2^-14, ... 3/4, and 1 for the last: exactly 1."""
    return [0.0, *(2.0 ** ((index - 31) // 2) * (1 + (index - 31) % 2 / 2) for index in range(1, 32))]


@dataclass(frozen=True)
class ComponentTable:
    """Numbers of every component, also of those that never fired; all (C) but the histogram."""

    firings: NDArray[np.uint64]
    """Positions where it fires."""
    importance_sum: NDArray[np.float64]
    """Causal importance summed over all positions."""
    activation_sum: NDArray[np.float64]
    """Component activation summed over all positions."""
    firing_importance_sum: NDArray[np.float64]
    """Causal importance summed over its firings."""
    firing_activation_sum: NDArray[np.float64]
    """Component activation summed over its firings."""
    importance_histogram: NDArray[np.uint64]
    """Firings by causal importance (C `IMPORTANCE_BINS`); see `importance_edges`."""


@dataclass(frozen=True)
class CofiringTable:
    """For each component asked for every other that fires with it, ascending."""

    starts: Starts
    others: NDArray[np.uint32]
    """The other component."""
    counts: NDArray[np.uint64]
    """Positions where both fire."""


@dataclass(frozen=True)
class InputTable:
    """For each component asked for every input token (or active feature) it fires at, ascending."""

    starts: Starts
    tokens: NDArray[np.uint32]
    counts: NDArray[np.uint64]
    """Firings at this token."""


@dataclass(frozen=True)
class OutputTable:
    """For each component asked for the output tokens of its firings, ascending."""

    starts: Starts
    tokens: NDArray[np.uint32]
    masses: NDArray[np.float64]
    """Probability of this token summed over firings, as far as it was kept."""
    dropped: NDArray[np.float64]
    """For each component: probability at its firings that was not kept."""


@dataclass(frozen=True)
class TokenTable:
    """Numbers of every token of the vocabulary (vocab)."""

    occurrences: NDArray[np.uint64]
    """Positions with this input token (or where this feature is active)."""
    output_mass: NDArray[np.float64] | None
    """Output probability summed over all positions."""
    kept_mass: NDArray[np.float64] | None
    """The part of it that was kept."""


@dataclass(frozen=True)
class ExampleTable:
    """Windows around firings: by component, the uniform sample first, then the strongest in their order."""

    components: NDArray[np.uint32]
    strongest: NDArray[np.bool_]
    """Whether it is one of the strongest firings, else one of the uniform sample."""
    sequences: NDArray[np.uint64]
    """Number of its sequence in the stream."""
    positions: NDArray[np.uint32]
    """Token of the sequence where it fires."""
    marks: NDArray[np.uint32]
    """Index of the firing in its window."""
    starts: Starts
    """Where its window starts in the arrays below; one more than there are examples."""
    tokens: NDArray[np.uint32]
    """Token ids."""
    importances: NDArray[np.float32]
    """Causal importance of the component at each token."""
    activations: NDArray[np.float32]
    """Component activation at each token."""
