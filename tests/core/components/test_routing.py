"""Where modules are replaced: exact guarantees and statistics of random routings."""

import pytest
import torch
from torch import Tensor

from core.components.masks import NoiseKey
from core.components.routing import RouteAll, RouteLayerwise, RouteProbability, RouteSubset

SITES = ["a", "b", "c"]
POSITIONS = torch.Size((300, 200))
CPU = torch.device("cpu")
KEY = NoiseKey(0, "routing", (3,))


def chosen(routing: RouteSubset | RouteProbability, key: NoiseKey = KEY) -> Tensor:
    (routed,) = routing.passes(SITES, POSITIONS, key, CPU)
    assert list(routed) == SITES
    masks = [mask for mask in routed.values() if mask is not None]
    assert all(mask.shape == POSITIONS and mask.dtype is torch.bool for mask in masks)
    return torch.stack(masks, dim=-1)


def test_all_is_one_pass_with_every_module_everywhere() -> None:
    assert RouteAll().passes(SITES, POSITIONS, KEY, CPU) == [{"a": None, "b": None, "c": None}]


def test_layerwise_is_one_pass_per_module() -> None:
    assert RouteLayerwise().passes(SITES, POSITIONS, KEY, CPU) == [{"a": None}, {"b": None}, {"c": None}]


def test_the_size_of_a_subset_is_uniform_from_one_to_all() -> None:
    counts = chosen(RouteSubset()).sum(-1).flatten().bincount(minlength=4) / POSITIONS.numel()
    assert counts[0] == 0
    # Standard error of a third over 60 000 positions is 0.0019.
    assert torch.allclose(counts[1:], torch.full((3,), 1 / 3), atol=0.01)


def test_every_subset_of_a_size_is_equally_likely() -> None:
    routed = chosen(RouteSubset()).flatten(0, 1)
    code = (routed.long() * torch.tensor([1, 2, 4])).sum(-1).bincount(minlength=8) / len(routed)
    wanted = torch.tensor([0, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 3])
    assert torch.allclose(code, wanted, atol=0.01)


def test_positions_are_routed_independently() -> None:
    first = chosen(RouteSubset())[..., 0].float()
    together = (first[:, 1:] * first[:, :-1]).mean()
    assert abs(together - first.mean().square()) < 0.01


@pytest.mark.parametrize("probability", [0.2, 1.0])
def test_probability_routes_every_module_independently(probability: float) -> None:
    routed = chosen(RouteProbability(probability=probability)).float()
    assert torch.allclose(routed.mean((0, 1)), torch.full((3,), probability), atol=0.01)
    assert abs((routed[..., 0] * routed[..., 1]).mean() - probability**2) < 0.01


@pytest.mark.parametrize("routing", [RouteSubset(), RouteProbability()])
def test_a_key_decides_the_draw(routing: RouteSubset | RouteProbability) -> None:
    assert torch.equal(chosen(routing), chosen(routing))
    assert not torch.equal(chosen(routing), chosen(routing, NoiseKey(0, "routing", (4,))))
    assert not torch.equal(chosen(routing), chosen(routing, NoiseKey(1, "routing", (3,))))


def test_one_module_is_always_routed_by_subset() -> None:
    (routed,) = RouteSubset().passes(["a"], POSITIONS, KEY, CPU)
    assert routed["a"] is not None and bool(routed["a"].all())
