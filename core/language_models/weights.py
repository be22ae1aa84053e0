"""Weights of a language model as named tensors: reading them, fitting them to a model, and their digest."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import UsageError

Weights = dict[str, Tensor]

_WRAPPERS = ("_orig_mod.", "module.")
"""What torch.compile and DistributedDataParallel put in front of names."""
_DERIVED = (".attn.bias", ".rotary_cos", ".rotary_sin")
"""Buffers of other codes that follow from the settings: causal masks and angles."""
_OTHER_NAMES = {".mlp.c_proj.": ".mlp.down_proj.", ".attn.c_proj.": ".attn.o_proj."}
"""What other codes call a projection, and what the models here do."""


def read_safetensors(path: Path) -> Weights:
    """The tensors of a safetensors file.

    Raises:
        UsageError: it is missing, cut short or damaged.
    """
    try:
        return load_file(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged: {error}.", "Copy or download it again.") from error


def read_torch_file(path: Path) -> Weights:
    """The tensors of a state dict saved by torch; no code in the file is ever run.

    Raises:
        UsageError: it is missing, damaged, or holds something else than named tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{path} cannot be read as saved tensors ({str(error).splitlines()[0][:120]}).",
            "Copy or download it again.",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} does not hold a state dict: names with tensors.")
    return state


def fit_weights(model: nn.Module, weights: Weights, source: str) -> None:
    """Put `weights` into a model that was built from settings.

    Prefixes that training puts in front of names are taken off, and output projections called `c_proj` get
    the model's own names where it calls them otherwise. A matrix that the model has under two names
    (embedding and unembedding) may be given under either or both.

    Raises:
        UsageError: names that are missing or too many, shapes that differ, two different shared matrices.
    """
    found = {_bare(name): value for name, value in weights.items()}
    found = {name: value.float() for name, value in found.items() if not name.endswith(_DERIVED)}
    found = _renamed(found, set(model.state_dict()))
    for names in _shared(model):
        given = [name for name in names if name in found]
        if any(not torch.equal(found[given[0]], found[name]) for name in given[1:]):
            raise UsageError(
                f"{source}: {' and '.join(given)} differ, but this architecture has one matrix for both.",
                "Weights with an unembedding of its own cannot be loaded.",
            )
        found |= {name: found[given[0]] for name in names if given}
    wanted: dict[str, Any] = model.state_dict()
    problems = [f"it lacks {name}" for name in wanted if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in wanted]
    problems += [
        f"{name} has shape {tuple(found[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UsageError(
            f"{source} does not fit the settings beside it: {problems[0]}{more}.",
            "Take weights and settings of the same model.",
        )
    model.load_state_dict(found)


def weights_digest(model: nn.Module, shape: str) -> str:
    """Twelve hexadecimal digits that name `shape` and every bit of the parameters."""
    named = hashlib.sha256(shape.encode())
    for name, parameter in sorted(model.named_parameters()):
        named.update(f"\n{name} {tuple(parameter.shape)} ".encode())
        # As bytes, since numpy has no bfloat16.
        named.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return named.hexdigest()[:12]


def _shared(model: nn.Module) -> list[list[str]]:
    """The names of each parameter that has more than one."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def _renamed(weights: Weights, wanted: set[str]) -> Weights:
    """The weights with the model's names, where only another code's stands there."""

    def own(name: str) -> str:
        for other, ours in _OTHER_NAMES.items():
            better = name.replace(other, ours)
            if name not in wanted and better in wanted and better not in weights:
                return better
        return name

    return {own(name): value for name, value in weights.items()}


def _bare(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name
