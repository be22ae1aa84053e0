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
    minutes: float
    """Expected time of the whole run on a 2-core CPU."""
    function: str
    """Where it is built: `module:function`."""


_RECIPES = (
    RecipeInfo("tms_5-2", "superposition of 5 features in 2 dimensions", 0.8, "toy_superposition:tms_5_2"),
    RecipeInfo(
        "tms_5-2-id", "the same with a fixed identity layer between", 1, "toy_superposition:tms_5_2_id"
    ),
    RecipeInfo(
        "tms_40-10", "superposition of 40 features in 10 dimensions", 8, "toy_superposition:tms_40_10"
    ),
    RecipeInfo(
        "tms_40-10-id", "the same with a fixed identity layer between", 30, "toy_superposition:tms_40_10_id"
    ),
    RecipeInfo(
        "resid_mlp1", "residual MLP, 100 features through 50 neurons in 1 layer", 6, "residual_mlp:resid_mlp1"
    ),
    RecipeInfo("resid_mlp2", "the same spread over 2 layers", 60, "residual_mlp:resid_mlp2"),
    RecipeInfo("resid_mlp3", "the same spread over 3 layers", 360, "residual_mlp:resid_mlp3"),
    RecipeInfo("ih", "attention-only transformer with an induction head", 13, "induction:ih"),
)


def recipe_names() -> list[RecipeInfo]:
    """All recipes, in the order they are shown."""
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
