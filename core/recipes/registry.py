"""The one list of recipes. Reading it imports nothing heavy; building one does."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from core.errors import UsageError, nearest_names

if TYPE_CHECKING:
    from core.decomposition.settings import DecompositionSettings


@dataclass(frozen=True)
class RecipeInfo:
    """What a list of recipes shows."""

    name: str
    summary: str
    """What is taken apart."""
    minutes: float | None
    """Expected time of the whole run on a 2-core CPU; None for one that needs a GPU."""
    function: str
    """Where it is built: `module:function`."""
    family: str
    """The heading it stands under."""


TOYS = "toy models"
OFFLINE = "language models, with no network"
DOWNLOADED = "language models to download (a GPU is needed)"


def _toy(name: str, summary: str, minutes: float, function: str) -> RecipeInfo:
    return RecipeInfo(name, summary, minutes, function, TOYS)


def _offline(name: str, summary: str, minutes: float, function: str) -> RecipeInfo:
    return RecipeInfo(name, summary, minutes, f"offline:{function}", OFFLINE)


def _downloaded(name: str, summary: str, function: str) -> RecipeInfo:
    return RecipeInfo(name, summary, None, function, DOWNLOADED)


_RECIPES = (
    _toy("tms_5-2", "superposition of 5 features in 2 dimensions", 0.8, "toy_superposition:tms_5_2"),
    _toy("tms_5-2-id", "the same with a fixed identity layer between", 1, "toy_superposition:tms_5_2_id"),
    _toy("tms_40-10", "superposition of 40 features in 10 dimensions", 8, "toy_superposition:tms_40_10"),
    _toy(
        "tms_40-10-id", "the same with a fixed identity layer between", 30, "toy_superposition:tms_40_10_id"
    ),
    _toy(
        "resid_mlp1", "residual MLP, 100 features through 50 neurons in 1 layer", 6, "residual_mlp:resid_mlp1"
    ),
    _toy("resid_mlp2", "the same spread over 2 layers", 60, "residual_mlp:resid_mlp2"),
    _toy("resid_mlp3", "the same spread over 3 layers", 360, "residual_mlp:resid_mlp3"),
    _toy("ih", "attention-only transformer with an induction head", 13, "induction:ih"),
    _offline("tiny_lm", "2-layer model of presidential addresses, trained here", 16, "tiny_lm"),
    _offline("smollm2_mlp", "one MLP matrix of SmolLM2-135M, a demonstration", 8, "smollm2_mlp"),
    _downloaded("ss_llama_simple", "4 layers, gated MLPs, simple stories", "llama_simple:ss_llama_simple"),
    _downloaded("ss_llama_simple-1L", "the same with 1 layer", "llama_simple:ss_llama_simple_1l"),
    _downloaded("ss_llama_simple-2L", "the same with 2 layers", "llama_simple:ss_llama_simple_2l"),
    _downloaded(
        "ss_llama_simple_mlp", "4 layers, plain MLPs, simple stories", "llama_simple:ss_llama_simple_mlp"
    ),
    _downloaded("ss_llama_simple_mlp-1L", "the same with 1 layer", "llama_simple:ss_llama_simple_mlp_1l"),
    _downloaded("ss_llama_simple_mlp-2L", "the same with 2 layers", "llama_simple:ss_llama_simple_mlp_2l"),
    _downloaded(
        "ss_llama_simple_mlp-2L-wide",
        "the same with 2 wider layers",
        "llama_simple:ss_llama_simple_mlp_2l_wide",
    ),
    _downloaded("ss_gpt2", "one MLP matrix of a GPT-2 of simple stories", "gpt2:ss_gpt2"),
    _downloaded("ss_gpt2_simple", "4 layers in the style of GPT-2, simple stories", "gpt2:ss_gpt2_simple"),
    _downloaded("ss_gpt2_simple_noln", "the same without layer norms", "gpt2:ss_gpt2_simple_noln"),
    _downloaded("ss_gpt2_simple-1L", "the same with norms and 1 layer", "gpt2:ss_gpt2_simple_1l"),
    _downloaded("ss_gpt2_simple-2L", "the same with norms and 2 layers", "gpt2:ss_gpt2_simple_2l"),
    _downloaded("gpt2", "attention inputs of one layer of GPT-2, web text", "gpt2:gpt2"),
    _downloaded("ts", "one MLP matrix of TinyStories-1M", "gpt2:ts"),
    _downloaded(
        "pile_llama_simple_mlp-2L", "2 layers, plain MLPs, the Pile", "pile:pile_llama_simple_mlp_2l"
    ),
    _downloaded("pile_llama_simple_mlp-4L", "the same with 4 layers", "pile:pile_llama_simple_mlp_4l"),
)


def recipe_names() -> list[RecipeInfo]:
    """All recipes, in the order they are shown: families together."""
    return list(_RECIPES)


def build_recipe(name: str) -> "DecompositionSettings":
    """The full settings of a recipe.

    Raises:
        UsageError: no recipe of that name; the nearest names are offered.
    """
    for info in _RECIPES:
        if info.name == name:
            module, _, function = info.function.partition(":")
            return getattr(import_module(f"core.recipes.{module}"), function)()
    raise UsageError(f"unknown recipe {name!r}.", nearest_names(name, [info.name for info in _RECIPES]))
