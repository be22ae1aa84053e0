"""Opening a harvest of a run, and naming what is damaged; no torch, and no polars before a table is read."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import SpdError, UsageError, nearest_names
from core.harvest.artifact import TABLES, Harvest, harvest_again
from core.runs.directory import RunDirectory


def open_harvest(run: RunDirectory, name: str | None = None) -> Harvest:
    """The harvest of that name, or the newest.

    Raises:
        UsageError: there is none (with what to do), or it is of another schema version.
        SpdError: its manifest is damaged.
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
        raise SpdError(f"{bad} cannot be read: {reason}.", harvest_again(harvest.folder)) from error


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
