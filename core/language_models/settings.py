"""The shapes of language models: one settings class per architecture, told apart by `kind`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.settings import Settings


class DecoderSettings(Settings):
    """What all architectures have: a decoder of `layers` blocks on a residual stream of `width` numbers."""

    vocabulary: int | None = Field(default=None, ge=1)
    """Number of token ids the model knows; null takes that of the tokenizer."""

    context: int = Field(default=256, ge=1)
    """Longest sequence in tokens."""

    layers: int = Field(default=2, ge=1)
    """Number of blocks, each attention and MLP."""

    heads: int = Field(default=4, ge=1)
    """Attention heads; they share the width equally."""

    width: int = Field(default=128, ge=1)
    """Width of the residual stream."""

    mlp_width: int | None = Field(default=None, ge=1)
    """Neurons of each MLP; null means four times the width."""

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def neurons(self) -> int:
        """Width of each MLP."""
        return 4 * self.width if self.mlp_width is None else self.mlp_width

    @model_validator(mode="after")
    def _heads_fit(self) -> "DecoderSettings":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")
        return self


class GroupedDecoderSettings(DecoderSettings):
    """A decoder with rotary positions, in which several heads may share one key and value."""

    kv_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values, each shared by a block of query heads; null means one per head."""

    rotary_base: float = Field(default=10000.0, gt=1.0)
    """Pair i of a head turns by `base^(-2 i / d_head)` radians per position."""

    norm_eps: float = Field(default=1e-6, gt=0.0)
    """Added to the mean square under the root of the RMS norm."""

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @model_validator(mode="after")
    def _groups_fit(self) -> "GroupedDecoderSettings":
        if self.heads % self.groups:
            raise ValueError(f"heads {self.heads} is not divisible by kv_heads {self.groups}")
        if self.d_head % 2:
            raise ValueError(f"the head width {self.d_head} is odd, but rotary positions turn pairs")
        return self


class GPT2SimpleSettings(DecoderSettings):
    """GPT-2 with separate projections: learned positions, LayerNorm, tanh-GELU, biases everywhere."""

    kind: Literal["gpt2_simple"] = "gpt2_simple"
    """Which architecture this is."""

    layer_norm: bool = True
    """Whether the norms are there; without them the residual stream is read as it is."""

    norm_eps: float = Field(default=1e-5, gt=0.0)
    """Added to the variance under the root of the LayerNorm."""


class PlainLlamaSettings(GroupedDecoderSettings):
    """Llama in plain form, whichever its MLP: RMS norms, rotary positions, one tied embedding."""

    rotary_pairs: Literal["halves", "adjacent"] = "halves"
    """Which numbers of a head turn together: i and i + d_head/2, or 2i and 2i + 1."""

    fused_qkv: bool = False
    """Whether one matrix `c_attn` makes queries, keys and values."""

    attention_bias: bool = False
    """Whether the attention's projections have biases."""

    mlp_bias: bool = False
    """Whether the MLP's projections have biases."""


class LlamaSimpleSettings(PlainLlamaSettings):
    """The gated SiLU MLP of three matrices."""

    kind: Literal["llama_simple"] = "llama_simple"
    """Which architecture this is."""


class LlamaSimpleMLPSettings(PlainLlamaSettings):
    """A plain tanh-GELU MLP of two matrices in place of the gated one."""

    kind: Literal["llama_simple_mlp"] = "llama_simple_mlp"
    """Which architecture this is."""


class GPT2Settings(DecoderSettings):
    """GPT-2 as transformers has it, with fused queries, keys and values in transposed layers."""

    kind: Literal["gpt2"] = "gpt2"
    """Which architecture this is."""


class LlamaSettings(GroupedDecoderSettings):
    """Llama as transformers has it, with embeddings tied."""

    kind: Literal["llama"] = "llama"
    """Which architecture this is."""


ArchitectureSettings = Annotated[
    GPT2SimpleSettings | LlamaSimpleSettings | LlamaSimpleMLPSettings | GPT2Settings | LlamaSettings,
    Field(discriminator="kind"),
]
"""Settings of any architecture that can be built from nothing."""
