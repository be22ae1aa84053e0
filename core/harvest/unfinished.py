"""Harvests that are under way or were broken off: how far each is, and which of them to go on with."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import SpdError, UsageError
from core.harvest.inputs import Kind
from core.harvest.plan import PLAN_FILE, HarvestPlan, read_plan
from core.harvest.shards import ShardStates
from core.runs.directory import RunDirectory
from core.runs.lock import harvest_holder


@dataclass(frozen=True)
class UnfinishedHarvest:
    """A harvest that is not at its end, as far as it is saved."""

    name: str
    counted: int | None
    """Positions that are saved; None, like all of the plan, where `problem` says why."""
    positions: int | None
    """Positions to count."""
    kind: Kind | None
    begun: datetime | None
    worked_on_by: str | None
    """The process that goes on with it now."""
    command: tuple[str, ...]
    """Command line that began it."""
    folder: Path
    """Where its states lie; it can be removed when nobody wants to go on with it."""
    problem: str | None = None
    """Why it cannot be gone on with."""

    @property
    def share(self) -> str:
        """How much of it is counted, as a percentage; it is not all before it is all."""
        if self.counted is None or not self.positions:
            return "damaged"
        return f"{100 * self.counted // self.positions} %"

    @property
    def waiting(self) -> bool:
        """Whether it can be gone on with now: its plan can be read, and nobody works on it."""
        return self.problem is None and self.worked_on_by is None


def unfinished_names(run: RunDirectory) -> list[str]:
    """The unfinished harvests that have a plan to go on with, oldest first."""
    finished = run.harvest_names()
    return [
        name
        for name in run.unfinished_harvests()
        if name not in finished and (run.harvest_work(name) / PLAN_FILE).is_file()
    ]


def unfinished_harvests(run: RunDirectory) -> list[UnfinishedHarvest]:
    """The unfinished harvests of a run, newest first."""
    found = (_look(run, name) for name in reversed(unfinished_names(run)))
    return [harvest for harvest in found if harvest is not None]


def remove_finished_work(run: RunDirectory) -> None:
    """Remove what is left of finished harvests whose process died between finishing and cleaning up."""
    for name in set(run.unfinished_harvests()) & set(run.harvest_names()):
        if harvest_holder(run, name) is None:
            shutil.rmtree(run.harvest_work(name), ignore_errors=True)


def choose_unfinished(run: RunDirectory, name: str | None = None) -> HarvestPlan:
    """The plan of the unfinished harvest of that name, or of the newest that waits for it.

    Where none waits it is the newest of all, if its plan can be read.

    Raises:
        UsageError: there is none, and what there is; or its plan is damaged.
    """
    names = unfinished_names(run)
    if name is not None and name in run.harvest_names():
        raise UsageError(
            f"the harvest {name} of {run.run_id} is finished; there is nothing to go on with.",
            f"Look at it with `spd harvest {run.run_id} --list --harvest {name}`.",
        )
    if not names:
        which = "" if name is None else f" {name}, nor any other"
        raise UsageError(
            f"run {run.run_id} has no unfinished harvest{which}.", "Leave --resume out to begin one."
        )
    if name is not None and name not in names:
        there = ", ".join(f"{found.name} ({found.share})" for found in unfinished_harvests(run))
        raise UsageError(f"run {run.run_id} has no unfinished harvest {name}.", f"Unfinished: {there}.")
    waiting = (found.name for found in unfinished_harvests(run) if found.waiting)
    return read_plan(run.harvest_work(name or next(waiting, names[-1])))


def _look(run: RunDirectory, name: str) -> UnfinishedHarvest | None:
    """None if it has gone meanwhile: another process has ended it, or a person has removed it."""
    folder, holder = run.harvest_work(name), harvest_holder(run, name)
    try:
        plan = read_plan(folder)
        batches = {shard: ShardStates(folder, shard).batches() for shard in range(plan.shards)}
    except FileNotFoundError:
        return None
    except SpdError as error:
        if not (folder / PLAN_FILE).is_file():
            return None
        return UnfinishedHarvest(name, None, None, None, None, holder, (), folder, str(error))
    counted = sum(plan.positions_of(shard, done) for shard, done in batches.items())
    return UnfinishedHarvest(
        name, counted, plan.positions, plan.kind, plan.created, holder, plan.command, folder
    )
