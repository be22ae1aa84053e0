"""Sparse-feature data: vectors of F features of which few are active at once.

An active feature has a uniform value in the target's value range, an inactive one is 0. One uniform
draw u in [0, 1) decides both: a feature is active where u < p, and there u / p is again uniform in
[0, 1) and independent of the decision; where u >= p the same holds of (u - p) / (1 - p).
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from core.randomness import generator, uniform
from core.settings import Settings
from core.targets.target import PROBE_VALUE, BatchFn

Generation = Literal[
    "at_least_zero_active",
    "exactly_one_active",
    "exactly_two_active",
    "exactly_three_active",
    "exactly_four_active",
    "exactly_five_active",
]

_ACTIVE_COUNT: dict[Generation, int] = {
    "exactly_one_active": 1,
    "exactly_two_active": 2,
    "exactly_three_active": 3,
    "exactly_four_active": 4,
    "exactly_five_active": 5,
}

UNIT_RANGE = (0.0, 1.0)
SYMMETRIC_RANGE = (-1.0, 1.0)


class SparseFeatureSettings(Settings):
    """How many features of an input are active, and which only together."""

    probability: float = Field(default=0.05, gt=0.0, le=1.0)
    """Chance of each feature to be active; unused when an exact number is active."""

    generation: Generation = "at_least_zero_active"
    """Each feature on its own with `probability`, or exactly one to five features in every input."""

    synced_inputs: tuple[tuple[int, ...], ...] = ()
    """Groups of feature indices that are active together: one active member activates its group."""

    @model_validator(mode="after")
    def _groups_fit_the_generation(self) -> "SparseFeatureSettings":
        if self.synced_inputs and self.generation != "at_least_zero_active":
            raise ValueError("synced_inputs needs generation at_least_zero_active")
        members = [feature for group in self.synced_inputs for feature in group]
        if len(members) != len(set(members)):
            raise ValueError("a feature may be in one group of synced_inputs only")
        return self

    def check_fits(self, n_features: int) -> None:
        """Raise ValueError when this data cannot be made of `n_features` features."""
        count = _ACTIVE_COUNT.get(self.generation, 0)
        if count > n_features:
            raise ValueError(f"data.generation is {self.generation} but there are {n_features} features")
        wrong = [f for group in self.synced_inputs for f in group if not 0 <= f < n_features]
        if wrong:
            raise ValueError(f"data.synced_inputs names {wrong}, features are 0 to {n_features - 1}")


def sparse_batch(
    settings: SparseFeatureSettings,
    shape: tuple[int, int],
    value_range: tuple[float, float],
    source: torch.Generator,
) -> Float[Tensor, "B F"]:
    """Draw inputs of `shape` (B, F) with active values uniform in `value_range`."""
    if settings.generation != "at_least_zero_active":
        return _exactly_active(_ACTIVE_COUNT[settings.generation], shape, value_range, source)
    low, high = value_range
    p = settings.probability
    draw = uniform(shape, source)
    active = draw < p
    if settings.synced_inputs:
        values = torch.where(active, draw / p, (draw - p) / max(1.0 - p, 1e-12))
        for group in settings.synced_inputs:
            members = list(group)
            active[:, members] = active[:, members].any(dim=1, keepdim=True)
    else:
        values = draw.mul_(1.0 / p)
    if value_range != UNIT_RANGE:
        values = values.mul_(high - low).add_(low)
    return values.mul_(active)


def _exactly_active(
    count: int, shape: tuple[int, int], value_range: tuple[float, float], source: torch.Generator
) -> Float[Tensor, "B F"]:
    low, high = value_range
    chosen = uniform(shape, source).topk(count, dim=1).indices
    values = uniform((shape[0], count), source).mul_(high - low).add_(low)
    return torch.zeros(shape).scatter_(1, chosen, values)


def feature_batches(
    settings: SparseFeatureSettings, n_features: int, value_range: tuple[float, float], seed: int
) -> BatchFn:
    """The batches of a feature target: a function of (stream, index, size) for one seed."""

    def batch(stream: str, index: int, size: int) -> Tensor:
        source = generator(seed, f"data/{stream}", index, size)
        return sparse_batch(settings, (size, n_features), value_range, source)

    return batch


def feature_probes(n_features: int) -> Float[Tensor, "F F"]:
    """One input per feature: `PROBE_VALUE` on the diagonal, 0 elsewhere."""
    return PROBE_VALUE * torch.eye(n_features)


def feature_importance(n_features: int, ratio: float) -> Float[Tensor, " F"]:
    """Weight of each feature in the loss: 1, ratio, ratio squared and so on."""
    return ratio ** torch.arange(n_features, dtype=torch.float32)
