"""Causal self-attention with rotary or no positions, and keys and values that heads may share."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

Pairs = Literal["halves", "adjacent"]


class Rotary(nn.Module):
    """Turns pairs of numbers of each head by an angle that grows with the position (arXiv 2104.09864)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, d_head: int, context: int, base: float, pairs: Pairs) -> None:
        super().__init__()
        frequency = base ** (-torch.arange(0, d_head, 2, dtype=torch.float32) / d_head)
        angle = torch.outer(torch.arange(context, dtype=torch.float32), frequency)
        self.pairs = pairs
        self.register_buffer("cos", self._spread(angle.cos()), persistent=False)
        self.register_buffer("sin", self._spread(angle.sin()), persistent=False)

    def forward(self, x: Float[Tensor, "B heads S d_head"]) -> Float[Tensor, "B heads S d_head"]:
        """The same vectors, turned."""
        length = x.shape[-2]
        # Angles are float32; what comes back has the precision that came in.
        return (x * self.cos[:length] + self._quarter_turn(x) * self.sin[:length]).to(x.dtype)

    def _spread(self, angle: Tensor) -> Tensor:
        """One number per pair to one per number of the head."""
        if self.pairs == "halves":
            return repeat(angle, "S pair -> S (two pair)", two=2)
        return repeat(angle, "S pair -> S (pair two)", two=2)

    def _quarter_turn(self, x: Tensor) -> Tensor:
        """(first, second) of each pair to (-second, first)."""
        if self.pairs == "halves":
            first, second = x.chunk(2, dim=-1)
            return torch.cat((-second, first), dim=-1)
        first, second = x[..., 0::2], x[..., 1::2]
        return rearrange([-second, first], "two ... pair -> ... (pair two)")


PLAIN_LENGTH = 512
"""Longest sequence whose attention pattern may be written out whole."""


def causal_mixture(
    q: Float[Tensor, "B heads S d_head"], k: Float[Tensor, "B heads S d_head"], v: Tensor
) -> Float[Tensor, "B heads S d_head"]:
    """softmax(q k^T / sqrt(d_head)) v, each position over those up to its own."""
    length = q.shape[-2]
    if not (q.is_cpu and q.dtype is torch.bfloat16 and length <= PLAIN_LENGTH):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # On a CPU torch's fused kernel goes back in bfloat16 four times slower than the plain formula.
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1).to(v.dtype) @ v


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d_head)) v over the positions up to each one's own, then `o_proj`."""

    def __init__(
        self,
        width: int,
        heads: int,
        groups: int,
        bias: bool,
        fused: bool = False,
        rotary: Rotary | None = None,
    ) -> None:
        """`groups` heads of keys and values serve blocks of `heads / groups` query heads.

        With `fused`, one layer `c_attn` makes queries, keys and values, in this order.
        """
        super().__init__()
        self.heads, self.groups = heads, groups
        shared = width // heads * groups
        self.splits = (width, shared, shared)
        if fused:
            self.c_attn = nn.Linear(width, sum(self.splits), bias=bias)
        else:
            self.q_proj = nn.Linear(width, width, bias=bias)
            self.k_proj = nn.Linear(width, shared, bias=bias)
            self.v_proj = nn.Linear(width, shared, bias=bias)
        self.o_proj = nn.Linear(width, width, bias=bias)
        self.fused = fused
        self.rotary = rotary

    def forward(self, x: Float[Tensor, "B S width"]) -> Float[Tensor, "B S width"]:
        """What the attention adds to the residual stream."""
        if self.fused:
            q, k, v = self.c_attn(x).split(self.splits, dim=-1)
        else:
            q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q = rearrange(q, "B S (heads d_head) -> B heads S d_head", heads=self.heads)
        k, v = self._for_every_head(k), self._for_every_head(v)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        mixed = causal_mixture(q, k, v)
        return self.o_proj(rearrange(mixed, "B heads S d_head -> B S (heads d_head)"))

    def _for_every_head(self, x: Tensor) -> Tensor:
        x = rearrange(x, "B S (groups d_head) -> B groups S d_head", groups=self.groups)
        return x.repeat_interleave(self.heads // self.groups, dim=1) if self.groups < self.heads else x
