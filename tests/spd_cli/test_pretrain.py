"""`spd pretrain`: what it hands to the core, and what it prints."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import core.pretraining.pretrain as pretraining
from core.errors import Interrupted, SpdError
from core.pretraining.pretrain import PretrainResult
from core.recipes.pretraining import build_pretrain_recipe, pretrain_recipes
from spd_cli import app
from spd_cli.commands import pretrain

SUMMARY = {
    "name": "llama_simple_mlp-0123456789ab",
    "recipe": "tiny_lm",
    "validation_loss": 4.25,
    "unigram_entropy": 6.5,
    "perplexity": 70.105,
    "parameters": 918144,
    "vocabulary": 4096,
    "context": 128,
    "steps": 4000,
    "tokens_seen": 4096000,
    "tokens_per_second": 17000.0,
    "seconds": 245.0,
    "precision": "bf16",
    "device": "cpu",
    "path": "/out/targets/llama_simple_mlp-0123456789ab",
}
WRITES = "Mr.\x1b[31m Speaker\n\u202eof"


@dataclass
class Core:
    """Stands in for the work: keeps what was asked for."""

    calls: list[tuple[Any, Path, dict[str, Any]]] = field(default_factory=list)
    error: BaseException | None = None
    cached: bool = False

    def pretrain(self, settings: Any, root: Path, observer: Any, **request: Any) -> PretrainResult:
        self.calls.append((settings, root, request))
        observer.message("working")
        observer.progress("pretrain", 1, 2, "loss 8.3")
        if self.error:
            raise self.error
        return PretrainResult(Path(SUMMARY["path"]), SUMMARY, self.cached)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    core = Core()
    monkeypatch.setattr(pretraining, "pretrain", core.pretrain)
    monkeypatch.setattr(pretrain, "_samples", lambda folder, count: [("The", WRITES)] * count)
    return core


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spd(tmp_path: Path, core: Core, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = app.run(["pretrain", *arguments, "--out", str(tmp_path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_list_shows_every_recipe(spd: Call) -> None:
    code, out, _ = spd("--list")
    assert code == 0 and all(recipe.name in out and recipe.summary in out for recipe in pretrain_recipes())
    listed = json.loads(spd("--list", "--json")[1])
    assert [recipe["name"] for recipe in listed] == [recipe.name for recipe in pretrain_recipes()]


def test_printed_settings_are_a_settings_file(spd: Call, tmp_path: Path, core: Core) -> None:
    code, out, err = spd("tiny_lm", "--print-settings", "--set", "training.steps=7", "--seed", "3")
    assert code == 0 and err == "" and core.calls == []
    assert (yaml.safe_load(out)["training"]["steps"], yaml.safe_load(out)["seed"]) == (7, 3)
    file = tmp_path / "mine.yaml"
    file.write_text(out)
    assert spd(str(file))[0] == 0
    settings = core.calls[0][0]
    recipe = build_pretrain_recipe("tiny_lm")
    training = recipe.training.model_copy(update={"steps": 7})
    assert settings == recipe.model_copy(update={"seed": 3, "training": training})


def test_everything_reaches_the_core(spd: Call, tmp_path: Path, core: Core) -> None:
    code, _, _ = spd("tiny_lm", "--device", "cpu", "--precision", "fp32", "--restart")
    ((_, root, request),) = core.calls
    assert code == 0 and root == tmp_path
    assert (request["device"], request["precision"], request["restart"]) == ("cpu", "fp32", True)
    assert request["ranks"].size == 1


def test_summary_for_people(spd: Call, tmp_path: Path) -> None:
    code, out, err = spd("tiny_lm")
    assert code == 0 and "working" in err
    for words in ("4.2500", "2.250 below", "6.5000", "70.1", "918 144", "17 000 tokens/s", "4 min 05 s"):
        assert words in out, words
    assert SUMMARY["path"] in out and "[The]Mr.<U+001B>[31m Speaker↵<U+202E>of" in out
    assert not {"\x1b", "\u202e"} & set(out)
    assert "already" not in out


def test_a_finished_one_is_shown_as_such(spd: Call, core: Core) -> None:
    core.cached = True
    assert "already" in spd("tiny_lm")[1]
    assert json.loads(spd("tiny_lm", "--json")[1])["cached"] is True


def test_json_stdout_is_the_result_and_nothing_else(spd: Call) -> None:
    code, out, _ = spd("tiny_lm", "--json", "--samples", "2")
    samples = [{"prompt": "The", "text": WRITES}] * 2
    assert code == 0 and json.loads(out) == {**SUMMARY, "cached": False, "samples": samples}
    assert not {"\x1b"} & set(out)
    assert spd("tiny_lm", "--json", "--quiet")[2] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to train was named"),
        (["tinylm"], "Did you mean tiny_lm"),
        (["tiny_lm", "--set", "training.step=1"], "steps"),
        (["tiny_lm", "--set", "training.steps=0"], "training.steps = 0"),
        (["tiny_lm", "--set", "text.window=130"], "text.window = 130"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["tiny_lm", "--samples", "-1"], "--samples"),
    ],
)
def test_what_cannot_be_done_is_refused(spd: Call, core: Core, arguments: list[str], words: str) -> None:
    code, out, err = spd(*arguments)
    assert code == 2 and out == "" and words in err and core.calls == []


def test_stopped_by_the_user(spd: Call, core: Core, tmp_path: Path) -> None:
    core.error = Interrupted("stopped at step 5 of 9; everything up to there is saved.")
    code, out, err = spd("tiny_lm", "--seed", "2", "--set", "training.steps=9", "--precision", "fp32")
    assert code == 130 and out == ""
    again = f"spd pretrain tiny_lm --set training.steps=9 --seed 2 --precision fp32 --out {tmp_path}"
    assert f"Go on with: {again}" in err
    core.error = KeyboardInterrupt()
    assert spd("tiny_lm")[0] == 130


def test_a_failure_is_told(spd: Call, core: Core) -> None:
    core.error = SpdError("the loss is not finite at step 3.")
    code, _, err = spd("tiny_lm")
    assert code == 1 and "error: the loss is not finite" in err
