"""Adversarial sources that live through training: how they move, what they span, and their state.

Sources that start anew at every step see the model once; these remember what hurt it before. Each training
step moves them up the gradient of the loss they make, which the step's own backward pass has left on them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from core.components.masks import NoiseKey
from core.errors import UsageError
from core.parallel import SINGLE, Ranks
from core.schedule import Schedule
from core.settings import Settings


class SignAscent(Settings):
    """Steps of one length, in the direction of the gradient's sign."""

    kind: Literal["sign"] = "sign"

    lr: Schedule
    """Length of a step."""

    @property
    def n_moments(self) -> int:
        """Running means kept per source: none."""
        return 0

    def move(self, value: Tensor, grad: Tensor, moments: Sequence[Tensor], count: int, rate: float) -> None:
        """s += rate sign(grad), in place."""
        value.add_(grad.sign(), alpha=rate)


class AdamAscent(Settings):
    """Adam (Kingma & Ba 2014), uphill."""

    kind: Literal["adam"] = "adam"

    lr: Schedule
    """Learning rate."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the running mean of gradients."""

    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the running mean of squared gradients."""

    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the mean square."""

    @property
    def n_moments(self) -> int:
        """Running means kept per source: of gradients and of their squares."""
        return 2

    def move(self, value: Tensor, grad: Tensor, moments: Sequence[Tensor], count: int, rate: float) -> None:
        """The `count`-th update, from 1, in place."""
        first, second = moments
        first.lerp_(grad, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        scale = (second / (1 - self.beta2**count)).sqrt_().add_(self.eps)
        value.addcdiv_(first, scale, value=rate / (1 - self.beta1**count))


class SingleSource(Settings):
    """One set of sources for all positions of all batches, (1 ... C)."""

    kind: Literal["single_source"] = "single_source"

    def leading(self, positions: torch.Size) -> torch.Size:
        """Leading dimensions of the sources of a batch with these positions."""
        return torch.Size([1] * len(positions))

    def spread(self, value: Tensor, positions: torch.Size) -> Tensor:
        """The sources of every position, or what broadcasts to them."""
        return value


class BroadcastAcrossBatch(Settings):
    """Sources for every sequence position, the same in each row of a batch, (1 S C)."""

    kind: Literal["broadcast_across_batch"] = "broadcast_across_batch"

    def leading(self, positions: torch.Size) -> torch.Size:
        """Leading dimensions of the sources of a batch with these positions.

        Raises:
            UsageError: the model's inputs are not sequences.
        """
        if len(positions) < 2:
            raise UsageError(
                "scope broadcast_across_batch has one source per sequence position, but this model's inputs "
                "are no sequences.",
                "Use single_source, repeat_across_batch or per_batch_per_position.",
            )
        return torch.Size([1, *positions[1:]])

    def spread(self, value: Tensor, positions: torch.Size) -> Tensor:
        """The sources of every position, or what broadcasts to them."""
        return value


class RepeatAcrossBatch(Settings):
    """Several sources for every sequence position, (n S C): row i of a batch has source i mod n."""

    kind: Literal["repeat_across_batch"] = "repeat_across_batch"

    sources: int = Field(gt=0)
    """How many; they must divide the rows that one rank has of a batch."""

    def leading(self, positions: torch.Size) -> torch.Size:
        """Leading dimensions of the sources of a batch with these positions.

        Raises:
            UsageError: the rows are no multiple of the sources.
        """
        if positions[0] % self.sources:
            raise UsageError(
                f"scope repeat_across_batch: {self.sources} sources do not divide the {positions[0]} rows of "
                "a rank's batch.",
                f"Use a divisor of {positions[0]}, or another batch size.",
            )
        return torch.Size([self.sources, *positions[1:]])

    def spread(self, value: Tensor, positions: torch.Size) -> Tensor:
        """The sources of every position, tiled along the batch."""
        tiles = positions[0] // self.sources
        return value.expand(tiles, *value.shape).reshape(*positions, value.shape[-1])


class PerBatchPerPosition(Settings):
    """Sources for every position of every row of a batch, (B S C)."""

    kind: Literal["per_batch_per_position"] = "per_batch_per_position"

    def leading(self, positions: torch.Size) -> torch.Size:
        """Leading dimensions of the sources of a batch with these positions."""
        return positions

    def spread(self, value: Tensor, positions: torch.Size) -> Tensor:
        """The sources of every position."""
        return value


AscentSettings = Annotated[SignAscent | AdamAscent, Field(discriminator="kind")]
"""How sources move. To add one: write its class above, name it here."""

SourceScope = Annotated[
    SingleSource | BroadcastAcrossBatch | RepeatAcrossBatch | PerBatchPerPosition,
    Field(discriminator="kind"),
]
"""What shares one set of sources."""


class PersistentSettings(Settings):
    """What persistent sources are."""

    optimizer: AscentSettings
    """How they are moved up the gradient."""

    scope: SourceScope
    """Which positions of a batch share them."""

    sigmoid: bool = False
    """Whether they pass through a sigmoid, and then start normally distributed and are never clamped; else
    they start uniform and are clamped to [0, 1]."""

    @property
    def bound_to_rows(self) -> bool:
        """Whether a row's place in the batch decides its sources, so that no row may be left out."""
        return isinstance(self.scope, RepeatAcrossBatch | PerBatchPerPosition)


class PersistentSources:
    """The sources of one loss, one tensor per module, with the optimiser's memory of them.

    Scopes that share sources among rows are the same on all ranks; of sources per row each rank holds those
    of its own rows.
    """

    def __init__(
        self,
        settings: PersistentSettings,
        values: Mapping[str, Float[Tensor, "... C"]],
        ranks: Ranks = SINGLE,
        moments: Mapping[str, Sequence[Tensor]] | None = None,
        count: int = 0,
    ) -> None:
        """`values` are taken over, before the sigmoid; `moments` and `count` are the optimiser's."""
        self.settings = settings
        self.values = {name: value.detach().float().requires_grad_(True) for name, value in values.items()}
        self.ranks = ranks
        self.moments = {
            name: [torch.zeros_like(value).detach() for _ in range(settings.optimizer.n_moments)]
            if moments is None
            else list(moments[name])
            for name, value in self.values.items()
        }
        self.count = count

    @property
    def shared(self) -> bool:
        """Whether all ranks hold the same."""
        return not isinstance(self.settings.scope, PerBatchPerPosition)

    def fits(self, positions: torch.Size) -> bool:
        """Whether a batch with these positions can be measured with them."""
        try:
            leading = self.settings.scope.leading(positions)
        except UsageError:
            return False
        return all(value.shape[:-1] == leading for value in self.values.values())

    def of(self, name: str, positions: torch.Size) -> Tensor:
        """Sources of a module in [0, 1] that broadcast to (positions C), with gradients to the state.

        Raises:
            UsageError: the batch has other rows or positions than the first had.
        """
        value = self.values[name]
        if not self.fits(positions):
            raise UsageError(
                f"persistent sources of shape {list(value.shape)} do not fit a batch of positions "
                f"{list(positions)}.",
                "They need batches of one size and sequence length; single_source takes any.",
            )
        return self.settings.scope.spread(value.sigmoid() if self.settings.sigmoid else value, positions)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of one step of `steps`."""
        return self.settings.optimizer.lr.at(step, steps)

    @torch.no_grad()
    def ascend(self, gradients: Mapping[str, Tensor | None], rate: float) -> None:
        """One update from the gradients of this rank's loss; modules without one stay as they are."""
        self.count += 1
        for name, gradient in self._merged(gradients).items():
            value = self.values[name]
            self.settings.optimizer.move(value, gradient, self.moments[name], self.count, rate)
            if not self.settings.sigmoid:
                value.clamp_(0, 1)

    def ascend_after_backward(self, coeff: float, rate: float) -> None:
        """One update from what a backward pass of `coeff` times the loss has left, which is cleared."""
        gradients: dict[str, Tensor | None] = {}
        for name, value in self.values.items():
            gradients[name] = None if value.grad is None else value.grad / coeff
            value.grad = None
        self.ascend(gradients, rate)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, of all ranks; every rank must ask."""
        return {
            "values": {name: self._whole(value) for name, value in self.values.items()},
            "moments": {name: [self._whole(m) for m in found] for name, found in self.moments.items()},
            "count": self.count,
        }

    def _whole(self, tensor: Tensor) -> Tensor:
        return tensor.detach() if self.shared else self.ranks.gather_rows(tensor)

    def _merged(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        found = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        if self.ranks.size == 1 or not found:
            return found
        if not self.shared:  # this rank's loss is a mean over its own rows, a part of all
            return {name: gradient / self.ranks.size for name, gradient in found.items()}
        flat = self.ranks.mean(torch.cat([gradient.flatten() for gradient in found.values()]))
        parts = flat.split([gradient.numel() for gradient in found.values()])
        return {name: part.view_as(found[name]) for name, part in zip(found, parts, strict=True)}


def new_sources(
    settings: PersistentSettings,
    widths: Mapping[str, int],
    positions: torch.Size,
    key: NoiseKey,
    device: torch.device,
    ranks: Ranks = SINGLE,
) -> PersistentSources:
    """Sources at their start, for this rank's batch of these positions; `widths` are channels per module.

    Raises:
        UsageError: a scope that does not fit the positions.
    """
    leading = settings.scope.leading(positions)
    if not isinstance(settings.scope, PerBatchPerPosition):
        key = key.whole()
    values: dict[str, Tensor] = {}
    for index, (name, width) in enumerate(widths.items()):
        draw = NoiseKey(key.seed, key.purpose, (*key.indices, index), key.part)
        value = draw.uniform(torch.Size((*leading, width)), device)
        values[name] = _normal(value) if settings.sigmoid else value
    return PersistentSources(settings, values, ranks)


def restored_sources(
    settings: PersistentSettings, state: dict[str, Any], device: torch.device, ranks: Ranks = SINGLE
) -> PersistentSources:
    """Sources as `PersistentSources.state` has written them, of any number of ranks."""

    def own(tensor: Tensor) -> Tensor:
        part = ranks.rows(tensor) if isinstance(settings.scope, PerBatchPerPosition) else tensor
        return part.to(device, copy=True)

    values = {name: own(value) for name, value in state["values"].items()}
    moments = {name: [own(m) for m in found] for name, found in state["moments"].items()}
    return PersistentSources(settings, values, ranks, moments, state["count"])


def _normal(uniform: Tensor) -> Tensor:
    # Draws are multiples of 2^-24: half such a step keeps zero from minus infinity.
    return torch.special.ndtri(uniform.double() + 2**-25).float()
