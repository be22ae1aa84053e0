"""One multilayer perceptron for all modules: every importance may depend on everything at a position."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator
from torch import Tensor

from core.components.importance_function import (
    MLP,
    Draw,
    ImportanceFunction,
    ModuleWidths,
    SquashedImportance,
    joined,
    module_reads,
)
from core.shapes import ComponentActs


class GlobalMLPImportance(SquashedImportance):
    """One perceptron from the inputs of all modules to the subcomponents of all modules."""

    kind: Literal["global_shared_mlp"] = "global_shared_mlp"

    hidden: tuple[int, ...] = (256,)
    """Widths of the hidden layers (exact GELU); empty makes it linear."""

    @model_validator(mode="after")
    def _check_hidden(self) -> "GlobalMLPImportance":
        if any(width <= 0 for width in self.hidden):
            raise ValueError(f"hidden = {list(self.hidden)}: widths must be positive")
        return self


class GlobalMLPFunction(ImportanceFunction):
    """Inputs of all modules, in the order of their names, through one perceptron."""

    def __init__(
        self, settings: GlobalMLPImportance, modules: Mapping[str, ModuleWidths], draw: Draw
    ) -> None:
        super().__init__()
        self.modules_read = {name: modules[name] for name in sorted(modules)}
        self.counts = {name: module.C for name, module in self.modules_read.items()}
        width = sum(module.read for module in modules.values())
        self.mlp = MLP((width, *settings.hidden, sum(self.counts.values())), draw("mlp"))

    def forward(self, inputs: Mapping[str, Any], acts: Mapping[str, ComponentActs]) -> dict[str, Tensor]:
        """Pre-sigmoid values (... C) of every module."""
        reads = module_reads(self.modules_read, self.modules_read, inputs, acts)
        return self.mlp.split(joined(reads, self.mlp.weights[0]), self.counts)
