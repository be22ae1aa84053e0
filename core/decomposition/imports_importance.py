"""Importance functions of published decompositions: their settings and weights, translated into ours."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from core.components.component_model import ComponentModel
from core.components.importance import ImportanceSettings
from core.components.importance_function import ModuleWidths
from core.components.importance_layerwise import LayerwiseImportance
from core.components.importance_reverse import ReverseResidualImportance, modules_of_blocks
from core.components.selection import IDENTITY_NAME, ComponentsSettings
from core.decomposition.imports_fields import Plain, mapping, mappings, need
from core.errors import UsageError

GLOBAL = "_global_ci_fn."
"""How names of a function over all modules begin in a published file."""

_LAYER = re.compile(r"(layers\.)?(\d+)\.(W|b)")
_BLOCK = re.compile(r"_(\w+)\.([^.]+)\.(.+)")
_GLOBAL_KINDS = ("global_shared_mlp", "global_shared_transformer", "global_reverse_residual")


def imported_importance(config: Plain, source: str) -> Plain:
    """Our importance settings, as plain data, for a published run.

    Raises:
        UsageError: an unknown mode or function, or a value that is missing.
    """
    common = {
        "sigmoid": config.get("sigmoid_type", "leaky_hard"),
        "sampling": config.get("sampling", "continuous"),
    }
    if config.get("ci_config") is None:
        return common | {
            "kind": config.get("ci_fn_type", config.get("gate_type", "vector_mlp")),
            "hidden": config.get("ci_fn_hidden_dims", config.get("gate_hidden_dims", [8])),
        }
    function = mapping(config["ci_config"], "ci_config", source)
    mode, kind = function.get("mode", "layerwise"), function.get("fn_type")
    if mode == "layerwise":
        return common | {"kind": kind, "hidden": function.get("hidden_dims")}
    if mode != "global" or kind not in _GLOBAL_KINDS:
        raise UsageError(
            f"{source} has a causal-importance function of mode {mode!r} and type {kind!r}, which cannot be "
            "imported.",
            f"Supported: mode layerwise, and mode global of type {', '.join(_GLOBAL_KINDS)}.",
        )
    return common | {"kind": kind, **_global_settings(kind, function, source)}


def _global_settings(kind: str, function: Plain, source: str) -> Plain:
    if kind == "global_shared_mlp":
        return {"hidden": need(function, "hidden_dims", source)}
    if kind == "global_shared_transformer":
        name = "simple_transformer_ci_cfg"
        transformer = mapping(function.get(name), name, source)
        return {
            "d_model": need(transformer, "d_model", source),
            "n_blocks": need(transformer, "n_blocks", source),
            "hidden": need(transformer, "mlp_hidden_dim", source),
            "attention": _attention(need(transformer, "attn_config", source), "attn_config", source),
        }
    attention = function.get("transition_attn_config")
    return {
        "blocks": [
            {"name": need(group, "name", source), "patterns": need(group, "patterns", source)}
            for group in mappings(function.get("block_groups"), "block_groups", source)
        ],
        "d_residual": need(function, "d_resid_ci_fn", source),
        "reader_hidden": need(function, "reader_hidden_dims", source),
        "transition_hidden": need(function, "transition_hidden_dim", source),
        "transition_attention": attention and _attention(attention, "transition_attn_config", source),
    }


def _attention(value: Any, name: str, source: str) -> Plain:
    attention = mapping(value, name, source)
    # The longest sequence is not a setting here: rotary positions have no table.
    return {
        "n_heads": need(attention, "n_heads", source),
        "rope_base": attention.get("rope_base", 10_000.0),
    }


def published_order(components: ComponentsSettings, names: Iterable[str]) -> list[str]:
    """Module names in the order that a published file knows them: by pattern, then as in the model."""
    known = list(names)
    patterns = [item.pattern for item in components.modules]
    patterns += [f"{item.pattern}.{IDENTITY_NAME}" for item in components.identities]
    return [name for pattern in patterns for name in known if fnmatchcase(name, pattern)]


def imported_function_tensors(
    published: Mapping[str, Tensor],
    settings: ImportanceSettings,
    modules: Mapping[str, ModuleWidths],
    order: list[str],
) -> dict[str, Tensor]:
    """The weights of a function over all modules, named and laid out as ours.

    `published` has names without `GLOBAL`; `order` is that of the modules in the file. Names that are not
    known stay as they are, so that loading refuses them.
    """
    if isinstance(settings, LayerwiseImportance):
        return dict(published)
    if isinstance(settings, ReverseResidualImportance):
        renamed = _reverse_tensors(published, settings, modules, order)
    else:
        renamed = {_plain_name(name): value for name, value in published.items()}
    return _fused(renamed)


def widths_of(model: ComponentModel) -> dict[str, ModuleWidths]:
    """What the importance function knows about the modules of a model."""
    return {n: ModuleWidths(site.d_in, site.C, site.kind == "embedding") for n, site in model.sites.items()}


def layer_name(name: str) -> str:
    """Our name of one layer's weight or bias; the file counts activations, so weights have even numbers."""
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return name
    return f"{'weights' if layer[3] == 'W' else 'biases'}.{int(layer[2]) // 2}"


