"""Names and layouts of weights in published decompositions, and what they are called here."""

import hashlib
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from core.components.component_model import ComponentModel
from core.components.selection import ComponentsSettings
from core.decomposition.imports_importance import (
    GLOBAL,
    imported_function_tensors,
    layer_name,
    published_order,
    widths_of,
)
from core.errors import UsageError

_TARGET = "target_model."
_COMPONENTS = "_components."
_NETWORKS = "_ci_fns."
_INSIDE_TARGET = re.compile(r"target_model\.(.+)\.components\.([UV])")


def renamed_state(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """A state dict with the names of earlier file versions replaced by the latest, all in float32.

    Raises:
        UsageError: no subcomponents.
    """
    renamed = {_renamed(name): value.float() for name, value in state.items()}
    if not any(name.startswith(_COMPONENTS) for name in renamed):
        raise UsageError(f"{source} holds no subcomponents.", "Give a model_<step>.pth of a decomposition.")
    return renamed


def imported_target_tensors(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The target's own parameters, as our models name and orient them.

    Raises:
        UsageError: the file holds no target.
    """
    tensors = {name.removeprefix(_TARGET): v for name, v in state.items() if name.startswith(_TARGET)}
    if not tensors:
        raise UsageError(f"{source} holds no target model ({_TARGET}*).")
    for name in ("W_E", "W_U"):
        if name in tensors:
            # Stored as a bare (in out) matrix; here they are linear layers, (out in).
            tensors[f"{name}.weight"] = tensors.pop(name).T.contiguous()
    return tensors


def imported_component_tensors(
    state: Mapping[str, Tensor], model: ComponentModel, components: ComponentsSettings
) -> dict[str, Tensor]:
    """Subcomponents and importance function of `model`, named as in our checkpoints.

    Modules that the file has besides the model's appear too, so that loading refuses them.
    """
    own = {module.replace(".", "-"): module for module in model.sites}
    tensors: dict[str, Tensor] = {}
    function: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith(GLOBAL):
            function[name.removeprefix(GLOBAL)] = value
            continue
        kind = next((prefix for prefix in (_COMPONENTS, _NETWORKS) if name.startswith(prefix)), None)
        if kind is None:
            continue
        dashed, _, rest = name.removeprefix(kind).partition(".")
        module = own.get(dashed, dashed)
        if kind == _NETWORKS:
            tensors[f"importance/{module}/{layer_name(rest)}"] = value
        elif rest in ("U", "V"):
            tensors[f"{rest}/{module}"] = value
    order = published_order(components, model.sites)
    for name, value in imported_function_tensors(
        function, model.importance_settings, widths_of(model), order
    ).items():
        tensors[f"importance/{name}"] = value
    return tensors


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Twelve hex digits that name these weights, whatever they were trained with."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().to(torch.float32).numpy().tobytes())
    return digest.hexdigest()[:12]


def _renamed(name: str) -> str:
    name = name.replace("_gates.", _NETWORKS).replace(".original.", ".")
    if name.startswith("patched_model."):
        name = _TARGET + name.removeprefix("patched_model.")
    if name.startswith((f"ci_fn.{_NETWORKS}", f"ci_fn.{GLOBAL}")):
        name = name.removeprefix("ci_fn.")
    if inside := _INSIDE_TARGET.fullmatch(name):
        name = f"{_COMPONENTS}{inside[1].replace('.', '-')}.{inside[2]}"
    return name
