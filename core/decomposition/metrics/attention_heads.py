"""What an attention module does with queries and keys: its heads, their scale, the rotation by position."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import UsageError

Rotation = Callable[[Tensor], Tensor]
"""Turns queries or keys (B heads S d) by their positions, which count from 0."""

HEAD_COUNTS = ("n_head", "n_heads", "num_heads", "heads")
KEY_COUNTS = ("groups", "n_key_value_heads", "n_kv_heads", "num_key_value_heads")


@dataclass(frozen=True)
class AttentionHeads:
    """How one attention module makes scores."""

    count: int
    """Query heads."""
    key_count: int
    """Key heads; each serves a block of neighbouring query heads."""
    scale: float | None
    """Factor of the scores; None is 1 / sqrt(width of a head)."""
    rotate: Rotation | None
    """The rotation by position; None where positions come in otherwise."""

    def scores(
        self, queries: Float[Tensor, "B S Q"], keys: Float[Tensor, "B S K"]
    ) -> Float[Tensor, "B heads S S"]:
        """Scores before the causal mask, queries by keys."""
        q = rearrange(queries, "B S (h d) -> B h S d", h=self.count)
        k = rearrange(keys, "B S (h d) -> B h S d", h=self.key_count)
        if self.rotate is not None:
            q, k = self.rotate(q), self.rotate(k)
        k = repeat(k, "B h S d -> B (h group) S d", group=self.count // self.key_count)
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        return (q @ k.transpose(-1, -2)) * scale

    def fused_widths(self, width: int) -> list[int]:
        """Widths of queries, keys and values that one module gives side by side."""
        head = width // (self.count + 2 * self.key_count)
        return [head * self.count, head * self.key_count, head * self.key_count]


def attention_heads(model: nn.Module, name: str, count: int | None = None) -> AttentionHeads:
    """The heads of the attention module `name`; `count` overrides the number of query heads.

    Raises:
        UsageError: the number of heads is nowhere to be read.
    """
    module = model.get_submodule(name)
    heads = count or _number(module, HEAD_COUNTS, "num_attention_heads")
    if heads is None:
        raise UsageError(
            f"the attention module {name!r} ({type(module).__name__}) does not say how many heads it has.",
            "Give `heads` in the settings of the attention_patterns metric.",
        )
    scale = getattr(module, "scaling", None)
    return AttentionHeads(
        count=heads,
        key_count=_number(module, KEY_COUNTS, "num_key_value_heads") or heads,
        scale=scale if isinstance(scale, float) else None,
        rotate=_rotation(model, name, module),
    )


def _number(module: nn.Module, names: tuple[str, ...], in_config: str) -> int | None:
    config = getattr(module, "config", None)
    for owner, name in (*((module, name) for name in names), (config, in_config)):
        found = getattr(owner, name, None)
        if isinstance(found, int):
            return found
    return None


def _rotation(model: nn.Module, name: str, module: nn.Module) -> Rotation | None:
    if hasattr(module, "rotary"):  # our own: a module, or None where positions are embedded
        own: Any = module.rotary
        return own
    # The attention modules of transformers are handed their angles by a module further up.
    apply: Any = getattr(sys.modules[type(module).__module__], "apply_rotary_pos_emb", None)
    if apply is None:
        return None
    angles: Any = _above(model, name, "rotary_emb")

    def rotate(x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[-2], device=x.device).unsqueeze(0)
        cosine, sine = angles(x, positions)
        return apply(x, x, cosine, sine)[0]

    return rotate


def _above(model: nn.Module, name: str, attribute: str) -> Any:
    while True:
        found = getattr(model.get_submodule(name), attribute, None)
        if found is not None:
            return found
        if not name:
            raise UsageError(
                f"the angles by which the attention rotates queries and keys ({attribute!r}) were not found.",
                "Leave attention_patterns out of evaluation.metrics.",
            )
        name = name.rpartition(".")[0]
