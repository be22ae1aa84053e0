"""The settings of models in folders that hold `model_config.yaml`: published checkpoints of SPD targets."""

from collections.abc import Collection
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.errors import UsageError, nearest_names
from core.language_models.settings import (
    ArchitectureSettings,
    GPT2SimpleSettings,
    LlamaSimpleMLPSettings,
    LlamaSimpleSettings,
)

_KINDS = {
    "GPT2Simple": GPT2SimpleSettings,
    "LlamaSimple": LlamaSimpleSettings,
    "LlamaSimpleMLP": LlamaSimpleMLPSettings,
}
_NAMES = {
    "vocab_size": "vocabulary",
    "block_size": "context",
    "n_layer": "layers",
    "n_head": "heads",
    "n_embd": "width",
    "n_intermediate": "mlp_width",
    "n_key_value_heads": "kv_heads",
    "rotary_base": "rotary_base",
    "rms_norm_eps": "norm_eps",
    "mlp_bias": "mlp_bias",
    "attn_bias": "attention_bias",
}
"""Fields that are the same under another name."""


def architecture(
    config: dict[str, Any], source: str, names: Collection[str] | None = None
) -> ArchitectureSettings:
    """Our settings of the model that a `model_config.yaml` describes; `source` names it in errors.

    `names` are those of the saved tensors. Only they tell whether a GPT2Simple has norms, since the file does
    not; without `names` it has.

    Raises:
        UsageError: an architecture that is not one of ours, a field that is missing or cannot be honoured.
    """
    model_type = str(config.get("model_type"))
    if model_type not in _KINDS:
        raise UsageError(
            f"{source}: model_type {model_type!r} is not supported.",
            f"Allowed: {', '.join(_KINDS)}. {nearest_names(model_type, _KINDS)}",
        )
    kind = _KINDS[model_type]
    missing = [name for name in ("vocab_size", "n_layer", "n_head", "n_embd") if config.get(name) is None]
    if missing:
        raise UsageError(f"{source} lacks {', '.join(missing)}.", "Take the file that came with the weights.")
    own = {ours: config[name] for name, ours in _NAMES.items() if config.get(name) is not None}
    own = {name: value for name, value in own.items() if name in kind.model_fields}
    if kind is GPT2SimpleSettings:
        own["layer_norm"] = names is None or any(".ln_" in f".{name}" for name in names)
    else:
        own["fused_qkv"] = not config.get("use_grouped_query_attention", True)
        own["rotary_pairs"] = "adjacent" if config.get("rotary_adjacent_pairs", False) else "halves"
        if own["fused_qkv"]:
            own["kv_heads"] = None
    try:
        settings = TypeAdapter[ArchitectureSettings](ArchitectureSettings).validate_python(
            {"kind": kind.model_fields["kind"].default, **own}
        )
    except ValidationError as error:
        raise UsageError(f"{source}: {error.errors()[0]['msg']}.") from error
    if kind is not GPT2SimpleSettings and config.get("rotary_dim", settings.d_head) != settings.d_head:
        raise UsageError(
            f"{source}: rotary_dim {config['rotary_dim']} is not the head width {settings.d_head}.",
            "Rotary positions on a part of each head are not supported.",
        )
    return settings
