"""A run's folder: where it is made and what lies where."""

import re
from pathlib import Path

import pytest

from core.errors import UsageError
from core.runs.directory import RunDirectory, new_run_id, output_root


def test_output_root_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPD_OUT_DIR", raising=False)
    assert output_root(None) == Path.home() / "spd_out"
    monkeypatch.setenv("SPD_OUT_DIR", str(tmp_path / "env"))
    assert output_root(None) == tmp_path / "env"
    assert output_root(tmp_path / "cli") == tmp_path / "cli"
    monkeypatch.chdir(tmp_path)
    assert output_root(Path("here")) == tmp_path / "here"
    assert output_root(Path("~/there")) == Path.home() / "there"


def test_run_ids() -> None:
    ids = {new_run_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"s-[0-9a-f]{8}", run_id) for run_id in ids)


def test_create_makes_only_the_folder(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "out", "s-00000001")
    assert run.path == tmp_path / "out" / "runs" / "s-00000001"
    assert run.run_id == "s-00000001"
    assert list(run.path.iterdir()) == []
    with pytest.raises(UsageError, match="exists already"):
        RunDirectory.create(tmp_path / "out", "s-00000001")


def test_create_refuses_before_making_anything(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(UsageError, match="not a folder"):
        RunDirectory.create(file / "out")
    with pytest.raises(UsageError):
        RunDirectory.create(Path("/proc/spd_out"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.checkpoint_steps() == [] and run.latest_checkpoint() is None
    for step in (9, 100, 20):
        run.checkpoint(step).mkdir(parents=True)
    (run.checkpoints / ".step_200.abcd.tmp").mkdir()
    (run.checkpoints / "step_300").write_text("not a folder")
    assert run.checkpoint_steps() == [9, 20, 100]
    assert run.latest_checkpoint() == run.checkpoint(100)


def test_what_is_no_folder_holds_nothing(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.checkpoints.write_text("a file")
    run.harvests.write_text("a file")
    assert (run.checkpoint_steps(), run.harvest_names(), run.unfinished_harvests()) == ([], [], [])


def test_every_path_is_inside_the_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "s-1")
    paths = [
        run.settings,
        run.manifest,
        run.metrics,
        run.summary,
        run.lock,
        run.figure("ci"),
        run.checkpoint(1),
    ]
    assert all(path.is_relative_to(run.path) for path in paths)
    assert len(set(paths)) == len(paths)


def test_harvests_are_told_apart_by_how_far_they_are(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert (run.harvest_names(), run.unfinished_harvests(), run.has("harvest")) == ([], [], False)
    for name in ("h-20260102-000000", "h-20260101-000000", "h-20260103-000000"):
        run.harvest(name).mkdir(parents=True)
    run.harvest_work("h-20260104-000000").mkdir()
    (run.harvests / ".h-20260105-000000.1a2b3c4d.tmp").mkdir()
    for name in ("h-20260102-000000", "h-20260101-000000"):
        (run.harvest(name) / "manifest.json").touch()
    assert run.harvest_names() == ["h-20260101-000000", "h-20260102-000000"]
    assert run.unfinished_harvests() == ["h-20260104-000000"]
    assert (run.has("harvest"), run.has("attributions")) == (True, False)
