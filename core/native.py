"""The only door to the compiled kernels `core._harvest`: functions on CPU tensors.

Every function takes contiguous float32 CPU tensors (activations and logits may be bfloat16), runs
on `torch.get_num_threads()` threads and returns new tensors; none of them records a gradient. Results are the
same bits for any number of threads.
Upstream gradients may come in any strides (autograd hands out expanded ones); they are copied if need be.
Leading dimensions `...` count as one: N is their product.

Raises of all functions:
    AssertionError: a tensor is not a contiguous CPU tensor of the right type, or shapes do not fit.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.errors import SpdError
from core.shapes import ComponentActs, PositionValues

try:
    from core import _harvest
except ImportError as error:
    raise SpdError(
        f"the compiled kernels core._harvest cannot be loaded ({error}).",
        "Build them with `make build` in the project folder, or install the package with `pip install .`.",
    ) from error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Stored = NDArray[np.float32] | NDArray[np.uint16]


def usable(tensor: Tensor) -> bool:
    """Whether the kernels take this tensor (they copy it if it is not contiguous)."""
    return tensor.is_cpu and tensor.dtype is torch.float32


def usable_stored(tensor: Tensor) -> bool:
    """Whether the kernels that read activations or logits take this one: float32 or bfloat16."""
    return tensor.is_cpu and tensor.dtype in (torch.float32, torch.bfloat16)


def parallel_mlp_forward(a: ComponentActs, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> ComponentActs:
    """C independent scalar networks with one hidden layer of H exact GELUs, applied to `a` (... C).

    out[n, c] = b2[c] + sum_k w2[c, k] gelu(a[n, c] w1[c, k] + b1[c, k]); `b2` is (C), the
    other parameters (C H).
    """
    _check_networks(a, w1, b1, w2)
    assert b2.shape == a.shape[-1:], f"b2 has shape {tuple(b2.shape)}, expected {tuple(a.shape[-1:])}"
    out = torch.empty_like(a)
    _harvest.parallel_mlp_forward(
        _array(a), _array(w1), _array(b1), _array(w2), _array(b2), out.numpy(), torch.get_num_threads()
    )
    return out


def parallel_mlp_backward(
    a: ComponentActs, w1: Tensor, b1: Tensor, w2: Tensor, grad_out: ComponentActs
) -> tuple[ComponentActs, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `a` (... C), `w1`, `b1`, `w2` (C H) and `b2` (C), in this order.

    The hidden layer is computed again.
    """
    _check_networks(a, w1, b1, w2)
    _check_like("grad_out", grad_out, a)
    grad_a, grad_w1, grad_b1, grad_w2 = map(torch.empty_like, (a, w1, b1, w2))
    grad_b2 = torch.empty(a.shape[-1])
    _harvest.parallel_mlp_backward(
        _array(a),
        _array(w1),
        _array(b1),
        _array(w2),
        _array(grad_out.contiguous()),
        grad_a.numpy(),
        grad_w1.numpy(),
        grad_b1.numpy(),
        grad_w2.numpy(),
        grad_b2.numpy(),
        torch.get_num_threads(),
    )
    return grad_a, grad_w1, grad_b1, grad_w2, grad_b2


def leaky_hard_forward(pre: ComponentActs) -> tuple[ComponentActs, ComponentActs]:
    """Lower and upper leaky hard sigmoid: clamp(x, 0, 1), and the same but 1 + 0.01 (x - 1) above one."""
    lower, upper = torch.empty_like(pre), torch.empty_like(pre)
    _harvest.leaky_hard_forward(_array(pre), lower.numpy(), upper.numpy(), torch.get_num_threads())
    return lower, upper


def leaky_hard_backward(
    pre: ComponentActs, grad_lower: ComponentActs | None, grad_upper: ComponentActs | None
) -> ComponentActs:
    """Gradient of `pre` from the gradients of the lower and the upper sigmoid; None counts as zero.

    Lower: g on (0, 1], 0.01 g at and below zero where g < 0, else 0.
    Upper: g on [0, 1], 0.01 g above one, else 0.
    """
    for name, grad in (("grad_lower", grad_lower), ("grad_upper", grad_upper)):
        if grad is not None:
            _check_like(name, grad, pre)
    grad_pre = torch.empty_like(pre)
    _harvest.leaky_hard_backward(
        _array(pre),
        None if grad_lower is None else _array(grad_lower.contiguous()),
        None if grad_upper is None else _array(grad_upper.contiguous()),
        grad_pre.numpy(),
        torch.get_num_threads(),
    )
    return grad_pre


