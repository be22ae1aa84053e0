"""Importance minimality: as few subcomponents as possible should matter at each position."""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from core import native
from core.losses.context import LossContext, Measurement
from core.settings import Settings
from core.shapes import ComponentActs, PositionValues


class MinimalityLoss(Settings):
    """An L_p penalty on upper importances, with an optional penalty on firing often.

    With S_c the sum over positions of (u_c + eps)^p and mu_c = S_c / positions, the loss is the sum over
    all subcomponents of mu_c (1 + beta log2(1 + S_c)). S_c is the sum over the whole global batch.
    """

    kind: Literal["minimality"] = "minimality"

    coeff: float = Field(ge=0)
    """Weight of this term in the total loss."""

    p: float = Field(default=1.0, gt=0)
    """Exponent at the start."""

    p_final: float | None = Field(default=None, gt=0)
    """Exponent at the end of annealing; null keeps `p` throughout."""

    anneal_start: float = Field(default=1.0, ge=0, le=1)
    """Fraction of training at which annealing starts; 1 never starts."""

    anneal_end: float = Field(default=1.0, ge=0, le=1)
    """Fraction of training at which the exponent has reached `p_final`."""

    beta: float = Field(default=0.0, ge=0)
    """Weight of the logarithmic penalty on frequent subcomponents."""

    eps: float = Field(default=1e-12, gt=0)
    """Keeps the gradient of small powers finite at zero."""

    @model_validator(mode="after")
    def _check_annealing(self) -> "MinimalityLoss":
        if self.anneal_end < self.anneal_start:
            raise ValueError(f"anneal_end = {self.anneal_end} is before anneal_start = {self.anneal_start}")
        return self

    def exponent(self, progress: float) -> float:
        """The exponent at a fraction of training: `p`, then linear to `p_final`."""
        if self.p_final is None or self.anneal_start >= 1 or progress < self.anneal_start:
            return self.p
        if progress >= self.anneal_end:
            return self.p_final
        done = (progress - self.anneal_start) / (self.anneal_end - self.anneal_start)
        return self.p + (self.p_final - self.p) * done

    def measure(self, context: LossContext, name: str) -> Measurement:
        """The penalty as a sum over positions and their number."""
        p = self.exponent(context.progress)
        totals = [self._penalty(u, p, context) for u in context.importance.upper.values()]
        return Measurement(torch.stack(totals).sum(), context.n_positions)

    def _penalty(self, u: ComponentActs, p: float, context: LossContext) -> Tensor:
        if context.model.importance_settings.sigmoid == "swish_hard":
            u = u.clamp(min=0)  # it dips below zero, where a power has no value
        sums = power_sums(u, p, self.eps, context.row_weights)
        if self.beta == 0:
            return sums.sum()
        ranks = context.ranks
        if ranks.size == 1:
            return self._with_frequency(sums)
        # The logarithm sees the sum over all ranks, which this rank's own part changes one for one.
        penalty = self._with_frequency(sums + (ranks.sum(sums) - sums.detach()))
        # As a value it is this rank's share, as a gradient all that this rank contributes.
        return penalty.detach() / ranks.size + (penalty - penalty.detach())

    def _with_frequency(self, sums: Tensor) -> Tensor:
        return (sums * (1 + self.beta * torch.log2(1 + sums))).sum()


def power_sums(u: ComponentActs, p: float, eps: float, weights: PositionValues | None) -> Tensor:
    """S_c = sum over positions of weight (u_c + eps)^p, (C)."""
    if native.usable(u):
        return _NativePowerSums.apply(u, weights, p, eps)
    powers = (u + eps).pow(p)
    if weights is not None:
        powers = powers * weights.unsqueeze(-1)
    return powers.flatten(0, -2).sum(0)


class _NativePowerSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, weights: Tensor | None, p: float, eps: float) -> Tensor:
        u = u.contiguous()
        ctx.save_for_backward(u, weights)
        ctx.p, ctx.eps = p, eps
        return native.minimality_forward(u, weights, p, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, weights = ctx.saved_tensors
        return native.minimality_backward(u, weights, ctx.p, ctx.eps, grads[0]), None, None, None
