"""Which harvests a run has, and opening one; no torch, and no polars before a table is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import SpdError, UsageError, nearest_names
from core.harvest.artifact import TABLES, Harvest
from core.runs.directory import RunDirectory


@dataclass(frozen=True)
class HarvestEntry:
    """One finished harvest of a run."""

    name: str
    """Name of its folder."""
    folder: Path
    created: datetime | None
    """When it was begun; None where its manifest does not say."""
    positions: int
    """Token positions (of toys: samples) that were counted."""
    components: int
    fired: int
    """Components that fired at least once."""
    problem: str | None
    """Why it cannot be opened; its numbers are then 0."""


def list_harvests(run: RunDirectory) -> list[HarvestEntry]:
    """The finished harvests of a run, newest first; one that cannot be opened says why."""
    return [_entry(run.harvests / name) for name in reversed(run.harvest_names())]


def open_harvest(run: RunDirectory, name: str | None = None) -> Harvest:
    """The harvest of that name, or the newest.

    Raises:
        UsageError: there is none (with what to do), it is damaged or of another schema version.
    """
    names = run.harvest_names()
    if not names:
        raise UsageError(f"the run {run.run_id} has no harvest.", f"Make one: `spd harvest {run.run_id}`.")
    if name is not None and name not in names:
        raise UsageError(f"the run {run.run_id} has no harvest {name}.", nearest_names(name, names))
    return Harvest(run.harvests / (name or names[-1]))


@contextmanager
def naming_damage(harvest: Harvest) -> Iterator[None]:
    """Turns what polars says of a damaged or vanished table into an error that names the file.

    Raises:
        SpdError: the block could not read a table.
    """
    try:
        yield
    except SpdError:
        raise
    except BaseException as error:  # polars panics, which no Exception is, on some damage
        from polars.exceptions import PanicException, PolarsError

        if not isinstance(error, PolarsError | PanicException | OSError):
            raise
        bad = _damaged_table(harvest) or str(harvest.folder)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpdError(f"{bad} cannot be read: {reason}.", f"Harvest again: {_command(harvest)}.") from error


def _command(harvest: Harvest) -> str:
    return f"spd harvest {harvest.manifest.get('run_id') or harvest.folder.parents[1].name}"


def _entry(folder: Path) -> HarvestEntry:
    try:
        harvest = Harvest(folder)
        created = harvest.manifest.get("created")
        return HarvestEntry(
            name=folder.name,
            folder=folder,
            created=None if created is None else datetime.fromisoformat(str(created)),
            positions=harvest.positions,
            components=sum(width for _, width in harvest.layers),
            fired=int(harvest.manifest["components_fired"]),
            problem=None,
        )
    except SpdError as error:
        problem = str(error)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{folder / 'manifest.json'} is damaged: {type(error).__name__} {error}"
    return HarvestEntry(folder.name, folder, None, 0, 0, 0, problem)


def _damaged_table(harvest: Harvest) -> str | None:
    import polars as pl
    from polars.exceptions import PanicException, PolarsError

    for table in TABLES:
        path = harvest.folder / f"{table}.parquet"
        try:
            pl.scan_parquet(path).select(pl.all().hash().sum()).collect(engine="streaming")
        except (PolarsError, PanicException, OSError):
            return str(path)
    return None
