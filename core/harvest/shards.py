"""Counting one shard: forward passes and the engine overlapped, its state saved now and then.

A state lies in one file whose name says how many batches of the shard it holds, so that a process killed at
any moment leaves nothing that could contradict itself.
"""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch

from core.errors import SpdError
from core.harvest.forward import Forward
from core.harvest.kernel import HarvestBatch, HarvestEngine
from core.harvest.plan import HarvestPlan
from core.runs.files import WriteError

_STATE = re.compile(r"shard-(\d+)-batches-(\d+)\.state")

_SAVING_SHARE = 0.05
"""Saving may take this share of the time, however large the state is."""


@dataclass(frozen=True)
class ShardStates:
    """The saved states of one shard."""

    work: Path
    """Work folder of the harvest."""
    shard: int

    def saved(self) -> list[tuple[int, Path]]:
        """Batches and file of each state, the furthest first."""
        found = [(match, path) for path in self.work.iterdir() if (match := _STATE.fullmatch(path.name))]
        return sorted(((int(m[2]), path) for m, path in found if int(m[1]) == self.shard), reverse=True)

    def batches(self) -> int:
        """How many batches the furthest state says it holds."""
        return max((batches for batches, _ in self.saved()), default=0)

    def save(self, engine: HarvestEngine, batches: int) -> None:
        """Save what is counted so far; earlier states go once this one is safe.

        Raises:
            SpdError: the disk is full or the folder may not be written; the state before is untouched.
        """
        path = self.work / f"shard-{self.shard:04d}-batches-{batches:08d}.state"
        engine.save(path)
        for held, earlier in self.saved():
            if held < batches:
                earlier.unlink(missing_ok=True)

    def load(self, tell: Callable[[str], object]) -> tuple[HarvestEngine, int] | None:
        """The furthest state that can be read, and its batches; None without any.

        A damaged one is removed, and `tell` hears of it.
        """
        # Listed anew each time: a worker that outlived its session for a moment may put another in the place.
        while saved := self.saved():
            batches, path = saved[0]
            try:
                return HarvestEngine.load(path), batches
            except SpdError as error:
                path.unlink(missing_ok=True)
                again = self.batches()
                since = f"from its batch {again} on" if again else "from its start"
                tell(f"shard {self.shard} is counted again {since}: {error.message}")
        return None


@dataclass(frozen=True)
class Watch:
    """Whoever follows the counting of a shard."""

    counted: Callable[[int, int], object]
    """Hears the shard and how many of its batches are counted."""
    tell: Callable[[str], object]
    """Hears what a person should know."""
    stopping: Callable[[], bool]
    """Whether to stop after the batch under way."""


def count_shard(plan: HarvestPlan, shard: int, work: Path, forward: Forward, watch: Watch) -> bool:
    """Count what is left of a shard and save it; False if it was stopped before its end.

    The model computes the next batch while the engine counts the last one.

    Raises:
        SpdError: values that are no importances or activations, with the batch; a state cannot be written.
    """
    states = ShardStates(work, shard)
    engine, done = states.load(watch.tell) or (new_engine(plan), 0)
    counting = _Counting(plan, states, engine, done)
    numbers = plan.batches_of(shard)
    watch.counted(shard, done)
    pending: Future[None] | None = None
    # The engine's thread takes its number of threads from torch, which keeps one for each of Python's.
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(plan.threads,)) as thread:
        for place in range(done, len(numbers)):
            if watch.stopping():
                break
            number = numbers[place]
            batch = forward.batch(number, plan.batch_size, plan.sequences_of(number))
            if pending is not None:
                pending.result()
                watch.counted(shard, counting.done)
            pending = thread.submit(counting.add, batch, number)
            del batch
        if pending is not None:
            pending.result()
            watch.counted(shard, counting.done)
    counting.save()
    return counting.done == len(numbers)


def new_engine(plan: HarvestPlan) -> HarvestEngine:
    """An engine that has counted nothing yet."""
    return HarvestEngine(plan.layers, plan.vocabulary, plan.settings)


def cannot_save(error: WriteError) -> SpdError:
    """The error to raise when something of a harvest, which lies in the folder of its run, is not written."""
    here = "Free some space there, or make it writable; then go on with --resume."
    return SpdError(error.message, here if error.place_refuses else error.remedy)


class _Counting:
    """The engine's side of a shard."""

    def __init__(self, plan: HarvestPlan, states: ShardStates, engine: HarvestEngine, done: int) -> None:
        self.done = done
        self._plan = plan
        self._states = states
        self._engine = engine
        self._saved = done
        self._due = monotonic() + plan.save_seconds

    def add(self, batch: HarvestBatch, number: int) -> None:
        """Count a batch, and save if it is time."""
        try:
            self._engine.add_batch(batch)
        except SpdError as error:
            first, last = int(batch.sequences[0]), int(batch.sequences[-1])
            raise SpdError(f"batch {number} (sequences {first} to {last}): {error.message}") from error
        self.done += 1
        if monotonic() >= self._due:
            self.save()

    def save(self) -> None:
        """Save, unless nothing was counted since the last time."""
        if self.done == self._saved:
            return
        began = monotonic()
        try:
            self._states.save(self._engine, self.done)
        except WriteError as error:
            raise cannot_save(error) from error
        self._saved = self.done
        took = monotonic() - began
        self._due = monotonic() + max(self._plan.save_seconds, took / _SAVING_SHARE)
