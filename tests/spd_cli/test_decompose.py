"""`spd decompose`: what it hands to the core, and what it prints."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.decomposition import start
from core.decomposition.start import RunRequest
from core.errors import Interrupted
from core.recipes.registry import build_recipe, recipe_names
from core.runs.directory import RunDirectory
from core.runs.files import write_text
from core.runs.manifest import Manifest, new_manifest
from core.runs.observer import Observer
from core.settings import to_yaml
from spd_cli import app

SUMMARY = {
    "run_id": "s-12345678",
    "path": "/out/runs/s-12345678",
    "recipe": "tms_5-2",
    "seed": 0,
    "steps": 10_000,
    "seconds": 61.2,
    "recovered": True,
    "verdict": {"headline": "5 of 5 features, one component each", "linear1": "all found"},
    "live_components": {"linear1": 5, "linear2": 5},
    "identity_ci_error": {"linear1": 0},
    "mmcs": {"linear1": 0.99991},
    "ml2r": {},
    "losses": {"faithfulness": float("nan")},
}


@dataclass
class Core:
    """Stands in for the work: keeps what was asked for."""

    requests: list[RunRequest] = field(default_factory=list)
    error: BaseException | None = None

    def start_run(self, request: RunRequest, observer: Observer) -> Any:
        self.requests.append(request)
        observer.message("working")
        observer.progress("decompose", 1, 2)
        if self.error:
            raise self.error
        return type("Result", (), {"summary": SUMMARY})


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    core = Core()
    monkeypatch.setattr(start, "start_run", core.start_run)
    return core


@pytest.fixture
def spd(
    tmp_path: Path, core: Core, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = app.run(["decompose", *arguments, "--out", str(tmp_path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


Call = Callable[..., tuple[int, str, str]]


def make_run(root: Path, run_id: str, status: str, seed: int = 0) -> RunDirectory:
    settings = build_recipe("tms_5-2").model_copy(update={"seed": seed})
    run = RunDirectory.create(root, run_id)
    write_text(run.settings, to_yaml(settings))
    manifest = new_manifest(
        run_id=run_id, settings_digest=settings.digest(), recipe="tms_5-2", seed=seed, status=status
    )
    manifest.write(run.manifest)
    return run


def test_list_shows_every_recipe(spd: Call) -> None:
    code, out, _ = spd("--list")
    assert code == 0 and all(recipe.name in out and recipe.summary in out for recipe in recipe_names())
    listed = json.loads(spd("--list", "--json")[1])
    assert [recipe["name"] for recipe in listed] == [recipe.name for recipe in recipe_names()]
    assert all(recipe["minutes"] is None or recipe["minutes"] > 0 for recipe in listed)
    assert all(out.count(f"{recipe.family}\n") == 1 for recipe in recipe_names())


def test_printed_settings_are_a_settings_file(spd: Call, tmp_path: Path, core: Core) -> None:
    code, out, err = spd("tms_5-2", "--print-settings", "--set", "training.steps=7", "--seed", "3")
    assert code == 0 and err == "" and core.requests == []
    assert yaml.safe_load(out)["training"]["steps"] == 7
    file = tmp_path / "mine.yaml"
    file.write_text(out)
    assert spd(str(file))[0] == 0
    assert core.requests[0].settings == build_recipe("tms_5-2").model_copy(
        update={"seed": 3, "training": build_recipe("tms_5-2").training.model_copy(update={"steps": 7})}
    )


def test_everything_reaches_the_core(spd: Call, tmp_path: Path, core: Core) -> None:
    code, _, _ = spd(
        *("tms_5-2", "--seed", "4", "--set", "training.batch_size=64", "--set", "training.steps=1e2"),
        *("--device", "cpu", "--precision", "fp32", "--warm-start", "latest", "--wandb", "toys"),
    )
    (request,) = core.requests
    assert code == 0
    assert (request.settings.seed, request.settings.training.batch_size) == (4, 64)
    assert request.settings.training.steps == 100
    assert (request.device, request.precision, request.root) == ("cpu", "fp32", tmp_path)
    assert (request.warm_start, request.wandb_project) == ("latest", "toys")
    assert not request.resume and request.resume_run is None
    assert request.command[0] == "spd"


def test_json_stdout_is_the_summary_and_nothing_else(spd: Call) -> None:
    code, out, err = spd("tms_5-2", "--json")
    assert code == 0
    assert json.loads(out) == {**SUMMARY, "losses": {"faithfulness": None}}
    assert "working" in err
    assert spd("tms_5-2", "--json", "--quiet")[2] == ""


def test_summary_for_people(spd: Call) -> None:
    code, out, _ = spd("tms_5-2")
    assert code == 0
    for words in ("5 of 5 features", "linear1", "0.9999", "all found", "s-12345678", "1 min 01 s"):
        assert words in out
    assert "ML2R" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tms_52"], "Did you mean tms_5-2"),
        (["tms_5-2", "--set", "losses.minimality.coef=1"], "Did you mean coeff?"),
        (["tms_5-2", "--set", "training.steps=0"], "training.steps = 0"),
        (["tms_5-2", "--set", "training.steps"], "key.path=value"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["s-ffffffff"], "no runs"),
        (["latest"], "no runs"),
        (["wandb:a/b/c"], "spd runs pull"),
    ],
)
def test_bad_requests(spd: Call, core: Core, tmp_path: Path, arguments: list[str], words: str) -> None:
    code, out, err = spd(*arguments)
    assert code == 2 and words in err and out == "" and core.requests == []
    assert list(tmp_path.iterdir()) == []


def test_all_problems_of_a_file_are_named(spd: Call, tmp_path: Path) -> None:
    data = yaml.safe_load(to_yaml(build_recipe("tms_5-2")))
    data["training"]["stepz"] = data["training"].pop("steps")
    data["sead"] = data.pop("seed")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    code, _, err = spd(str(file))
    assert code == 2
    assert "'training.stepz'. Did you mean steps?" in err and "'sead'. Did you mean seed?" in err
    assert "'training.steps' is missing" in err


def test_resume_by_settings(spd: Call, core: Core) -> None:
    spd("tms_5-2", "--resume")
    assert core.requests[0].resume and core.requests[0].resume_run is None


def test_resume_of_a_named_run(spd: Call, core: Core, tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-00000001", "interrupted", seed=5)
    assert spd("s-00000001", "--resume")[0] == 0
    (request,) = core.requests
    assert request.resume_run == str(run.path) and not request.resume
    assert request.settings.seed == 5
    code, _, err = spd("s-00000001", "--resume", "--seed", "6")
    assert code == 2 and "its own settings" in err


def test_an_earlier_run_is_a_recipe_too(spd: Call, core: Core, tmp_path: Path) -> None:
    make_run(tmp_path, "s-00000001", "finished", seed=5)
    assert spd("s-0000", "--set", "training.steps=3")[0] == 0
    (request,) = core.requests
    assert request.resume_run is None and not request.resume
    assert (request.settings.seed, request.settings.training.steps) == (5, 3)


def test_after_ctrl_c_the_message_is_the_command_that_resumes(spd: Call, core: Core, tmp_path: Path) -> None:
    run = make_run(tmp_path, "s-00000001", "interrupted")
    core.error = Interrupted("stopped at step 5 of 10.")
    code, out, err = spd("tms_5-2", "--device", "cpu", "--wandb", "my toys")
    assert code == 130 and out == ""
    command = shlex.split(err.strip().splitlines()[-1].split("Go on with: ")[1])
    expected = ["spd", "decompose", "s-00000001", "--resume"]
    assert command == [*expected, "--device", "cpu", "--out", str(tmp_path), "--wandb", "my toys"]
    core.error = None
    assert app.run(command[1:]) == 0
    assert core.requests[-1].resume_run == str(run.path)
    assert core.requests[-1].wandb_project == "my toys"


def test_a_second_ctrl_c_names_the_resume_command_too(spd: Call, core: Core, tmp_path: Path) -> None:
    core.error = KeyboardInterrupt()
    code, _, err = spd("tms_5-2")
    assert code == 130 and "before the run began" in err and "--resume" not in err
    make_run(tmp_path, "s-00000001", "interrupted")
    code, _, err = spd("tms_5-2")
    assert code == 130 and "spd decompose s-00000001 --resume" in err and "error" not in err


def test_the_resume_command_names_our_own_run_not_a_newer_one(spd: Call, core: Core, tmp_path: Path) -> None:
    make_run(tmp_path, "s-00000001", "interrupted")
    newer = make_run(tmp_path, "s-00000002", "interrupted")
    Manifest.read(newer.manifest).update(pid=2**22 + 1).write(newer.manifest)
    core.error = Interrupted("stopped at step 5 of 10.")
    assert "spd decompose s-00000001 --resume" in spd("tms_5-2")[2]


def test_resume_and_warm_start_exclude_each_other(spd: Call, core: Core) -> None:
    code, _, err = spd("tms_5-2", "--resume", "--warm-start", "latest")
    assert code == 2 and "Give one of them" in err and core.requests == []
