"""Squashing functions that turn a pre-sigmoid value into a causal importance.

`leaky_hard` uses two functions of the same input: a *lower* one for masks, whose gradient survives below
zero only where it would raise the importance, and an *upper* one for the minimality penalty, whose
gradient survives above one. Every other kind uses one function for both.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from core import native

SigmoidKind = Literal["normal", "hard", "leaky_hard", "upper_leaky_hard", "swish_hard"]

LEAK = 0.01
SWISH_SHARPNESS = 10.0


def squash(pre: Tensor, kind: SigmoidKind, jittered: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Importances (lower, upper) of pre-sigmoid values, each shaped like `pre`.

    `jittered` replaces `pre` in the lower branch only (binomial sampling jitters it).
    """
    if kind == "leaky_hard":
        if jittered is None and native.usable(pre):
            return _NativeLeakyHardPair.apply(pre)
        return _LowerLeakyHard.apply(pre if jittered is None else jittered), upper_leaky_hard(pre)
    function = _SINGLE[kind]
    upper = function(pre)
    return (upper if jittered is None else function(jittered)), upper


def lower_leaky_hard(x: Tensor) -> Tensor:
    """clamp(x, 0, 1); below zero a gradient of LEAK times the incoming one, only if that raises x."""
    return _LowerLeakyHard.apply(x)


def upper_leaky_hard(x: Tensor) -> Tensor:
    """clamp(x, 0, 1) up to one, then a slope of LEAK above it."""
    return torch.where(x > 1, 1 + LEAK * (x - 1), _hard(x))


def leaky_hard(x: Tensor) -> Tensor:
    """Slope LEAK below zero, identity up to one, flat above: one function, not the pair of `squash`."""
    return torch.where(x > 0, torch.where(x > 1, 1.0, x), LEAK * x)


def swish_hard(x: Tensor) -> Tensor:
    """A smooth hard sigmoid built from swish steps around 0 and 1 (sharpness 10)."""
    z = x - 0.5
    return 0.5 + _swish_down(z - 0.5) - _swish_up(z) + _swish_up(z + 0.5) - _swish_down(z)


def _hard(x: Tensor) -> Tensor:
    # Not clamp: whether its gradient passes at the ends themselves differs between versions of torch.
    return torch.where(x < 0, 0.0, torch.where(x > 1, 1.0, x))


def _swish_up(t: Tensor) -> Tensor:
    return t * torch.sigmoid(SWISH_SHARPNESS * t)


def _swish_down(t: Tensor) -> Tensor:
    return t * torch.sigmoid(-SWISH_SHARPNESS * t)


_SINGLE = {
    "normal": torch.sigmoid,
    "hard": _hard,
    "upper_leaky_hard": upper_leaky_hard,
    "swish_hard": swish_hard,
}


class _LowerLeakyHard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        (grad,) = grads
        below = LEAK * grad.clamp(max=0)  # descent raises x only where the gradient is negative
        return torch.where(x <= 0, below, torch.where(x <= 1, grad, 0.0))


class _NativeLeakyHardPair(torch.autograd.Function):
    """Both functions in one pass over memory, and one pass back."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor) -> tuple[Tensor, Tensor]:
        pre = pre.contiguous()
        ctx.save_for_backward(pre)
        ctx.set_materialize_grads(False)
        return native.leaky_hard_forward(pre)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor:
        (pre,) = ctx.saved_tensors
        return native.leaky_hard_backward(pre, grads[0], grads[1])
