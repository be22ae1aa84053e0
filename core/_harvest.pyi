"""Typed contract of the compiled kernels; `core.native` is the only module that imports them.

All arrays are contiguous float32, or, where they are `Stored`, the bits of bfloat16 as uint16.
Outputs are allocated by the caller and filled. Matrices are row-major (N, C), network weights (C, H).
Results do not depend on `threads`.

Raises of all functions:
    ValueError: an array has the wrong number of elements or is not contiguous.
    TypeError: an array is not float32, or an output is read-only or also passed as another argument.
"""

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.float32] | NDArray[np.uint16]

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
