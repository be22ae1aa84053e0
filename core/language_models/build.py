"""Making a language model from its settings, with the weights GPT-2 starts from."""

from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UsageError
from core.language_models.gpt2_simple import GPT2Simple, check_length
from core.language_models.llama_simple import LlamaSimple
from core.language_models.settings import (
    ArchitectureSettings,
    GPT2Settings,
    GPT2SimpleSettings,
    LlamaSettings,
    PlainLlamaSettings,
)
from core.randomness import generator

WEIGHT_STD = 0.02
_RESIDUAL = ("o_proj.weight", "down_proj.weight", "attn.c_proj.weight", "mlp.c_proj.weight")
"""Matrices whose output is added to the residual stream, in all architectures."""


def build_language_model(
    settings: ArchitectureSettings, seed: int, vocabulary: int | None = None
) -> nn.Module:
    """A fresh model, `model(ids (B S)) -> logits (B S vocab)`; the same settings and seed give the same bits.

    Matrices are drawn from N(0, 0.02^2), those that write into the residual stream from that divided by
    sqrt(2 layers); biases are 0, norms 1. `vocabulary` is the tokenizer's, used when the settings name none.

    Raises:
        UsageError: no vocabulary at all, or one smaller than the tokenizer's.
    """
    model = empty_language_model(settings, vocabulary)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            std = WEIGHT_STD
            if name.endswith(_RESIDUAL):
                std /= (2 * settings.layers) ** 0.5
            draw = generator(seed, f"init/language_model/{name}")
            parameter.copy_(std * torch.randn(parameter.shape, generator=draw))
    return model


def empty_language_model(settings: ArchitectureSettings, vocabulary: int | None = None) -> nn.Module:
    """A model of this shape whose weights mean nothing yet; see `build_language_model`."""
    known = settings.vocabulary or vocabulary
    if known is None:
        raise UsageError(
            "model.vocabulary is null and no tokenizer is known.", "Set model.vocabulary to a number of ids."
        )
    if vocabulary is not None:
        check_vocabulary(vocabulary, known)
    # Layers draw weights as they are made; those are thrown away, and the global generator stays as it was.
    with torch.random.fork_rng(devices=[]):
        if isinstance(settings, GPT2SimpleSettings):
            return GPT2Simple(settings, known)
        if isinstance(settings, PlainLlamaSettings):
            return LlamaSimple(settings, known)
        return _transformers_model(settings, known)


def check_vocabulary(tokenizer_vocabulary: int, model_vocabulary: int) -> None:
    """Refuse a tokenizer that makes ids the model has no embedding for.

    Raises:
        UsageError: the tokenizer's vocabulary is the larger one.
    """
    if tokenizer_vocabulary > model_vocabulary:
        raise UsageError(
            f"the tokenizer has {tokenizer_vocabulary} ids, the model's embedding only {model_vocabulary}.",
            "Use the tokenizer the model was trained with.",
        )


class GivesLogits:
    """Put in front of a transformers model class: `model(ids (B S)) -> logits (B S vocab)`, no cache."""

    config: Any

    def forward(self, ids: Tensor) -> Tensor:
        """The logits of the token that follows each position.

        Raises:
            UsageError: more positions than the model's context.
        """
        check_length(ids, self.config.max_position_embeddings)
        whole: Any = super()
        return whole.forward(input_ids=ids, use_cache=False).logits


def giving_logits(model: Any) -> nn.Module:
    """The same transformers model, called with ids and answering with logits; no module changes its name."""
    kind = type(model)
    model.__class__ = type(kind.__name__, (GivesLogits, kind), {"__module__": kind.__module__})
    return model


def _transformers_model(settings: GPT2Settings | LlamaSettings, vocabulary: int) -> nn.Module:
    import transformers

    if isinstance(settings, GPT2Settings):
        config = transformers.GPT2Config(
            vocab_size=vocabulary,
            n_positions=settings.context,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            n_inner=settings.neurons,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
        return giving_logits(transformers.GPT2LMHeadModel(config))
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=settings.context,
        hidden_size=settings.width,
        intermediate_size=settings.neurons,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.groups,
        rms_norm_eps=settings.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": settings.rotary_base},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return giving_logits(transformers.LlamaForCausalLM(config))
