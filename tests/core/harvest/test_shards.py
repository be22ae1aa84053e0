"""The saved states of a shard: one file each, the furthest that can be read is taken."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.decomposition.opening import open_run
from core.errors import SpdError
from core.harvest import shards
from core.harvest.forward import Forward
from core.harvest.plan import HarvestPlan
from core.harvest.preparing import new_plan
from core.harvest.shards import ShardStates, Watch, count_shard, new_engine
from core.runs.directory import RunDirectory
from core.runs.files import write_error


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def plan(text_run: RunDirectory, request_of: Callable[..., Any], hearer: Any) -> HarvestPlan:
    return new_plan(request_of(text_run, positions=240, batch_size=2), hearer())[0]


@pytest.fixture
def forward(text_run: RunDirectory, request_of: Callable[..., Any], hearer: Any) -> Forward:
    request = request_of(text_run, positions=240, batch_size=2)
    _, model, inputs = new_plan(request, hearer())
    return Forward(model, inputs, torch.device("cpu"), "fp32", counts_output=True)


def watch(stop_at: int | None = None) -> tuple[Watch, list[int], list[str]]:
    counted: list[int] = []
    told: list[str] = []
    return (
        Watch(
            lambda _, batches: counted.append(batches),
            told.append,
            lambda: stop_at is not None and bool(counted) and counted[-1] >= stop_at,
        ),
        counted,
        told,
    )


def names(work: Path) -> list[str]:
    return sorted(path.name for path in work.iterdir())


def test_a_shard_is_counted_to_its_end(plan: HarvestPlan, forward: Forward, work: Path) -> None:
    listening, counted, _ = watch()
    assert count_shard(plan, 0, work, forward, listening)
    assert counted == list(range(11))
    assert names(work) == ["shard-0000-batches-00000010.state"]
    found = ShardStates(work, 0).load(pytest.fail)
    assert found is not None
    assert (found[0].positions, found[1]) == (240, 10)


def test_a_stopped_shard_is_saved_where_it_stopped(plan: HarvestPlan, forward: Forward, work: Path) -> None:
    listening, counted, _ = watch(stop_at=4)
    assert not count_shard(plan, 0, work, forward, listening)
    assert names(work) == [f"shard-0000-batches-{counted[-1]:08d}.state"]
    assert 4 <= counted[-1] < 10
    listening, again, _ = watch()
    assert count_shard(plan, 0, work, forward, listening)
    assert again[0] == counted[-1]


def test_a_finished_shard_is_not_counted_again(
    plan: HarvestPlan, forward: Forward, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_shard(plan, 0, work, forward, watch()[0])
    monkeypatch.setattr(Forward, "batch", lambda *_: pytest.fail("a batch was computed again"))
    assert count_shard(plan, 0, work, forward, watch()[0])


def test_a_later_state_replaces_earlier_ones(plan: HarvestPlan, work: Path) -> None:
    states = ShardStates(work, 3)
    other = ShardStates(work, 4)
    other.save(new_engine(plan), 1)
    states.save(new_engine(plan), 2)
    states.save(new_engine(plan), 5)
    assert names(work) == ["shard-0003-batches-00000005.state", "shard-0004-batches-00000001.state"]
    # A process that was thought dead may still save: what is further than its state stays.
    states.save(new_engine(plan), 4)
    assert states.batches() == 5


def test_a_damaged_state_is_told_and_the_one_before_taken(plan: HarvestPlan, work: Path) -> None:
    states, told = ShardStates(work, 0), []
    states.save(new_engine(plan), 7)
    damaged = work / "shard-0000-batches-00000009.state"
    damaged.write_bytes((work / "shard-0000-batches-00000007.state").read_bytes()[:-1])
    found = states.load(told.append)
    assert found is not None
    assert found[1] == 7
    assert len(told) == 1
    assert told[0].startswith("shard 0 is counted again from its batch 7 on: cannot read")
    assert not damaged.exists()


def test_nothing_readable_begins_at_the_start(plan: HarvestPlan, work: Path) -> None:
    (work / "shard-0000-batches-00000009.state").write_bytes(b"")
    told: list[str] = []
    assert ShardStates(work, 0).load(told.append) is None
    assert "from its start" in told[0]
    assert names(work) == []


def test_a_failing_forward_pass_surfaces(
    plan: HarvestPlan, forward: Forward, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Forward.batch

    def failing(self: Forward, index: int, size: int, count: int) -> Any:
        if index == 5:
            raise RuntimeError("out of memory")
        return plain(self, index, size, count)

    monkeypatch.setattr(Forward, "batch", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        count_shard(plan, 0, work, forward, watch()[0])


def test_importances_out_of_range_name_batch_and_value(
    plan: HarvestPlan, forward: Forward, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Forward.batch

    def poisoned(self: Forward, index: int, size: int, count: int) -> Any:
        batch = plain(self, index, size, count)
        if index == 4:
            batch.importances["h.0.mlp.c_fc"][1, 3, 2] = 1.5
        return batch

    monkeypatch.setattr(Forward, "batch", poisoned)
    with pytest.raises(SpdError, match=r"batch 4 \(sequences 8 to 9\): .*h\.0\.mlp\.c_fc.*1\.5"):
        count_shard(plan, 0, work, forward, watch()[0])


def test_saving_takes_a_small_share_of_the_time(
    plan: HarvestPlan, forward: Forward, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    clock = [0.0]
    monkeypatch.setattr(shards, "monotonic", lambda: clock[0])
    plain = Forward.batch

    def slow(self: Forward, index: int, size: int, count: int) -> Any:
        clock[0] += 1.0
        return plain(self, index, size, count)

    def save(self: ShardStates, engine: Any, batches: int) -> None:
        saves.append(batches)
        clock[0] += 0.5  # a twentieth of the time: the next one is due ten seconds later

    monkeypatch.setattr(Forward, "batch", slow)
    monkeypatch.setattr(ShardStates, "save", save)
    small = plan.model_copy(update={"save_seconds": 1.0, "sequences": 60})
    assert count_shard(small, 0, work, forward, watch()[0])
    assert 3 <= len(saves) <= 5, saves


def test_open_run_takes_a_checkpoint(text_run: RunDirectory, tmp_path: Path) -> None:
    model, _, _ = open_run(text_run, tmp_path, checkpoint=text_run.checkpoint(10))
    assert len(model.sites) == 4
    with pytest.raises(SpdError, match="step_11"):
        open_run(text_run, tmp_path, checkpoint=text_run.checkpoint(11))


def test_a_state_replaced_while_it_is_opened_loses_nothing(
    plan: HarvestPlan, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, opened = ShardStates(work, 0), shards.HarvestEngine.load
    states.save(new_engine(plan), 4)

    def slowly(path: Path) -> shards.HarvestEngine:
        monkeypatch.setattr(shards.HarvestEngine, "load", opened)
        states.save(new_engine(plan), 7)  # by a worker of the session before, which had not ended yet
        return opened(path)

    monkeypatch.setattr(shards.HarvestEngine, "load", slowly)
    told: list[str] = []
    found = states.load(told.append)
    assert found is not None and found[1] == 7
    assert "from its batch 7 on" in told[0]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space there"),
        (errno.EDQUOT, "Free some space there"),
        (errno.EROFS, "make it writable"),
        (errno.EIO, "Check the disk"),
        (errno.ENOENT, "Check the disk"),
    ],
)
def test_what_to_do_fits_why_a_state_was_not_saved(
    plan: HarvestPlan,
    forward: Forward,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    remedy: str,
) -> None:
    def fail(states: ShardStates, *_: Any) -> None:
        raise write_error(states.work, OSError(number, os.strerror(number)))

    monkeypatch.setattr(ShardStates, "save", fail)
    with pytest.raises(SpdError, match=os.strerror(number)) as caught:
        count_shard(plan, 0, work, forward, watch()[0])
    assert remedy in str(caught.value.remedy)
