"""Sums and counts merge exactly; distances are what they are called."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from core.losses.context import Measurement, distance_sum


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=6))
def test_merging_is_the_sum_of_sums_over_the_sum_of_counts(parts: list[tuple[float, int]]) -> None:
    measured = [Measurement(torch.tensor(total, dtype=torch.float64), count) for total, count in parts]
    merged = Measurement.merged(measured)
    wanted = sum(total for total, _ in parts) / sum(count for _, count in parts)
    assert float(merged.value) == pytest.approx(wanted)
    if len(parts) > 1:
        nested = Measurement.merged([measured[0], Measurement.merged(measured[1:])])
        assert float(nested.value) == pytest.approx(float(merged.value))


def test_merging_differs_from_a_mean_of_means() -> None:
    merged = Measurement.merged([Measurement(torch.tensor(1.0), 1), Measurement(torch.tensor(0.0), 3)])
    assert float(merged.value) == 0.25


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(AssertionError, match="nothing was measured"):
        Measurement.merged([])


@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_batches_of_any_size_merge_to_the_whole(distance: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    output, target = torch.randn(10, 4, 6, generator=draw), torch.randn(10, 4, 6, generator=draw)

    def measured(rows: slice) -> Measurement:
        return Measurement(*distance_sum(output[rows], target[rows], distance))

    parts = Measurement.merged([measured(slice(0, 1)), measured(slice(1, 7)), measured(slice(7, 10))])
    assert_close(parts.value, measured(slice(None)).value)


def test_mse_is_a_mean_over_elements_and_kl_over_positions() -> None:
    output, target = torch.zeros(2, 3, 5), torch.ones(2, 3, 5)
    assert distance_sum(output, target, "mse") == (30.0, 30)
    total, count = distance_sum(output, target, "kl")
    assert count == 6 and float(total) == pytest.approx(0, abs=1e-6)


def test_kl_is_from_the_target_to_the_output() -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    total, _ = distance_sum(q.log(), p.log(), "kl")
    assert float(total) == pytest.approx(float((p * (p / q).log()).sum()))


def test_distances_are_measured_in_float32(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    assert context.compare(context.target.output.bfloat16()).total.dtype is torch.float32
