"""Reconstruction: the output must survive ablation of what is unimportant.

A reconstruction loss is a point on three axes: where the masks come from, how modules are routed, and how
outputs are compared. To add a mask source, write its class here and name it in `MaskSource`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from core.components.masks import ExplicitMask, Mask, StochasticMask
from core.components.routing import RouteAll, RoutedPass, RoutingSettings
from core.losses.adversary import AdversarialMasks, without_gradients
from core.losses.context import Distance, LossContext, Measurement
from core.losses.persistent import PersistentMasks
from core.settings import Settings


class UnmaskedMasks(Settings):
    """Every subcomponent on, no weight delta."""

    kind: Literal["unmasked"] = "unmasked"

    def masks(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Mask]:
        """m = 1."""
        return {name: ExplicitMask(route=route) for name, route in routed.items()}


class ImportanceMasks(Settings):
    """Every subcomponent scaled by its causal importance, no weight delta."""

    kind: Literal["importance"] = "importance"

    def masks(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Mask]:
        """m = g."""
        lower = context.importance.lower
        return {name: ExplicitMask(lower[name], route=route) for name, route in routed.items()}


class StochasticMasks(Settings):
    """Everything unimportant ablated by a random amount: m = g + (1 - g) r."""

    kind: Literal["stochastic"] = "stochastic"

    samples: int = Field(default=1, gt=0)
    """Independent draws that the loss is averaged over."""

    def masks(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Mask]:
        """One draw; the weight delta's mask is uniform per position, whatever the sampling."""
        binomial = context.model.importance_settings.sampling == "binomial"
        masks: dict[str, Mask] = {}
        for index, name in enumerate(context.sites):
            if name in routed:
                masks[name] = StochasticMask(
                    context.importance.lower[name],
                    context.key(f"{key[0]}/sources", key[1], index),
                    context.delta_mask(context.key(f"{key[0]}/delta", key[1], index)),
                    routed[name],
                    binomial,
                )
        return masks


MaskSource = Annotated[
    UnmaskedMasks | ImportanceMasks | StochasticMasks | AdversarialMasks | PersistentMasks,
    Field(discriminator="kind"),
]


class ReconstructionLoss(Settings):
    """Distance of the masked model's output from the target's (SPD paper, eqs. 7 to 10)."""

    kind: Literal["reconstruction"] = "reconstruction"

    coeff: float = Field(ge=0)
    """Weight of this term in the total loss."""

    masks: MaskSource = StochasticMasks()
    """Where the masks come from."""

    routing: RoutingSettings = RouteAll()
    """Which modules are replaced, and where."""

    distance: Distance | None = None
    """How outputs are compared; null takes the target's own distance."""

    def measure(self, context: LossContext, name: str) -> Measurement:
        """Sum and count over all samples and passes; `name` keeps the noise of two such losses apart."""
        return self._measure(context, name, f"{name}/routing")

    def measurable(self, context: LossContext, name: str) -> bool:
        """Whether a batch can be measured: persistent sources may not exist yet, or not fit it."""
        if not isinstance(self.masks, PersistentMasks):
            return True
        return name in context.persistent and context.persistent[name].fits(context.positions)

    def warm_up_sources(self, context: LossContext, name: str, rate: float) -> None:
        """Move persistent sources on this batch before it is measured; all else is a constant there."""
        steps = self.masks.warmup_steps if isinstance(self.masks, PersistentMasks) else 0
        frozen = without_gradients(context)
        for index in range(steps):
            held = context.persistent[name]
            with torch.enable_grad():
                loss = self._measure(frozen, name, f"{name}/warm-up routing/{index}").value
            found = torch.autograd.grad(loss, list(held.values.values()), allow_unused=True)
            gradients: dict[str, Tensor | None] = dict(zip(held.values, found, strict=True))
            held.ascend(gradients, rate)

    def _measure(self, context: LossContext, name: str, purpose: str) -> Measurement:
        samples = self.masks.samples if isinstance(self.masks, StochasticMasks) else 1
        if self.distance is not None and self.distance != context.distance:
            context = replace(context, distance=self.distance)
        parts: list[Measurement] = []
        for sample in range(samples):
            route_key = context.key(purpose, sample)
            passes = self.routing.passes(context.sites, context.positions, route_key, context.device)
            for index, routed in enumerate(passes):
                masks = self.masks.masks(context, routed, (name, sample * len(passes) + index))
                parts.append(context.compare(context.run(masks)[0]))
        return Measurement.merged(parts)


def persistent_losses(
    losses: Mapping[str, Settings],
) -> dict[str, tuple[ReconstructionLoss, PersistentMasks]]:
    """The losses whose sources live through training, with their settings of those, by name."""
    return {
        name: (loss, loss.masks)
        for name, loss in losses.items()
        if isinstance(loss, ReconstructionLoss) and isinstance(loss.masks, PersistentMasks)
    }
