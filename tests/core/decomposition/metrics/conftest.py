"""A tiny language model with subcomponents, and contexts of its batches."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import NoiseKey
from core.components.selection import ComponentsSettings, ModulePattern
from core.language_models.build import build_language_model
from core.language_models.settings import LlamaSimpleMLPSettings
from core.losses.context import LossContext
from core.parallel import SINGLE, Ranks

VOCABULARY = 40


def tiny_llama(**changes: Any) -> nn.Module:
    """Two layers of width 16, four query heads on two key heads; weights large enough to matter."""
    shape = {"vocabulary": VOCABULARY, "context": 16, "layers": 2, "heads": 4, "kv_heads": 2, "width": 16}
    model = build_language_model(LlamaSimpleMLPSettings(**{**shape, **changes}), seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
    return model


def decomposed(model: nn.Module, *patterns: str) -> ComponentModel:
    """Six subcomponents for every module that matches."""
    modules = tuple(ModulePattern(pattern=pattern, C=6) for pattern in patterns)
    return ComponentModel(
        model, ComponentsSettings(modules=modules), LayerwiseImportance(kind="shared_mlp", hidden=(5,))
    )


def make_context(model: ComponentModel, inputs: Tensor, index: int = 0, ranks: Ranks = SINGLE) -> LossContext:
    inputs = ranks.rows(inputs)
    with torch.no_grad():
        target = model.target_pass(inputs)
        importance = model.importance(target)
    return LossContext(
        model=model,
        inputs=inputs,
        target=target,
        importance=importance,
        distance="kl",
        progress=0.0,
        noise=NoiseKey(0, "eval", (index,), ranks.rank),
        weight_delta=True,
        n_positions=inputs.numel(),
        ranks=ranks,
    )


@pytest.fixture
def language_model() -> ComponentModel:
    """Queries, keys, c_fc and down_proj of both layers decomposed."""
    return decomposed(tiny_llama(), "h.*.q_proj", "h.*.k_proj", "h.*.c_fc", "h.*.down_proj")


@pytest.fixture
def language_context() -> Callable[..., LossContext]:
    """Makes the context of a batch of ids: (model, ids, index of the batch, ranks)."""
    return make_context


@pytest.fixture
def make_llama() -> Callable[..., nn.Module]:
    """Makes the target; arguments change its shape."""
    return tiny_llama


@pytest.fixture
def decompose_modules() -> Callable[..., ComponentModel]:
    """Puts subcomponents beside the modules that match patterns."""
    return decomposed


@pytest.fixture
def ids() -> Tensor:
    """Token ids, (4 10)."""
    return torch.randint(0, VOCABULARY, (4, 10), generator=torch.Generator().manual_seed(1))
