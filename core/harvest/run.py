"""A harvest from a run to a finished artifact, in order.

    plan     what is read, in which batches, shared out to how many shards; written once
    count    each shard by a worker: the model's forward pass and the engine overlapped, saved now and then
    merge    the shards' states into one
    write    `<run>/harvest/h-<time>/`, which appears whole; the work folder goes

Killed at any moment, a harvest goes on with what was saved. The tables are the same, byte for byte, for any
number of workers and however often the work was broken off, as long as batch size, device, precision and
threads per worker are: floating-point products depend on these in the last bits. All of them stand in the
plan, and a resumed harvest keeps them. Two harvests begun anew on different numbers of workers share a
machine's threads differently: set OMP_NUM_THREADS to have the same.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from core.components.component_model import ComponentModel
from core.devices import resolve_device, thread_count
from core.errors import Interrupted, UsageError
from core.harvest.base_rates import base_rates
from core.harvest.forward import Forward
from core.harvest.inputs import HarvestInputs
from core.harvest.kernel import HarvestEngine
from core.harvest.plan import PLAN_FILE, HarvestPlan
from core.harvest.preparing import (
    HarvestRequest,
    begin,
    check_request,
    count_workers,
    find_plan,
    most_workers,
    new_plan,
    open_at_checkpoint,
)
from core.harvest.progress import HarvestProgress
from core.harvest.shards import ShardStates, Watch, cannot_save, count_shard, new_engine
from core.harvest.unfinished import remove_finished_work, unfinished_harvests
from core.harvest.workers import count_with_workers
from core.harvest.writing import write_harvest
from core.numerals import grouped
from core.runs.files import WriteError
from core.runs.lock import ProcessLock
from core.runs.manifest import installed_versions
from core.runs.observer import Observer
from core.runs.stopping import StopSignal

_GO_ON = "Go on with --resume."


@dataclass(frozen=True)
class HarvestResult:
    """A finished harvest."""

    folder: Path
    summary: dict[str, Any]
    """`folder`, `run_id`, `positions`, `seconds`, `positions_per_second` (of this session; None if nothing
    was left to count), everything of `BaseRates`, and `output_mass_dropped`, the share of output
    probability that was not kept (None where none is counted)."""


@dataclass(frozen=True)
class _Work:
    """A harvest under way."""

    request: HarvestRequest
    plan: HarvestPlan
    model: ComponentModel | None
    """None where workers have models of their own."""
    inputs: HarvestInputs
    workers: int
    observer: Observer
    progress: HarvestProgress

    @property
    def folder(self) -> Path:
        return self.request.run.harvest_work(self.plan.name)

    @property
    def states(self) -> list[ShardStates]:
        return [ShardStates(self.folder, shard) for shard in range(self.plan.shards)]

    def unfinished(self) -> list[int]:
        """Shards that are not counted to their end."""
        return [s.shard for s in self.states if s.batches() < len(self.plan.batches_of(s.shard))]


def harvest_run(request: HarvestRequest, observer: Observer) -> HarvestResult:
    """Harvest a run at its newest checkpoint, or go on with a harvest that was broken off.

    Raises:
        UsageError: what is asked for cannot be done; nothing is left on disk.
        Interrupted: the user asked to stop; everything up to there is saved, or the harvest is finished.
        SpdError: a worker died, values are no importances, a file cannot be written, another process works
            on the same harvest; what was saved is kept.
    """
    began = monotonic()
    check_request(request)
    remove_finished_work(request.run)
    work = _prepare(request, observer)
    run, plan = request.run, work.plan
    lock = ProcessLock(run.harvest_lock(plan.name), f"the harvest {plan.name} of {run.run_id}")
    _check_unfinished(work)
    try:
        with lock, StopSignal() as stop:
            _check_unfinished(work)
            _remove_leftovers(work)
            engine = _counted(work, lambda: stop.requested)
            seconds, rate = monotonic() - began, work.progress.rate()
            observer.progress("writing", 0, 1, unit=None)
            counts = _base_rates(engine)
            details = _details(work, seconds, rate)
            _write(work, engine, details)
            observer.progress("writing", 1, 1, unit=None)
            # The artifact is whole: what cannot be removed is only in the way.
            shutil.rmtree(work.folder, ignore_errors=True)
    except KeyboardInterrupt as stopped:
        if not run.harvest(plan.name).exists():
            raise
        raise Interrupted(
            f"the harvest {plan.name} of {run.run_id} is finished; only its work folder was not removed.",
            f"Look at it with `spd harvest {run.run_id} --list --harvest {plan.name}`.",
        ) from stopped
    summary = {
        "folder": str(run.harvest(plan.name)),
        "run_id": run.run_id,
        "positions": plan.positions,
        "seconds": monotonic() - began,
        "positions_per_second": rate,
        **counts,
    }
    return HarvestResult(run.harvest(plan.name), summary)


def _prepare(request: HarvestRequest, observer: Observer) -> _Work:
    """Plan, model and inputs; of a new harvest also the work folder."""
    run = request.run
    if request.resume:
        plan = find_plan(request)
        workers = request.workers or min(plan.shards, most_workers())
        device = "cpu" if workers > 1 else (plan.device if request.device == "auto" else request.device)
        model, inputs = open_at_checkpoint(plan, run, request.root, device, observer)
        observer.message(f"going on with the harvest {plan.name} of {run.run_id}")
    else:
        _tell_unfinished(request, observer)
        workers = count_workers(request)
        plan, model, inputs = new_plan(request, observer)
        new_engine(plan)  # which refuses what cannot be counted before anything is on disk
        plan = begin(plan, run)
        observer.message(f"harvest {plan.name} of {run.run_id}, step {plan.checkpoint_step}")
    _tell_passes(plan, inputs, observer)
    progress = HarvestProgress(plan, observer)
    return _Work(request, plan, model if workers == 1 else None, inputs, workers, observer, progress)


def _check_unfinished(work: _Work) -> None:
    """Whoever worked on the harvest while its model was being opened here may have finished it.

    Raises:
        UsageError: it is finished, or its work folder is gone.
    """
    run, name = work.request.run, work.plan.name
    if run.harvest(name).exists() or not (work.folder / PLAN_FILE).is_file():
        raise UsageError(
            f"the harvest {name} of {run.run_id} is not unfinished any more: another process has ended it.",
            f"Look at it with `spd harvest {run.run_id} --list`.",
        )


def _remove_leftovers(work: _Work) -> None:
    """What a killed process was just writing, states or the artifact, is of no use to anyone."""
    harvests = work.request.run.harvests
    for left in (*harvests.glob(f".{work.plan.name}.*.tmp"), *work.folder.glob(".*.tmp")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _tell_unfinished(request: HarvestRequest, observer: Observer) -> None:
    run = request.run
    waiting = [found for found in unfinished_harvests(run) if found.waiting]
    if waiting:
        first = waiting[0]
        more = f" ({len(waiting) - 1} more: --unfinished lists them)" if len(waiting) > 1 else ""
        observer.message(
            f"the harvest {first.name} of {run.run_id} is unfinished ({first.share}){more}: "
            f"--resume --harvest {first.name} goes on with it, {first.folder} can be removed"
        )


def _tell_passes(plan: HarvestPlan, inputs: HarvestInputs, observer: Observer) -> None:
    if inputs.epoch is not None and plan.sequences > inputs.epoch:
        observer.message(
            f"the text has {grouped(inputs.epoch * plan.length)} tokens: {grouped(plan.positions)} positions "
            f"read it {plan.sequences / inputs.epoch:.2f} times"
        )


def _counted(work: _Work, stopping: Callable[[], bool]) -> HarvestEngine:
    """Count whatever is left, and merge; a state that turns out damaged is counted again."""
    plan, progress = work.plan, work.progress
    progress.start({s.shard: plan.positions_of(s.shard, s.batches()) for s in work.states})
    watch = Watch(progress.counted, work.observer.message, _told(stopping, work.observer))
    while True:
        shards = work.unfinished()
        if shards and not _count(work, shards, watch):
            raise Interrupted(
                f"stopped after {grouped(progress.positions)} of {grouped(plan.positions)} positions; "
                "everything up to there is saved.",
                _GO_ON,
            )
        merged = _merged(work, watch)
        if merged is not None:
            return merged


def _told(stopping: Callable[[], bool], observer: Observer) -> Callable[[], bool]:
    """`stopping`, which says so once: saving a large state takes seconds."""
    told = False

    def asked() -> bool:
        nonlocal told
        if stopping() and not told:
            told = True
            observer.message("stopping: what was counted is being saved")
        return told

    return asked


def _count(work: _Work, shards: list[int], watch: Watch) -> bool:
    plan, request = work.plan, work.request
    if work.model is None:
        devices = _devices(plan, request.device, work.workers)
        return count_with_workers(plan, request.run, request.root, shards, devices, watch)
    device = resolve_device(plan.device if request.device == "auto" else request.device)
    with thread_count(plan.threads):
        forward = Forward(work.model, work.inputs, device, plan.precision, plan.settings.output_share > 0)
        return all(count_shard(plan, shard, work.folder, forward, watch) for shard in shards)


def _devices(plan: HarvestPlan, asked: str, workers: int) -> list[str]:
    """The device of each worker: GPUs in turn, unless one was named."""
    if plan.device == "cpu" or ":" in asked:
        return [plan.device if plan.device == "cpu" else asked] * workers
    return [f"cuda:{worker % torch.cuda.device_count()}" for worker in range(workers)]


def _merged(work: _Work, watch: Watch) -> HarvestEngine | None:
    """The sum of all shards; None if one of their states was damaged and must be counted again."""
    total: HarvestEngine | None = None
    for done, states in enumerate(work.states):
        if watch.stopping():
            raise Interrupted("stopped before the shards were merged; all of them are saved.", _GO_ON)
        if work.plan.shards > 1:
            work.observer.progress("merging", done, work.plan.shards, unit=None)
        found = states.load(watch.tell)
        if found is None or found[1] < len(work.plan.batches_of(states.shard)):
            return None
        if total is None:
            total = found[0]
        else:
            total.merge(found[0])
    assert total is not None and total.positions == work.plan.positions, "every batch is counted once"
    return total


def _write(work: _Work, engine: HarvestEngine, details: dict[str, Any]) -> None:
    try:
        write_harvest(
            engine,
            work.request.run.harvest(work.plan.name),
            details,
            texts=work.inputs.texts,
            inputs=work.inputs.features_of if work.plan.kind == "features" else None,
        )
    except WriteError as error:
        raise cannot_save(error) from error


def _base_rates(engine: HarvestEngine) -> dict[str, Any]:
    rates = base_rates(engine.components().firings, engine.positions, engine.layers)
    totals = engine.output_totals()
    dropped = None if totals is None else totals[1] / max(totals[0], 1e-300)
    return {**asdict(rates), "output_mass_dropped": dropped}


def _details(work: _Work, seconds: float, rate: float | None) -> dict[str, Any]:
    plan, inputs = work.plan, work.inputs
    passes = None if inputs.epoch is None else round(plan.sequences / inputs.epoch, 4)
    return {
        "run_id": plan.run_id,
        "checkpoint_step": plan.checkpoint_step,
        "target": plan.target_digest,
        "kind": plan.kind,
        "precision": plan.precision,
        "device": plan.device,
        "batch_size": plan.batch_size,
        "shards": plan.shards,
        "threads": plan.threads,
        "seconds": round(seconds, 3),
        "positions_per_second": rate,
        "command": list(plan.command),
        "created": plan.created.isoformat(),
        "versions": installed_versions(),
        "data": {
            "stream": inputs.stream,
            "sequences": plan.sequences,
            "window": plan.length,
            "passes": passes,
        },
    }
