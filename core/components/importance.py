"""Causal-importance functions: which subcomponents does this input need?

Each kind maps what a module sees to one pre-sigmoid value per subcomponent; `core.components.sigmoids`
squashes it into an importance g in [0, 1] (Stochastic Parameter Decomposition, section 2.3).
"""

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from pydantic import model_validator
from torch import Tensor, nn

from core import native
from core.components.factored import Activation, times
from core.components.sigmoids import SigmoidKind
from core.settings import Settings


class ImportanceSettings(Settings):
    """The causal-importance function: one network per module."""

    kind: Literal["mlp", "vector_mlp", "shared_mlp"] = "mlp"
    """`mlp`: C small networks, each reading its own component activation. `vector_mlp`: C small networks,
    each reading the module's whole input. `shared_mlp`: one network from the module's input to all C."""

    hidden: tuple[int, ...] = (16,)
    """Widths of the hidden layers (exact GELU). May be empty for `shared_mlp` only, which is then linear."""

    sigmoid: SigmoidKind = "leaky_hard"
    """The squashing function."""

    sampling: Literal["continuous", "binomial"] = "continuous"
    """`continuous`: sources uniform in [0, 1]. `binomial`: sources 0 or 1, and the value that masks are made
    from is jittered, so that importances are pushed to the ends."""

    @model_validator(mode="after")
    def _check_hidden(self) -> "ImportanceSettings":
        if not self.hidden and self.kind != "shared_mlp":
            raise ValueError(f"hidden = [] is allowed for shared_mlp only, not for {self.kind}")
        if any(width <= 0 for width in self.hidden):
            raise ValueError(f"hidden = {list(self.hidden)}: widths must be positive")
        return self


class ParallelMLP(nn.Module):
    """C independent networks side by side, each with its own weights.

    Without `d_in` they are scalar networks that read one number each, (... C) -> (... C); otherwise every
    network reads the same vector, (... d_in) -> (... C). Weights are stored (C in out).
    """

    def __init__(self, count: int, d_in: int | None, hidden: tuple[int, ...], seed: torch.Generator) -> None:
        super().__init__()
        self.scalar = d_in is None
        widths = (d_in or 1, *hidden, 1)
        self.weights = nn.ParameterList(
            _initial(seed, (count, w_in, w_out), w_in, last=i == len(hidden))
            for i, (w_in, w_out) in enumerate(pairwise(widths))
        )
        self.biases = nn.ParameterList(torch.zeros(count, width) for width in widths[1:])

    def forward(self, x: Activation) -> Tensor:
        """Pre-sigmoid values (... C)."""
        if not self.scalar:
            matrix = rearrange(self.weights[0], "C d_in H -> d_in (C H)")
            hidden = rearrange(times(x, matrix), "... (C H) -> ... C H", C=self.weights[0].shape[0])
            return self._rest(hidden + self.biases[0])
        assert isinstance(x, Tensor)
        if len(self.weights) == 2 and native.usable(x):
            return _NativeScalarMLPs.apply(x, *self.weights, *self.biases)
        return self._rest(x.unsqueeze(-1) * self.weights[0].squeeze(1) + self.biases[0])

    def _rest(self, hidden: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden = einsum(F.gelu(hidden), weight, "... C H_in, C H_in H_out -> ... C H_out") + bias
        return hidden.squeeze(-1)


class SharedMLP(nn.Module):
    """One network from a module's input to all its subcomponents, (... d_in) -> (... C)."""

    def __init__(self, count: int, d_in: int, hidden: tuple[int, ...], seed: torch.Generator) -> None:
        super().__init__()
        widths = (d_in, *hidden, count)
        self.weights = nn.ParameterList(
            _initial(seed, (w_in, w_out), w_in, last=i == len(hidden))
            for i, (w_in, w_out) in enumerate(pairwise(widths))
        )
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths[1:])

    def forward(self, x: Activation) -> Tensor:
        """Pre-sigmoid values (... C)."""
        hidden = times(x, self.weights[0]) + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden = F.linear(F.gelu(hidden), weight.T, bias)
        return hidden


def build_network(
    settings: ImportanceSettings, count: int, d_in: int, discrete: bool, seed: torch.Generator
) -> ParallelMLP | SharedMLP:
    """The importance network of one module with `count` subcomponents.

    `discrete` modules (embeddings) have no input vector, so only `mlp` fits them; the caller checks.
    """
    assert settings.kind == "mlp" or not discrete, f"{settings.kind} cannot read token ids"
    if settings.kind == "mlp":
        return ParallelMLP(count, None, settings.hidden, seed)
    if settings.kind == "vector_mlp":
        return ParallelMLP(count, d_in, settings.hidden, seed)
    return SharedMLP(count, d_in, settings.hidden, seed)


def _initial(seed: torch.Generator, shape: tuple[int, ...], fan_in: int, last: bool) -> Tensor:
    # He initialisation in front of a GELU, unit gain in front of the squashing function.
    gain = 1.0 if last else 2.0
    return torch.randn(shape, generator=seed) * (gain / fan_in) ** 0.5


class _NativeScalarMLPs(torch.autograd.Function):
    """The compiled kernel for C scalar networks with one hidden layer; the backward pass recomputes it."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, w1: Tensor, w2: Tensor, b1: Tensor, b2: Tensor) -> Tensor:
        a = a.contiguous()
        ctx.save_for_backward(a, w1, w2, b1)
        return native.parallel_mlp_forward(a, w1.squeeze(1), b1, w2.squeeze(2), b2.squeeze(1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        a, w1, w2, b1 = ctx.saved_tensors
        grad_a, grad_w1, grad_b1, grad_w2, grad_b2 = native.parallel_mlp_backward(
            a, w1.squeeze(1), b1, w2.squeeze(2), grads[0].contiguous()
        )
        return grad_a, grad_w1.unsqueeze(1), grad_w2.unsqueeze(2), grad_b1, grad_b2.unsqueeze(1)
