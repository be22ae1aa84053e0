"""The pretraining recipes: each is whole, and of the size it says."""

import re

import pytest

from core.errors import UsageError
from core.language_models.build import build_language_model
from core.pretraining.settings import PretrainSettings
from core.recipes.pretraining import build_pretrain_recipe, pretrain_recipes
from core.settings import parse_settings, to_plain


@pytest.mark.parametrize("name", [recipe.name for recipe in pretrain_recipes()])
def test_a_recipe_survives_being_written_and_read(name: str) -> None:
    settings = build_pretrain_recipe(name)
    assert settings.recipe == name
    again = parse_settings(PretrainSettings, to_plain(settings), name)
    assert again == settings and again.digest() == settings.digest()


def test_tiny_lm_is_as_large_as_it_says() -> None:
    (info,) = [recipe for recipe in pretrain_recipes() if recipe.name == "tiny_lm"]
    settings = info.build()
    said = re.search(r"(\d+) layers, ([\d.]+)M parameters", info.summary)
    assert said is not None
    parameters = sum(p.numel() for p in build_language_model(settings.model, 0).parameters())
    assert round(parameters / 1e6, 1) == float(said[2]) and settings.model.layers == int(said[1])
    assert settings.text.window == settings.model.context + 1
    assert 0 < info.minutes <= 5


def test_an_unknown_recipe_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="tiny_lm"):
        build_pretrain_recipe("tinylm")


def test_what_changes_no_weight_does_not_count_in_the_name() -> None:
    settings = build_pretrain_recipe("tiny_lm")
    plain = to_plain(settings)
    for part, changes in (("recipe", "mine"), ("samples", {"every": 3}), ("record", {"log_every": 3})):
        assert parse_settings(PretrainSettings, {**plain, part: changes}, "x").name() == settings.name()
    for part, changes in (("seed", 1), ("validation", {"batches": 3})):
        assert parse_settings(PretrainSettings, {**plain, part: changes}, "x").name() != settings.name()
