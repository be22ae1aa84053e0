from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.pretraining.pretrain import PretrainResult, pretrain
from core.pretraining.settings import PretrainSettings
from core.settings import parse_settings


class Witness:
    """An observer that remembers what it was told, and can act at a step."""

    def __init__(self, at: int | None = None, act: Callable[[], object] | None = None) -> None:
        self.messages: list[str] = []
        self.notes: dict[str, str] = {}
        self.at, self.act = at, act

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        self.notes[phase] = note
        if phase == "pretrain" and done == self.at and self.act is not None:
            self.act()


@pytest.fixture
def witness() -> type[Witness]:
    """The class, since test modules cannot import this file."""
    return Witness


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    """Settings of a training that takes about a second: 8 kB in which each word tells the next."""
    book = tmp_path / "book.txt"
    words = ("the", "cat", "saw", "a", "dog", "and", "every", "dog", "near", "that", "old", "house", "ran")
    book.write_text("".join(f"{words[i % 13]} " if i % 45 else "\n" for i in range(2000)))
    return {
        "recipe": "tiny",
        "model": {"kind": "llama_simple_mlp", "context": 16, "layers": 1, "heads": 2, "width": 32},
        "text": {
            "corpus": {"kind": "files", "path": str(book)},
            "tokenizer": {"kind": "trained", "vocabulary": 300},
            "window": 17,
            "eval_fraction": 0.2,
        },
        "training": {"steps": 60, "batch_size": 4, "lr": 1e-2, "warmup": 5},
        "validation": {"every": 25, "batches": 4},
        "samples": {"every": 30, "prompts": ["", "the cat"], "tokens": 8},
        "record": {"log_every": 5, "checkpoint_every": 20},
    }


@pytest.fixture
def run_tiny(tiny: dict[str, Any], tmp_path: Path) -> Callable[..., PretrainResult]:
    """Train the tiny model; `changes` replace parts of its settings, keywords go to `pretrain`."""

    def run(
        observer: Any = None, changes: dict[str, Any] | None = None, root: Path | None = None, **request: Any
    ) -> PretrainResult:
        settings = parse_settings(PretrainSettings, {**tiny, **(changes or {})}, "tiny")
        request = {"device": "cpu", "precision": "fp32", **request}
        return pretrain(settings, root or tmp_path / "out", observer, **request)

    return run
