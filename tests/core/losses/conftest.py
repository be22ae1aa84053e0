"""A small model with its losses' context."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import NoiseKey
from core.components.selection import ComponentsSettings, ModulePattern
from core.losses.context import LossContext


def make_model() -> ComponentModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        target = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 5))
    components = ComponentsSettings(modules=(ModulePattern(pattern="[02]", C=7),))
    return ComponentModel(target, components, LayerwiseImportance(hidden=(4,)))


def make_context(model: ComponentModel, inputs: Tensor, **changes: Any) -> LossContext:
    target = model.target_pass(inputs)
    importance = model.importance(target)
    settings: dict[str, Any] = {
        "distance": "mse",
        "progress": 0.0,
        "noise": NoiseKey(0, "test", ()),
        "weight_delta": True,
        "n_positions": importance.lower["0"].shape[:-1].numel(),
        **changes,
    }
    return LossContext(model=model, inputs=inputs, target=target, importance=importance, **settings)


@pytest.fixture
def model() -> ComponentModel:
    """Two linear layers, the first without bias, 7 subcomponents each."""
    return make_model()


@pytest.fixture
def context_of() -> Callable[..., LossContext]:
    """Makes the context of a batch; further arguments replace fields of it."""
    return make_context


@pytest.fixture
def batch() -> Tensor:
    """Inputs, (9 6)."""
    return torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
