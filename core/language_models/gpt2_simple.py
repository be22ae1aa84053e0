"""GPT2Simple: a pre-norm decoder with learned positions, LayerNorm and tanh-GELU."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from core.errors import UsageError
from core.language_models.attention import Attention
from core.language_models.settings import GPT2SimpleSettings


class GPT2Simple(nn.Module):
    """`lm_head(ln_f(blocks(wte(ids) + wpe(positions))))`, with `lm_head.weight` being `wte.weight`."""

    def __init__(self, settings: GPT2SimpleSettings, vocabulary: int) -> None:
        super().__init__()
        self.context = settings.context
        self.wte = nn.Embedding(vocabulary, settings.width)
        self.wpe = nn.Embedding(settings.context, settings.width)
        self.h = nn.ModuleList(_Block(settings) for _ in range(settings.layers))
        self.ln_f = _norm(settings)
        self.lm_head = nn.Linear(settings.width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Int[Tensor, "B S"]) -> Float[Tensor, "B S vocab"]:
        """The logits of the token that follows each position.

        Raises:
            UsageError: more positions than the model has learnt.
        """
        check_length(ids, self.context)
        stream = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            stream = block(stream)
        return self.lm_head(self.ln_f(stream))


def check_length(ids: Int[Tensor, "B S"], context: int) -> None:
    """Refuse sequences longer than a model's context.

    Raises:
        UsageError: more positions than `context`.
    """
    if ids.shape[-1] > context:
        raise UsageError(
            f"sequences of {ids.shape[-1]} tokens do not fit the model, whose context is {context}.",
            f"Use a window of at most {context} tokens.",
        )


class _Block(nn.Module):
    """Attention, then MLP, each added to the stream."""

    def __init__(self, settings: GPT2SimpleSettings) -> None:
        super().__init__()
        self.ln_1 = _norm(settings)
        self.attn = Attention(settings.width, settings.heads, settings.heads, bias=True)
        self.ln_2 = _norm(settings)
        self.mlp = _MLP(settings.width, settings.neurons)

    def forward(self, stream: Float[Tensor, "B S width"]) -> Float[Tensor, "B S width"]:
        stream = stream + self.attn(self.ln_1(stream))
        return stream + self.mlp(self.ln_2(stream))


class _MLP(nn.Module):
    """`down_proj(gelu(c_fc(x)))`."""

    def __init__(self, width: int, neurons: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, neurons)
        self.down_proj = nn.Linear(neurons, width)

    def forward(self, x: Float[Tensor, "B S width"]) -> Float[Tensor, "B S width"]:
        return self.down_proj(F.gelu(self.c_fc(x), approximate="tanh"))


def _norm(settings: GPT2SimpleSettings) -> nn.Module:
    return nn.LayerNorm(settings.width, eps=settings.norm_eps) if settings.layer_norm else nn.Identity()
