"""What a run does when something is wrong."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import core.decomposition.checkpoint as checkpoints
from core.decomposition.start import RunResult
from core.decomposition.step import NonFiniteLoss
from core.errors import SpdError, UsageError
from core.runs.catalogue import list_runs
from core.runs.manifest import Manifest


def nothing_left(root: Path) -> bool:
    return not root.exists() or not any((root / "runs").glob("*"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"components": {"modules": [{"pattern": "liner*", "C": 6}]}}, "'liner\\*' matches no module"),
        (
            {"components": {"modules": [{"pattern": "linear*", "C": 6}, {"pattern": "*1", "C": 6}]}},
            "'linear1' matches two patterns",
        ),
        ({"components": {"modules": [{"pattern": "linear*", "C": 0}]}}, "C = 0"),
        (
            {"components": {"modules": [{"pattern": "linear1", "C": 6}, {"pattern": "linear2", "C": 5}]}},
            "'linear1' and 'linear2' share one weight, but have C = 6 and 5",
        ),
        ({"losses": {"m": {"kind": "minimality", "coeff": 0}}}, "at least one coeff"),
        ({"losses": {"total": {"kind": "minimality", "coeff": 1}}}, "this name is taken"),
        ({"evaluation": {"groups": {"all": ["linear", "liner"]}}}, "groups.all: 'liner' matches no"),
        ({"evaluation": {"groups": {"all": ["linear", "("]}}}, "not a regular expression"),
        ({"training": {"steps": 0, "batch_size": 1, "lr": {"start": 1e-3}}}, "training.steps = 0"),
        ({"training": {"stpes": 5, "batch_size": 1, "lr": {"start": 1e-3}}}, "stpes.*steps"),
    ],
)
def test_settings_that_make_no_sense_leave_nothing_behind(
    run_tiny: Callable[..., RunResult], tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        run_tiny(root=tmp_path / "out", changes=change)
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"components": {"modules": [{"pattern": "liner*", "C": 6}]}},
        {"evaluation": {"groups": {"all": ["liner"]}}},
        {"evaluation": {"feature_weights": {"liner1": "inputs"}}},
    ],
)
def test_names_that_fit_no_module_are_refused_before_a_target_is_trained(
    run_tiny: Callable[..., RunResult], tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="liner"):
        run_tiny(root=tmp_path / "out", changes=change)
    with pytest.raises(UsageError, match="no runs"):
        run_tiny(root=tmp_path / "out", warm_start="s-nowhere")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_asked_for_and_absent(run_tiny: Callable[..., RunResult], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        run_tiny(device="cuda", root=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_refused(
    run_tiny: Callable[..., RunResult], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="out"):
        run_tiny(root=tmp_path / "out")


def test_a_loss_that_is_not_finite_names_step_and_term(
    run_tiny: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.losses.reconstruction import ReconstructionLoss

    measure, calls = ReconstructionLoss.measure, []

    def poisoned(self: ReconstructionLoss, context: Any, name: str) -> Any:
        found = measure(self, context, name)
        if name == "stochastic" and torch.is_grad_enabled():
            calls.append(name)
            if len(calls) == 38:
                return type(found)(found.total * float("nan"), found.count)
        return found

    monkeypatch.setattr(ReconstructionLoss, "measure", poisoned)
    with pytest.raises(NonFiniteLoss, match="loss stochastic is not finite at step 37") as caught:
        run_tiny()
    assert caught.value.exit_code == 1
    run = list_runs(tmp_path)[0]
    assert run.status == "failed"
    assert "stochastic" in (run.manifest.error or "")
    assert run.directory.checkpoint_steps() == [20]


@pytest.mark.parametrize("file", [checkpoints.COMPONENTS, checkpoints.TRAINING])
def test_a_truncated_checkpoint_is_named(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path, file: str
) -> None:
    def fail() -> None:
        raise RuntimeError("stopped here")

    with pytest.raises(RuntimeError):
        run_tiny(witness(45, fail))
    damaged = list_runs(tmp_path)[0].directory.checkpoint(40) / file
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(UsageError, match=f"step_40/{file} is damaged.*Delete that step's folder"):
        run_tiny(resume=True)


def test_a_checkpoint_of_another_schema_version_is_refused(
    run_tiny: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_tiny().directory
    monkeypatch.setattr(checkpoints, "SCHEMA_VERSION", 2)
    with pytest.raises(UsageError, match="schema version 1; this spd reads 2"):
        checkpoints.read_components(run.checkpoint(60))


def test_a_full_disk_leaves_the_previous_checkpoint(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path
) -> None:
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    try:

        def fill() -> None:
            with open(root / "filler", "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

        with pytest.raises(SpdError, match=r"cannot write .*step_40.*(No space|full)") as caught:
            run_tiny(witness(38, fill), root=root)
        assert caught.value.exit_code == 1
        run = list_runs(root)[0].directory
        assert run.checkpoint_steps() == [20]
        assert [entry.name for entry in run.checkpoints.iterdir()] == ["step_20"]
        checkpoints.read_components(run.checkpoint(20))
        (root / "filler").unlink()
        # Named, since its process (this one) is alive and could not write that it failed.
        assert run_tiny(root=root, resume_run=run.run_id).summary["steps"] == 60
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_run_is_worked_on_by_one_process(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path
) -> None:
    seen: list[str] = []

    def second() -> None:
        run = list_runs(tmp_path)[0]
        with pytest.raises(SpdError, match=r"holds|running|works on|process"):
            run_tiny(resume_run=run.run_id)
        seen.append(run.run_id)

    run = run_tiny(witness(30, second))
    assert seen == [run.directory.run_id]
    assert Manifest.read(run.directory.manifest).status == "finished"


def test_parameters_that_are_not_finite_are_not_saved(
    run_tiny: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.losses.minimality import MinimalityLoss

    measure, calls = MinimalityLoss.measure, []

    def poisoned(self: MinimalityLoss, context: Any, name: str) -> Any:
        found = measure(self, context, name)
        if torch.is_grad_enabled():
            calls.append(name)
            if len(calls) == 40:  # a loss of zero with a gradient of 0 / 0
                return type(found)(found.total + (0 * context.model.sites["linear1"].V).sqrt().sum(), 1)
        return found

    monkeypatch.setattr(MinimalityLoss, "measure", poisoned)
    with pytest.raises(NonFiniteLoss, match=r"linear1.*is not finite after step 39"):
        run_tiny()
    assert list_runs(tmp_path)[0].directory.checkpoint_steps() == [20]


def test_a_last_evaluation_that_fails_costs_no_training(
    run_tiny: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import core.decomposition.loop as loop

    evaluate = loop.evaluate

    def failing(stepper: Any, target: Any, step: int) -> Any:
        if step == 60:
            raise RuntimeError("no figures today")
        return evaluate(stepper, target, step)

    monkeypatch.setattr(loop, "evaluate", failing)
    with pytest.raises(RuntimeError):
        run_tiny()
    assert list_runs(tmp_path)[0].directory.checkpoint_steps() == [40, 60]
    monkeypatch.undo()
    resumed = run_tiny(resume=True).directory
    whole = run_tiny(root=tmp_path / "whole").directory
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()
