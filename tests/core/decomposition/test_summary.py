"""What a finished run leaves on disk."""

import json
from collections.abc import Callable
from typing import Any

from core.decomposition.opening import open_run, read_settings
from core.decomposition.start import RunResult
from core.runs.metrics_log import read_metrics


def test_summary_holds_what_scripts_need(run_tiny: Callable[..., RunResult], tiny: dict[str, Any]) -> None:
    result = run_tiny()
    summary = json.loads(result.directory.summary.read_text())
    assert summary == result.summary
    assert summary["run_id"] == result.directory.run_id
    assert (summary["recipe"], summary["seed"], summary["steps"]) == ("tiny", 0, 60)
    assert summary["seconds"] > 0
    assert summary["peak_memory_bytes"] > 50e6
    assert summary["recovered"] is False, "60 steps are too few"
    for name in ("live_components", "identity_ci_error"):
        assert set(summary[name]) == {"linear1", "linear2"}
    assert set(summary["mmcs"]) == set(summary["ml2r"]) == {"linear1"}
    assert set(tiny["losses"]) <= set(summary["losses"])


def test_without_a_known_answer_recovered_is_null(
    run_tiny: Callable[..., RunResult], tiny: dict[str, Any]
) -> None:
    evaluation = {**tiny["evaluation"], "solution": {}, "feature_weights": {}}
    assert run_tiny(changes={"evaluation": evaluation}).summary["recovered"] is None


def test_metrics_lines_have_no_clock_and_come_in_order(run_tiny: Callable[..., RunResult]) -> None:
    run = run_tiny().directory
    records = read_metrics(run.metrics)
    train = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in train] == list(range(0, 60, 5))
    assert [r["step"] for r in records if r["kind"] == "eval"] == [0, 20, 40, 60]
    assert {"loss/total", "loss/minimality", "l0/linear1", "lr", "grad_norm/components"} <= set(train[0])
    assert not [key for record in records for key in record if "time" in key or "second" in key]


def test_a_finished_run_opens_with_the_numbers_it_ended_with(
    run_tiny: Callable[..., RunResult], tmp_path: Any
) -> None:
    result = run_tiny()
    model, settings, target = open_run(result.directory, tmp_path)
    assert settings == read_settings(result.directory)
    for name, site in model.sites.items():
        assert site.V.equal(result.model.sites[name].V)
        assert site.U.equal(result.model.sites[name].U)
    assert target.probes is not None
    ours = model.importance(model.target_pass(target.probes))
    theirs = result.model.importance(result.model.target_pass(target.probes))
    assert all(ours.lower[name].equal(theirs.lower[name]) for name in model.sites)
