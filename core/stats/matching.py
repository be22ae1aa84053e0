"""Column orders that bring an importance matrix near a known shape: an identity, or a dense block.

Rows are inputs with a single active feature, columns are subcomponents. Subcomponents come out of training
in any order, so every comparison with a known answer starts by choosing one.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

GREEDY_FROM = 500
"""Smaller side of the matrix from which `method="auto"` is greedy: assignment costs its cube."""


def permute_to_identity(
    importance: Float[Tensor, "F C"], method: Literal["auto", "hungarian", "greedy"] = "auto"
) -> Int[Tensor, "C"]:
    """Column order that puts as much importance as possible on the diagonal.

    `hungarian` maximises the sum over the first min(F, C) rows exactly. `greedy` gives every row in turn
    its largest column still free (ties: the first one). Columns left over follow in ascending order.
    The result indexes columns: `importance[:, order]` is the permuted matrix; it lies on the CPU.
    """
    values = importance.detach().to("cpu", torch.float64)
    n_rows = min(values.shape)
    if method == "auto":
        method = "greedy" if n_rows >= GREEDY_FROM else "hungarian"
    chosen = _assign(values[:n_rows]) if method == "hungarian" else _take_greedily(values[:n_rows])
    free = torch.ones(values.shape[1], dtype=torch.bool)
    free[chosen] = False
    return torch.cat([chosen, free.nonzero().squeeze(1)])


def permute_to_dense(importance: Float[Tensor, "F C"]) -> Int[Tensor, "C"]:
    """Column order by descending sum, equal columns in their old order; it lies on the CPU."""
    mass = importance.detach().to("cpu", torch.float64).sum(0)
    return torch.argsort(mass, descending=True, stable=True)


def _assign(values: Float[Tensor, "R C"]) -> Int[Tensor, "R"]:
    best = values.argmax(dim=1)
    if best.unique().numel() == len(best):
        # Every row has its largest entry in a column of its own, so no sum can be larger; this is the usual
        # case after training and saves loading scipy.
        return best
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(values.numpy(), maximize=True)
    return torch.as_tensor(columns, dtype=torch.int64)


def _take_greedily(values: Float[Tensor, "R C"]) -> Int[Tensor, "R"]:
    values = values.clone()
    chosen: list[int] = []
    for row in values:
        column = int(row.argmax())
        chosen.append(column)
        values[:, column] = -torch.inf
    return torch.tensor(chosen, dtype=torch.int64)
