"""`spd runs`: what scripts and people get from it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from core.runs.catalogue import resolve_run
from core.runs.directory import RunDirectory
from core.runs.files import write_json
from core.runs.manifest import new_manifest
from core.runs.overview import plain, run_details, run_overviews
from spd_cli import app, report


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, status in enumerate(["finished", "interrupted", "running"]):
        run = RunDirectory.create(tmp_path, f"s-0000000{number}")
        manifest = new_manifest(
            run_id=run.run_id, settings_digest="d", recipe="tms_5-2", seed=number, steps=100, status=status
        )
        created = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        # A process that cannot be, so that the running one reads as killed.
        manifest.update(created=created, pid=2**22 + 1, step=50).write(run.manifest)
    run = RunDirectory(tmp_path / "runs" / "s-00000000")
    write_json(run.summary, {"run_id": run.run_id, "recovered": True, "mmcs": {"linear1": 0.9999}})
    run.checkpoint(100).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def spd(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = app.run(["runs", *arguments, "--out", str(root)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


Call = Callable[..., tuple[int, str, str]]


def test_list(spd: Call) -> None:
    code, out, err = spd("list")
    rows = [line.split() for line in out.splitlines() if "s-" in line]
    assert code == 0 and err == ""
    assert [(row[0], row[3]) for row in rows] == [
        ("s-00000002", "interrupted"),
        ("s-00000001", "interrupted"),
        ("s-00000000", "finished"),
    ]


def test_list_json(spd: Call) -> None:
    _, out, err = spd("list", "--json")
    data = json.loads(out)
    assert [run["run_id"] for run in data] == ["s-00000002", "s-00000001", "s-00000000"]
    assert data[0]["status"] == "interrupted" and str(2**22 + 1) in data[0]["status_reason"]
    assert err == ""


def test_json_is_what_the_browser_reads(spd: Call, root: Path) -> None:
    assert json.loads(spd("list", "--json")[1]) == [plain(run) for run in run_overviews(root)]
    details = run_details(resolve_run(root, "s-00000000"))
    code, out, err = spd("show", "s-00000000", "--json")
    assert code == 0 and json.loads(out) == json.loads(json.dumps(plain(details)))
    assert "settings.yaml" in err  # there is none here, which is told beside the result


def test_list_says_what_there_is(spd: Call, root: Path) -> None:
    run = RunDirectory(root / "runs" / "s-00000000")
    run.harvest("h-20300101-000000").mkdir(parents=True)
    write_json(run.harvest("h-20300101-000000") / "manifest.json", {})
    run.metrics.write_text('{"step": 50, "kind": "train", "loss/total": 0.0123, "l0/a": 2.5}\n')
    line = next(line for line in spd("list")[1].splitlines() if "s-00000000" in line)
    assert {"0.0123", "2.50"} <= set(line.split())
    assert "checkpoint, harvest" in line


def test_a_narrow_terminal_gets_fewer_columns_and_whole_ids(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width in (30, 60, 80, 140):
        monkeypatch.setattr(report, "_stdout_console", lambda width=width: Console(width=width))
        assert app.run(["runs", "list", "--out", str(root)]) == 0
        out = capsys.readouterr().out
        assert all(f"s-0000000{number}" in out for number in range(3))
        assert ("started" in out) == (width == 140)


def test_list_tells_of_damage_beside_the_result(spd: Call, root: Path) -> None:
    (root / "runs" / "s-00000001" / "manifest.json").write_text("{")
    code, out, err = spd("list", "--json")
    assert code == 0 and len(json.loads(out)) == 2
    assert "s-00000001 cannot be read" in err


def test_empty_list_is_an_empty_json_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["runs", "list", "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert app.run(["runs", "list", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == "" and "no runs" in told.err


@pytest.mark.parametrize("reference", ["s-00000000", "s-00000000/", "path"])
def test_show(spd: Call, root: Path, reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "runs")
    reference = str(root / "runs" / "s-00000000") if reference == "path" else reference
    code, out, _ = spd("show", reference, "--json")
    data = json.loads(out)
    assert code == 0
    assert (data["run_id"], data["seed"], data["checkpoints"]) == ("s-00000000", 0, [100])
    assert data["summary"]["mmcs"] == {"linear1": 0.9999}
    code, out, _ = spd("show", reference)
    assert code == 0 and "recovered" in out and "linear1 0.9999" in out


def test_show_of_an_unfinished_run_says_how_to_go_on(spd: Call) -> None:
    out = spd("show", "s-00000001")[1]
    assert "spd decompose s-00000001 --resume" in out and "50 of 100" in out
    assert "--resume" not in spd("show", "s-00000000")[1]


def test_show_latest_and_recipe(spd: Call) -> None:
    assert json.loads(spd("show", "latest", "--json")[1])["run_id"] == "s-00000002"
    assert json.loads(spd("show", "tms_5-2", "--json")[1])["summary"] is None


def test_delete(spd: Call, root: Path) -> None:
    code, out, _ = spd("delete", "s-00000001", "--json")
    assert code == 0 and json.loads(out)["deleted"] == "s-00000001"
    assert not (root / "runs" / "s-00000001").exists()
    code, out, err = spd("delete", "s-00000001")
    assert code == 2 and out == "" and "s-00000001" in err


@pytest.mark.parametrize(
    ("command", "source"), [("pull", "wandb:a/b/c"), ("import", "wandb:a/b/c"), ("import", "folder")]
)
def test_import(spd: Call, root: Path, monkeypatch: pytest.MonkeyPatch, command: str, source: str) -> None:
    asked: list[Any] = []
    source = str(root) if source == "folder" else source
    imports = ModuleType("core.decomposition.imports")

    def import_run(source: str, place: Path) -> Path:
        asked.append((source, place))
        return place / "runs" / "s-12345678"

    monkeypatch.setattr(imports, "import_run", import_run, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "core.decomposition.imports", imports)
    code, out, _ = spd(command, source, "--json")
    assert code == 0 and json.loads(out)["run_id"] == "s-12345678"
    assert asked == [(source, root)]


@pytest.mark.parametrize("source", ["a/b/c", "wandb:a/b", "wandb:a//c", "wandb:"])
def test_pull_wants_a_whole_address(spd: Call, source: str) -> None:
    code, out, err = spd("pull", source)
    assert code == 2 and out == "" and "wandb:entity/project/run_id" in err
