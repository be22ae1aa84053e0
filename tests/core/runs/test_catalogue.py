"""Finding runs by what people call them."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import UsageError
from core.runs.catalogue import (
    RunEntry,
    delete_run,
    find_resumable,
    find_run_of_this_process,
    find_running,
    list_runs,
    open_run,
    resolve_run,
    unreadable_runs,
)
from core.runs.directory import RunDirectory
from core.runs.lock import ProcessLock, RunLock
from core.runs.manifest import new_manifest

START = datetime(2030, 1, 1, tzinfo=UTC)


def make_run(
    root: Path, run_id: str, minute: int, status: str = "finished", **fields: object
) -> RunDirectory:
    run = RunDirectory.create(root, run_id)
    plain = {"settings_digest": "d", "recipe": "tms_5-2", **fields}
    made = new_manifest(run_id=run_id, **plain)  # pyright: ignore[reportArgumentType]
    made.update(created=START + timedelta(minutes=minute), status=status).write(run.manifest)
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path, "s-aa000001", 1)
    make_run(tmp_path, "s-aa000002", 3, recipe="resid_mlp1")
    make_run(tmp_path, "s-bb000003", 2)
    return tmp_path


def test_list_is_newest_first_and_survives_damage(root: Path) -> None:
    broken = RunDirectory.create(root, "s-broken00")
    broken.manifest.write_text('{"schema_version": 1, "run_')
    (root / "runs" / ".s-half.deleted").mkdir()
    (root / "runs" / "stray.txt").write_text("x")
    assert [run.run_id for run in list_runs(root)] == ["s-aa000002", "s-bb000003", "s-aa000001"]
    assert list(unreadable_runs(root)) == ["s-broken00"]


def test_a_run_deleted_while_the_list_is_made_is_no_damaged_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_after_deleting(path: Path) -> RunEntry:
        if path.name == "s-bb000003":
            shutil.rmtree(path)
        return open_run(path)

    monkeypatch.setattr("core.runs.catalogue.open_run", open_after_deleting)
    assert unreadable_runs(root) == {}
    assert [run.run_id for run in list_runs(root)] == ["s-aa000002", "s-aa000001"]


def test_no_folder_is_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "absent") == []
    with pytest.raises(UsageError, match="there are no runs"):
        resolve_run(tmp_path / "absent", "latest")


@pytest.mark.parametrize(
    ("reference", "run_id"),
    [
        ("latest", "s-aa000002"),
        ("s-aa000001", "s-aa000001"),
        ("s-bb", "s-bb000003"),
        ("tms_5-2", "s-bb000003"),
        ("resid_mlp1", "s-aa000002"),
    ],
)
def test_references(root: Path, reference: str, run_id: str) -> None:
    assert resolve_run(root, reference).run_id == run_id


def test_paths(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "runs" / "s-bb000003"
    assert resolve_run(root / "other", str(path)).run_id == "s-bb000003"
    monkeypatch.chdir(root / "runs")
    assert resolve_run(root / "other", "s-bb000003").directory.path == path
    assert resolve_run(root / "other", "./s-bb000003").directory.path == path
    with pytest.raises(UsageError, match="is not a run"):
        open_run(root)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("s-aa", "fits 2 runs: s-aa000002, s-aa000001"),
        ("tms_52", "Did you mean tms_5-2?"),
        ("lates", "Did you mean latest?"),
        ("", "no run ''"),
        (".", "is not a run|no run"),
        ("wandb:a/b/c", "spd runs pull wandb:a/b/c"),
        ("./nothing", "is not a run"),
    ],
)
def test_bad_references(root: Path, reference: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_run(root, reference)


def test_delete(root: Path) -> None:
    assert delete_run(root, "s-bb").run_id == "s-bb000003"
    assert sorted(os.listdir(root / "runs")) == ["s-aa000001", "s-aa000002"]


def test_delete_refuses_a_running_run(root: Path) -> None:
    run = make_run(root, "s-cc000004", 4, "running")
    with pytest.raises(UsageError, match="is running"):
        delete_run(root, "s-cc000004")
    assert run.manifest.exists()
    delete_run(root, "s-cc000004", force=True)
    assert not run.path.exists()


def test_delete_refuses_a_locked_run(root: Path) -> None:
    run = RunDirectory(root / "runs" / "s-aa000001")
    with RunLock(run), pytest.raises(UsageError, match=str(os.getpid())):
        delete_run(root, "s-aa000001")


def test_delete_refuses_a_run_that_is_harvested(root: Path) -> None:
    run = RunDirectory(root / "runs" / "s-aa000001")
    work = run.harvest_lock("h-20260101-000000")
    work.parent.mkdir(parents=True)
    with ProcessLock(work, "the harvest"), pytest.raises(UsageError, match=rf"harvested.*{os.getpid()}"):
        delete_run(root, "s-aa000001")
    delete_run(root, "s-aa000001")
    assert not run.path.exists()


def test_newest_unfinished_run_of_the_same_settings_is_resumed(root: Path) -> None:
    assert find_resumable(root, "d") is None
    make_run(root, "s-cc000001", 5, "interrupted", seed=0)
    make_run(root, "s-cc000002", 6, "failed", seed=1)
    make_run(root, "s-cc000003", 7, "interrupted", settings_digest="other")
    make_run(root, "s-cc000004", 8, "running")
    dead = make_run(root, "s-cc000005", 4, "running")
    data = json.loads(dead.manifest.read_text())
    dead.manifest.write_text(json.dumps({**data, "process_mark": "boot:1"}))

    def found(seed: int | None = None) -> str | None:
        entry = find_resumable(root, "d", seed)
        return entry and entry.run_id

    assert found() == "s-cc000002"
    assert found(seed=0) == "s-cc000001"
    with RunLock(RunDirectory(root / "runs" / "s-cc000001")):
        assert found(seed=0) == "s-cc000005"
    assert found(seed=9) is None


def test_a_running_run_of_the_same_settings_is_found(root: Path) -> None:
    assert find_running(root, "d") is None
    make_run(root, "s-cc000001", 5, "running", seed=1)
    make_run(root, "s-cc000002", 6, "running", settings_digest="other")
    assert find_running(root, "d", 0) is None
    running = find_running(root, "d", 1)
    assert running is not None and running.run_id == "s-cc000001"


def test_the_run_of_this_process_is_told_from_newer_ones(root: Path) -> None:
    other = make_run(root, "s-cc000001", 5)
    data = json.loads(other.manifest.read_text())
    other.manifest.write_text(json.dumps({**data, "process_mark": "boot:1"}))
    ours = find_run_of_this_process(root)
    assert ours is not None and ours.run_id == "s-aa000002"
    assert find_run_of_this_process(root / "absent") is None
