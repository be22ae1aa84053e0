"""Whether wrapping changes the target: with everything switched on, the logits must be the target's own."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from core.components.component_model import ComponentModel
from core.components.masks import ExplicitMask


@dataclass(frozen=True)
class WrappingError:
    """How far the wrapped model, with all masks 1 and the weight deltas whole, is from the target."""

    absolute: float
    """Largest difference of two logits."""
    relative: float
    """The same, as a fraction of the largest logit."""

    def __str__(self) -> str:
        return f"to {self.absolute:.1e} (relative {self.relative:.1e})"


@torch.no_grad()
def logit_error(component_model: ComponentModel, ids: Int[Tensor, "B S"]) -> WrappingError:
    """Compare the wrapped model with the target on `ids`, in float32; only rounding may be left.

    A module then computes (a (1 - 1)) U + (o - bias) + bias, see `core.components.masks`, from what it is
    given in this very pass: a module that is called otherwise than in the target shows in the logits.
    """
    target = component_model.target_pass(ids)
    masks: dict[str, ExplicitMask] = {}
    for name, site in component_model.sites.items():
        seen = target.inputs[name]
        shape = seen.shape if site.kind == "embedding" else seen.shape[:-1]
        masks[name] = ExplicitMask(delta=torch.ones(shape, device=seen.device))
    # Without the target pass nothing is taken over from it.
    output, _ = component_model.masked_pass(ids, masks)
    absolute = (output.float() - target.output.float()).abs().max().item()
    return WrappingError(absolute, absolute / target.output.float().abs().max().item())
