"""Published decompositions at Weights & Biases: what names one, and what is said when it cannot be had."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.decomposition.imports import import_run
from core.decomposition.opening import open_run
from core.errors import UsageError
from core.runs.catalogue import list_runs
from core.runs.directory import RunDirectory
from core.runs.wandb_runs import run_path

PUBLISHED = Path(__file__).parents[2] / "golden" / "data" / "reference_run_tms_5-2"


def everything_under(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("wandb:team/project/s-01234567", "team/project/s-01234567"),
        ("wandb:team/project/runs/s-01234567", "team/project/s-01234567"),
        ("https://wandb.ai/team/project/runs/abc?nw=1", "team/project/abc"),
        ("wandb:https://wandb.ai/team/project/runs/abc/overview", "team/project/abc"),
        ("https://example.org/wandb/team/project/runs/abc/files", "team/project/abc"),
        ("wandb:s-01234567", "goodfire/spd/s-01234567"),
    ],
)
def test_forms_of_a_run_at_weights_and_biases(source: str, path: str) -> None:
    assert run_path(source) == path


def test_a_reference_that_names_no_run() -> None:
    with pytest.raises(UsageError, match="wandb:entity/project/run_id"):
        run_path("wandb:team/project")


class RemoteFile:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.path = path

    def download(self, root: str, replace: bool) -> None:
        shutil.copy(self.path, Path(root) / self.name)


def remote(monkeypatch: pytest.MonkeyPatch, files: Callable[[], list[RemoteFile]]) -> list[str]:
    asked: list[str] = []

    def run(path: str) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(files=files)

    api = SimpleNamespace(run=run)
    server = SimpleNamespace(base_url="https://api.example.org")
    wandb = SimpleNamespace(Api=lambda **_: api, Settings=lambda: server)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("WANDB_API_KEY", "not a real key")
    return asked


def test_fetching_from_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = remote(monkeypatch, lambda: [RemoteFile(path) for path in PUBLISHED.iterdir()])
    run = RunDirectory(import_run("wandb:team/project/runs/abc", tmp_path))
    assert asked == ["team/project/abc"]
    assert list_runs(tmp_path)[0].manifest.imported_from == "wandb:team/project/abc"
    open_run(run, tmp_path)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[RemoteFile]:
        raise ConnectionError("Name or service not known")

    remote(monkeypatch, fail)
    with pytest.raises(UsageError, match=r"Name or service not known.*network connection and a key"):
        import_run("wandb:team/project/abc", tmp_path)
    assert not everything_under(tmp_path)


def test_a_run_without_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(monkeypatch, lambda: [RemoteFile(PUBLISHED / "final_config.yaml")])
    with pytest.raises(UsageError, match=r"has no model_<step>\.pth"):
        import_run("wandb:team/project/abc", tmp_path)


def test_a_key_from_an_earlier_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(monkeypatch, lambda: [RemoteFile(path) for path in PUBLISHED.iterdir()])
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UsageError, match=r"no Weights & Biases key.*WANDB_API_KEY"):
        import_run("wandb:team/project/abc", tmp_path / "out")
    assert not everything_under(tmp_path / "out")
    (tmp_path / "netrc").write_text("machine api.example.org login user password not-a-real-key\n")
    assert import_run("wandb:team/project/abc", tmp_path / "out").is_dir()
