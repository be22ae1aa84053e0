"""Causal-importance functions: which subcomponents does this input need?

The one list of their kinds. To add one: write its file, then name it here.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field

from core.components.importance_function import ImportanceFunction, ModuleWidths
from core.components.importance_layerwise import LayerwiseFunction, LayerwiseImportance
from core.components.importance_reverse import ReverseResidualFunction, ReverseResidualImportance
from core.components.importance_shared import GlobalMLPFunction, GlobalMLPImportance
from core.components.importance_transformer import TransformerFunction, TransformerImportance
from core.randomness import generator

ImportanceSettings = Annotated[
    LayerwiseImportance | GlobalMLPImportance | TransformerImportance | ReverseResidualImportance,
    Field(discriminator="kind"),
]
"""Settings of any importance function; `kind` is `mlp`, `vector_mlp`, `shared_mlp` (one network per module),
`global_shared_mlp`, `global_shared_transformer` or `global_reverse_residual` (one function for all)."""


def build_importance_function(
    settings: ImportanceSettings, modules: Mapping[str, ModuleWidths], seed: int
) -> ImportanceFunction:
    """The importance function of decomposed modules, initialised as a function of `seed`.

    Raises:
        UsageError: blocks of modules that do not hold every module exactly once.
    """

    def draw(part: str) -> torch.Generator:
        return generator(seed, f"init/importance/{part}")

    match settings:
        case LayerwiseImportance():
            return LayerwiseFunction(settings, modules, draw)
        case GlobalMLPImportance():
            return GlobalMLPFunction(settings, modules, draw)
        case TransformerImportance():
            return TransformerFunction(settings, modules, draw)
        case ReverseResidualImportance():
            return ReverseResidualFunction(settings, modules, draw)
