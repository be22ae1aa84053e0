"""What a run comes to at a glance, however it stands and whatever is damaged."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.runs import overview
from core.runs.catalogue import open_run
from core.runs.directory import RunDirectory
from core.runs.files import to_json, write_json, write_text
from core.runs.manifest import new_manifest
from core.runs.metrics_tail import last_records
from core.runs.overview import (
    describe_verdict,
    plain,
    run_details,
    run_overview,
    run_overviews,
    total_sparsity,
    unreadable_runs,
)

TRAIN = {"kind": "train", "loss/total": 0.5, "loss/minimality": 2.0, "l0/a": 1.5, "l0/b": 2.0}
EVAL = {"kind": "eval", "eval/loss/minimality": 3.0, "eval/l0/a": 1.0, "eval/l0_total": 9.0}


def make_run(
    root: Path, run_id: str, records: list[dict[str, Any]] | None = None, **fields: Any
) -> RunDirectory:
    run = RunDirectory.create(root, run_id)
    chosen = {"settings_digest": "d", "recipe": "tms_5-2", "steps": 100, "step": 50, **fields}
    created = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(minutes=len(list((root / "runs").iterdir())))
    manifest = new_manifest(run_id=run_id, **chosen)
    manifest.update(**{"created": created, **({"pid": fields["pid"]} if "pid" in fields else {})}).write(
        run.manifest
    )
    if records is not None:
        write_text(run.metrics, "".join(to_json(record) + "\n" for record in records))
    return run


def test_a_running_run_shows_live_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-1", [{"step": 60, **TRAIN}, {"step": 70, **TRAIN, "loss/total": 0.25}])
    with open(run.metrics, "a") as file:
        file.write('{"step": 80, "loss/to')
    found = run_overview(open_run(run.path))
    assert (found.status, found.step, found.steps) == ("running", 70, 100)
    assert (found.loss, found.sparsity, found.verdict) == (0.25, 3.5, None)
    assert found.updated is not None and str(os.getpid()) in found.reason
    assert not found.resumable


def test_a_killed_run_shows_what_is_saved(tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-1", [{"step": 70, **TRAIN}], pid=2**22 + 1)
    found = run_overview(open_run(run.path))
    assert (found.status, found.step, found.resumable) == ("interrupted", 50, True)
    assert str(2**22 + 1) in found.reason


def test_the_loss_of_a_stopped_run_is_of_the_step_it_goes_on_from(tmp_path: Path) -> None:
    records = [
        {"step": step, **TRAIN, "loss/total": float(step), "l0/a": float(step)} for step in range(40, 200)
    ]
    found = run_overview(open_run(make_run(tmp_path, "s-1", records, pid=2**22 + 1).path))
    assert (found.step, found.loss, found.sparsity) == (50, 50.0, 52.0)
    found = run_overview(open_run(make_run(tmp_path, "s-2", records[11:], status="failed").path))
    assert (found.step, found.loss, found.sparsity) == (50, None, None)


def test_the_evaluation_of_a_stopped_run_is_of_the_step_it_goes_on_from(tmp_path: Path) -> None:
    records = [{"step": step, **EVAL, "eval/l0_total": float(step)} for step in (40, 50, 60)]
    details = run_details(open_run(make_run(tmp_path, "s-1", records, pid=2**22 + 1).path))
    assert (details.evaluation["step"], details.evaluation["l0_total"]) == (50, 50.0)
    details = run_details(open_run(make_run(tmp_path, "s-2", records).path))
    assert (details.overview.status, details.evaluation["step"]) == ("running", 60)


def test_a_glance_does_not_read_through_all_that_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(path: Path) -> Iterator[dict[str, Any]]:
        for record in last_records(path):
            read.append(record["step"])
            yield record

    monkeypatch.setattr(overview, "last_records", counted)
    for later, loss in ((1999, 0.5), (5000, None)):
        records = [{"step": step, **TRAIN} for step in range(later + 1)]
        read.clear()
        run = make_run(tmp_path, f"s-{later}", records, step=0, pid=2**22 + 1)
        found = run_overview(open_run(run.path))
        assert (found.step, found.loss) == (0, loss) and len(read) == 2000


def test_a_finished_run_says_what_it_found_and_has(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, "s-1", [{"step": 100, **TRAIN}, {"step": 100, **EVAL}], status="finished", step=100
    )
    summary = {"verdict": {"headline": "Ground truth recovered.", "a": "5 of 5 features, one each"}}
    write_json(run.summary, summary)
    run.checkpoint(100).mkdir(parents=True)
    for kind, name in (
        ("harvest", "h-20300101-000000"),
        ("attributions", "da-1"),
        ("interpretations", "a-1"),
    ):
        (run.path / kind / name).mkdir(parents=True)
        write_json(run.path / kind / name / "manifest.json", {})
    (run.path / "harvest" / ".h-20300102-000000.work").mkdir()
    found = run_overview(open_run(run.path))
    assert (found.status, found.verdict, found.checkpoints) == ("finished", "5/5 features", (100,))
    assert (found.harvests, found.attributions, found.labels) == (("h-20300101-000000",), ("da-1",), ("a-1",))
    assert found.unfinished_harvests == ("h-20300102-000000",)
    assert found.loss == 0.5 and found.sparsity == 9.0  # the evaluation is the last record with an L0


def test_a_run_of_another_machine_is_taken_at_its_word(tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-1")
    data = json.loads(run.manifest.read_text())
    write_json(run.manifest, {**data, "host": "elsewhere", "pid": 2**22 + 1})
    found = run_overview(open_run(run.path))
    assert (found.status, found.host) == ("running", "elsewhere") and "cannot be checked" in found.reason
    assert (found.loss, found.sparsity, found.updated) == (None, None, None)


def test_damage_leaves_gaps(tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-1", [{"step": 70, **TRAIN}], status="failed", error="loss is NaN")
    run.metrics.write_bytes(b"\x00\xff\n" * 10)
    run.summary.write_text("{")
    run.settings.write_text("a: [")
    details = run_details(open_run(run.path))
    found = details.overview
    assert (found.status, found.reason, found.loss, found.verdict) == ("failed", "loss is NaN", None, None)
    assert details.settings == {} and details.summary is None and details.evaluation == {}
    assert len(details.problems) == 2
    assert str(run.summary) in " ".join(details.problems) and str(run.settings) in " ".join(details.problems)


def test_numbers_that_are_none_leave_gaps(tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-1", [{"step": 70, **TRAIN}])
    for step in ("NaN", "Infinity", "1" + 400 * "0"):
        run.metrics.write_text(f'{{"kind": "train", "step": {step}, "loss/total": {step}}}\n')
        found = run_overview(open_run(run.path))
        assert found.loss is None and found.step >= 0


def test_lists_are_newest_first_and_name_the_unreadable(tmp_path: Path) -> None:
    for name in ("s-1", "s-2", "s-3"):
        make_run(tmp_path, name)
    bad = RunDirectory(tmp_path / "runs" / "s-2")
    write_json(bad.manifest, {**json.loads(bad.manifest.read_text()), "schema_version": 99})
    assert [run.run_id for run in run_overviews(tmp_path)] == ["s-3", "s-1"]
    assert "schema version 99" in unreadable_runs(tmp_path)["s-2"]
    assert run_overviews(tmp_path / "nothing") == []


def test_details_have_settings_evaluation_and_figures(tmp_path: Path) -> None:
    records = [{"step": 0, **EVAL}, {"step": 50, **EVAL, "eval/l0_total": 8.0}]
    records += [{"step": step, **TRAIN} for step in range(50, 2000)]
    run = make_run(tmp_path, "s-1", records)
    write_text(run.settings, "training: {lr: 1e-3}\n")
    run.figures.mkdir()
    for name in ("b", "a"):
        run.figure(name).write_bytes(b"")
    details = run_details(open_run(run.path))
    assert details.settings == {"training": {"lr": 1e-3}}
    assert details.evaluation == {"step": 50, "loss/minimality": 3.0, "l0/a": 1.0, "l0_total": 8.0}
    assert details.figures == (run.figure("a"), run.figure("b"))
    shown = json.loads(json.dumps(plain(details)))
    assert shown["status_reason"] and "reason" not in shown and shown["path"] == str(run.path)
    assert shown["manifest"]["settings_digest"] == "d" and shown["sparsity"] == 3.5
    assert {name: shown[name] for name in plain(details.overview)} == plain(details.overview)


@pytest.mark.parametrize(
    ("summary", "told"),
    [
        (None, None),
        ({}, None),
        ({"verdict": None}, None),
        ({"verdict": {"headline": "5 of 5 features"}}, None),
        ({"verdict": {"a": "5 of 5 features, one", "b": "only 3 of 5 features with"}}, "3/5 features"),
        ({"verdict": {"a": "50 of 50 subcomponents shared by"}}, "50/50 subcomponents"),
        (
            {"verdict": {"a": "46 of 160 live"}, "cross_entropy": {"ce_recovered/stochastic": 0.9951}},
            "99.5 % of CE",
        ),
        ({"verdict": {}, "cross_entropy": {"ce_recovered/stochastic": 0.9}}, "90.0 % of CE"),
        ({"verdict": {}, "cross_entropy": {"ce_recovered/stochastic": None}}, None),
    ],
)
def test_verdicts_in_a_word(summary: dict[str, Any] | None, told: str | None) -> None:
    assert describe_verdict(summary) == told


def test_total_sparsity() -> None:
    assert total_sparsity({"l0/a": 1.0, "l0/b": None, "l0/c": 2}) == 3.0
    assert total_sparsity({"eval/l0_total": 4.0}) == 4.0
    assert total_sparsity({"loss/total": 4.0}) is None


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    make_run(tmp_path, "s-1", [{"step": 1, **TRAIN}])
    script = (
        "import sys; from pathlib import Path; from core.runs.overview import *; "
        "from core.runs.catalogue import list_runs; root = Path(sys.argv[1]); run_overviews(root); "
        "plain(run_details(list_runs(root)[0])); "
        "assert not {'torch', 'numpy', 'polars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
