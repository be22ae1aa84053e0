"""A small model learns, is kept, and is found again."""

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import core.pretraining.loop as loop
from core.errors import Interrupted, SpdError, UsageError
from core.language_models.load import load_language_model
from core.language_models.sources import PretrainedSource
from core.pretraining.naming import target_name
from core.pretraining.pretrain import PretrainResult, unfinished_training
from core.pretraining.published import restore_pretrained
from core.pretraining.settings import LanguageTrainingSettings, PretrainSettings
from core.pretraining.validation import next_token_loss
from core.runs.metrics_log import read_metrics
from core.settings import parse_settings
from core.text.windows import open_text

Run = Callable[..., PretrainResult]
FILES = {
    "settings.yaml",
    "model.safetensors",
    "tokenizer.json",
    "metrics.jsonl",
    "samples.jsonl",
    "summary.json",
}


def targets(root: Path) -> list[str]:
    return sorted(entry.name for entry in (root / "targets").iterdir())


def test_the_loss_on_held_out_text_falls_below_the_entropy_of_single_tokens(
    run_tiny: Run, witness: Any
) -> None:
    watched = witness()
    result = run_tiny(watched)
    summary = result.summary
    assert not result.cached
    assert summary["validation_loss"] < 0.5 * summary["unigram_entropy"]
    assert summary["perplexity"] == pytest.approx(math.exp(summary["validation_loss"]))
    assert summary["tokens_seen"] == 60 * 4 * 16
    assert {path.name for path in result.folder.iterdir()} == FILES
    assert "tokens/s" in watched.notes["pretrain"] and "loss" in watched.notes["pretrain"]
    records = read_metrics(result.folder / "metrics.jsonl")
    validated = [record for record in records if record["kind"] == "eval"]
    assert [record["step"] for record in validated] == [0, 25, 50, 60]
    assert validated[0]["validation_loss"] == pytest.approx(math.log(summary["vocabulary"]), abs=0.3)
    assert [r["step"] for r in records if r["kind"] == "train"] == list(range(0, 60, 5))
    written = read_metrics(result.folder / "samples.jsonl")
    assert [(r["step"], r["prompt"]) for r in written] == [
        (s, p) for s in (0, 30, 60) for p in ("", "the cat")
    ]


def test_a_finished_target_is_found_at_once(
    run_tiny: Run, witness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_tiny()
    monkeypatch.setattr("core.pretraining.pretrain.open_text", None)  # would be called
    watched = witness()
    second = run_tiny(watched, {"recipe": "another name", "samples": {"every": 7}})
    assert second.cached and (second.folder, second.summary) == (first.folder, first.summary)
    assert watched.notes == {}
    assert targets(first.folder.parents[1]) == [first.folder.name]


def test_other_settings_are_another_target(run_tiny: Run) -> None:
    one, other = run_tiny(), run_tiny(changes={"seed": 1})
    assert one.folder != other.folder and not other.cached
    assert one.summary["validation_loss"] != other.summary["validation_loss"]


def test_the_target_is_restored_with_the_loss_it_was_measured_to_have(run_tiny: Run, tmp_path: Path) -> None:
    result = run_tiny()
    target = restore_pretrained(result.folder)
    text = open_text(target.settings.text, target.settings.seed, tmp_path / "out")
    losses = [float(next_token_loss(target.model, text.batch("eval", i, 4))) for i in range(4)]
    assert sum(losses) / 4 == pytest.approx(result.summary["validation_loss"], abs=1e-5)
    assert target.tokenizer.digest == text.tokenizer.digest
    assert not any(p.requires_grad for p in target.model.parameters()) and not target.model.training
    loaded = load_language_model(PretrainedSource(path=str(result.folder)), tmp_path)
    ids = text.batch("eval", 0, 1)[:, :-1]
    assert torch.equal(loaded.model(ids), target.model(ids))


@pytest.mark.parametrize("file", ["model.safetensors", "settings.yaml", "tokenizer.json"])
def test_a_damaged_target_is_named(run_tiny: Run, file: str) -> None:
    folder = run_tiny().folder
    path = folder / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SpdError, match=file):
        restore_pretrained(folder)


def test_what_is_no_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a pretrained target.*spd pretrain"):
        restore_pretrained(tmp_path)


