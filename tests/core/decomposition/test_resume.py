"""A run that was stopped goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from core.decomposition.checkpoint import read_components
from core.decomposition.start import RunResult
from core.errors import Interrupted, UsageError
from core.runs.catalogue import delete_run, list_runs
from core.runs.directory import RunDirectory
from core.runs.manifest import Manifest

CPU = torch.device("cpu")


def learnt(run: RunDirectory) -> dict[str, Any]:
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    return read_components(checkpoint)[0]


def test_a_run_stopped_by_ctrl_c_and_resumed_writes_the_same_bytes(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path
) -> None:
    whole = run_tiny(root=tmp_path / "whole").directory
    root = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="stopped at step 33 of 60"):
        run_tiny(witness(33, lambda: os.kill(os.getpid(), signal.SIGINT)), root=root)
    stopped = list_runs(root)[0]
    assert stopped.status == "interrupted"
    assert stopped.directory.checkpoint_steps() == [20, 33]
    resumed = run_tiny(root=root, resume=True).directory
    assert resumed == stopped.directory
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()
    ours, theirs = learnt(resumed), learnt(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_a_killed_run_resumes_from_its_last_checkpoint(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["training"]["steps"] = 3000
    tiny["record"]["checkpoint_every"] = 100
    tiny["evaluation"] |= {"every": 500, "figures_every": 3000}
    settings = tmp_path / "tiny.yaml"
    settings.write_text(yaml.safe_dump(tiny))

    def command(out: str, *flags: str) -> list[str]:
        base = [sys.executable, "-m", "spd_cli", "decompose", str(settings), "--device", "cpu", "--quiet"]
        return [*base, "--out", str(tmp_path / out), *flags]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), check=True, env=environment, capture_output=True)
    process = subprocess.Popen(command("killed"), env=environment)
    runs = tmp_path / "killed" / "runs"
    deadline = time.monotonic() + 120
    while not any(runs.glob("*/checkpoints/step_300")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    entry = list_runs(tmp_path / "killed")[0]
    assert entry.status == "interrupted"
    assert not entry.directory.summary.exists()
    subprocess.run(command("killed", "--resume"), check=True, env=environment, capture_output=True)
    whole = list_runs(tmp_path / "whole")[0].directory
    assert entry.directory.metrics.read_bytes() == whole.metrics.read_bytes()
    assert Manifest.read(entry.directory.manifest).status == "finished"
    ours, theirs = learnt(entry.directory), learnt(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_nothing_to_resume_is_refused(run_tiny: Callable[..., RunResult], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no unfinished run of tiny"):
        run_tiny(resume=True)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
    finished = run_tiny()
    with pytest.raises(UsageError, match="is finished"):
        run_tiny(resume_run=finished.directory.run_id)


def test_a_warm_start_begins_with_the_other_runs_components(
    run_tiny: Callable[..., RunResult], tiny: dict[str, Any]
) -> None:
    first = run_tiny()
    training = {**tiny["training"], "steps": 1, "lr": {"start": 1e-12}}
    second = run_tiny(warm_start=first.directory.run_id, changes={"training": training})
    ours, theirs = learnt(second.directory), learnt(first.directory)
    assert all((ours[name] - theirs[name]).abs().max() < 1e-9 for name in theirs)
    assert Manifest.read(second.directory.manifest).warm_start == first.directory.run_id


def test_a_warm_start_that_does_not_fit_is_refused(run_tiny: Callable[..., RunResult]) -> None:
    first = run_tiny()
    with pytest.raises(UsageError, match=r"does not fit these settings.*V/linear1"):
        run_tiny(
            warm_start=first.directory.run_id,
            changes={"components": {"modules": [{"pattern": "linear*", "C": 7}]}},
        )


def test_an_evaluation_more_does_not_change_training(
    run_tiny: Callable[..., RunResult], tiny: dict[str, Any], tmp_path: Path
) -> None:
    usual = run_tiny(root=tmp_path / "a").directory
    often = {**tiny["evaluation"], "every": 10, "batches": 3}
    oftener = run_tiny(root=tmp_path / "b", changes={"evaluation": often}).directory

    def trained(run: RunDirectory) -> list[str]:
        return [line for line in run.metrics.read_text().splitlines() if '"train"' in line]

    assert trained(usual) == trained(oftener)


def stopped_at(step: int, witness: Any) -> Any:
    def fail() -> None:
        raise RuntimeError("stopped here")

    return witness(step, fail)


def test_a_warm_start_is_resumed_before_its_first_checkpoint(
    run_tiny: Callable[..., RunResult], witness: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    first = run_tiny(changes={"seed": 1})
    with pytest.raises(RuntimeError):
        run_tiny(stopped_at(10, witness), warm_start="latest")
    assert list_runs(tmp_path)[0].manifest.warm_start == first.directory.run_id
    resumed = run_tiny(resume=True).directory  # "latest" would now mean the stopped run itself
    whole = run_tiny(warm_start=first.directory.run_id).directory
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()


def test_a_warm_start_is_resumed_without_the_run_it_started_from(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path
) -> None:
    first = run_tiny(changes={"seed": 1})
    with pytest.raises(RuntimeError):
        run_tiny(stopped_at(30, witness), warm_start=first.directory.run_id)
    delete_run(tmp_path, first.directory.run_id)
    assert run_tiny(resume=True).summary["steps"] == 60


def test_a_run_is_resumed_on_its_own_device(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError):
        run_tiny(stopped_at(30, witness))
    asked: list[str] = []
    monkeypatch.setattr("core.decomposition.start.resolve_device", lambda name: asked.append(name) or CPU)
    run_tiny(resume=True, device="auto")
    assert asked[-1] == "cpu"


def test_a_run_that_another_process_finished_meanwhile_is_not_touched(
    run_tiny: Callable[..., RunResult], witness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import core.decomposition.start as start

    with pytest.raises(RuntimeError):
        run_tiny(stopped_at(30, witness))
    seen = start._find_resumed

    def slow(request: Any) -> Any:
        found = seen(request)
        monkeypatch.setattr(start, "_find_resumed", seen)
        run_tiny(resume=True)
        return found

    monkeypatch.setattr(start, "_find_resumed", slow)
    with pytest.raises(UsageError, match="is finished"):
        run_tiny(resume=True)
    assert list_runs(tmp_path)[0].status == "finished"
