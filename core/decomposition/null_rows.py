"""Rows of a batch that cannot matter, computed once.

Sparse toy data is full of all-zero inputs (0.95^5 = 77 % of the rows for TMS 5-2). When every decomposed
module of the target sees exactly zero on such a row, its component activations are zero whatever the
masks, so the masked output equals the target's for every mask, adversarial ones included: the row has
reconstruction error zero and no gradient. Only the importances of the row count, in the minimality
penalty, and they are the same for every such row. So one zero row is kept, with the number of rows it
stands for as its weight; sums, means and gradients stay what they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.components.component_model import ComponentModel
from core.components.factored import dense
from core.parallel import Ranks
from core.shapes import PositionValues

ROW_BLOCK = 64
"""Folded batches have a multiple of this many rows."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one step, possibly with equal rows folded into one."""

    inputs: Any
    """What the target takes."""
    weights: PositionValues | None = None
    """Rows each row stands for, (B); None when each stands for itself."""
    size: int | None = None
    """Rows before folding; None when nothing was folded."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; inputs may be a tensor or a mapping of tensors."""
        weights = None if self.weights is None else self.weights.to(device)
        return Batch(_moved(self.inputs, device), weights, self.size)

    def share(self, ranks: Ranks) -> "Batch":
        """The rows of this rank; inputs may be a tensor or a mapping of tensors with the rows first."""
        if ranks.size == 1:
            return self
        inputs = self.inputs
        if isinstance(inputs, Mapping):
            inputs = {name: ranks.rows(value) for name, value in inputs.items()}
        else:
            inputs = ranks.rows(inputs)
        weights = None if self.weights is None else ranks.rows(self.weights)
        return Batch(inputs, weights, None if self.size is None else self.size // ranks.size)


def zero_rows_are_null(model: ComponentModel, inputs: Any) -> bool:
    """Whether an all-zero input row reaches every decomposed module as one row of exact zeros."""
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() != 2:
        return False
    seen = [dense(x) for x in model.target_pass(torch.zeros_like(inputs[:1])).inputs.values()]
    return all(x.dim() == 2 and not x.any() for x in seen)


def fold_null_rows(inputs: Tensor) -> Batch:
    """Keep the rows that are not all zero, (B F) -> (B' F), and one zero row with the others' weight.

    B' is rounded up to a multiple of `ROW_BLOCK` with zero rows of weight 0: a different size at every step
    would make the matrix library build (and keep) a kernel for each, and the allocator fetch new memory.
    """
    live = inputs.ne(0).any(dim=1).nonzero().squeeze(1)
    rows = -(-(live.numel() + 1) // ROW_BLOCK) * ROW_BLOCK
    if rows >= inputs.shape[0]:
        return Batch(inputs)
    folded = inputs.new_zeros(rows, inputs.shape[1])
    torch.index_select(inputs, 0, live, out=folded[: live.numel()])
    weights = inputs.new_zeros(rows)
    weights[: live.numel()] = 1
    weights[live.numel()] = inputs.shape[0] - live.numel()
    return Batch(folded, weights, inputs.shape[0])


def _moved(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs
