"""Rank-one subcomponents of one module's weight: factors V and U, and the module they stand in for."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import einsum
from torch import Tensor, nn

from core.components.factored import times
from core.errors import UsageError
from core.shapes import ComponentActs

SiteKind = Literal["linear", "conv1d", "embedding", "identity"]


class Subcomponents(nn.Module):
    """Factors V (d_in C) and U (C d_out) of one weight matrix; for an embedding d_in is the vocabulary."""

    def __init__(self, d_in: int, count: int, d_out: int, seed: torch.Generator) -> None:
        super().__init__()
        # Unit-variance activations in, and a sum of C of them of unit variance out.
        self.V = nn.Parameter(torch.randn(d_in, count, generator=seed) * d_in**-0.5)
        self.U = nn.Parameter(torch.randn(count, d_out, generator=seed) * count**-0.5)


class TiedSubcomponents(nn.Module):
    """Subcomponents of a transposed weight: the same parameters as the source's, transposed."""

    def __init__(self, source: Subcomponents) -> None:
        super().__init__()
        # In a tuple, so that the source's parameters are registered once, at the source.
        self._source = (source,)

    @property
    def V(self) -> Tensor:
        """(d_in C)."""
        return self._source[0].U.T

    @property
    def U(self) -> Tensor:
        """(C d_out)."""
        return self._source[0].V.T


class IdentityLayer(nn.Module):
    """An inserted layer that passes its input through, so that the identity map itself can be decomposed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The input, unchanged."""
        return x


@dataclass(frozen=True)
class Site:
    """A module that is decomposed: its name, its weight and its subcomponents."""

    name: str
    kind: SiteKind
    module: nn.Module
    subcomponents: Subcomponents | TiedSubcomponents

    @property
    def V(self) -> Tensor:
        """(d_in C)."""
        return self.subcomponents.V

    @property
    def U(self) -> Tensor:
        """(C d_out)."""
        return self.subcomponents.U

    @property
    def C(self) -> int:
        """Number of subcomponents."""
        return self.U.shape[0]

    @property
    def d_in(self) -> int:
        """Input width; vocabulary size of an embedding."""
        return self.V.shape[0]

    @property
    def d_out(self) -> int:
        """Output width."""
        return self.U.shape[1]

    @property
    def bias(self) -> Tensor | None:
        """The module's bias (d_out), never decomposed and always on."""
        return getattr(self.module, "bias", None) if self.kind != "embedding" else None

    def activations(self, x: Any) -> ComponentActs:
        """Component activations a = x V, (... C); for an embedding the rows V[x] of the token ids x (...)."""
        if self.kind == "embedding":
            return self.V[x]
        return times(x, self.V)

    def target_weight(self) -> Tensor:
        """The weight to be explained, (d_out d_in); for an embedding (vocab d_out)."""
        weight: Any = self.module.weight
        return weight.T if self.kind == "conv1d" else weight

    def component_weight(self) -> Tensor:
        """The sum of all subcomponents, shaped like `target_weight`."""
        if self.kind == "embedding":
            return self.V @ self.U
        return einsum(self.V, self.U, "d_in C, C d_out -> d_out d_in")

    def weight_delta(self) -> Tensor:
        """What the subcomponents leave over, shaped like `target_weight`."""
        return self.target_weight() - self.component_weight()


def site_kind(name: str, module: nn.Module) -> SiteKind:
    """How a module is decomposed.

    Raises:
        UsageError: a module type that is not supported.
    """
    if isinstance(module, IdentityLayer):
        return "identity"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    # Hugging Face's transposed linear layer, recognised without importing transformers.
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return "conv1d"
    raise UsageError(
        f"module {name!r} is a {type(module).__name__}, which cannot be decomposed.",
        "Allowed: nn.Linear, nn.Embedding, Hugging Face Conv1D. Choose a pattern that matches only these.",
    )


def site_widths(kind: SiteKind, module: nn.Module) -> tuple[int, int]:
    """(d_in, d_out) of a module; d_in of an embedding is its vocabulary."""
    weight: Any = module.weight
    rows, columns = weight.shape
    return (columns, rows) if kind == "linear" else (rows, columns)