def _plain_name(name: str) -> str:
    for theirs, ours in (("_input_projector.", "projector.0."), ("_output_head.", "head.0.")):
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
    name = name.removeprefix("_").replace(".attn.", ".attention.")
    if ".attention." in name:
        return name
    for part in ("projector", "head", r"blocks\.\d+\.mlp"):
        if found := re.fullmatch(rf"({part})\.(.+)", name):
            return f"{found[1]}.{layer_name(found[2])}"
    return f"mlp.{layer_name(name)}"


def _reverse_tensors(
    published: Mapping[str, Tensor],
    settings: ReverseResidualImportance,
    modules: Mapping[str, ModuleWidths],
    order: list[str],
) -> dict[str, Tensor]:
    numbers = {block.name.replace(".", "-"): i for i, block in enumerate(settings.blocks)}
    groups = modules_of_blocks(settings, modules)
    read = {name: module.read for name, module in modules.items()}
    written = {name: module.C for name, module in modules.items()}
    last = f"{2 * len(settings.reader_hidden)}."
    renamed: dict[str, Tensor] = {}
    for name, value in published.items():
        found = _BLOCK.fullmatch(name)
        if found is None or found[1] not in _PARTS or found[2] not in numbers:
            renamed[name] = value
            continue
        part, number, rest = _PARTS[found[1]], numbers[found[2]], found[3]
        own = f"blocks.{number}.{part}"
        if not part.endswith("norm"):
            own += f".{layer_name(f'0.{rest}' if part == 'projector' else rest)}"
        theirs, ours = _in_block(settings.blocks[number].patterns, order), groups[number]
        if part == "projector" and rest == "W":
            renamed[own] = _reordered(value, 0, theirs, ours, read)
        elif part == "reader" and rest.startswith(last):
            renamed[own] = _reordered(value, -1, theirs, ours, written)
        else:
            renamed[own] = value
    return renamed


_PARTS = {
    "inp_projectors": "projector",
    "readers": "reader",
    "reader_norms": "reader_norm",
    "transitions": "transition",
    "transition_norms": "transition_norm",
    "attn_transitions": "attention",
    "attn_norms": "attention_norm",
}


def _in_block(patterns: tuple[str, ...], order: list[str]) -> list[str]:
    found = [name for pattern in patterns for name in order if fnmatchcase(name, pattern)]
    return list(dict.fromkeys(found))


def _reordered(
    value: Tensor, dim: int, theirs: list[str], ours: list[str], sizes: Mapping[str, int]
) -> Tensor:
    """A tensor whose slices along `dim` belong to the modules `theirs`, in the order `ours`."""
    if value.shape[dim] != sum(sizes[name] for name in theirs):
        return value  # loading names what does not fit
    slices = dict(zip(theirs, value.split([sizes[name] for name in theirs], dim), strict=True))
    return torch.cat([slices[name] for name in ours], dim)


def _fused(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention as we hold it: queries, keys and values side by side, (in out); no table of frequencies."""
    fused = {name: v for name, v in tensors.items() if not name.endswith("attention.rope.inv_freq")}
    for name in [name for name in fused if name.endswith("attention.q_proj.weight")]:
        start = name.removesuffix("q_proj.weight")
        parts = [f"{start}{letter}_proj.weight" for letter in "qkv"]
        if all(part in fused for part in parts):
            fused[f"{start}qkv"] = torch.cat([fused.pop(part).T for part in parts], dim=1).contiguous()
        if (out := f"{start}out_proj.weight") in fused:
            fused[f"{start}out"] = fused.pop(out).T.contiguous()
    return fused
