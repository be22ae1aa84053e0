"""Which figures a run gets."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.components.component_model import Importance
from core.decomposition.evaluation import Evaluation, Measured
from core.decomposition.figures import draw
from core.decomposition.figures.language import l0_bars, training_curves
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric
from core.decomposition.metrics.importance_tally import ImportanceTally
from core.decomposition.metrics.mask_modes import MASK_MODES
from core.decomposition.metrics.neuron_contributions import neuron_contributions
from core.decomposition.metrics.target_solution import (
    DenseSolution,
    IdentitySolution,
    TargetSolution,
    measure_solution,
)
from core.runs.directory import RunDirectory
from core.runs.metrics_log import MetricsLog
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


def test_language_models_get_curves_and_bars(tmp_path: Path) -> None:
    names = [f"h.{layer}.{kind}" for layer in range(13) for kind in ("attn.q_proj", "mlp.c_fc")]
    model, evaluation = made_up(names)
    metric = CrossEntropyMetric()
    values = {f"{key}/{mode}": 0.5 for key in ("ce", "kl", "top1") for mode in MASK_MODES}
    found = metric.finish(values | {"ce/target": 0.1, "ce/zero": 3.0})
    evaluation = replace(evaluation, probes=None, metrics={"table": Measured(metric, found, 1)})
    run = RunDirectory.create(tmp_path)
    with MetricsLog(run.metrics) as log:
        for step in (0, 10, 20):
            log.append({"step": step, "kind": "train", "eval/table/kl/ci": 99.0})
            # What is undefined is written as null.
            odd = {"eval/table/ce_recovered/ci": float("nan")} if step == 0 else {}
            log.append({"step": step, "kind": "eval", **evaluation.scalars, **odd})
    target: Any = SimpleNamespace(name="language_model")
    drawn = [path.stem for path in draw.draw_figures(model, target, evaluation, run, 20)]
    assert drawn[-2:] == ["training_curves", "l0_per_layer"]
    assert not [name for name in drawn if name.startswith("weights")], "26 modules are too many to look at"


def test_curves_leave_out_what_was_not_measured() -> None:
    records = [
        {"step": s, "eval/t/kl/ci": k, "eval/l0_total": 40.0} for s, k in ((0, None), (5, 0.2), (9, 0.1))
    ]
    figure = training_curves(records, "t")
    curves = {axis.get_title(loc="left"): axis.lines for axis in figure.axes}
    divergence = curves["KL(target || masked)"][0]
    assert np.asarray(divergence.get_xdata()).tolist() == [5, 9]
    assert np.asarray(divergence.get_ydata()).tolist() == [0.2, 0.1]
    assert not curves["cross-entropy of next tokens"]
    training_curves([], "t")


def test_bars_add_up_to_the_layer() -> None:
    axis = l0_bars({"h.0.a": 1.0, "h.0.b": 2.0, "h.1.a": 4.0}).axes[0]
    tops = [(round(bar.get_x() + 0.4), bar.get_y() + bar.get_height()) for bar in axis.patches]  # type: ignore[attr-defined]
    assert tops == [(0, 1.0), (0, 3.0), (1, 4.0)]
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["b", "a"]
