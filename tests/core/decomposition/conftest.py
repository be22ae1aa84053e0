from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.decomposition.settings import DecompositionSettings, settings_from
from core.decomposition.start import RunRequest, RunResult, start_run


class Witness:
    """An observer that remembers what it was told, and can act at a step."""

    def __init__(self, at: int | None = None, act: Callable[[], None] | None = None) -> None:
        self.messages: list[str] = []
        self.phases: set[str] = set()
        self.at, self.act = at, act

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        self.phases.add(phase)
        if phase == "decompose" and done == self.at and self.act is not None:
            self.act()


@pytest.fixture
def witness() -> type[Witness]:
    """The class, since test modules cannot import this file."""
    return Witness


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Settings of a decomposition that takes about a second: 3 features, 3 dimensions."""
    return {
        "recipe": "tiny",
        "target": {
            "kind": "toy_superposition",
            "n_features": 3,
            "n_hidden": 3,
            "data": {"probability": 0.2},
            "training": {"steps": 500, "batch_size": 256, "lr": 1e-2},
        },
        "components": {"modules": [{"pattern": "linear*", "C": 6}]},
        "losses": {
            "minimality": {"kind": "minimality", "coeff": 1e-3, "p": 1},
            "stochastic": {"kind": "reconstruction", "coeff": 1},
            "adversarial": {
                "kind": "reconstruction",
                "coeff": 0.1,
                "masks": {"kind": "adversarial"},
                "routing": {"kind": "subset"},
            },
        },
        "training": {"steps": 60, "batch_size": 128, "lr": {"start": 1e-3, "kind": "cosine", "final": 0}},
        "evaluation": {
            "every": 20,
            "figures_every": 60,
            "batches": 2,
            "solution": {"identity": [{"pattern": "linear*", "n_features": 3}]},
            "feature_weights": {"linear1": "inputs"},
        },
        "record": {"log_every": 5, "checkpoint_every": 20},
    }


@pytest.fixture
def run_tiny(tiny: dict[str, Any], tmp_path: Path) -> Callable[..., RunResult]:
    """Run the tiny decomposition; keyword arguments go to the request, `observer` to the run."""

    def run(observer: Any = None, changes: dict[str, Any] | None = None, **request: Any) -> RunResult:
        settings: DecompositionSettings = settings_from({**tiny, **(changes or {})}, "tiny")
        request = {"root": tmp_path, "device": "cpu", "precision": "fp32", **request}
        return start_run(RunRequest(settings, **request), observer or Witness())

    return run
