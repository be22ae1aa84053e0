"""Masks: how much of each subcomponent is kept at each position.

A masked module computes, with a = x V and the module's own output o = x W^T + bias,

    out = (a * (m - m_delta)) U + m_delta * (o - bias) + bias

which is (a * m) U + m_delta * (x delta^T) + bias without ever building the weight delta. Each mask below
knows how to `gate` the activations, that is to return a * (m - m_delta).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from core import native
from core.randomness import derive_seed, generator
from core.shapes import ComponentActs, PositionValues, Routing

Draw = Callable[[], Tensor]
"""Makes the same sources every time it is called."""


class Mask(Protocol):
    """What a masked forward pass needs to know about one module."""

    @property
    def delta(self) -> PositionValues | None:
        """Mask of the weight delta, one number per position; None leaves the delta out."""
        ...

    @property
    def route(self) -> Routing | None:
        """Where the module is replaced by its subcomponents; None means everywhere."""
        ...

    def gate(self, a: ComponentActs) -> ComponentActs:
        """a * (m - m_delta)."""
        ...


@dataclass(frozen=True)
class ExplicitMask:
    """A given mask m (... C); None keeps every subcomponent."""

    m: ComponentActs | None = None
    delta: PositionValues | None = None
    route: Routing | None = None

    def gate(self, a: ComponentActs) -> ComponentActs:
        """a * (m - m_delta)."""
        if self.m is None:
            return a if self.delta is None else a * (1 - self.delta.unsqueeze(-1))
        return a * (self.m if self.delta is None else self.m - self.delta.unsqueeze(-1))


@dataclass(frozen=True)
class SourceMask:
    """m = g + (1 - g) r with given sources r; they may need gradients (adversaries).

    r may be one row (1 ... C) for all positions, and is then never written out for each.
    """

    g: ComponentActs
    r: ComponentActs
    delta: PositionValues | None = None
    route: Routing | None = None

    def gate(self, a: ComponentActs) -> ComponentActs:
        """a * (m - m_delta)."""
        if native.usable_stored(a) and native.usable(self.g) and native.usable(self.r):
            return _NativeSourceGate.apply(a, self.g, self.r, self.delta)
        return _RecomputedGate.apply(a, self.g, self.r, self.delta, None)


@dataclass(frozen=True)
class NoiseKey:
    """Names one random field: a run's seed, the purpose and the indices of the draw."""

    seed: int
    purpose: str
    indices: tuple[int, ...]
    part: int = 0
    """Which of the equal parts of the field is drawn: a rank's rows of a batch. On the CPU the parts together
    are the very field that one rank draws; on a GPU each is a field of its own."""

    def value(self) -> int:
        """The 63-bit key of this field."""
        return derive_seed(self.seed, self.purpose, *self.indices)

    def whole(self) -> "NoiseKey":
        """The same field, undivided: what all ranks draw alike."""
        return replace(self, part=0)

    def uniform(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Uniform [0, 1) numbers of this part of the field."""
        if device.type == "cpu":
            return native.uniform(tuple(shape), self.value(), self.part * shape.numel())
        parts = (self.part,) if self.part else ()
        draw = generator(self.seed, self.purpose, *self.indices, *parts, device=device)
        return torch.rand(shape, generator=draw, device=device)


@dataclass(frozen=True)
class StochasticMask:
    """m = g + (1 - g) r with random sources r, uniform or (binomial) 0 or 1 with even odds.

    The sources are never stored: they are drawn for the gate and again going back.
    """

    g: ComponentActs
    key: NoiseKey
    delta: PositionValues | None = None
    route: Routing | None = None
    binomial: bool = False

    def gate(self, a: ComponentActs) -> ComponentActs:
        """a * (m - m_delta)."""
        if native.usable_stored(a) and native.usable(self.g) and a.shape == self.g.shape:
            offset = self.key.part * self.g.numel()
            return _NativeGate.apply(a, self.g, (self.key.value(), offset), self.delta, self.binomial)
        return _RecomputedGate.apply(a, self.g, None, self.delta, self.sources)

    def sources(self) -> ComponentActs:
        """The sources r this mask draws."""
        r = self.key.uniform(self.g.shape, self.g.device)
        return (r >= 0.5).to(r.dtype) if self.binomial else r


class _RecomputedGate(torch.autograd.Function):
    """The gate in plain torch, which keeps nothing but its inputs: the mask is made again going back.

    Every pass would otherwise keep several float32 numbers for each subcomponent and position.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, g: Tensor, r: Tensor | None, delta: Tensor | None, draw: Draw | None
    ) -> Tensor:
        ctx.save_for_backward(a, g, r, delta)
        ctx.draw = draw
        return (a * _mask(g, _sources(r, draw), delta)).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, g, r, delta = ctx.saved_tensors
        source = _sources(r, ctx.draw)
        for_a, for_g, for_r, for_delta, _ = ctx.needs_input_grad
        grad_a = (grads[0] * _mask(g, source, delta)).to(a.dtype) if for_a else None
        product = grads[0].to(g.dtype) * a
        grad_g = (product * (1 - source)).sum_to_size(g.shape) if for_g else None
        grad_r = (product * (1 - g)).sum_to_size(source.shape) if for_r else None
        return grad_a, grad_g, grad_r, -product.sum(-1) if for_delta else None, None


def _sources(r: Tensor | None, draw: Draw | None) -> Tensor:
    if r is not None:
        return r
    assert draw is not None
    return draw()


def _mask(g: Tensor, r: Tensor, delta: Tensor | None) -> Tensor:
    """g + (1 - g) r - m_delta."""
    m = torch.addcmul(r, g, 1 - r)
    return m if delta is None else m.sub_(delta.unsqueeze(-1))


class _NativeGate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, g: Tensor, key: tuple[int, int], delta: Tensor | None, binomial: bool
    ) -> Tensor:
        a, g = a.contiguous(), g.contiguous()
        ctx.save_for_backward(a, g, delta)
        ctx.key, ctx.binomial = key, binomial
        return native.masked_acts_forward(a, g, key[0], key[1], delta, binomial)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, g, delta = ctx.saved_tensors
        grad_a, grad_g = native.masked_acts_backward(
            a, g, grads[0], ctx.key[0], ctx.key[1], delta, ctx.binomial
        )
        return grad_a, grad_g, None, None, None


class _NativeSourceGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, g: Tensor, r: Tensor, delta: Tensor | None) -> Tensor:
        # One row for all positions stays one row; rows for some of them are written out for each.
        rows = r.reshape(-1) if r.numel() == r.shape[-1] else r.expand_as(g)
        a, g, rows = a.contiguous(), g.contiguous(), rows.contiguous()
        delta = None if delta is None else delta.contiguous()
        ctx.save_for_backward(a, g, rows, delta)
        ctx.shape = r.shape
        return native.source_acts_forward(a, g, rows, delta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, g, rows, delta = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad)
        grad_a, grad_g, grad_r, grad_delta = native.source_acts_backward(a, g, rows, delta, grads[0], wanted)
        if grad_r is not None:
            grad_r = grad_r.view(ctx.shape) if rows.dim() == 1 else grad_r.sum_to_size(ctx.shape)
        return grad_a, grad_g, grad_r, grad_delta
