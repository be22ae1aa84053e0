"""What all causal-importance functions share: common settings, the interface, and a plain network.

A function maps what modules see to one pre-sigmoid value per subcomponent, and `core.components.sigmoids`
squashes it into an importance g in [0, 1] (Stochastic Parameter Decomposition, arXiv 2506.20790, section
2.3).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.components.factored import Activation, dense, times
from core.components.sigmoids import SigmoidKind
from core.settings import Settings
from core.shapes import ComponentActs

Draw = Callable[[str], torch.Generator]
"""The generator that initialises a part, by the part's name."""


class SquashedImportance(Settings):
    """What every kind of importance function has besides its networks."""

    sigmoid: SigmoidKind = "leaky_hard"
    """The squashing function."""

    sampling: Literal["continuous", "binomial"] = "continuous"
    """`continuous`: sources uniform in [0, 1]. `binomial`: sources 0 or 1, and the value that masks are made
    from is jittered, so that importances are pushed to the ends."""


@dataclass(frozen=True)
class ModuleWidths:
    """What an importance function has to know about one decomposed module."""

    d_in: int
    """Input width; vocabulary size of an embedding."""
    C: int
    """Number of subcomponents."""
    discrete: bool = False
    """Whether the module sees token ids, so that its component activations are read in place of its input."""

    @property
    def read(self) -> int:
        """Width of what a function over all modules reads of this one."""
        return self.C if self.discrete else self.d_in


class ImportanceFunction(nn.Module):
    """From what the decomposed modules see to pre-sigmoid values."""

    def forward(self, inputs: Mapping[str, Any], acts: Mapping[str, ComponentActs]) -> dict[str, Tensor]:
        """Pre-sigmoid values (... C) of every module, float32 whatever the products ran in.

        `inputs` are activations (... d_in) or token ids (...), `acts` component activations (... C); all
        modules have the same leading dimensions.
        """
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """Everything learnt, by the names it has in a checkpoint."""
        return self.state_dict()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy in what `tensors` of an equal function gave."""
        self.load_state_dict(dict(tensors))


class MLP(nn.Module):
    """Linear layers with exact GELUs between them, none after the last. Weights are stored (in out)."""

    def __init__(self, widths: tuple[int, ...], seed: torch.Generator, gain: float = 1.0) -> None:
        """`widths` from input to output; `gain` is the standard deviation that a unit input leaves with."""
        super().__init__()
        last = len(widths) - 2
        self.weights = nn.ParameterList(
            initial(seed, (w_in, w_out), w_in, gain if i == last else None)
            for i, (w_in, w_out) in enumerate(pairwise(widths))
        )
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths[1:])

    def forward(self, x: Activation) -> Tensor:
        """(... in) -> (... out)."""
        hidden, weight, bias = self._until_last(x)
        return _linear(hidden, weight, bias)

    def split(self, x: Activation, counts: Mapping[str, int]) -> dict[str, Tensor]:
        """The output cut into named parts, each a contiguous float32 tensor of its own.

        Every part is a product of its own, so the whole output never exists beside its parts.
        """
        hidden, weight, bias = self._until_last(x)
        sizes = list(counts.values())
        parts = zip(counts, weight.split(sizes, dim=1), bias.split(sizes), strict=True)
        return {name: _linear(hidden, part, part_bias).float() for name, part, part_bias in parts}

    def _until_last(self, x: Activation) -> tuple[Activation, Tensor, Tensor]:
        layers = list(zip(self.weights, self.biases, strict=True))
        for weight, bias in layers[:-1]:
            x = F.gelu(_linear(x, weight, bias))
        return x, *layers[-1]


def initial(seed: torch.Generator, shape: tuple[int, ...], fan_in: int, gain: float | None) -> Tensor:
    """Normal weights: He initialisation in front of a GELU (no gain), else unit inputs leave with `gain`."""
    variance = 2.0 if gain is None else gain**2
    return torch.randn(shape, generator=seed) * (variance / fan_in) ** 0.5


def module_reads(
    modules: Mapping[str, ModuleWidths],
    names: Iterable[str],
    inputs: Mapping[str, Any],
    acts: Mapping[str, ComponentActs],
) -> list[Tensor]:
    """What a function over several modules reads of each of `names`, (... read)."""
    return [acts[name] if modules[name].discrete else dense(inputs[name]) for name in names]


def joined(parts: Iterable[Tensor], weight: Tensor) -> Tensor:
    """One tensor of all parts along the last dimension, in the type its product with `weight` will run in."""
    device = weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return torch.cat([part.to(dtype) for part in parts], dim=-1)


def _linear(x: Activation, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight.T, bias) if isinstance(x, Tensor) else times(x, weight) + bias
