"""A run with persistent adversaries, stopped and resumed, goes on as if it had not been."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.decomposition.checkpoint import read_components, read_training
from core.decomposition.start import RunResult
from core.errors import Interrupted, UsageError
from core.runs.directory import RunDirectory
from core.runs.metrics_log import read_metrics

ADAM = {"kind": "adam", "lr": {"start": 0.05, "kind": "cosine", "final": 0.1}}


def losses(scope: dict[str, Any], **fields: Any) -> dict[str, Any]:
    masks = {"kind": "persistent", "scope": scope, "optimizer": ADAM, **fields}
    return {
        "minimality": {"kind": "minimality", "coeff": 1e-3, "p": 1},
        "stochastic": {"kind": "reconstruction", "coeff": 1},
        "persistent": {
            "kind": "reconstruction",
            "coeff": 0.5,
            "masks": masks,
            "routing": {"kind": "subset"},
        },
    }


def last(run: RunDirectory) -> tuple[dict[str, Any], dict[str, Any]]:
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    return read_components(checkpoint)[0], read_training(checkpoint)["persistent"]["persistent"]


def test_a_stopped_and_resumed_run_writes_the_same_bytes(
    run_tiny: Callable[..., RunResult], witness: Any
) -> None:
    changes = {"losses": losses({"kind": "per_batch_per_position"}, warmup_steps=1)}
    whole = run_tiny(changes=changes).directory
    stop = witness(33, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="stopped at step 33 of 60"):
        run_tiny(stop, changes=changes)
    resumed = run_tiny(changes=changes, resume=True).directory
    assert resumed != whole and resumed.metrics.read_bytes() == whole.metrics.read_bytes()
    (ours, sources), (theirs, wanted) = last(resumed), last(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert sources["count"] == wanted["count"] == 120
    for name, value in wanted["values"].items():
        assert value.shape == (128, 7) and value.equal(sources["values"][name])
        assert all(map(torch.equal, wanted["moments"][name], sources["moments"][name]))
    evaluations = [line for line in read_metrics(whole.metrics) if line["kind"] == "eval"]
    assert ["eval/loss/persistent" in line for line in evaluations] == [False, True, True, True]


def test_a_scope_that_does_not_fit_leaves_nothing_behind(
    run_tiny: Callable[..., RunResult], tmp_path: Path
) -> None:
    for scope, message in (
        ({"kind": "broadcast_across_batch"}, "are no sequences"),
        ({"kind": "repeat_across_batch", "sources": 3}, "3 sources do not divide the 128 rows"),
    ):
        with pytest.raises(UsageError, match=message):
            run_tiny(changes={"losses": losses(scope)})
    assert not list(tmp_path.glob("runs/*"))
