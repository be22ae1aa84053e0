"""Identity and dense errors against golden numbers and by hand."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from core.decomposition.metrics.target_solution import (
    DenseSolution,
    IdentitySolution,
    TargetSolution,
    dense_error,
    identity_error,
    measure_solution,
)
from core.errors import UsageError
from core.stats.matching import permute_to_dense, permute_to_identity

GOLDEN = Path(__file__).parents[3] / "golden"


def golden(case: str) -> tuple[dict, dict[str, Tensor]]:
    text = (GOLDEN / f"{case}.json").read_text()
    return json.loads(text), load_file(GOLDEN / f"{case}.safetensors")


def solution_of(case: dict) -> TargetSolution:
    return TargetSolution(
        identity=tuple(
            IdentitySolution(pattern=r["layer_pattern"], n_features=r["n_features"])
            for r in case["identity_ci"]
        ),
        dense=tuple(DenseSolution(pattern=r["layer_pattern"], k=r["k"]) for r in case["dense_ci"]),
    )


@pytest.mark.parametrize("tolerance", [0.1, 0.05])
def test_errors_equal_golden(tolerance: float) -> None:
    case, tensors = golden("06_metrics_target_ci")
    importances = {n.removeprefix("ci/"): t for n, t in tensors.items() if n.startswith("ci/")}
    errors = measure_solution(importances, solution_of(case), tolerance)
    expected = dict(case[f"target_metrics_tol_{tolerance}"])
    assert errors.total == expected.pop("total")
    assert errors.loose_total == expected.pop("total_0p2")
    assert {name: m.error for name, m in errors.modules.items()} == expected


def test_probe_importances_equal_golden() -> None:
    case, tensors = golden("06_metrics_identity_ci_error")
    lower = {name: tensors[f"lower_leaky/{name}"] for name in ("fc1", "fc2")}
    errors = measure_solution(lower, solution_of(case))
    assert {name: m.error for name, m in errors.modules.items()} == {"fc1": 35, "fc2": 22}
    assert (errors.total, errors.loose_total) == (57, 56)
    identity = permute_to_identity(tensors["upper_leaky/fc1"])
    assert torch.equal(identity, tensors["permuted_ci_order/fc1"])
    assert torch.equal(permute_to_dense(tensors["upper_leaky/fc2"]), tensors["permuted_ci_order/fc2"])


def test_identity_error_counts_each_wrong_entry() -> None:
    ci = torch.eye(3, 5)
    assert identity_error(ci) == 0
    ci[0, 0] = 0.85  # weak diagonal
    ci[1, 4] = 0.2  # a rival
    assert identity_error(ci) == 2
    assert identity_error(ci, tolerance=0.2) == 0
    assert identity_error(torch.eye(4, 3)) == 1, "a feature without a subcomponent is an error"


def test_dense_error_counts_missing_and_surplus() -> None:
    ci = torch.tensor([[1.0, 0.3, 0.0], [0.4, 0.95, 0.15]])
    assert dense_error(ci, 2) == 1
    assert dense_error(ci, 3) == 1
    assert dense_error(ci[:, :2], 2) == 0
    assert dense_error(ci, 0) == 5


def test_found_counts_features_served_alone() -> None:
    ci = torch.eye(4, 6)
    ci[2, 1] = 0.5  # subcomponent 1 serves two features; neither feature 1 nor 2 is served alone
    errors = measure_solution(
        {"m": ci}, TargetSolution(identity=(IdentitySolution(pattern="m", n_features=4),))
    )
    assert errors.modules["m"].found == 2
    assert errors.modules["m"].error == 1


def test_first_match_wins_and_identity_goes_first() -> None:
    solution = TargetSolution(
        identity=(IdentitySolution(pattern="a*", n_features=2),), dense=(DenseSolution(pattern="*", k=1),)
    )
    errors = measure_solution({"a1": torch.eye(2), "b": torch.eye(2), "a2": torch.eye(2)}, solution)
    assert {n: m.kind for n, m in errors.modules.items()} == {
        "a1": "identity",
        "a2": "identity",
        "b": "dense",
    }
    assert errors.modules["b"].error == 1


def test_joined_modules_share_one_answer() -> None:
    first, second = torch.zeros(4, 4), torch.zeros(4, 4)
    first[0, 2] = first[1, 0] = second[2, 1] = second[3, 0] = 1.0
    importances = {"layers.0.mlp_in": first, "layers.1.mlp_in": second}
    rule = IdentitySolution(pattern="layers.*.mlp_in", n_features=4, joined=True)
    errors = measure_solution(importances, TargetSolution(identity=(rule,)))
    assert errors.total == 0
    assert errors.modules["layers.*.mlp_in"].found == 4
    assert errors.modules["layers.*.mlp_in"].modules == ("layers.0.mlp_in", "layers.1.mlp_in")
    apart = rule.model_copy(update={"joined": False})
    assert measure_solution(importances, TargetSolution(identity=(apart,))).total == 4


def test_wrong_number_of_features_is_refused() -> None:
    solution = TargetSolution(identity=(IdentitySolution(pattern="m", n_features=5),))
    with pytest.raises(UsageError, match="n_features = 5"):
        measure_solution({"m": torch.eye(4)}, solution)


def test_pattern_without_a_module_is_refused() -> None:
    solution = TargetSolution(dense=(DenseSolution(pattern="linear3", k=1),))
    with pytest.raises(UsageError, match="linear1"):
        solution.check(["linear1", "linear2"])
    solution.check(["linear3"])


@settings(deadline=None)  # the first call may load scipy
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**31))
def test_errors_do_not_depend_on_the_order_of_subcomponents(rows: int, columns: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    ci = torch.rand(rows, columns, generator=source).pow(3)
    shuffled = ci[:, torch.randperm(columns, generator=source)]
    for solution in (
        TargetSolution(identity=(IdentitySolution(pattern="m", n_features=rows),)),
        TargetSolution(dense=(DenseSolution(pattern="m", k=min(2, columns)),)),
    ):
        one, other = (measure_solution({"m": m}, solution).modules["m"] for m in (ci, shuffled))
        assert (one.error, one.loose_error, one.found) == (other.error, other.loose_error, other.found)
