"""Bidirectional attention of importance functions: every position sees every other."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.components.importance_function import initial
from core.settings import Settings

EPS = torch.finfo(torch.float32).eps
"""Added to the mean square in RMS norms, whatever type the products run in."""


class AttentionSettings(Settings):
    """Attention without masking, with rotary positions."""

    n_heads: int = Field(default=4, gt=0)
    """Number of heads; it must divide the width into even parts."""

    rope_base: float = Field(default=10_000.0, gt=0)
    """Base of the rotary frequencies base^(-2i/d_head)."""

    def check(self, width: int, name: str) -> None:
        """Refuse a width that the heads cannot share.

        Raises:
            ValueError: `n_heads` does not divide `width` (the field `name`), or leaves an odd width.
        """
        if width % self.n_heads:
            raise ValueError(f"{name} = {width} is not a multiple of n_heads = {self.n_heads}")
        if width // self.n_heads % 2:
            raise ValueError(
                f"{name} = {width} over n_heads = {self.n_heads} gives heads of width "
                f"{width // self.n_heads}, but rotary positions need an even one"
            )


class BidirectionalAttention(nn.Module):
    """softmax(q k^T / sqrt(d_head)) v over all positions, no biases, rotary positions on q and k."""

    def __init__(self, width: int, settings: AttentionSettings, seed: torch.Generator, gain: float) -> None:
        super().__init__()
        self.n_heads = settings.n_heads
        self.rope_base = settings.rope_base
        # Queries, keys and values side by side (d 3d): one product for all three.
        self.qkv = nn.Parameter(initial(seed, (width, 3 * width), width, 1.0))
        self.out = nn.Parameter(initial(seed, (width, width), width, gain))

    def forward(self, x: Tensor) -> Tensor:
        """(B S d) -> (B S d)."""
        batch, length, width = x.shape
        qkv = F.linear(x, self.qkv.T).view(batch, length, 3, self.n_heads, -1)
        q, k = rotated(qkv[:, :, :2], self.rope_base).unbind(2)
        v = qkv[:, :, 2]
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return F.linear(mixed.transpose(1, 2).reshape(batch, length, width), self.out.T)


def rotated(x: Tensor, base: float) -> Tensor:
    """Rotary positions on vectors (B S q h d_head), position S counted from 0.

    Dimension i turns with dimension i + d_head/2, by the angle position * base^(-2i/d_head).
    """
    length, width = x.shape[1], x.shape[-1]
    pairs = torch.arange(0, width, 2, dtype=torch.float32, device=x.device)
    places = torch.arange(length, dtype=torch.float32, device=x.device)
    angle = torch.outer(places, base ** (-pairs / width)).view(length, 1, 1, width // 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """x over the root of its mean square along the last dimension, times `weight`; in the type of x."""
    return F.rms_norm(x, x.shape[-1:], None if weight is None else weight.to(x.dtype), EPS)


def as_sequences(x: Tensor) -> Tensor:
    """(... S d) as (B S d); (B d) as sequences of length 1."""
    length = x.shape[-2] if x.ndim > 2 else 1
    return x.reshape(-1, length, x.shape[-1])
