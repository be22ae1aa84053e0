"""A wide activation kept as narrow factors.

The residual stream of a toy model may be far wider than anything written to it: 1000 dimensions that only
ever hold 100 features and the outputs of 50 neurons. Kept as a sum of products s P, with s (... k) per
position and P (k d) the same for all positions, the wide tensor never exists: reading it with a matrix M
is the sum of s (P M). It is exact, and for the residual MLPs a seventh of the arithmetic.

A model opts in with a class attribute `linear_stream = True`: what it does to such activations is mostly
adding them up and handing them to linear layers. Anything else it does makes the wide tensor first, which is
right but slow; only methods of a tensor (`h.shape`, `h.relu()`) are not there.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Factored:
    """The activation sum over terms of s P, (... d)."""

    terms: tuple[tuple[Tensor, Tensor], ...]
    """Pairs s (... k) and P (k d)."""

    def __add__(self, other: "Factored | Tensor") -> "Factored | Tensor":
        """The sum, in factors if both sides are."""
        return Factored(self.terms + other.terms) if isinstance(other, Factored) else self.dense() + other

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every other operation of torch sees the wide tensor itself."""
        return function(*map(dense, args), **{key: dense(value) for key, value in (kwargs or {}).items()})

    def times(self, matrix: Tensor) -> Tensor:
        """This activation times a matrix (d e), (... e)."""
        return _summed([s @ (P @ matrix) for s, P in self.terms])

    def dense(self) -> Tensor:
        """The wide tensor itself."""
        return _summed([s @ P for s, P in self.terms])


Activation = Tensor | Factored
"""What a module may see: a tensor, or a wide one in factors."""


def times(x: Activation, matrix: Tensor) -> Tensor:
    """x times a matrix, whichever way x is kept."""
    return x.times(matrix) if isinstance(x, Factored) else x @ matrix


def dense(x: Activation) -> Tensor:
    """x as a tensor."""
    return x.dense() if isinstance(x, Factored) else x


def _summed(products: list[Tensor]) -> Tensor:
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total
