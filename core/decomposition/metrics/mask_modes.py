"""The ways of masking a model that an evaluation compares."""

from typing import Literal, get_args

from torch import Tensor

from core.components.masks import ExplicitMask, Mask, StochasticMask
from core.losses.context import LossContext
from core.losses.reconstruction import ImportanceMasks, UnmaskedMasks

MaskMode = Literal["unmasked", "ci", "stochastic", "rounded", "random", "zero"]
"""`unmasked`: every subcomponent on. `ci`: scaled by its importance. `stochastic`: the unimportant ones by a
random amount. `rounded`: on where the importance is above a threshold, off elsewhere. `random`: by a random
amount, whatever the importance. `zero`: all off. Only `stochastic` has the weight delta, randomly masked."""

MASK_MODES: tuple[MaskMode, ...] = get_args(MaskMode)
"""All of them, in the order of tables."""


def mode_masks(context: LossContext, mode: MaskMode, key: str, threshold: float = 0.0) -> dict[str, Mask]:
    """Masks of every decomposed module; `key` names the noise, `threshold` is that of `rounded`."""
    lower = context.importance.lower
    everywhere = dict.fromkeys(context.sites)
    if mode == "unmasked":
        return UnmaskedMasks().masks(context, everywhere, (key, 0))
    if mode == "ci":
        return ImportanceMasks().masks(context, everywhere, (key, 0))
    if mode == "rounded":
        return {name: ExplicitMask((g > threshold).to(g.dtype)) for name, g in lower.items()}
    if mode == "zero":
        return {name: ExplicitMask(g.new_zeros(())) for name, g in lower.items()}
    if mode == "stochastic":
        return stochastic_masks(context, key, context.sites)
    return {
        name: ExplicitMask(context.key(f"{key}/random", index).uniform(lower[name].shape, context.device))
        for index, name in enumerate(context.sites)
    }


def stochastic_masks(context: LossContext, key: str, replaced: list[str]) -> dict[str, Mask]:
    """m = g + (1 - g) r for some modules, always with a random mask for the weight delta.

    A module's noise depends on its place among all, so it is the same whichever others are replaced.
    """
    binomial = context.model.importance_settings.sampling == "binomial"
    masks: dict[str, Mask] = {}
    for index, name in enumerate(context.sites):
        if name in replaced:
            g: Tensor = context.importance.lower[name]
            delta = context.key(f"{key}/delta", index).uniform(context.positions, context.device)
            masks[name] = StochasticMask(g, context.key(f"{key}/sources", index), delta, None, binomial)
    return masks
