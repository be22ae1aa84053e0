"""What every loss of one step is measured on, and the result it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from core.components.component_model import ComponentModel, Importance, TargetPass
from core.components.masks import NoiseKey
from core.losses.divergence import divergence_sum
from core.losses.persistent_sources import PersistentSources
from core.parallel import SINGLE, Ranks
from core.shapes import PositionValues

Distance = Literal["mse", "kl"]


@dataclass(frozen=True)
class Measurement:
    """A loss as a sum and a count, so that batches, samples and ranks merge exactly.

    Of several ranks each holds its share: the sum of `total` over the sum of `count` is the loss of the whole
    batch, and the mean of the gradients of `value` is that loss's gradient.
    """

    total: Tensor
    """Scalar sum."""
    count: float
    """What to divide by: elements, positions or parameters."""

    @property
    def value(self) -> Tensor:
        """total / count."""
        return self.total / self.count

    @staticmethod
    def merged(parts: "list[Measurement]") -> "Measurement":
        """Sum of sums over sum of counts."""
        assert parts, "nothing was measured"
        if len(parts) == 1:
            return parts[0]
        total = parts[0].total
        for part in parts[1:]:
            total = total + part.total
        return Measurement(total, sum(part.count for part in parts))


@dataclass(frozen=True)
class LossContext:
    """One batch with everything that its losses share."""

    model: ComponentModel
    inputs: Any
    target: TargetPass
    importance: Importance
    distance: Distance
    """How an output is compared with the target's."""
    progress: float
    """Fraction of training done, 0 to 1."""
    noise: NoiseKey
    """Root of this step's random fields."""
    weight_delta: bool
    """Whether stochastic and adversarial masks carry a mask for the weight delta."""
    n_positions: int
    """Positions of the batch, those that equal rows stand for included."""
    row_weights: PositionValues | None = None
    """How many equal rows of the batch each row stands for (see `core.decomposition.null_rows`)."""
    ranks: Ranks = SINGLE
    """The processes that share the batch; everything above is this one's share."""
    persistent: Mapping[str, PersistentSources] = field(default_factory=dict)
    """The sources of the losses that keep theirs from step to step, by the loss's name."""

    @property
    def positions(self) -> torch.Size:
        """Leading dimensions of one module's importances."""
        return next(iter(self.importance.lower.values())).shape[:-1]

    @property
    def scale(self) -> float:
        """Rows that stand for others have distance zero, but all of them count: by this factor."""
        return self.n_positions / self.positions.numel()

    @property
    def device(self) -> torch.device:
        """Where the batch lives."""
        return self.target.output.device

    @property
    def sites(self) -> list[str]:
        """Names of the decomposed modules."""
        return list(self.model.sites)

    def key(self, purpose: str, *indices: int) -> NoiseKey:
        """A random field of this step, independent of all others."""
        noise = self.noise
        return NoiseKey(noise.seed, f"{noise.purpose}/{purpose}", (*noise.indices, *indices), self.ranks.rank)

    def run(self, masks: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """One masked forward pass: the output and what each replaced module gave."""
        return self.model.masked_pass(self.inputs, masks, self.target, self.importance.acts)

    def compare(self, output: Tensor) -> Measurement:
        """Distance of an output from the target's, see `distance_sum`."""
        total, count = distance_sum(output, self.target.output, self.distance)
        return Measurement(total, count * self.scale)

    def delta_mask(self, key: NoiseKey) -> PositionValues | None:
        """A uniform mask per position for the weight delta, or None where it takes no part."""
        return key.uniform(self.positions, self.device) if self.weight_delta else None


def distance_sum(output: Tensor, target: Tensor, distance: Distance) -> tuple[Tensor, int]:
    """Sum and count of a distance.

    `mse`: squared differences over elements. `kl`: KL(target || output) of softmax over the last
    dimension, over positions.
    """
    if distance == "kl":
        return divergence_sum(output, target), target[..., 0].numel()
    return F.mse_loss(output.float(), target.float(), reduction="sum"), target.numel()
