"""A residual stream of its own that runs through groups of modules, usually from the output to the input.

Each group adds the inputs of its modules to the stream, then transforms the stream, then reads the
importances of its modules off it; the last group is read without a transformation. So what is needed early in
the model may depend on what is needed late.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
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
from core.errors import UsageError
from core.settings import Settings
from core.shapes import ComponentActs


class BlockGroup(Settings):
    """Modules that are read together."""

    name: str = Field(min_length=1)
    """What messages call this group."""

    patterns: tuple[str, ...] = Field(min_length=1)
    """fnmatch patterns of module names."""


class ReverseResidualImportance(SquashedImportance):
    """A residual stream through groups of modules."""

    kind: Literal["global_reverse_residual"] = "global_reverse_residual"

    blocks: tuple[BlockGroup, ...] = Field(min_length=1)
    """The groups in the order the stream takes them; every decomposed module is in exactly one."""

    d_residual: int = Field(default=256, gt=0)
    """Width of the stream."""

    reader_hidden: tuple[int, ...] = (256,)
    """Widths of the hidden layers of each group's reader (exact GELU); empty makes it linear."""

    transition_hidden: int = Field(default=1024, gt=0)
    """Width of the hidden layer that transforms the stream after a group has been added to it."""

    transition_attention: AttentionSettings | None = None
    """Attention in front of it; null looks at each position by itself."""

    @model_validator(mode="after")
    def _check_widths(self) -> "ReverseResidualImportance":
        if any(width <= 0 for width in self.reader_hidden):
            raise ValueError(f"reader_hidden = {list(self.reader_hidden)}: widths must be positive")
        if self.transition_attention is not None:
            self.transition_attention.check(self.d_residual, "d_residual")
        names = [block.name for block in self.blocks]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"blocks: the name {doubled[0]!r} is given twice")
        return self


def modules_of_blocks(settings: ReverseResidualImportance, names: Iterable[str]) -> list[list[str]]:
    """The modules of each group, sorted by name.

    Raises:
        UsageError: a group without modules, or modules in no group or in several (all of them are listed).
    """
    known = sorted(names)
    chosen = [
        [name for name in known if any(fnmatchcase(name, pattern) for pattern in block.patterns)]
        for block in settings.blocks
    ]
    holders = {
        name: [block.name for block, group in zip(settings.blocks, chosen, strict=True) if name in group]
        for name in known
    }
    problems = [f"{name!r} is in no block" for name, held in holders.items() if not held]
    problems += [f"{n!r} is in the blocks {', '.join(held)}" for n, held in holders.items() if len(held) > 1]
    if problems:
        raise UsageError(
            f"importance.blocks: {'; '.join(problems)}.",
            "Every decomposed module must match the patterns of exactly one block.",
        )
    for block, group in zip(settings.blocks, chosen, strict=True):
        if not group:
            raise UsageError(
                f"importance.blocks: block {block.name!r} matches none of the decomposed modules.",
                f"Decomposed modules: {', '.join(known)}.",
            )
    return chosen


class ReverseResidualFunction(ImportanceFunction):
    """A residual stream through groups of modules, within each in the order of their names."""

    def __init__(
        self, settings: ReverseResidualImportance, modules: Mapping[str, ModuleWidths], draw: Draw
    ) -> None:
        super().__init__()
        groups = modules_of_blocks(settings, modules)
        self.blocks = nn.ModuleList(
            _Block(settings, {name: modules[name] for name in group}, draw, i)
            for i, group in enumerate(groups)
        )

    def forward(self, inputs: Mapping[str, Any], acts: Mapping[str, ComponentActs]) -> dict[str, Tensor]:
        """Pre-sigmoid values (... C) of every module, of sequences (B S); (B) are sequences of length 1."""
        stream: Tensor | None = None
        found: dict[str, Tensor] = {}
        for block in self.blocks:
            stream, values = block(stream, inputs, acts)
            found |= values
        return found


class _Block(nn.Module):
    def __init__(
        self,
        settings: ReverseResidualImportance,
        modules: dict[str, ModuleWidths],
        draw: Draw,
        number: int,
    ) -> None:
        super().__init__()
        self.modules_read = modules
        self.counts = {name: module.C for name, module in modules.items()}
        width, last = settings.d_residual, len(settings.blocks) - 1
        gain = (2 * len(settings.blocks)) ** -0.5
        read, written = sum(module.read for module in modules.values()), sum(self.counts.values())
        self.projector = MLP((read, width), draw(f"blocks.{number}.projector"))
        self.reader_norm = nn.Parameter(torch.ones(width))
        self.reader = MLP((width, *settings.reader_hidden, written), draw(f"blocks.{number}.reader"))
        self.attention: BidirectionalAttention | None = None
        self.transition: MLP | None = None
        if number == last:
            return
        if settings.transition_attention is not None:
            seed = draw(f"blocks.{number}.attention")
            self.attention_norm = nn.Parameter(torch.ones(width))
            self.attention = BidirectionalAttention(width, settings.transition_attention, seed, gain)
        seed = draw(f"blocks.{number}.transition")
        self.transition_norm = nn.Parameter(torch.ones(width))
        self.transition = MLP((width, settings.transition_hidden, width), seed, gain)

    def forward(
        self, stream: Tensor | None, inputs: Mapping[str, Any], acts: Mapping[str, ComponentActs]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reads = module_reads(self.modules_read, self.modules_read, inputs, acts)
        places = reads[0].shape[:-1]
        added: Tensor = self.projector(as_sequences(joined(reads, self.projector.weights[0])))
        flow = added if stream is None else stream + added
        if self.attention is not None:
            flow = flow + self.attention(rms_norm(flow, self.attention_norm))
        if self.transition is not None:
            flow = flow + self.transition(rms_norm(flow, self.transition_norm))
        found = self.reader.split(rms_norm(flow, self.reader_norm), self.counts)
        return flow, {name: values.view(*places, -1) for name, values in found.items()}
