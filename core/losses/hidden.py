"""Hidden activations: every decomposed module's output must survive ablation, not only the model's."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field

from core.components.factored import dense
from core.losses.context import LossContext, Measurement
from core.losses.reconstruction import ImportanceMasks, StochasticMasks
from core.settings import Settings


class HiddenActivationsLoss(Settings):
    """Squared error of every module's output under masks, pooled over modules and entries."""

    kind: Literal["hidden_activations"] = "hidden_activations"

    coeff: float = Field(ge=0)
    """Weight of this term in the total loss."""

    masks: StochasticMasks | ImportanceMasks = Field(default=StochasticMasks(), discriminator="kind")
    """Where the masks come from."""

    def measure(self, context: LossContext, name: str) -> Measurement:
        """Sum of squared errors over their number."""
        return Measurement.merged(list(self.per_module(context, name).values()))

    def per_module(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """The same, module by module."""
        samples = self.masks.samples if isinstance(self.masks, StochasticMasks) else 1
        parts: dict[str, list[Measurement]] = {site: [] for site in context.sites}
        for sample in range(samples):
            masks = self.masks.masks(context, dict.fromkeys(context.sites), (name, sample))
            _, outputs = context.run(masks)
            for site, out in outputs.items():
                wanted = dense(context.target.outputs[site])
                total = F.mse_loss(dense(out).float(), wanted.float(), reduction="sum")
                parts[site].append(Measurement(total, wanted.numel() * context.scale))
        return {site: Measurement.merged(found) for site, found in parts.items()}
