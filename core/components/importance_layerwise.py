"""Causal-importance functions with one network per module, which reads that module alone."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from pydantic import model_validator
from torch import Tensor, nn

from core import native
from core.components.factored import Activation, times
from core.components.importance_function import (
    MLP,
    Draw,
    ImportanceFunction,
    ModuleWidths,
    SquashedImportance,
    initial,
)
from core.shapes import ComponentActs


class LayerwiseImportance(SquashedImportance):
    """One network per module."""

    kind: Literal["mlp", "vector_mlp", "shared_mlp"] = "mlp"
    """`mlp`: C small networks, each reading its own component activation. `vector_mlp`: C small networks,
    each reading the module's whole input. `shared_mlp`: one network from the module's input to all C."""

    hidden: tuple[int, ...] = (16,)
    """Widths of the hidden layers (exact GELU). May be empty for `shared_mlp` only, which is then linear."""

    @model_validator(mode="after")
    def _check_hidden(self) -> "LayerwiseImportance":
        if not self.hidden and self.kind != "shared_mlp":
            raise ValueError(f"hidden = [] is allowed for shared_mlp only, not for {self.kind}")
        if any(width <= 0 for width in self.hidden):
            raise ValueError(f"hidden = {list(self.hidden)}: widths must be positive")
        return self


class LayerwiseFunction(ImportanceFunction):
    """A network for each module; none of them knows of the others."""

    def __init__(
        self, settings: LayerwiseImportance, modules: Mapping[str, ModuleWidths], draw: Draw
    ) -> None:
        super().__init__()
        self.reads_acts = settings.kind == "mlp"
        self.networks = nn.ModuleDict(
            {_key(name): build_network(settings, module, draw(name)) for name, module in modules.items()}
        )
        self.names = list(modules)

    def forward(self, inputs: Mapping[str, Any], acts: Mapping[str, ComponentActs]) -> dict[str, Tensor]:
        """Pre-sigmoid values (... C) of every module, float32 whatever the products ran in."""
        found: dict[str, Tensor] = {}
        for name in self.names:
            reads = acts[name] if self.reads_acts else inputs[name]
            found[name] = self.network(name)(reads.float() if isinstance(reads, Tensor) else reads).float()
        return found

    def network(self, name: str) -> nn.Module:
        """The network of one module."""
        return self.networks[_key(name)]

    def tensors(self) -> dict[str, Tensor]:
        """Everything learnt, as `<module>/<parameter>`."""
        return {
            f"{name}/{key}": value
            for name in self.names
            for key, value in self.network(name).state_dict().items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy in what `tensors` of an equal function gave."""
        for name in self.names:
            network = self.network(name)
            network.load_state_dict({key: tensors[f"{name}/{key}"] for key in network.state_dict()})


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
            initial(seed, (count, w_in, w_out), w_in, 1.0 if i == len(hidden) else None)
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


def build_network(
    settings: LayerwiseImportance, module: ModuleWidths, seed: torch.Generator
) -> ParallelMLP | MLP:
    """The network of one module, to its pre-sigmoid values (... C).

    Embeddings have no input vector, so only `mlp` fits them; the caller checks.
    """
    assert settings.kind == "mlp" or not module.discrete, f"{settings.kind} cannot read token ids"
    if settings.kind == "mlp":
        return ParallelMLP(module.C, None, settings.hidden, seed)
    if settings.kind == "vector_mlp":
        return ParallelMLP(module.C, module.d_in, settings.hidden, seed)
    return MLP((module.d_in, *settings.hidden, module.C), seed)


def _key(name: str) -> str:
    # nn.ModuleDict refuses dots in names.
    return name.replace(".", "/")


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
