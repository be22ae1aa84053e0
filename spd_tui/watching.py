"""Looking at the runs on disk again and again, reading only what has changed; done in a thread."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from spd_tui.rows.run_panel import RunDetail
from spd_tui.rows.runs import RunRow

_WATCHED = (
    "manifest.json",
    "metrics.jsonl",
    "summary.json",
    "checkpoints",
    "harvest",
    "attributions",
    "interpretations",
)
_SAMPLES = 60


@dataclass(frozen=True)
class Listing:
    """The runs as they are on disk, newest first."""

    rows: tuple[RunRow, ...]
    problem: str | None = None
    """Why the folder of the runs cannot be read."""


class RunsWatch:
    """Remembers how each run's files looked, so that a look at unchanged runs costs a few `stat` calls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[str, tuple[object, RunRow]] = {}
        self._looking = Lock()

    def look(self) -> Listing:
        """The runs as they are now; rows that did not change are the very same objects."""
        with self._looking:
            return self._look()

    def _look(self) -> Listing:
        from core.runs.directory import runs_folder

        folder = runs_folder(self.root)
        problem = None
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        except FileNotFoundError:
            names = []
        except OSError as error:
            names, problem = [], f"{folder} cannot be read: {error.strerror or error}."
        seen = {name: self._row(folder / name) for name in names}
        # A run deleted since the folder was listed looks like a damaged one; it is none.
        self._seen = {
            name: known
            for name, known in seen.items()
            if known[1].overview is not None or (folder / name).is_dir()
        }
        rows = sorted((row for _, row in self._seen.values()), key=lambda row: row.newest_first)
        return Listing(tuple(rows), problem)

    def forget(self) -> None:
        """Read everything anew at the next look."""
        with self._looking:
            self._seen = {}

    def _row(self, path: Path) -> tuple[object, RunRow]:
        known = self._seen.get(path.name)
        looks = tuple(_look_of(path / name) for name in _WATCHED)
        # A running process may die without touching a file.
        if known is not None and known[0] == looks and not known[1].is_running:
            return known
        return looks, read_row(path)


def read_row(path: Path) -> RunRow:
    """The run in the folder `path`, also when it cannot be read."""
    from core.errors import SpdError
    from core.runs.catalogue import open_run
    from core.runs.overview import run_overview

    try:
        return RunRow(path.name, run_overview(open_run(path)))
    except SpdError as error:
        return RunRow(path.name, None, str(error))
    except OSError as error:
        # It may be on its way out while it is looked at.
        return RunRow(path.name, None, f"{path} cannot be read: {error.strerror or error}.")


def read_detail(path: Path) -> RunDetail:
    """What the panel tells of the run in the folder `path` beyond its row.

    Raises:
        SpdError: it is gone or cannot be read.
    """
    from core.runs.catalogue import open_run
    from core.runs.metrics_sample import sampled_records
    from core.runs.overview import run_details, total_sparsity

    entry = open_run(path)
    details = run_details(entry)
    done = details.overview.step
    records = [r for r in sampled_records(entry.directory.metrics, _SAMPLES) if not _is_after(r, done)]
    losses = [record["loss/total"] for record in records if isinstance(record.get("loss/total"), int | float)]
    sparsities = [value for record in records if (value := total_sparsity(record)) is not None]
    modules = sorted(
        {name.removeprefix("l0/") for record in records[-3:] for name in record if name.startswith("l0/")}
    )
    return RunDetail(
        run_id=entry.run_id,
        settings=details.settings,
        modules=tuple(modules),
        losses=tuple(losses),
        sparsities=tuple(sparsities),
        resumed=bool(entry.manifest.resumed),
        problems=details.problems,
    )


def _is_after(record: Mapping[str, Any], step: int) -> bool:
    """Whether a record is of a later step, which a resume does again."""
    at = record.get("step")
    return isinstance(at, int | float) and at > step


def _look_of(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
