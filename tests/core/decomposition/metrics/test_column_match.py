"""MMCS and ML2R against golden numbers and the plain definition."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from core.decomposition.metrics.column_match import match_columns

GOLDEN = Path(__file__).parents[3] / "golden" / "06_metrics_mmcs_ml2r"


def by_definition(W: Tensor, V: Tensor, U: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best cosine, its length ratio and its index per column, from the whole rank-one matrices."""
    W, V, U = W.double(), V.double(), U.double()
    parts = torch.einsum("co,ic->coi", U, V)
    cosines = torch.nn.functional.cosine_similarity(parts, W.unsqueeze(0), dim=1, eps=1e-300)
    cosine, best = cosines.max(0)
    lengths = parts.norm(dim=1)
    return cosine, lengths[best, torch.arange(W.shape[1])] / W.norm(dim=0), best


def test_equals_golden() -> None:
    case, t = (
        json.loads(GOLDEN.with_suffix(".json").read_text()),
        load_file(GOLDEN.with_suffix(".safetensors")),
    )
    match = match_columns(t["W"], t["V"], t["U"])
    assert match.mmcs == pytest.approx(case["mmcs"], rel=1e-9)
    assert match.ml2r == pytest.approx(case["ml2r"], rel=1e-9)
    assert torch.equal(match.best, t["argmax_per_column"])
    torch.testing.assert_close(match.cosine.float(), t["max_cos_per_column"])
    torch.testing.assert_close(match.ratio.float(), t["l2_ratio_per_column"])


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**31))
def test_equals_the_plain_definition(d_out: int, d_in: int, C: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    W, V, U = (torch.randn(s, generator=source) for s in ((d_out, d_in), (d_in, C), (C, d_out)))
    match = match_columns(W, V, U)
    cosine, ratio, best = by_definition(W, V, U)
    torch.testing.assert_close(match.cosine, cosine)
    if d_out > 1:  # in one dimension every cosine is exactly 1 or -1 and the index is free
        torch.testing.assert_close(match.ratio, ratio)
        assert torch.equal(match.best, best)


def test_exact_parts_match_exactly_whatever_the_factors_scale() -> None:
    W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    V, U = torch.eye(4) * -2, W.T / -2
    match = match_columns(W, V, U)
    assert match.mmcs == pytest.approx(1)
    assert match.ml2r == pytest.approx(1)
    assert match.best.tolist() == [0, 1, 2, 3]


def test_outputs_are_the_transposed_problem() -> None:
    source = torch.Generator().manual_seed(1)
    W, V, U = (torch.randn(s, generator=source) for s in ((5, 2), (2, 6), (6, 5)))
    rows, columns = match_columns(W, V, U, features="outputs"), match_columns(W.T, U.T, V.T)
    assert len(rows.cosine) == 5
    assert torch.equal(rows.cosine, columns.cosine)


def test_zero_columns_of_the_target_are_left_out() -> None:
    W = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    match = match_columns(W, torch.eye(2), torch.eye(2))
    assert match.cosine[1].isnan()
    assert (match.mmcs, match.ml2r) == (1.0, 1.0)


def test_dead_subcomponents_can_be_left_out() -> None:
    W = torch.tensor([[1.0], [0.1]])
    V, U = torch.tensor([[1.0, 1e-6]]), torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    assert match_columns(W, V, U).ml2r < 1e-3
    live = match_columns(W, V, U, live=torch.tensor([True, False]))
    assert live.best.tolist() == [0]
    assert live.ml2r == pytest.approx(1, abs=0.01)
    assert match_columns(W, V, U, live=torch.tensor([False, False])).mmcs == 0
