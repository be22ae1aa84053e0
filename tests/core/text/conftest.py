"""Small corpora, and a place for what `datasets` keeps."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from core.text.settings import FilesCorpus, TextSettings, TrainedTokenizer

WORDS = ("the", "cat", "sat", "on", "mat", "and", "saw", "nine", "red", "boats", "near", "old", "grey", "sea")


def sentence(number: int, words: int = 12) -> str:
    draw = random.Random(number)
    return f"{number}: " + " ".join(draw.choice(WORDS) for _ in range(words)) + ".\n"


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """A folder of 40 short text files."""
    folder = tmp_path / "prose"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text("".join(sentence(100 * number + i) for i in range(4)))
    return folder


@pytest.fixture
def settings(prose: Path) -> TextSettings:
    """Windows of 16 tokens over that folder."""
    return TextSettings(
        corpus=FilesCorpus(path=str(prose)),
        tokenizer=TrainedTokenizer(vocabulary=300),
        window=16,
        eval_fraction=0.2,
    )


@pytest.fixture
def files_settings(settings: TextSettings) -> Callable[..., TextSettings]:
    """The same over other files."""

    def make(path: Path | str, column: str = "text", **changes: object) -> TextSettings:
        corpus = FilesCorpus(path=str(path), column=column)
        return settings.model_copy(update={"corpus": corpus, **changes})

    return make


@pytest.fixture
def dataset_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` keeps its tables in the test's folder."""
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