def uniform(shape: tuple[int, ...], key: int, offset: int = 0) -> Tensor:
    """Uniform draws in [0, 1) with 24 bits: flat element i is draw `offset + i` of `key`, in [0, 2^64)."""
    out = torch.empty(shape)
    _harvest.uniform_fill(key, offset, out.numpy(), torch.get_num_threads())
    return out


def masked_acts_forward(
    a: ComponentActs,
    g: ComponentActs,
    key: int,
    offset: int = 0,
    delta_mask: PositionValues | None = None,
    binomial: bool = False,
) -> ComponentActs:
    """`a (m - delta_mask)` with the stochastic mask m = g + (1 - g) r, all (... C) but `delta_mask` (...).

    r is `uniform(a.shape, key, offset)`, made on the fly; with `binomial` it is rounded to 0 or 1.
    `a` and the result may be bfloat16.
    """
    _check_mask(a, g, delta_mask)
    out = torch.empty_like(a)
    _harvest.masked_acts_forward(
        _stored(a),
        _array(g),
        key,
        offset,
        None if delta_mask is None else _array(delta_mask),
        binomial,
        a.shape[-1],
        _stored(out),
        torch.get_num_threads(),
    )
    return out


def masked_acts_backward(
    a: ComponentActs,
    g: ComponentActs,
    grad_out: ComponentActs,
    key: int,
    offset: int = 0,
    delta_mask: PositionValues | None = None,
    binomial: bool = False,
) -> tuple[ComponentActs, ComponentActs]:
    """Gradients of `a` and `g` in `masked_acts_forward` with the same key, offset and masks."""
    _check_mask(a, g, delta_mask)
    _check_like("grad_out", grad_out, a)
    grad_a, grad_g = torch.empty_like(a), torch.empty_like(g)
    _harvest.masked_acts_backward(
        _stored(a),
        _array(g),
        key,
        offset,
        None if delta_mask is None else _array(delta_mask),
        binomial,
        a.shape[-1],
        _stored(grad_out.contiguous()),
        _stored(grad_a),
        grad_g.numpy(),
        torch.get_num_threads(),
    )
    return grad_a, grad_g


def source_acts_forward(
    a: ComponentActs, g: ComponentActs, s: Tensor, delta_mask: PositionValues | None
) -> ComponentActs:
    """`a (m - delta_mask)`, m = g + (1 - g) s with given sources s, all (... C) but `delta_mask` (...).

    `s` is (C), the same at every position, or (... C). `a` and the result may be bfloat16.
    """
    _check_sources(a, g, s, delta_mask)
    out = torch.empty_like(a)
    _harvest.source_acts_forward(
        _stored(a),
        _array(g),
        _array(s),
        None if delta_mask is None else _array(delta_mask),
        a.shape[-1],
        _stored(out),
        torch.get_num_threads(),
    )
    return out


