"""Column orders against golden permutations, and their properties."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from core.stats.matching import permute_to_dense, permute_to_identity

GOLDEN = Path(__file__).parents[2] / "golden" / "06_metrics_target_ci"
TENSORS = load_file(GOLDEN.with_suffix(".safetensors"))
MODULES = [name.removeprefix("ci/") for name in TENSORS if name.startswith("ci/")]


@pytest.mark.parametrize("module", MODULES)
def test_orders_equal_golden(module: str) -> None:
    ci = TENSORS[f"ci/{module}"]
    assert torch.equal(permute_to_identity(ci, "hungarian"), TENSORS[f"perm_hungarian/{module}"])
    assert torch.equal(permute_to_identity(ci, "greedy"), TENSORS[f"perm_greedy/{module}"])
    assert torch.equal(permute_to_dense(ci), TENSORS[f"perm_dense/{module}"])


def test_golden_has_the_modules_it_describes() -> None:
    described = json.loads(GOLDEN.with_suffix(".json").read_text())["tensors"]
    assert {f"ci/{m}" for m in MODULES} == {n for n in described if n.startswith("ci/")}


def test_assignment_beats_greed_where_rows_compete() -> None:
    ci = torch.tensor([[0.9, 0.8, 0.0], [0.9, 0.0, 0.0]])
    assert permute_to_identity(ci, "greedy").tolist() == [0, 1, 2]
    assert permute_to_identity(ci, "hungarian").tolist() == [1, 0, 2]


def test_large_matrices_are_greedy() -> None:
    ci = torch.eye(500)
    ci[0, 1] = 2.0
    ci[1, 1] = 1.9
    order = permute_to_identity(ci)
    assert torch.equal(order, permute_to_identity(ci, "greedy"))
    assert not torch.equal(order[:2], permute_to_identity(ci[:499], "hungarian")[:2])


def test_fewer_columns_than_rows() -> None:
    assert permute_to_identity(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])).tolist() == [1, 0]


@settings(deadline=None)  # the first call may load scipy
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**31))
def test_orders_are_permutations_and_find_the_same_matrix_again(rows: int, columns: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    ci = torch.rand(rows, columns, generator=source)
    shuffle = torch.randperm(columns, generator=source)
    n = min(rows, columns)
    for order_of in (permute_to_identity, permute_to_dense):
        order = order_of(ci)
        again = order_of(ci[:, shuffle])
        assert sorted(order.tolist()) == list(range(columns))
        assert torch.equal(ci[:, order][:, :n], ci[:, shuffle][:, again][:, :n])
