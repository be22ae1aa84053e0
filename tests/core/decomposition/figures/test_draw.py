"""Which figures a run gets."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.components.component_model import Importance
from core.decomposition.evaluation import Evaluation
from core.decomposition.figures import draw
from core.decomposition.metrics.importance_tally import ImportanceTally
from core.decomposition.metrics.neuron_contributions import neuron_contributions
from core.decomposition.metrics.target_solution import (
    DenseSolution,
    IdentitySolution,
    TargetSolution,
    measure_solution,
)
from core.runs.directory import RunDirectory
from core.stats.matching import permute_to_dense, permute_to_identity

SHAPES = {"linear1": (2, 5), "linear2": (5, 2), "wide": (5, 4)}  # d_out, d_in
C = 6


def made_up(names: list[str]) -> tuple[Any, Evaluation]:
    source = torch.Generator().manual_seed(0)
    sites = {}
    for name in names:
        d_out, d_in = SHAPES.get(name, (3, 3))
        weight = torch.randn(d_out, d_in, generator=source)
        V, U = torch.randn(d_in, C, generator=source), torch.randn(C, d_out, generator=source)
        sites[name] = SimpleNamespace(
            C=C, d_in=d_in, d_out=d_out, V=V, U=U, target_weight=lambda weight=weight: weight
        )
    pre = {name: torch.randn(30, C, generator=source) for name in names}
    tally = ImportanceTally(0.1)
    tally.add({n: p.clamp(0, 1) for n, p in pre.items()}, pre)
    first = {n: p[:5] for n, p in pre.items()}
    lower, upper = {n: p.clamp(0, 1) for n, p in first.items()}, {n: p.clamp(min=0) for n, p in first.items()}
    evaluation = Evaluation(
        tally=tally,
        live=tally.live_by_spectrum(),
        losses={},
        probes=Importance(acts=first, pre=first, lower=lower, upper=upper),
        errors=measure_solution(lower, TargetSolution()),
        columns={},
    )
    return SimpleNamespace(sites=sites), evaluation


def drawn(tmp_path: Path, model: Any, kind: str, evaluation: Evaluation) -> list[str]:
    run = RunDirectory.create(tmp_path)
    target: Any = SimpleNamespace(name=kind)
    paths = draw.draw_figures(model, target, evaluation, run, 1000)
    assert sorted(paths) == sorted(run.figures.iterdir())
    assert all(path.stat().st_size > 5_000 for path in paths)
    return [path.stem for path in paths]


def test_toy_superposition_gets_vectors(tmp_path: Path) -> None:
    model, evaluation = made_up(["linear1", "linear2", "wide"])
    assert drawn(tmp_path, model, "toy_superposition", evaluation) == [
        "importance_histograms",
        "mean_importance",
        "activation_density",
        "permuted_importances",
        "weights",
        "weight_vectors",
    ]


def test_residual_mlp_gets_contributions_and_models_without_features_no_probes(tmp_path: Path) -> None:
    model, evaluation = made_up(["linear1"])
    layer = neuron_contributions(
        torch.eye(4), torch.ones(3, 4), torch.ones(4, 3), torch.eye(4), torch.eye(4), torch.ones(4, 3)
    )
    names = drawn(tmp_path, model, "residual_mlp", replace(evaluation, neurons={"layers.0": layer}))
    assert "neuron_contributions" in names
    assert "weight_vectors" not in names
    assert "permuted_importances" not in drawn(tmp_path, model, "induction", replace(evaluation, probes=None))


def test_many_modules_are_spread_over_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "MODULES_ON_A_PAGE", 2)
    model, evaluation = made_up(["a", "b", "c"])
    names = drawn(tmp_path, model, "toy_superposition", evaluation)
    assert {"weights_1", "weights_2"} <= set(names)
    assert "weights" not in names


def test_huge_weights_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "LARGEST_DRAWN_WEIGHT", 4 * C)
    model, evaluation = made_up(["linear1", "small"])
    assert "weights" in drawn(tmp_path, model, "", evaluation)
    monkeypatch.setattr(draw, "LARGEST_DRAWN_WEIGHT", 2 * C)
    assert "weights" not in drawn(tmp_path, model, "", evaluation)


def test_orders_follow_the_known_answer() -> None:
    _, evaluation = made_up(["linear1", "linear2"])
    assert evaluation.probes is not None
    solution = TargetSolution(
        identity=(IdentitySolution(pattern="linear1", n_features=5),),
        dense=(DenseSolution(pattern="linear2", k=2),),
    )
    errors = measure_solution(evaluation.probes.lower, solution)
    orders = draw._orders(replace(evaluation, errors=errors))
    upper = evaluation.probes.upper
    assert torch.equal(orders["linear1"], permute_to_identity(upper["linear1"]))
    assert torch.equal(orders["linear2"], permute_to_dense(upper["linear2"]))
    means = evaluation.tally.mean_importance()["linear1"]
    by_mean = draw._orders(replace(evaluation, probes=None))["linear1"]
    assert means[by_mean].tolist() == sorted(means.tolist(), reverse=True)
