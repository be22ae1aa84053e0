import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from core.errors import UsageError
from core.targets.language_model import LanguageModelSettings
from core.targets.load import load_target
from core.targets.target import Target, TargetProgress
from core.targets.union import TargetSettings

WORDS = ("law", "of", "a", "free", "people", "shall", "be", "made", "by", "hand", "kept", "in", "peace")


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """About 5 kB in a file of its own."""
    file = tmp_path / "prose.txt"
    draw = random.Random(0)
    file.write_text(". ".join(" ".join(draw.choices(WORDS, k=12)) for _ in range(90)))
    return file


@pytest.fixture
def pretrained(prose: Path) -> dict[str, Any]:
    """Settings of a target whose model is pretrained in a second."""
    corpus = {"kind": "files", "path": str(prose)}
    return {
        "kind": "language_model",
        "model": {
            "kind": "pretrain",
            "settings": {
                "model": {"kind": "llama_simple_mlp", "vocabulary": 300, "context": 16, "width": 16},
                "text": {
                    "corpus": corpus,
                    "tokenizer": {"kind": "trained", "vocabulary": 300},
                    "window": 17,
                    "eval_fraction": 0.2,
                },
                "training": {"steps": 4, "batch_size": 4, "lr": 1e-2},
                "validation": {"batches": 1},
                "samples": {"tokens": 2},
            },
        },
        "text": {"corpus": corpus, "window": 12, "eval_fraction": 0.2},
    }


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A folder with a tiny GPT-2 of transformers, which has no tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2"
    config = GPT2Config(vocab_size=300, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def settings_of(data: dict[str, Any]) -> LanguageModelSettings:
    settings = TypeAdapter[TargetSettings](TargetSettings).validate_python(data)
    assert isinstance(settings, LanguageModelSettings)
    return settings


Load = Callable[..., Target]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def call(data: dict[str, Any], *rest: Any) -> Target:
        return load_target(settings_of(data), 0, tmp_path / "out", *rest, device="cpu", precision="fp32")

    return call


def test_a_model_is_pretrained_once_and_then_read(load: Load, pretrained: dict[str, Any]) -> None:
    heard: list[TargetProgress] = []
    first = load(pretrained, heard.append)
    assert next(p.note for p in heard if p.phase == "accepted").startswith("validation loss ")
    assert {p.title for p in heard if p.phase == "training"} >= {"pretrain"}
    heard.clear()
    second = load(pretrained, heard.append)
    assert [p.phase for p in heard] == ["cached"]
    assert first.digest == second.digest and first.folder == second.folder
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


def test_a_target_is_frozen_and_reads_windows(load: Load, pretrained: dict[str, Any]) -> None:
    target = load(pretrained)
    assert target.name == "language_model" and target.distance == "kl"
    assert target.probes is None and target.ties == ()
    assert not target.model.training
    assert all(not p.requires_grad and p.dtype == torch.float32 for p in target.model.parameters())
    ids = target.batch("train", 3, 4)
    assert ids.shape == (4, 12) and ids.dtype == torch.int64
    assert torch.equal(ids, target.batch("train", 3, 4))
    assert not torch.equal(ids, target.batch("train", 4, 4))
    assert target.model(ids).shape == (4, 12, 300)
    assert target.batch("eval", 0, 2).shape == (2, 12)


def test_the_same_model_as_a_folder(load: Load, pretrained: dict[str, Any]) -> None:
    here = load(pretrained)
    assert here.folder is not None
    source = {"kind": "pretrained", "path": str(here.folder)}
    there = load({**pretrained, "model": source})
    ids = here.batch("train", 0, 4)
    assert torch.equal(ids, there.batch("train", 0, 4)), "its own tokenizer came with it"
    assert torch.equal(here.model(ids), there.model(ids))


def test_a_changed_text_is_another_target(load: Load, pretrained: dict[str, Any], prose: Path) -> None:
    first = load(pretrained)
    prose.write_text(prose.read_text().replace("law", "word"))
    second = load(pretrained)
    assert first.folder != second.folder
    parts = [target.digest.rpartition("-")[0] for target in (first, second)]
    assert parts[0] != parts[1], "the model's part of the digest"
    assert all(str(t.folder).endswith(part) for t, part in zip((first, second), parts, strict=True))


@pytest.mark.parametrize("kind", ["pretrain", "pretrained"])
def test_a_text_other_than_that_of_the_training_is_told(
    kind: str, load: Load, pretrained: dict[str, Any], prose: Path, tmp_path: Path
) -> None:
    target = load(pretrained)
    assert target.folder is not None
    if kind == "pretrained":
        pretrained["model"] = {"kind": kind, "path": str(target.folder)}
    heard: list[TargetProgress] = []

    def told() -> list[str]:
        return [p.note for p in heard if p.phase == "pretraining"]

    load(pretrained, heard.append)
    assert told() == []
    other = tmp_path / "other.txt"
    other.write_text(prose.read_text())
    corpus = {"kind": "files", "path": [str(other)], "column": "story"}
    load({**pretrained, "text": {**pretrained["text"], "corpus": corpus}}, heard.append)
    known, now = str(prose), f"{other} (column=story)"
    assert told() == [f"the model was trained on {known}, and is decomposed on {now}"]


def test_what_does_not_suit_the_modules_is_refused_before_anything(
    load: Load, pretrained: dict[str, Any], tmp_path: Path
) -> None:
    seen: list[list[str]] = []

    def check(model: nn.Module) -> None:
        seen.append([name for name, _ in model.named_modules()])
        raise UsageError("no such module")

    with pytest.raises(UsageError, match="no such module"):
        load(pretrained, None, check)
    assert "h.1.mlp.down_proj" in seen[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["pretrain", "transformers"])
def test_a_window_longer_than_the_context(
    kind: str, load: Load, pretrained: dict[str, Any], gpt2: Path, tmp_path: Path
) -> None:
    if kind == "transformers":
        pretrained["model"] = {"kind": kind, "path": str(gpt2)}
    pretrained["text"]["window"] = 33
    with pytest.raises(UsageError, match=r"text\.window = 33 does not fit the model, whose context is \d\d"):
        load(pretrained)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_tokenizer(load: Load, pretrained: dict[str, Any], gpt2: Path) -> None:
    found = load(pretrained)
    assert found.folder is not None
    other = {**pretrained, "model": {"kind": "transformers", "path": str(gpt2)}}
    with pytest.raises(UsageError, match=r"without a tokenizer.*target\.text\.tokenizer"):
        load(other)
    tokenizer = str(found.folder / "tokenizer.json")
    for named in ({"kind": "own", "otherwise": tokenizer}, {"kind": "file", "path": tokenizer}):
        other["text"] = {**pretrained["text"], "tokenizer": named}
        target = load(other)
        assert target.model(target.batch("train", 0, 2)).shape == (2, 12, 300)


def test_a_tokenizer_that_is_larger_than_the_embedding(
    load: Load, pretrained: dict[str, Any], gpt2: Path, tmp_path: Path
) -> None:
    from core.text.tokenizer import train_bpe

    train_bpe([" ".join(map(str, range(2000)))], 320).save(tmp_path / "large.json")
    pretrained["model"] = {"kind": "transformers", "path": str(gpt2)}
    pretrained["text"]["tokenizer"] = {"kind": "file", "path": str(tmp_path / "large.json")}
    with pytest.raises(UsageError, match=r"tokenizer has 3\d\d ids, .*the model's embedding only 300"):
        load(pretrained)
    assert not (tmp_path / "out").exists(), "nothing was tokenised"


def test_ids_that_the_model_does_not_know(
    load: Load, pretrained: dict[str, Any], gpt2: Path, tmp_path: Path
) -> None:
    rows = "\n".join(f'{{"ids": {[7] * 40}}}' for _ in range(20)) + f'\n{{"ids": {[300] * 40}}}'
    (tmp_path / "rows.jsonl").write_text(rows)
    found = load(pretrained)
    assert found.folder is not None
    pretrained["text"] = {
        "corpus": {
            "kind": "dataset",
            "path": str(tmp_path / "rows.jsonl"),
            "column": "ids",
            "tokenized": True,
        },
        "tokenizer": {"kind": "file", "path": str(found.folder / "tokenizer.json")},
        "window": 8,
        "shuffle": False,
    }
    pretrained["model"] = {"kind": "transformers", "path": str(gpt2)}
    with pytest.raises(UsageError, match="300"):
        target = load(pretrained)
        for index in range(60):
            target.batch("train", index, 2)
            target.batch("eval", index, 2)
