"""Runs to harvest, made in a second: components and importances are written by hand, nothing is trained."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from core.components.component_model import ComponentModel
from core.decomposition.checkpoint import save_checkpoint
from core.decomposition.opening import build_model
from core.decomposition.settings import settings_from
from core.harvest.artifact import TABLES
from core.harvest.preparing import HarvestRequest
from core.harvest.run import HarvestResult, harvest_run
from core.harvest.settings import HarvestSettings
from core.runs.catalogue import list_runs
from core.runs.directory import RunDirectory
from core.runs.manifest import new_manifest
from core.settings import to_yaml
from core.targets.load import load_target

WORDS = ("law", "of", "a", "free", "people", "shall", "be", "made", "by", "hand", "kept", "in", "peace")
LOSSES = {
    "minimality": {"kind": "minimality", "coeff": 1e-3, "p": 1},
    "stochastic": {"kind": "reconstruction", "coeff": 1},
}
TRAINING = {"steps": 10, "batch_size": 4, "lr": {"start": 1e-3}}


class Hearer:
    """An observer that remembers, and can act when enough positions are counted."""

    def __init__(self, at: int | None = None, act: Callable[[], None] | None = None) -> None:
        self.messages: list[str] = []
        self.counted: list[int] = []
        self.notes: list[str] = []
        self.at, self.act = at, act

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        if phase != "harvest":
            return
        self.counted.append(done)
        self.notes.append(note)
        if self.at is not None and done >= self.at and self.act is not None:
            act, self.act = self.act, None
            act()


@pytest.fixture
def hearer() -> type[Hearer]:
    """The class, since test modules cannot import this file."""
    return Hearer


def make_run(root: Path, data: dict[str, Any], write: Callable[[ComponentModel], None]) -> None:
    """A run at step 10 whose learnt tensors are what `write` makes of fresh ones."""
    settings = settings_from(data, "a test")
    assert settings.target is not None
    target = load_target(settings.target, settings.seed, root, device="cpu", precision="fp32")
    model = build_model(settings, target, torch.device("cpu"))
    with torch.no_grad():
        write(model)
    run = RunDirectory.create(root)
    run.settings.write_text(to_yaml(settings))
    new_manifest(run_id=run.run_id, settings_digest=settings.digest(), status="finished").write(run.manifest)
    save_checkpoint(run, 10, model, None, 2)


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Superposition of 5 features; component c < 5 of linear1 reads feature c and fires when it is active."""
    root = tmp_path_factory.mktemp("toy")

    def write(model: ComponentModel) -> None:
        site = model.sites["linear1"]
        site.V.zero_()
        site.V[:, :5].copy_(torch.eye(5))
        site.U.zero_()
        site.U[:5].copy_(site.target_weight().T)
        for name in model.sites:
            network: Any = model.network(name)
            for parameter in network.parameters():
                parameter.zero_()
            network.weights[0][..., 0] = 1e4
            network.weights[1][:, 0] = 1.0
            network.biases[1][...] = -1e-6  # nothing fires where nothing is active

    data = {
        "target": {
            "kind": "toy_superposition",
            "n_features": 5,
            "n_hidden": 5,
            "data": {"probability": 0.1},
            "training": {"steps": 600, "batch_size": 256, "lr": 1e-2},
        },
        "components": {"modules": [{"pattern": "linear*", "C": 7}]},
        "importance": {"kind": "mlp", "hidden": [4]},
        "losses": LOSSES,
        "training": TRAINING,
    }
    make_run(root, data, write)
    return root


@pytest.fixture(scope="session")
def text_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of 5 kB of text, pretrained for a moment, with random components that fire often."""
    root = tmp_path_factory.mktemp("text")
    prose, draw = root / "prose.txt", random.Random(0)
    prose.write_text(". ".join(" ".join(draw.choices(WORDS, k=12)) for _ in range(90)))
    corpus = {"kind": "files", "path": str(prose)}
    pretraining = {
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
    }

    def write(model: ComponentModel) -> None:
        draws = torch.Generator().manual_seed(1)
        for parameter in model.importance_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))

    data = {
        "target": {
            "kind": "language_model",
            "model": {"kind": "pretrain", "settings": pretraining},
            "text": {"corpus": corpus, "window": 12, "eval_fraction": 0.2},
        },
        "components": {"modules": [{"pattern": "h.*.mlp.c_fc", "C": 9}, {"pattern": "h.*.o_proj", "C": 5}]},
        "importance": {"kind": "shared_mlp", "hidden": [8]},
        "losses": LOSSES,
        "training": TRAINING,
    }
    make_run(root, data, write)
    return root


def copied(root: Path, to: Path) -> RunDirectory:
    shutil.copytree(root, to, dirs_exist_ok=True)
    return list_runs(to)[0].directory


@pytest.fixture
def toy_run(toy_root: Path, tmp_path: Path) -> RunDirectory:
    """A run of the toy, under `tmp_path`."""
    return copied(toy_root, tmp_path)


@pytest.fixture
def text_run(text_root: Path, tmp_path: Path) -> RunDirectory:
    """A run of the language model, under `tmp_path`."""
    return copied(text_root, tmp_path)


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., HarvestRequest]:
    """A request for a run under `tmp_path`; settings of the harvest and of the request by keyword."""

    def make(run: RunDirectory, **changes: Any) -> HarvestRequest:
        counted = {name: changes.pop(name) for name in list(changes) if name in HarvestSettings.model_fields}
        settings = HarvestSettings(
            **{"context": 3, "uniform_examples": 4, "strongest_examples": 2, **counted}
        )
        return HarvestRequest(run, tmp_path, settings, **{"device": "cpu", **changes})

    return make


@pytest.fixture
def harvest_of(request_of: Callable[..., HarvestRequest]) -> Callable[..., HarvestResult]:
    """Harvest a run; `observer` goes to the harvest, the rest to the request."""

    def call(run: RunDirectory, observer: Any = None, **changes: Any) -> HarvestResult:
        return harvest_run(request_of(run, **changes), observer or Hearer())

    return call


@pytest.fixture
def same_tables() -> Callable[[Path, Path], None]:
    """Assert that two harvests hold the same rows, bit for bit."""

    def check(one: Path, other: Path) -> None:
        for name in TABLES:
            frames = [pl.read_parquet(folder / f"{name}.parquet") for folder in (one, other)]
            keys = [key for key, kind in frames[0].schema.items() if not kind.is_nested()]
            first, second = (frame.sort(keys) for frame in frames)
            assert first.equals(second, null_equal=True), f"{name} differs"
            assert len(first) > 0, f"{name} is empty"

    return check
