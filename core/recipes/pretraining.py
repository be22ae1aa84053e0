"""The one list of pretraining recipes. Reading it imports nothing heavy; building one does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UsageError, nearest_names

if TYPE_CHECKING:
    from core.pretraining.settings import PretrainSettings


@dataclass(frozen=True)
class PretrainRecipeInfo:
    """What a list of pretraining recipes shows."""

    name: str
    summary: str
    """What is trained, on what."""
    minutes: float
    """Expected time on a 2-core CPU."""
    build: Callable[[], "PretrainSettings"]
    """Makes its settings."""


def tiny_lm() -> "PretrainSettings":
    """About 0.9 million parameters in two layers, on the embedded corpus: the target of the examples."""
    from core.language_models.settings import LlamaSimpleMLPSettings
    from core.pretraining.settings import (
        LanguageTrainingSettings,
        PretrainSettings,
        SampleSettings,
        ValidationSettings,
    )
    from core.text.settings import PresidentialCorpus, TextSettings, TrainedTokenizer

    context = 128
    return PretrainSettings(
        recipe="tiny_lm",
        model=LlamaSimpleMLPSettings(vocabulary=4096, context=context, layers=2, heads=4, width=128),
        text=TextSettings(
            corpus=PresidentialCorpus(), tokenizer=TrainedTokenizer(vocabulary=4096), window=context + 1
        ),
        training=LanguageTrainingSettings(steps=4000, batch_size=8, lr=3e-3, warmup=200),
        validation=ValidationSettings(every=1000, batches=32),
        samples=SampleSettings(every=1000, prompts=("The people of the United States", "")),
    )


_RECIPES = (
    PretrainRecipeInfo(
        "tiny_lm",
        "Llama with a plain MLP, 2 layers, 0.9M parameters, on presidential addresses",
        4,
        tiny_lm,
    ),
)


def pretrain_recipes() -> list[PretrainRecipeInfo]:
    """All pretraining recipes, in the order they are shown."""
    return list(_RECIPES)


def build_pretrain_recipe(name: str) -> "PretrainSettings":
    """The full settings of a pretraining recipe.

    Raises:
        UsageError: no recipe of that name; the nearest names are offered.
    """
    for info in _RECIPES:
        if info.name == name:
            return info.build()
    raise UsageError(f"unknown recipe {name!r}.", nearest_names(name, [info.name for info in _RECIPES]))