def source_acts_backward(
    a: ComponentActs,
    g: ComponentActs,
    s: Tensor,
    delta_mask: PositionValues | None,
    grad_out: ComponentActs,
    wanted: tuple[bool, bool, bool, bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of `a`, `g`, `s` and `delta_mask` in `source_acts_forward`, those that are `wanted`."""
    _check_sources(a, g, s, delta_mask)
    _check_like("grad_out", grad_out, a)
    like = (a, g, s, delta_mask)
    grads = [torch.empty_like(x) if w and x is not None else None for x, w in zip(like, wanted, strict=True)]
    grad_a, grad_g, grad_s, grad_delta = grads
    _harvest.source_acts_backward(
        _stored(a),
        _array(g),
        _array(s),
        None if delta_mask is None else _array(delta_mask),
        a.shape[-1],
        _stored(grad_out.contiguous()),
        None if grad_a is None else _stored(grad_a),
        None if grad_g is None else grad_g.numpy(),
        None if grad_s is None else grad_s.numpy(),
        None if grad_delta is None else grad_delta.numpy(),
        torch.get_num_threads(),
    )
    return tuple(grads)


def divergence_forward(q: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """KL(softmax(t) || softmax(q)) of logits (... vocab), one number a position, (...).

    Both are float32 or both bfloat16. The second result is for `divergence_backward`.
    """
    _check_like("t", t, q)
    kl, normalisers = torch.empty(q.shape[:-1]), torch.empty((*q.shape[:-1], 2))
    _harvest.divergence_forward(
        _stored(q), _stored(t), q.shape[-1], kl.numpy(), normalisers.numpy(), torch.get_num_threads()
    )
    return kl, normalisers


def divergence_backward(q: Tensor, t: Tensor, normalisers: Tensor, scale: float) -> Tensor:
    """Gradient of `q` in `scale` times the sum of `divergence_forward`."""
    _check_like("t", t, q)
    grad_q = torch.empty_like(q)
    _harvest.divergence_backward(
        _stored(q),
        _stored(t),
        q.shape[-1],
        _array(normalisers),
        scale,
        _stored(grad_q),
        torch.get_num_threads(),
    )
    return grad_q


def minimality_forward(u: ComponentActs, weights: PositionValues | None, p: float, eps: float) -> Tensor:
    """sums[c] = sum_n weights[n] (u[n, c] + eps)^p over the positions of `u` (... C) >= 0; (C)."""
    _check_rows("weights", weights, u)
    sums = torch.empty(u.shape[-1])
    _harvest.minimality_forward(
        _array(u),
        None if weights is None else _array(weights),
        p,
        eps,
        sums.numpy(),
        torch.get_num_threads(),
    )
    return sums


def minimality_backward(
    u: ComponentActs, weights: PositionValues | None, p: float, eps: float, grad_sums: Tensor
) -> ComponentActs:
    """Gradient of `u` (... C) from `grad_sums` (C): grad_sums[c] weights[n] p (u + eps)^(p - 1)."""
    _check_rows("weights", weights, u)
    assert grad_sums.shape == u.shape[-1:], f"grad_sums has shape {tuple(grad_sums.shape)}"
    grad_u = torch.empty_like(u)
    _harvest.minimality_backward(
        _array(u),
        None if weights is None else _array(weights),
        p,
        eps,
        _array(grad_sums.contiguous()),
        grad_u.numpy(),
        torch.get_num_threads(),
    )
    return grad_u


def _array(tensor: Tensor) -> "Array":
    """The tensor's own memory as a numpy array."""
    assert tensor.dtype is torch.float32, f"kernels take float32 tensors, got {tensor.dtype}"
    assert tensor.is_contiguous(), f"kernels take contiguous tensors, got strides {tensor.stride()}"
    assert tensor.is_cpu, f"kernels take CPU tensors, got one on {tensor.device}"
    # Detaching costs half of the conversion, so only where it is needed.
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


def _stored(tensor: Tensor) -> "Stored":
    """The memory of a float32 or bfloat16 tensor; numpy has no bfloat16, so its bits go as integers."""
    if tensor.dtype is torch.bfloat16:
        assert tensor.is_contiguous(), f"kernels take contiguous tensors, got strides {tensor.stride()}"
        assert tensor.is_cpu, f"kernels take CPU tensors, got one on {tensor.device}"
        return tensor.detach().view(torch.uint16).numpy()
    return _array(tensor)


def _check_like(name: str, tensor: Tensor, model: Tensor) -> None:
    assert tensor.shape == model.shape, (
        f"{name} has shape {tuple(tensor.shape)}, expected {tuple(model.shape)}"
    )


def _check_rows(name: str, values: Tensor | None, matrix: Tensor) -> None:
    assert values is None or values.shape == matrix.shape[:-1], (
        f"{name} has shape {tuple(values.shape)}, expected {tuple(matrix.shape[:-1])}"
    )


def _check_networks(a: Tensor, w1: Tensor, b1: Tensor, w2: Tensor) -> None:
    assert w1.ndim == 2 and w1.shape[0] == a.shape[-1], (
        f"w1 has shape {tuple(w1.shape)}, expected ({a.shape[-1]}, H) for activations {tuple(a.shape)}"
    )
    _check_like("b1", b1, w1)
    _check_like("w2", w2, w1)


def _check_sources(a: Tensor, g: Tensor, s: Tensor, delta_mask: Tensor | None) -> None:
    assert s.shape in (a.shape, a.shape[-1:]), f"s is {tuple(s.shape)}, a is {tuple(a.shape)}"
    _check_mask(a, g, delta_mask)


def _check_mask(a: Tensor, g: Tensor, delta_mask: Tensor | None) -> None:
    _check_like("g", g, a)
    _check_rows("delta_mask", delta_mask, a)
