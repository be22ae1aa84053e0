"""LlamaSimple and LlamaSimpleMLP: pre-norm decoders with RMS norms and rotary positions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from core.language_models.attention import Attention, Rotary
from core.language_models.gpt2_simple import check_length
from core.language_models.settings import LlamaSimpleMLPSettings, PlainLlamaSettings


class LlamaSimple(nn.Module):
    """`lm_head(ln_f(blocks(wte(ids))))`, with `lm_head.weight` being `wte.weight`.

    `LlamaSimpleMLPSettings` give the plain MLP, `LlamaSimpleSettings` the gated one.
    """

    def __init__(self, settings: PlainLlamaSettings, vocabulary: int) -> None:
        super().__init__()
        self.context = settings.context
        self.wte = nn.Embedding(vocabulary, settings.width)
        self.h = nn.ModuleList(_Block(settings) for _ in range(settings.layers))
        self.ln_f = RMSNorm(settings.width, settings.norm_eps)
        self.lm_head = nn.Linear(settings.width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Int[Tensor, "B S"]) -> Float[Tensor, "B S vocab"]:
        """The logits of the token that follows each position.

        Raises:
            UsageError: more positions than the model's context.
        """
        check_length(ids, self.context)
        stream = self.wte(ids)
        for block in self.h:
            stream = block(stream)
        return self.lm_head(self.ln_f(stream))


class RMSNorm(nn.Module):
    """`w x / sqrt(mean x^2 + eps)` over the last dimension (arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """The scaled vectors."""
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


class _Block(nn.Module):
    """Attention, then MLP, each added to the stream."""

    def __init__(self, settings: PlainLlamaSettings) -> None:
        super().__init__()
        plain = isinstance(settings, LlamaSimpleMLPSettings)
        self.rms_1 = RMSNorm(settings.width, settings.norm_eps)
        self.attn = Attention(
            settings.width,
            settings.heads,
            settings.groups,
            settings.attention_bias,
            settings.fused_qkv,
            Rotary(settings.d_head, settings.context, settings.rotary_base, settings.rotary_pairs),
        )
        self.rms_2 = RMSNorm(settings.width, settings.norm_eps)
        self.mlp = (_PlainMLP if plain else _GatedMLP)(settings.width, settings.neurons, settings.mlp_bias)

    def forward(self, stream: Float[Tensor, "B S width"]) -> Float[Tensor, "B S width"]:
        stream = stream + self.attn(self.rms_1(stream))
        return stream + self.mlp(self.rms_2(stream))


class _GatedMLP(nn.Module):
    """`down_proj(silu(gate_proj(x)) * up_proj(x))`."""

    def __init__(self, width: int, neurons: int, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, neurons, bias=bias)
        self.up_proj = nn.Linear(width, neurons, bias=bias)
        self.down_proj = nn.Linear(neurons, width, bias=bias)

    def forward(self, x: Float[Tensor, "B S width"]) -> Float[Tensor, "B S width"]:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _PlainMLP(nn.Module):
    """`down_proj(gelu(c_fc(x)))`."""

    def __init__(self, width: int, neurons: int, bias: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, neurons, bias=bias)
        self.down_proj = nn.Linear(neurons, width, bias=bias)

    def forward(self, x: Float[Tensor, "B S width"]) -> Float[Tensor, "B S width"]:
        return self.down_proj(F.gelu(self.c_fc(x), approximate="tanh"))
