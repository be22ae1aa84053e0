"""The adversary of projected gradient descent: sources chosen to make a reconstruction as bad as possible."""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from core.components.masks import Mask, SourceMask
from core.components.routing import RoutedPass
from core.losses.context import LossContext
from core.settings import Settings


class AdversarialMasks(Settings):
    """Masks from sources found by sign-gradient ascent on the reconstruction loss itself.

    The sources hold one more channel than there are subcomponents, the weight delta's, when it takes part.
    """

    kind: Literal["adversarial"] = "adversarial"

    init: Literal["random", "ones", "zeros"] = "random"
    """Where the ascent starts."""

    step_size: float = Field(default=1.0, gt=0)
    """Length of one step; sources are clamped to [0, 1] after each."""

    n_steps: int = Field(default=1, ge=0)
    """Steps of ascent: the adversary's budget, to be stated beside any number it gives."""

    scope: Literal["unique_per_datapoint", "shared_across_batch"] = "shared_across_batch"
    """Whether every position has sources of its own or all share one set."""

    def masks(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Mask]:
        """Masks of one pass, at the sources the ascent ended with."""
        return source_masks(context, routed, self.ascend(context, routed, key))

    def ascend(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Tensor]:
        """Run the ascent; sources per module, (..., C) or with the delta's channel (..., C + 1)."""
        sources = {
            name: self._initial(context, name, key, index)
            for index, name in enumerate(context.sites)
            if name in routed
        }
        frozen = without_gradients(context)
        for _ in range(self.n_steps):
            for source in sources.values():
                source.requires_grad_(True)
            with torch.enable_grad():
                masks = source_masks(frozen, routed, sources)
                loss = frozen.compare(frozen.run(masks)[0]).value
            # A module that cannot reach the output has no gradient; its sources stay.
            gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
            if self.scope == "shared_across_batch":
                gradients = tuple(g if g is None else context.ranks.mean(g) for g in gradients)
            sources = {
                name: _stepped(source.detach(), gradient, self.step_size)
                for (name, source), gradient in zip(sources.items(), gradients, strict=True)
            }
        return sources

    def _initial(self, context: LossContext, name: str, key: tuple[str, int], index: int) -> Tensor:
        width = context.model.sites[name].C + int(context.weight_delta)
        draw = context.key(f"{key[0]}/adversary", key[1], index)
        positions = context.positions
        if self.scope == "shared_across_batch":
            positions, draw = torch.Size([1] * len(positions)), draw.whole()
        shape = torch.Size((*positions, width))
        if self.init == "random":
            return draw.uniform(shape, context.device)
        return torch.full(shape, float(self.init == "ones"), device=context.device)


def source_masks(context: LossContext, routed: RoutedPass, sources: dict[str, Tensor]) -> dict[str, Mask]:
    """Masks g + (1 - g) s of one pass; the last channel of `s` is the delta's mask when it takes part."""
    masks: dict[str, Mask] = {}
    for name, route in routed.items():
        source = sources[name]
        delta = None
        if context.weight_delta:
            source, delta = source[..., :-1], source[..., -1].expand(context.positions)
        g = context.importance.lower[name]
        masks[name] = SourceMask(g, source, delta, route)
    return masks


def without_gradients(context: LossContext) -> LossContext:
    """The same batch for an ascent, which needs gradients of the sources alone."""
    importance = context.importance
    detached = type(importance)(
        *(
            {name: value.detach() for name, value in values.items()}
            for values in (importance.acts, importance.pre, importance.lower, importance.upper)
        )
    )
    return replace(context, importance=detached)


def _stepped(source: Tensor, gradient: Tensor | None, step_size: float) -> Tensor:
    if gradient is None:
        return source
    return (source + step_size * gradient.sign()).clamp(0, 1)
