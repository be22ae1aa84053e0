"""Whole runs of two real processes, as `--dp 2` starts them: they write what one process writes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.decomposition.start import RunResult

CLEAN = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")} | {"OMP_NUM_THREADS": "1"}


def command(settings: dict[str, Any], root: Path, *more: str) -> list[str]:
    file = root / "settings.yaml"
    root.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(settings))
    flags = ["--device", "cpu", "--precision", "fp32", "--out", str(root), "--dp", "2", "--json", *more]
    return [sys.executable, "-m", "spd_cli", "decompose", str(file), *flags]


def spd(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=CLEAN, capture_output=True, text=True, timeout=300, check=False)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> None:
    assert [(r["step"], r["kind"]) for r in one] == [(r["step"], r["kind"]) for r in two]
    for left, right in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for key in left.keys() - {"kind"}:
            # Sums in another order; steps of an adversary's sign turn where its gradient is nothing.
            assert left[key] == pytest.approx(right[key], rel=2e-2, abs=2e-4), (left["step"], key)
        if left["step"] <= 10 and "loss/total" in left:
            assert left["loss/total"] == pytest.approx(right["loss/total"], rel=1e-5)


def test_two_ranks_write_what_one_does(
    tiny: dict[str, Any], run_tiny: Callable[..., RunResult], tmp_path: Path
) -> None:
    alone = run_tiny()
    done = spd(command(tiny, tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    runs = list((tmp_path / "two" / "runs").iterdir())
    assert [str(run) for run in runs] == [summary["path"]], "one run, written by one of them"
    same(records(alone.directory.path), records(runs[0]))
    assert (runs[0] / "figures").is_dir() and (runs[0] / "checkpoints").is_dir()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_alike(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["training"] |= {"steps": 100}
    tiny["evaluation"] |= {"every": 50, "figures_every": 100}
    whole = json.loads(spd(command(tiny, tmp_path / "whole")).stdout)
    arguments = command(tiny, tmp_path / "killed")
    process = subprocess.Popen(arguments, env=CLEAN, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list((tmp_path / "killed").glob("runs/*/checkpoints/step_*")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = spd([*arguments, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    run = Path(json.loads(resumed.stdout)["path"])
    assert records(run) == records(Path(whole["path"])), "the very same numbers"


@pytest.mark.slow
def test_stopping_saves_on_every_rank_and_says_how_to_go_on(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["training"]["steps"] = 200_000
    tiny["evaluation"] |= {"every": 200_000, "figures_every": 200_000}
    process = subprocess.Popen(
        command(tiny, tmp_path / "stopped"),
        env=CLEAN,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list((tmp_path / "stopped").glob("runs/*/checkpoints/step_*")):
        assert process.poll() is None
        time.sleep(0.01)
    # As `timeout` and schedulers do it: every rank is told twice, straight and through the launcher.
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "everything up to there is saved" in said
    assert "--resume" in said and "--dp 2" in said
    assert said.count("stopped at step") == 1, "one of them speaks"


def test_a_batch_that_cannot_be_shared_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["training"]["batch_size"] = 127
    refused = spd(command(tiny, tmp_path / "odd"))
    assert refused.returncode == 2
    assert "training.batch_size = 127 cannot be divided among 2 ranks" in refused.stderr
    assert refused.stderr.count("cannot be divided") == 1
    assert not list((tmp_path / "odd").glob("runs/*"))
