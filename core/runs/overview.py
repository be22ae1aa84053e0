"""What a run comes to at a glance, and in detail: the one source of `spd runs` and of the browser.

No torch, no numpy, no polars: a list of many runs must stand before the eye can miss it.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import SpdError
from core.numerals import three_digits
from core.runs.catalogue import RunEntry, list_runs, unreadable_runs
from core.runs.directory import RunDirectory
from core.runs.files import read_json
from core.runs.manifest import Status
from core.runs.metrics_tail import last_records

__all__ = [
    "RunDetails",
    "RunOverview",
    "describe_verdict",
    "plain",
    "run_details",
    "run_overview",
    "run_overviews",
    "total_sparsity",
    "unreadable_runs",
]

_FOUND = re.compile(r"(?:only )?(\d+) of (\d+) (features?|subcomponents?)\b")
_RECORDS_SEEN = 50
"""Records, from the last one back, looked at for the last loss; training and evaluation take turns there."""
_LATER_RECORDS = 2000
"""Records, from the last one back, passed over because they come after what is saved: a moment's work."""


@dataclass(frozen=True)
class RunOverview:
    """One line about a run."""

    run_id: str
    path: Path
    recipe: str | None
    """Recipe of its settings; None for a settings file or an imported run."""
    imported_from: str | None
    seed: int
    status: Status
    reason: str
    """How the status is known, or what failed."""
    step: int
    """Training steps done: as logged while it runs, else those that are saved and resumed from."""
    steps: int
    """Training steps asked for."""
    loss: float | None
    """Total training loss, as last logged up to `step`: what came later is done again by a resume. None where
    that is thousands of records, which a glance does not read through."""
    sparsity: float | None
    """L0: active components at a position, summed over modules; logged like `loss`."""
    verdict: str | None
    """What a finished run comes to in a word or two, such as `5/5 features`."""
    created: datetime
    updated: datetime | None
    """Last sign of life: when metrics were last written; None when there are none."""
    seconds: float
    """Wall time up to the last checkpoint, over all sessions."""
    host: str
    checkpoints: tuple[int, ...]
    """Steps that have a checkpoint."""
    harvests: tuple[str, ...]
    """Names of its finished harvests, oldest first."""
    attributions: tuple[str, ...]
    """Names of its dataset attributions, oldest first."""
    labels: tuple[str, ...]
    """Names of its sets of labels, oldest first."""
    unfinished_harvests: tuple[str, ...]
    """Names of harvests under way or broken off, oldest first."""

    @property
    def resumable(self) -> bool:
        """Whether `spd decompose ID --resume` would go on with it."""
        return self.status in ("interrupted", "failed")


@dataclass(frozen=True)
class RunDetails:
    """Everything about a run that can be read without its tensors."""

    overview: RunOverview
    manifest: dict[str, Any]
    """What made it, where and how."""
    settings: dict[str, Any]
    """All its settings; empty when the file cannot be read (see `problems`)."""
    evaluation: dict[str, Any]
    """The last evaluation up to the overview's step: `step`, and numbers by name without `eval/`; empty where
    there is none, or where the overview's loss is None for what came later."""
    summary: dict[str, Any] | None
    """What it found; None until it is finished."""
    figures: tuple[Path, ...]
    """Its figures, by name."""
    problems: tuple[str, ...]
    """Files of the run that cannot be read, and why."""


def run_overviews(root: Path) -> list[RunOverview]:
    """Every readable run under `root`, newest first; `unreadable_runs` has the others with the reason."""
    return [run_overview(entry) for entry in list_runs(root)]


def run_overview(entry: RunEntry) -> RunOverview:
    """A run at a glance. Damage in its files leaves gaps here, never an error."""
    directory, manifest = entry.directory, entry.manifest
    running = entry.status == "running"
    logged, loss, sparsity = _last_numbers(_records(entry))
    summary = _summary(directory, [])
    if sparsity is None and summary:
        sparsity = _number(summary.get("l0_total"))
    return RunOverview(
        run_id=entry.run_id,
        path=directory.path,
        recipe=manifest.recipe,
        imported_from=manifest.imported_from,
        seed=manifest.seed,
        status=entry.status,
        reason=entry.reason,
        step=max(manifest.step, logged) if running else manifest.step,
        steps=manifest.steps,
        loss=loss,
        sparsity=sparsity,
        verdict=describe_verdict(summary),
        created=manifest.created,
        updated=_changed(directory.metrics),
        seconds=manifest.seconds,
        host=manifest.host,
        checkpoints=tuple(directory.checkpoint_steps()),
        harvests=tuple(directory.harvest_names()),
        attributions=tuple(directory.finished("attributions")),
        labels=tuple(directory.finished("interpretations")),
        unfinished_harvests=tuple(directory.unfinished_harvests()),
    )


