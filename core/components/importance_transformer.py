"""One transformer for all modules: every importance may depend on everything at every position.

Per position it holds, besides attention, one copy of the joined inputs and for each block the hidden layer
twice (before and after its GELU): with 8 blocks of hidden width 8192 and bf16 products 0.26 MB, so 8.6 GB for
32,768 positions. Pre-sigmoid values and both importances are float32: 12 bytes per subcomponent and position.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from core.components.importance_attention import (
    AttentionSettings,
    BidirectionalAttention,
    as_sequences,
    rms_norm,
)
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


class TransformerImportance(SquashedImportance):
    """A pre-norm transformer without causal masking over the inputs of all modules."""

    kind: Literal["global_shared_transformer"] = "global_shared_transformer"

    d_model: int = Field(default=256, gt=0)
    """Width of the residual stream."""

    n_blocks: int = Field(default=2, gt=0)
    """Blocks, each attention and then a perceptron."""

    hidden: tuple[int, ...] = Field(default=(1024,), min_length=1)
    """Widths of the hidden layers of each block's perceptron (exact GELU)."""

    attention: AttentionSettings = AttentionSettings()
    """The attention of every block."""

    @model_validator(mode="after")
    def _check_widths(self) -> "TransformerImportance":
        if any(width <= 0 for width in self.hidden):
            raise ValueError(f"hidden = {list(self.hidden)}: widths must be positive")
        self.attention.check(self.d_model, "d_model")
        return self


class TransformerFunction(ImportanceFunction):
    """Normed inputs of all modules, in the order of their names, through one transformer."""

    def __init__(
        self, settings: TransformerImportance, modules: Mapping[str, ModuleWidths], draw: Draw
    ) -> None:
        super().__init__()
        self.modules_read = {name: modules[name] for name in sorted(modules)}
        self.counts = {name: module.C for name, module in self.modules_read.items()}
        width = sum(module.read for module in modules.values())
        self.projector = MLP((width, settings.d_model), draw("projector"))
        self.blocks = nn.ModuleList(_Block(settings, draw, i) for i in range(settings.n_blocks))
        self.head = MLP((settings.d_model, sum(self.counts.values())), draw("head"))

    def forward(self, inputs: Mapping[str, Any], acts: Mapping[str, ComponentActs]) -> dict[str, Tensor]:
        """Pre-sigmoid values (... C) of every module, of sequences (B S); (B) are sequences of length 1."""
        reads = module_reads(self.modules_read, self.modules_read, inputs, acts)
        places = reads[0].shape[:-1]
        stream = self.projector(as_sequences(joined(map(rms_norm, reads), self.projector.weights[0])))
        for block in self.blocks:
            stream = block(stream)
        found = self.head.split(stream, self.counts)
        return {name: values.view(*places, -1) for name, values in found.items()}


class _Block(nn.Module):
    def __init__(self, settings: TransformerImportance, draw: Draw, number: int) -> None:
        super().__init__()
        width = settings.d_model
        # So that all 2 n_blocks writes together are as large as the projected input.
        gain = (2 * settings.n_blocks) ** -0.5
        attention, mlp = draw(f"blocks.{number}.attention"), draw(f"blocks.{number}.mlp")
        self.attention = BidirectionalAttention(width, settings.attention, attention, gain)
        self.mlp = MLP((width, *settings.hidden, width), mlp, gain)

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attention(rms_norm(stream))
        return stream + self.mlp(rms_norm(stream))