def test_a_restart_trains_again(run_tiny: Run) -> None:
    first = run_tiny()
    before = (first.folder / "model.safetensors").read_bytes()
    (first.folder / "summary.json").unlink()  # damaged: only training again helps
    second = run_tiny(restart=True)
    assert not second.cached and (second.folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"model": {"kind": "llama_simple_mlp", "vocabulary": 100, "context": 16, "width": 16}},
            "has 2.. tokens",
        ),
        ({"model": {"kind": "llama_simple_mlp", "context": 15, "width": 16}}, "text.window = 17"),
        ({"model": {"kind": "lama_simple", "context": 16}}, "llama_simple"),
        ({"training": {"steps": 0, "batch_size": 4, "lr": 1e-2}}, "training.steps = 0"),
        ({"training": {"steps": 9, "batch_size": 4, "lr": 1e-2, "betas": [0.9, 1]}}, "betas"),
    ],
)
def test_settings_that_make_no_sense_leave_no_target(
    run_tiny: Run, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        run_tiny(changes=changes)
    assert not (tmp_path / "out" / "targets").exists()


def test_a_text_that_is_not_there_or_too_short_is_refused(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path
) -> None:
    for content in (None, b"", b"\0\1\2", b"short"):
        path = tmp_path / "other.txt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=r"other\.txt"):
            run_tiny(changes={"text": {**tiny["text"], "corpus": {"kind": "files", "path": str(path)}}})
    assert not (tmp_path / "out" / "targets").exists()


def test_an_output_folder_that_is_a_file_is_refused(run_tiny: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="out"):
        run_tiny()


def test_a_loss_that_is_not_finite_names_the_step(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def poisoned(training: Any, step: int) -> Any:
        calls.append(step)
        if step == 37:
            monkeypatch.setattr(training, "loss", lambda m, w: next_token_loss(m, w) * float("nan"))
        return train(training, step)

    train = loop._train
    monkeypatch.setattr(loop, "_train", poisoned)
    with pytest.raises(SpdError, match=r"loss is not finite at step 37.*lr") as caught:
        run_tiny()
    assert caught.value.exit_code == 1 and calls[-1] == 37
    run = unfinished_training(parse_settings(PretrainSettings, tiny, "tiny"), tmp_path / "out")
    assert run.checkpoint_steps() == [20]
    weights = load_file(run.checkpoint(20) / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_a_full_disk_is_told_and_costs_nothing_that_was_saved(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import core.pretraining.checkpoint as checkpoints

    save, calls = torch.save, []

    def full(state: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, os.strerror(28))
        save(state, path)

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(SpdError, match=r"cannot write .*step_40.*No space left.*disk is full"):
        run_tiny()
    run = unfinished_training(parse_settings(PretrainSettings, tiny, "tiny"), tmp_path / "out")
    assert [path.name for path in run.checkpoints.iterdir()] == ["step_20"]
    assert run_tiny().summary["steps"] == 60
    assert not run.path.exists()


def test_a_training_is_worked_on_by_one_process(run_tiny: Run, witness: Any) -> None:
    seen: list[str] = []

    def second() -> None:
        with pytest.raises(SpdError, match="is being worked on by process") as caught:
            run_tiny()
        seen.append(str(caught.value))

    assert not run_tiny(witness(30, second)).cached
    assert len(seen) == 1


def test_stopped_before_anything_was_saved_leaves_nothing(
    run_tiny: Run, witness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.stopping.ECHO_SECONDS", -1.0)  # the second signal need not wait

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # twice: at once

    with pytest.raises(KeyboardInterrupt):
        run_tiny(witness(3, stop))
    assert targets(tmp_path / "out") == []
    with pytest.raises(Interrupted, match="stopped at step 3 of 60"):
        run_tiny(witness(3, lambda: os.kill(os.getpid(), signal.SIGINT)))


def test_the_learning_rate_rises_then_falls_to_its_last_fraction() -> None:
    settings = LanguageTrainingSettings(steps=101, batch_size=1, lr=2.0, warmup=10, final=0.1)
    rates = [settings.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == 2.0 and rates[10] == 2.0
    assert rates[100] == pytest.approx(0.2)
    assert rates[55] == pytest.approx(1.1)  # halfway between both
    assert sorted(rates[10:], reverse=True) == rates[10:]


def test_only_matrices_decay(run_tiny: Run) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    settings = LanguageTrainingSettings(steps=1, batch_size=1, lr=1.0, weight_decay=0.3)
    matrices, rest = loop.new_optimizer(model, settings).param_groups
    assert [p.dim() for p in matrices["params"]] == [2] and matrices["weight_decay"] == 0.3
    assert [p.dim() for p in rest["params"]] == [1, 1, 1] and rest["weight_decay"] == 0


def test_the_settings_file_says_what_was_trained(run_tiny: Run) -> None:
    result = run_tiny()
    header = yaml.safe_load((result.folder / "settings.yaml").read_text())
    settings = parse_settings(PretrainSettings, header["settings"], "settings.yaml")
    assert result.folder.name == target_name(settings) == result.summary["name"]