def run_details(entry: RunEntry) -> RunDetails:
    """A run in detail. A file that cannot be read is named in `problems`, never an error."""
    directory = entry.directory
    problems: list[str] = []
    return RunDetails(
        overview=run_overview(entry),
        manifest=entry.manifest.model_dump(mode="json"),
        settings=_settings(directory, problems),
        evaluation=_last_evaluation(entry),
        summary=_summary(directory, problems),
        figures=tuple(sorted(directory.figures.glob("*.png"))),
        problems=tuple(problems),
    )


def plain(value: RunOverview | RunDetails) -> dict[str, Any]:
    """The same as plain data for JSON: times and paths as text.

    Of details, the overview's entries stand beside the others.
    """
    if isinstance(value, RunOverview):
        row = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {("status_reason" if name == "reason" else name): item for name, item in row.items()}
    details = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name != "overview"}
    return {**plain(value.overview), **details}


def describe_verdict(summary: Mapping[str, Any] | None) -> str | None:
    """What a summary comes to, in a word or two: the module that is worst, or the cross-entropy recovered."""
    if not summary:
        return None
    sentences = summary.get("verdict")
    found = [
        (int(match[1]), int(match[2]), match[3])
        for name, text in (sentences.items() if isinstance(sentences, dict) else ())
        if name != "headline" and (match := _FOUND.match(str(text))) and int(match[2])
    ]
    if found:
        part, whole, kind = min(found, key=lambda each: each[0] / each[1])
        return f"{part}/{whole} {kind}"
    entropy = summary.get("cross_entropy")
    recovered = _number(entropy.get("ce_recovered/stochastic")) if isinstance(entropy, dict) else None
    return None if recovered is None else f"{three_digits(100 * recovered)} % of CE"


def total_sparsity(record: Mapping[str, Any]) -> float | None:
    """L0 over all modules in one record of the metrics; None when it has none."""
    of_modules = [_number(value) for name, value in record.items() if name.startswith("l0/")]
    known = [value for value in of_modules if value is not None]
    return sum(known) if known else _number(record.get("eval/l0_total"))


def _records(entry: RunEntry) -> Iterator[dict[str, Any]]:
    """The records of a run, the last first, without what a resume does again (see `_LATER_RECORDS`)."""
    later = 0
    for record in last_records(entry.directory.metrics):
        if entry.status == "running" or _step(record) <= entry.manifest.step:
            yield record
        elif (later := later + 1) == _LATER_RECORDS:
            return


def _last_numbers(records: Iterator[dict[str, Any]]) -> tuple[int, float | None, float | None]:
    """Last logged step, loss and L0."""
    reached, loss, sparsity = 0, None, None
    for record in islice(records, _RECORDS_SEEN):
        reached = max(reached, _step(record))
        loss = _number(record.get("loss/total")) if loss is None else loss
        sparsity = total_sparsity(record) if sparsity is None else sparsity
        if loss is not None and sparsity is not None:
            break
    return reached, loss, sparsity


def _step(record: Mapping[str, Any]) -> int:
    return int(_number(record.get("step")) or 0)


def _last_evaluation(entry: RunEntry) -> dict[str, Any]:
    for record in _records(entry):
        if record.get("kind") == "eval":
            return {name.removeprefix("eval/"): value for name, value in record.items() if name != "kind"}
    return {}


def _summary(directory: RunDirectory, problems: list[str]) -> dict[str, Any] | None:
    if not directory.summary.exists():
        return None
    try:
        return read_json(directory.summary)
    except SpdError as error:
        problems.append(str(error))
        return None


def _settings(directory: RunDirectory, problems: list[str]) -> dict[str, Any]:
    from core.settings import read_yaml

    try:
        return read_yaml(directory.settings)
    except SpdError as error:
        problems.append(str(error))
        return {}


def _changed(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # Whole numbers may be too large for a float, which a number of a run never is.
    return float(value) if abs(value) <= sys.float_info.max else None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
