import math

import pytest
import torch

from core.errors import UsageError
from core.randomness import generator
from core.settings import parse_settings
from core.targets.sparse_features import (
    SYMMETRIC_RANGE,
    UNIT_RANGE,
    SparseFeatureSettings,
    feature_batches,
    feature_importance,
    sparse_batch,
)
from core.targets.toy_superposition import ToySuperpositionSettings


def draw(
    settings: SparseFeatureSettings, value_range: tuple[float, float], rows: int = 20_000
) -> torch.Tensor:
    return sparse_batch(settings, (rows, 6), value_range, generator(0, "test"))


@pytest.mark.parametrize("p", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("value_range", [UNIT_RANGE, SYMMETRIC_RANGE])
def test_independent_features_have_the_rate_and_the_values_they_should(
    p: float, value_range: tuple[float, float]
) -> None:
    x = draw(SparseFeatureSettings(probability=p), value_range)
    active = x != 0
    spread = math.sqrt(p * (1 - p) / x.shape[0])
    assert ((active.float().mean(dim=0) - p).abs() < 5 * spread).all()
    together = (active[:, 0] & active[:, 1]).float().mean().item()
    assert abs(together - p * p) < 5 * math.sqrt(p * p / x.shape[0]) + 1e-9

    low, high = value_range
    values = x[active]
    assert values.min() >= low and values.max() <= high
    count = values.numel()
    assert abs(values.mean().item() - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * count)
    assert abs(values.var().item() - (high - low) ** 2 / 12) < 0.12 * (high - low) ** 2 / 12


def test_probability_one_activates_everything() -> None:
    assert (draw(SparseFeatureSettings(probability=1.0), UNIT_RANGE, 500) > 0).float().mean() > 0.999


@pytest.mark.parametrize(
    ("generation", "count"),
    [
        ("exactly_one_active", 1),
        ("exactly_two_active", 2),
        ("exactly_three_active", 3),
        ("exactly_four_active", 4),
        ("exactly_five_active", 5),
    ],
)
def test_an_exact_number_of_features_is_active(generation: str, count: int) -> None:
    settings = parse_settings(SparseFeatureSettings, {"generation": generation}, "test")
    x = draw(settings, SYMMETRIC_RANGE, 3000)
    assert ((x != 0).sum(dim=1) == count).all()
    assert ((x != 0).float().mean(dim=0) - count / 6).abs().max() < 0.06
    assert x.min() < -0.9 and x.max() > 0.9


def test_a_synced_group_is_active_when_any_member_is() -> None:
    p = 0.1
    x = draw(SparseFeatureSettings(probability=p, synced_inputs=((0, 3, 5),)), UNIT_RANGE)
    active = x != 0
    assert (active[:, 0] == active[:, 3]).all() and (active[:, 0] == active[:, 5]).all()
    expected = 1 - (1 - p) ** 3
    assert abs(active[:, 0].float().mean().item() - expected) < 0.015
    assert abs(active[:, 1].float().mean().item() - p) < 0.015
    values = x[:, [0, 3, 5]][active[:, 0]]
    assert values.min() >= 0 and values.max() <= 1
    assert abs(values.mean().item() - 0.5) < 0.02
    assert abs(torch.corrcoef(values.T)[0, 1].item()) < 0.06


def test_a_batch_depends_on_its_name_only() -> None:
    settings = SparseFeatureSettings()
    batch = feature_batches(settings, 5, UNIT_RANGE, seed=0)
    first = batch("train", 7, 64)
    batch("train", 8, 64)
    torch.manual_seed(1)
    assert torch.equal(first, batch("train", 7, 64))
    assert torch.equal(first, feature_batches(settings, 5, UNIT_RANGE, seed=0)("train", 7, 64))
    others = [
        batch("train", 8, 64),
        batch("eval", 7, 64),
        feature_batches(settings, 5, UNIT_RANGE, seed=1)("train", 7, 64),
    ]
    assert not any(torch.equal(first, other) for other in others)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    feature_batches(SparseFeatureSettings(), 5, UNIT_RANGE, seed=0)("train", 0, 64)
    assert torch.equal(before, torch.get_rng_state())


def test_importance_falls_by_the_ratio() -> None:
    assert feature_importance(3, 1.0).tolist() == [1.0, 1.0, 1.0]
    assert feature_importance(3, 0.5).tolist() == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    "data",
    [
        {"probability": 0.0},
        {"probability": 1.5},
        {"generation": "exactly_six_active"},
        {"synced_inputs": [[0, 1], [1, 2]]},
        {"synced_inputs": [[0, 1]], "generation": "exactly_one_active"},
    ],
)
def test_impossible_data_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        parse_settings(SparseFeatureSettings, data, "test")


@pytest.mark.parametrize("data", [{"generation": "exactly_four_active"}, {"synced_inputs": [[0, 3]]}])
def test_data_that_does_not_fit_the_number_of_features_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="features"):
        parse_settings(ToySuperpositionSettings, {"n_features": 3, "data": data}, "test")
