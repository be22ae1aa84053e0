"""Every recipe builds, survives a settings file, and fits the architecture it is written for."""

import time
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import yaml
from torch import nn

from core.components.selection import check_readable, match_modules
from core.decomposition.checks import check_evaluation
from core.decomposition.settings import settings_from
from core.errors import UsageError
from core.language_models.build import empty_language_model
from core.language_models.settings import (
    ArchitectureSettings,
    DecoderSettings,
    GPT2Settings,
    GPT2SimpleSettings,
    LlamaSimpleMLPSettings,
    LlamaSimpleSettings,
)
from core.recipes.registry import DOWNLOADED, TOYS, build_recipe, recipe_names
from core.settings import to_yaml
from core.targets.language_model import LanguageModelSettings, PretrainedHere
from core.targets.load import load_target

A = TypeVar("A", bound=DecoderSettings)


def small(kind: type[A], layers: int) -> A:
    return kind(vocabulary=16, context=8, layers=layers, heads=2, width=8)


# The architecture that a recipe is for, and how many subcomponents it has in all (by hand, from its table).
ARCHITECTURES: dict[str, tuple[ArchitectureSettings, int]] = {
    "ss_llama_simple": (small(LlamaSimpleSettings, 4), 4 * 7 * 1200),
    "ss_llama_simple-1L": (small(LlamaSimpleSettings, 1), 7 * 650),
    "ss_llama_simple-2L": (small(LlamaSimpleSettings, 2), 2 * 7 * 650),
    "ss_llama_simple_mlp": (small(LlamaSimpleMLPSettings, 4), 4 * 2330),
    "ss_llama_simple_mlp-1L": (small(LlamaSimpleMLPSettings, 1), 2100),
    "ss_llama_simple_mlp-2L": (small(LlamaSimpleMLPSettings, 2), 2 * 6 * 650),
    "ss_llama_simple_mlp-2L-wide": (small(LlamaSimpleMLPSettings, 2), 2 * 3552),
    "ss_gpt2": (small(GPT2Settings, 4), 4000),
    "ss_gpt2_simple": (small(GPT2SimpleSettings, 4), 4 * 6 * 1200),
    "ss_gpt2_simple_noln": (
        small(GPT2SimpleSettings, 4).model_copy(update={"layer_norm": False}),
        4 * 5 * 2000,
    ),
    "ss_gpt2_simple-1L": (small(GPT2SimpleSettings, 1), 6 * 650),
    "ss_gpt2_simple-2L": (small(GPT2SimpleSettings, 2), 2 * 6 * 650),
    "gpt2": (small(GPT2Settings, 2), 768),
    "pile_llama_simple_mlp-2L": (small(LlamaSimpleMLPSettings, 2), 2 * 9984),
    "pile_llama_simple_mlp-4L": (small(LlamaSimpleMLPSettings, 4), 4 * 9984),
}
NAMES = [recipe.name for recipe in recipe_names()]
HUB = [recipe.name for recipe in recipe_names() if recipe.family == DOWNLOADED]


def model_of(name: str) -> nn.Module:
    with torch.device("meta"):
        return empty_language_model(ARCHITECTURES[name][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_a_settings_file(name: str) -> None:
    settings = build_recipe(name)
    assert settings.recipe == name
    assert settings_from(yaml.safe_load(to_yaml(settings)), "file") == settings


def test_families_stand_together() -> None:
    families = [family for family, _ in groupby(recipe_names(), key=lambda recipe: recipe.family)]
    assert len(families) == len(set(families)) == 3 and families[0] == TOYS
    assert all((recipe.minutes is None) == (recipe.family == DOWNLOADED) for recipe in recipe_names())
    assert len(set(NAMES)) == len(NAMES)
    assert set(ARCHITECTURES) | {"ts"} == set(HUB)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_patterns_fit_the_architecture(name: str) -> None:
    settings, model = build_recipe(name), model_of(name)
    counts = match_modules(model, settings.components)
    assert sum(counts.values()) == ARCHITECTURES[name][1]
    check_evaluation(model, settings)
    check_readable(model, counts, settings.importance)


def test_a_wide_recipe_gives_each_matrix_its_own_count() -> None:
    counts = match_modules(
        model_of("ss_llama_simple_mlp-2L-wide"), build_recipe("ss_llama_simple_mlp-2L-wide").components
    )
    assert counts["h.1.mlp.c_fc"] == 1152 and counts["h.0.attn.v_proj"] == 384


def test_tiny_stories_has_the_module() -> None:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    config = GPTNeoConfig(
        vocab_size=16,
        hidden_size=8,
        num_layers=4,
        num_heads=2,
        attention_types=[[["global", "local"], 2]],
        max_position_embeddings=8,
    )
    with torch.device("meta"):
        model = GPTNeoForCausalLM(config)
    settings = build_recipe("ts")
    assert match_modules(model, settings.components) == {"transformer.h.3.mlp.c_fc": 100}
    check_evaluation(model, settings)


def test_the_embedded_recipe_fits_the_model_it_pretrains() -> None:
    settings = build_recipe("tiny_lm")
    assert isinstance(settings.target, LanguageModelSettings)
    source = settings.target.model
    assert isinstance(source, PretrainedHere)
    with torch.device("meta"):
        model = empty_language_model(source.settings.model)
    assert sum(match_modules(model, settings.components).values()) == 2 * 1640
    check_evaluation(model, settings)
    assert settings.target.text.window <= source.settings.model.context


@pytest.mark.parametrize("name", HUB)
def test_without_a_network_one_sentence_says_what_to_provide(name: str, tmp_path: Path) -> None:
    settings = build_recipe(name)
    assert settings.target is not None
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        load_target(settings.target, 0, tmp_path)
    assert time.monotonic() - began < 20, "it must not wait for a network that is not there"
    assert "target.model.path=" in str(caught.value) and "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
