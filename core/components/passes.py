"""What passes through a component model see and keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from core.components.factored import Activation, Factored
from core.components.masks import Mask
from core.shapes import ComponentActs


@dataclass(frozen=True)
class TargetPass:
    """One run of the unchanged target, without gradients."""

    output: Tensor
    inputs: dict[str, Any]
    """What each decomposed module saw: an activation (... d_in), or token ids (...)."""
    outputs: dict[str, Any]
    """What each decomposed module gave: an activation (... d_out), which may be in factors."""
    prefix: dict[str, tuple[Tensor, Activation]]
    """Input and output of the modules that only depend on the model's inputs (embeddings and the like)."""


@dataclass(frozen=True)
class Importance:
    """Causal importances of every module on one batch, each (... C)."""

    acts: dict[str, ComponentActs]
    """Component activations on the target's own inputs."""
    pre: dict[str, ComponentActs]
    """Values before the squashing function."""
    lower: dict[str, ComponentActs]
    """Importances that masks are made from."""
    upper: dict[str, ComponentActs]
    """Importances that the minimality penalty sees."""


@dataclass
class Recording:
    """A target pass under way."""

    known: list[Any]
    """The model's inputs, and whatever was computed from nothing else."""
    copies: bool
    """Whether tensors are copied as they pass, because the model changes them in place afterwards."""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    prefix: dict[str, tuple[Tensor, Activation]] = field(default_factory=dict)
    versions: list[tuple[Tensor, int]] = field(default_factory=list)

    def keep(self, x: Activation) -> Any:
        """What to remember of a tensor that the model goes on to use."""
        if isinstance(x, Factored):
            return x
        if self.copies:
            return x.clone()
        if not x.is_inference():  # such a tensor does not count its changes
            self.versions.append((x, x._version))
        return x

    def spoilt(self) -> bool:
        """Whether the model changed in place something that was to be remembered."""
        return any(x._version != version for x, version in self.versions)


@dataclass
class MaskedPass:
    """A masked pass under way."""

    masks: Mapping[str, Mask]
    target: TargetPass | None
    acts: Mapping[str, ComponentActs]
    outputs: dict[str, Any] = field(default_factory=dict)

    def shares(self, name: str, x: Activation) -> bool:
        """Whether module `name` sees here exactly what it saw in the target pass.

        True when the very same tensor arrives (nothing before it is replaced), and when it is the only
        replaced module, whose input cannot differ.
        """
        if self.target is None:
            return False
        return x is self.target.inputs[name] or len(self.masks) == 1
