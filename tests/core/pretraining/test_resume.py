"""A training that was stopped goes on as if it had not been; several ranks do what one does."""

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
from safetensors.torch import load_file

from core.errors import Interrupted, UsageError
from core.parallel import Ranks
from core.pretraining.pretrain import PretrainResult, unfinished_training
from core.pretraining.settings import PretrainSettings
from core.runs.metrics_log import read_metrics
from core.settings import parse_settings

Run = Callable[..., PretrainResult]
SAME = ("model.safetensors", "metrics.jsonl", "samples.jsonl", "tokenizer.json", "settings.yaml")


def command(tiny: dict[str, Any], folder: Path, *flags: str) -> list[str]:
    settings = folder / "tiny.yaml"
    settings.write_text(yaml.safe_dump(tiny))
    base = [sys.executable, "-m", "spd_cli", "pretrain", str(settings), "--device", "cpu", "--quiet"]
    return [*base, "--precision", "fp32", *flags]


def test_a_training_stopped_by_ctrl_c_and_begun_again_writes_the_same_bytes(
    run_tiny: Run, tiny: dict[str, Any], witness: Any, tmp_path: Path
) -> None:
    whole = run_tiny(root=tmp_path / "whole").folder
    root = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="stopped at step 33 of 60"):
        run_tiny(witness(33, lambda: os.kill(os.getpid(), signal.SIGINT)), root=root)
    run = unfinished_training(parse_settings(PretrainSettings, tiny, "tiny"), root)
    assert run.checkpoint_steps() == [20, 33]
    watched = witness()
    resumed = run_tiny(watched, root=root)
    assert any("step 33 of 60" in text for text in watched.messages)
    for name in SAME:
        assert (resumed.folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert not run.path.exists()


def test_a_killed_training_goes_on_from_its_last_checkpoint(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["training"]["steps"] = 1500
    tiny["record"]["checkpoint_every"] = 50
    tiny["validation"]["every"] = 400
    root = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command(tiny, tmp_path, "--out", str(root)), env=environment)
    run = unfinished_training(parse_settings(PretrainSettings, tiny, "tiny"), root)
    deadline = time.monotonic() + 300
    while not run.checkpoint(100).exists():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    resumed, whole = run_tiny(root=root), run_tiny(root=tmp_path / "whole")
    assert not resumed.cached
    for name in SAME:
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_killed_between_the_rename_and_the_clearing_up(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path
) -> None:
    result = run_tiny()
    left = unfinished_training(parse_settings(PretrainSettings, tiny, "tiny"), tmp_path / "out")
    left.checkpoint(60).mkdir(parents=True)
    assert run_tiny().cached and not left.path.exists()
    assert result.folder.exists()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_named(
    run_tiny: Run, tiny: dict[str, Any], witness: Any, tmp_path: Path, file: str
) -> None:
    with pytest.raises(Interrupted):
        run_tiny(witness(25, lambda: os.kill(os.getpid(), signal.SIGINT)))
    run = unfinished_training(parse_settings(PretrainSettings, tiny, "tiny"), tmp_path / "out")
    damaged = run.checkpoint(25) / file
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"step_25 is damaged.*--restart"):
        run_tiny()
    assert run_tiny(restart=True).summary["steps"] == 60


def test_a_validation_more_does_not_change_training(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path
) -> None:
    usual = run_tiny(root=tmp_path / "a").folder
    often = run_tiny(root=tmp_path / "b", changes={"validation": {"every": 7, "batches": 2}}).folder
    trained = [[r for r in read_metrics(f / "metrics.jsonl") if r["kind"] == "train"] for f in (usual, often)]
    assert trained[0] == trained[1]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (usual, often)]
    assert weights[0] == weights[1]


def test_two_ranks_do_what_one_does(run_tiny: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    alone = run_tiny(root=tmp_path / "alone").folder
    root = tmp_path / "together"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    together = command(tiny, tmp_path, "--out", str(root), "--dp", "2", "--samples", "0")
    subprocess.run(together, check=True, env=environment, capture_output=True)
    other = root / "targets" / alone.name
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (other, alone))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)
    for one, two in zip(*(read_metrics(f / "metrics.jsonl") for f in (alone, other)), strict=True):
        assert two.pop("kind") == one.pop("kind")
        assert two == pytest.approx(one, rel=1e-4)


def test_a_batch_that_cannot_be_shared_out_is_refused(
    run_tiny: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranks, "share", lambda self, value: value)
    with pytest.raises(UsageError, match=r"training\.batch_size = 4 cannot be divided among 3 ranks"):
        run_tiny(ranks=Ranks(0, 3))
    assert not (tmp_path / "out").exists()
