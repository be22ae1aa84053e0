"""Names and layouts of weights in published decompositions, and what they are called here."""

import hashlib
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import UsageError

_TARGET = "target_model."
_COMPONENTS = "_components."
_NETWORKS = "_ci_fns."
_LAYER = re.compile(r"layers\.(\d+)\.(W|b)")
_INSIDE_TARGET = re.compile(r"target_model\.(.+)\.components\.([UV])")


def renamed_state(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """A state dict with the names of earlier file versions replaced by the latest, all in float32.

    Raises:
        UsageError: an importance function that spans several modules, or no subcomponents at all.
    """
    renamed = {_renamed(name): value.float() for name, value in state.items()}
    if shared := [name for name in renamed if "_global_ci_fn" in name]:
        raise UsageError(
            f"{source} holds a causal-importance function that spans all modules ({shared[0]}).",
            "Only runs with one function per module can be imported.",
        )
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


def imported_component_tensors(state: Mapping[str, Tensor], modules: list[str]) -> dict[str, Tensor]:
    """Subcomponents and importance networks of `modules`, named as in our checkpoints.

    Modules that the file has besides these appear too, so that loading refuses them.
    """
    own = {module.replace(".", "-"): module for module in modules}
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        kind = next((prefix for prefix in (_COMPONENTS, _NETWORKS) if name.startswith(prefix)), None)
        if kind is None:
            continue
        dashed, _, rest = name.removeprefix(kind).partition(".")
        module = own.get(dashed, dashed)
        if kind == _NETWORKS:
            tensors[f"importance/{module}/{_parameter(rest)}"] = value
        elif rest in ("U", "V"):
            tensors[f"{rest}/{module}"] = value
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
    if name.startswith(f"ci_fn.{_NETWORKS}"):
        name = name.removeprefix("ci_fn.")
    if inside := _INSIDE_TARGET.fullmatch(name):
        name = f"{_COMPONENTS}{inside[1].replace('.', '-')}.{inside[2]}"
    return name


def _parameter(name: str) -> str:
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return name
    # The file counts activation functions as layers, so weights have the even numbers.
    return f"{'weights' if layer[2] == 'W' else 'biases'}.{int(layer[1]) // 2}"
