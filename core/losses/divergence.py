"""Kullback-Leibler divergence from logits, without probabilities or their logarithms in memory.

With a vocabulary of 50,000 a batch's logits are the largest tensors of a step. Each loss keeps them once, as
they came, with two numbers a position; everything else is computed again on the way back.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from core import native

BLOCK = 1 << 24
"""Logits that are worked on at once: 64 MB in float32."""


def divergence_sum(output: Tensor, target: Tensor) -> Tensor:
    """Sum over positions of KL(softmax(target) || softmax(output)), a scalar; logits are (... vocab).

    With p = softmax(target), one position's is sum_v p_v (target_v - output_v) - lse(target) + lse(output),
    computed in float32; only `output` gets a gradient.
    """
    if output.dtype != target.dtype:
        output, target = output.float(), target.float()
    function = _NativeDivergence if native.usable_stored(output) else _BlockedDivergence
    return function.apply(output, target)


class _NativeDivergence(torch.autograd.Function):
    """The compiled kernel."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, target: Tensor) -> Tensor:
        output, target = output.contiguous(), target.contiguous()
        rows, normalisers = native.divergence_forward(output, target)
        ctx.save_for_backward(output, target, normalisers)
        return rows.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        output, target, normalisers = ctx.saved_tensors
        return native.divergence_backward(output, target, normalisers, float(grads[0])), None


class _BlockedDivergence(torch.autograd.Function):
    """Plain torch on blocks of positions."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=output.device)
        normalisers = torch.empty((2, output[..., 0].numel()), dtype=torch.float32, device=output.device)
        for rows, q, t in _blocks(output, target):
            norm_q, norm_t = q.logsumexp(-1), t.logsumexp(-1)
            normalisers[0, rows], normalisers[1, rows] = norm_q, norm_t
            p = (t - norm_t.unsqueeze(-1)).exp_()
            total += (p.mul_(t - q).sum(-1) - norm_t + norm_q).sum()
        ctx.save_for_backward(output, target, normalisers)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        output, target, normalisers = ctx.saved_tensors
        grad = torch.empty_like(output, memory_format=torch.contiguous_format)
        flat = grad.view(-1, grad.shape[-1])
        for rows, q, t in _blocks(output, target):
            norm_q, norm_t = normalisers[:, rows].unsqueeze(-1)
            flat[rows] = (q - norm_q).exp_().sub_((t - norm_t).exp_()).mul_(grads[0]).to(grad.dtype)
        return grad, None


def _blocks(output: Tensor, target: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows of both sides in float32, a block at a time."""
    vocabulary = output.shape[-1]
    q, t = output.reshape(-1, vocabulary), target.reshape(-1, vocabulary)
    size = max(1, BLOCK // vocabulary)
    for start in range(0, q.shape[0], size):
        rows = slice(start, start + size)
        yield rows, q[rows].float(), t[rows].float()
