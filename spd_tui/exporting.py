"""Tables written to files, for `e` and `:export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.runs.overview import RunOverview


def export_runs(overviews: "Sequence[RunOverview]", path: Path) -> None:
    """Write what `spd runs list --json` says of these runs to `path`, as CSV or JSON by its ending.

    Raises:
        UsageError: another ending.
        SpdError: the file cannot be written.
    """
    from core.runs.overview import plain

    export_records([plain(overview) for overview in overviews], path)


def export_records(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Write records with the same names to `path`, as CSV or JSON by its ending.

    Raises:
        UsageError: another ending, or no such folder.
        SpdError: the file cannot be written.
    """
    from core.errors import UsageError
    from core.runs.files import to_json, write_text

    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}.", "Make it first, or name another file.")
    if path.suffix == ".json":
        write_text(path, to_json(list(records), indent=2) + "\n")
    elif path.suffix == ".csv":
        write_text(path, _csv(records))
    else:
        raise UsageError(f"{path.name} ends neither in .csv nor in .json.", "Give one of these endings.")


def _csv(records: Sequence[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    names = list(records[0]) if records else []
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: _field(record.get(name)) for name in names})
    return text.getvalue()


def _field(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
