"""Faithfulness: the subcomponents of each module must add up to its weight."""

from typing import Literal

import torch
from pydantic import Field

from core.components.component_model import ComponentModel
from core.losses.context import LossContext, Measurement
from core.settings import Settings


class FaithfulnessLoss(Settings):
    """Squared weight deltas of all modules, pooled over all their entries (SPD paper, eq. 4)."""

    kind: Literal["faithfulness"] = "faithfulness"

    coeff: float = Field(ge=0)
    """Weight of this term in the total loss."""

    def measure(self, context: LossContext, name: str) -> Measurement:
        """Sum of squared entries over their number."""
        return faithfulness(context.model)


def faithfulness(model: ComponentModel) -> Measurement:
    """Pooled squared weight delta; one mean over all entries, not a mean of module means.

    Always in float32: what the subcomponents leave over is soon less than the rounding of bfloat16.
    """
    with torch.autocast(next(model.parameters()).device.type, enabled=False):
        deltas = list(model.weight_deltas().values())
    total = torch.stack([delta.square().sum() for delta in deltas]).sum()
    return Measurement(total, sum(delta.numel() for delta in deltas))
