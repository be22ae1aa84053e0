"""Typed contract of the compiled kernels: functions for `core.native`, `Harvest` for `core.harvest.kernel`.

All arrays of the functions are contiguous float32, or, where they are `Stored`, bfloat16 as uint16.
Outputs are allocated by the caller and filled. Matrices are row-major (N, C), network weights (C, H).
Results do not depend on `threads`.

Raises of all functions:
    ValueError: an array has the wrong number of elements or is not contiguous.
    TypeError: an array is not float32, or an output is read-only or also passed as another argument.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.float32] | NDArray[np.uint16]
_Tagged = tuple[Literal["f32"], NDArray[np.float32]] | tuple[Literal["f16", "bf16"], NDArray[np.uint16]]
_Starts = NDArray[np.uint64]

def parallel_mlp_forward(
    a: NDArray[np.float32],
    w1: NDArray[np.float32],
    b1: NDArray[np.float32],
    w2: NDArray[np.float32],
    b2: NDArray[np.float32],
    out: NDArray[np.float32],
    threads: int,
) -> None: ...
def parallel_mlp_backward(
    a: NDArray[np.float32],
    w1: NDArray[np.float32],
    b1: NDArray[np.float32],
    w2: NDArray[np.float32],
    grad_out: NDArray[np.float32],
    grad_a: NDArray[np.float32],
    grad_w1: NDArray[np.float32],
    grad_b1: NDArray[np.float32],
    grad_w2: NDArray[np.float32],
    grad_b2: NDArray[np.float32],
    threads: int,
) -> None: ...
def leaky_hard_forward(
    pre: NDArray[np.float32],
    lower: NDArray[np.float32],
    upper: NDArray[np.float32],
    threads: int,
) -> None: ...
def leaky_hard_backward(
    pre: NDArray[np.float32],
    grad_lower: NDArray[np.float32] | None,
    grad_upper: NDArray[np.float32] | None,
    grad_pre: NDArray[np.float32],
    threads: int,
) -> None: ...
def uniform_fill(key: int, offset: int, out: NDArray[np.float32], threads: int) -> None: ...
def masked_acts_forward(
    a: Stored,
    g: NDArray[np.float32],
    key: int,
    offset: int,
    delta_mask: NDArray[np.float32] | None,
    binomial: bool,
    components: int,
    out: Stored,
    threads: int,
) -> None: ...
def masked_acts_backward(
    a: Stored,
    g: NDArray[np.float32],
    key: int,
    offset: int,
    delta_mask: NDArray[np.float32] | None,
    binomial: bool,
    components: int,
    grad_out: Stored,
    grad_a: Stored,
    grad_g: NDArray[np.float32],
    threads: int,
) -> None: ...
def source_acts_forward(
    a: Stored,
    g: NDArray[np.float32],
    s: NDArray[np.float32],
    delta_mask: NDArray[np.float32] | None,
    components: int,
    out: Stored,
    threads: int,
) -> None: ...
def source_acts_backward(
    a: Stored,
    g: NDArray[np.float32],
    s: NDArray[np.float32],
    delta_mask: NDArray[np.float32] | None,
    components: int,
    grad_out: Stored,
    grad_a: Stored | None,
    grad_g: NDArray[np.float32] | None,
    grad_s: NDArray[np.float32] | None,
    grad_delta: NDArray[np.float32] | None,
    threads: int,
) -> None: ...
def divergence_forward(
    q: Stored,
    t: Stored,
    vocabulary: int,
    kl: NDArray[np.float32],
    normalisers: NDArray[np.float32],
    threads: int,
) -> None: ...
def divergence_backward(
    q: Stored,
    t: Stored,
    vocabulary: int,
    normalisers: NDArray[np.float32],
    scale: float,
    grad_q: Stored,
    threads: int,
) -> None: ...
def minimality_forward(
    u: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    p: float,
    eps: float,
    sums: NDArray[np.float32],
    threads: int,
) -> None: ...
def minimality_backward(
    u: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    p: float,
    eps: float,
    grad_sums: NDArray[np.float32],
    grad_u: NDArray[np.float32],
    threads: int,
) -> None: ...

class Harvest:
    """Statistics of a stream; `core.harvest.kernel.HarvestEngine` says what they are.

    Raises of all methods:
        ValueError: what is wrong, in one sentence; nothing was counted.
    """

    def __new__(
        cls,
        layers: list[tuple[str, int]],
        vocabulary: int,
        *,
        threshold: float,
        context: int,
        uniform: int,
        strongest: int,
        share: int,
        seed: int,
    ) -> Harvest: ...
    def add_batch(
        self,
        sequences: NDArray[np.uint64],
        tokens: NDArray[np.int64],
        layers: list[tuple[_Tagged, _Tagged]],
        probabilities: _Tagged | None,
        threads: int,
        features: NDArray[np.uint8] | None = None,
    ) -> None: ...
    def merge(self, other: Harvest) -> None: ...
    @property
    def positions(self) -> int: ...
    def memory_bytes(self) -> list[tuple[str, int]]: ...
    def save(self, path: Path, threads: int) -> None: ...
    @staticmethod
    def load(path: Path) -> Harvest: ...
    def settings(self) -> tuple[list[tuple[str, int]], int, float, int, int, int, int, int]: ...
    def settle(self, threads: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
    def totals(
        self,
    ) -> tuple[
        NDArray[np.uint64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.uint64],
    ]: ...
    def cofiring(self, handles: list[int]) -> tuple[_Starts, NDArray[np.uint32], NDArray[np.uint64]]: ...
    def input_tokens(self, handles: list[int]) -> tuple[_Starts, NDArray[np.uint32], NDArray[np.uint64]]: ...
    def output_tokens(
        self, handles: list[int]
    ) -> tuple[_Starts, NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64]] | None: ...
    def tokens(
        self,
    ) -> tuple[NDArray[np.uint64], tuple[NDArray[np.float64], NDArray[np.float64]] | None]: ...
    def output_totals(self) -> tuple[float, float] | None: ...
    def examples(
        self, handles: list[int]
    ) -> tuple[
        tuple[
            NDArray[np.uint32],
            NDArray[np.bool_],
            NDArray[np.uint64],
            NDArray[np.uint32],
            NDArray[np.uint32],
        ],
        _Starts,
        tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]],
    ]: ...
