"""Routing: which modules are replaced by their subcomponents, and at which positions.

A routing turns a loss into one or more masked forward passes. Each pass maps the names of the modules
that take part to a boolean per position, or None for "everywhere".
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from core.components.masks import NoiseKey
from core.settings import Settings
from core.shapes import Routing

RoutedPass = dict[str, Routing | None]


class RouteAll(Settings):
    """Every module, everywhere, in one pass."""

    kind: Literal["all"] = "all"

    def passes(
        self, sites: list[str], positions: torch.Size, key: NoiseKey, device: torch.device
    ) -> list[RoutedPass]:
        """One pass with every module."""
        return [dict.fromkeys(sites)]


class RouteLayerwise(Settings):
    """One pass per module, which alone is replaced, everywhere."""

    kind: Literal["layerwise"] = "layerwise"

    def passes(
        self, sites: list[str], positions: torch.Size, key: NoiseKey, device: torch.device
    ) -> list[RoutedPass]:
        """As many passes as there are modules."""
        return [{name: None} for name in sites]


class RouteSubset(Settings):
    """Per position a random number k of modules, uniform in 1..M, and a random subset of that size."""

    kind: Literal["subset"] = "subset"

    def passes(
        self, sites: list[str], positions: torch.Size, key: NoiseKey, device: torch.device
    ) -> list[RoutedPass]:
        """One pass with a boolean per module and position."""
        count = len(sites)
        draw = key.uniform(torch.Size((*positions, count + 1)), device)
        size = 1 + (draw[..., :1] * count).long().clamp(max=count - 1)
        # Two argsorts turn independent draws into a uniformly random ranking of the modules.
        rank = draw[..., 1:].argsort(dim=-1).argsort(dim=-1)
        chosen = rank < size
        return [{name: chosen[..., i] for i, name in enumerate(sites)}]


class RouteProbability(Settings):
    """Every module at every position independently with the same probability."""

    kind: Literal["probability"] = "probability"

    probability: float = Field(default=0.5, gt=0, le=1)
    """Chance that a module is replaced at a position."""

    def passes(
        self, sites: list[str], positions: torch.Size, key: NoiseKey, device: torch.device
    ) -> list[RoutedPass]:
        """One pass with a boolean per module and position."""
        draw = key.uniform(torch.Size((*positions, len(sites))), device) < self.probability
        return [{name: draw[..., i] for i, name in enumerate(sites)}]


RoutingSettings = Annotated[
    RouteAll | RouteLayerwise | RouteSubset | RouteProbability, Field(discriminator="kind")
]
"""How a reconstruction loss routes. To add one: write its class above, name it here."""
