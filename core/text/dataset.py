"""Documents of a Hugging Face dataset, from a local path or the hub, loaded whole or streamed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import UsageError, nearest_names
from core.text.document import Document
from core.text.files import no_column
from core.text.hub import import_datasets, quiet_hub
from core.text.settings import DatasetCorpus

_ROWS = 256
_BUILDERS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".txt": "text",
    ".arrow": "arrow",
}
_NEEDED = "Give a local path with --set ...corpus.path=..., or download it first."


class HubCorpus:
    """The documents of a dataset, in its order.

    Raises:
        UsageError: the library `datasets` is not installed.
    """

    def __init__(self, settings: DatasetCorpus) -> None:
        import_datasets()
        self._settings = settings
        self._place = Path(settings.path).expanduser()
        self._loaded: dict[str, Any] = {}
        self.name = f"the dataset {settings.path}"
        self.streaming = settings.streaming
        self.chunk_windows = settings.chunk_windows
        self.eval_windows = settings.eval_windows
        self.has_eval = settings.eval_split is not None

    def identity(self) -> Any:
        """Size and time of change of local files; a dataset of the hub is known by name and revision."""
        files = [self._place] if self._place.is_file() else sorted(self._place.rglob("*"))
        stats = [(file, file.stat()) for file in files if file.is_file()]
        return [[str(file.absolute()), stat.st_size, stat.st_mtime_ns] for file, stat in stats]

    def count(self, split: str) -> int:
        """How many rows the split has; 0 when streaming."""
        return 0 if self.streaming else len(self._dataset(split))

    def documents(self, split: str) -> Iterator[Document]:
        """The rows that are not empty, one after the other."""
        rows = self._dataset(split)
        column = self._settings.column
        if self.streaming:
            found: Iterator[Any] = (row[column] for row in rows)
        else:
            found = (value for block in rows.iter(batch_size=_ROWS) for value in block[column])
        return (document for document in map(self.checked, found) if document is not None)

    def rows_from(self, state: dict[str, Any] | None) -> Iterator[tuple[dict[str, Any] | None, Any]]:
        """The training rows of a streamed dataset from a saved state on (None: the first), each with the
        state from which it would come first."""
        dataset = self._dataset("train")
        # Another reading of it may have left its own state there.
        dataset = dataset.select_columns([self._settings.column])
        if state is not None:
            dataset.load_state_dict(state)
        rows = iter(dataset)
        while (row := next(rows, None)) is not None:
            yield state, row[self._settings.column]
            state = dataset.state_dict()

    def checked(self, value: Any) -> Document | None:
        """One row's text or ids; None for an empty row.

        Raises:
            UsageError: it is of another type.
        """
        column = f"{self.name}: the column {self._settings.column!r}"
        if value is None or (not self._settings.tokenized and value == ""):
            return None
        if not self._settings.tokenized:
            if isinstance(value, str):
                return value
            kind = "token ids" if isinstance(value, list) else type(value).__name__
            remedy = "Set ...corpus.tokenized=true if these are token ids." if kind == "token ids" else None
            raise UsageError(f"{column} holds {kind}, not text.", remedy)
        ids = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(ids, list) or (ids and not isinstance(ids[0], int)):
            raise UsageError(
                f"{column} holds {type(value).__name__}, not lists of token ids.",
                "Set ...corpus.tokenized=false if it holds text.",
            )
        return ids or None

    def _dataset(self, split: str) -> Any:
        if split not in self._loaded:
            name = self._settings.train_split if split == "train" else str(self._settings.eval_split)
            with quiet_hub():
                found = self._load(name)
                columns = found.column_names
                if columns is None:  # streamed rows that carry no description: the first one tells
                    columns = list(next(iter(found), {}))
            if columns and self._settings.column not in columns:
                raise no_column(self.name, self._settings.column, columns)
            self._loaded[split] = found.select_columns([self._settings.column]) if columns else found
        return self._loaded[split]

    def _load(self, split: str) -> Any:
        import datasets

        streaming = self._settings.streaming
        try:
            if any((self._place / file).is_file() for file in ("dataset_dict.json", "state.json")):
                return _saved_split(datasets.load_from_disk(str(self._place)), split, streaming)
            if self._place.is_file():
                builder = _builder(self._place)
                return datasets.load_dataset(
                    builder, data_files={split: str(self._place)}, split=split, streaming=streaming
                )
            return datasets.load_dataset(
                self._settings.path,
                self._settings.config,
                revision=self._settings.revision,
                split=split,
                streaming=streaming,
            )
        except UsageError:
            raise
        except Exception as error:  # from a network fault over a wrong name to a damaged file
            raise self._explained(error, split) from error

    def _explained(self, error: Exception, split: str) -> UsageError:
        text = str(error).strip()
        first = text.splitlines()[0].rstrip(".")[:300] if text else type(error).__name__
        if isinstance(error, KeyError | ValueError) and re.search(r"\b[Ss]plits?\b", text):
            listed = re.findall(r"'([^']+)'", text.rpartition("[")[2])
            return self._no_split(split, listed)
        if isinstance(error, FileNotFoundError) or self._place.exists():
            return UsageError(f"{self.name} cannot be loaded: {first}.", _NEEDED)
        if isinstance(error, ConnectionError | TimeoutError | OSError):
            return UsageError(
                f"{self.name} is no local path and the hub cannot be reached ({first}).", _NEEDED
            )
        return UsageError(f"{self.name} cannot be loaded: {first}.", _NEEDED)

    def _no_split(self, split: str, known: list[str]) -> UsageError:
        has = f"; it has: {', '.join(known)}" if known else ""
        key = "train_split" if split == self._settings.train_split else "eval_split"
        return UsageError(
            f"{self.name} has no split {split!r}{has}.", f"Name one with --set ...corpus.{key}=NAME."
        )


def _saved_split(found: Any, split: str, streaming: bool) -> Any:
    """One split of what `save_to_disk` wrote; a single dataset is its own "train"."""
    known = list(found) if hasattr(found, "keys") else ["train"]
    if split not in known:
        raise ValueError(f"Unknown split {split!r}. Should be one of {known}.")
    chosen = found[split] if hasattr(found, "keys") else found
    return chosen.to_iterable_dataset() if streaming else chosen


def _builder(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _BUILDERS:
        raise UsageError(
            f"{path} is no dataset: its ending {suffix!r} is not known.",
            f"{nearest_names(suffix, _BUILDERS)} Plain text is read with corpus.kind=files.",
        )
    return _BUILDERS[suffix]
