"""What a harvest is made of before anything is counted: sizes, workers, devices, names."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import torch

import core.harvest.preparing as preparing
import core.harvest.run as run
from core.decomposition.checkpoint import COMPONENTS
from core.errors import SpdError, UsageError
from core.harvest.plan import HarvestPlan, read_plan
from core.harvest.preparing import CHUNK_BYTES, begin, count_workers, find_plan, new_plan
from core.harvest.run import _devices
from core.runs.directory import RunDirectory

MakeRequest = Callable[..., Any]


@pytest.fixture
def planned(text_run: RunDirectory, request_of: MakeRequest, hearer: Any) -> Callable[..., HarvestPlan]:
    return lambda **changes: new_plan(request_of(text_run, **changes), hearer())[0]


@pytest.mark.parametrize(
    ("length", "components", "vocabulary"),
    [(64, 3280, 4096), (512, 38_912, 50_277), (1, 40, 0), (1024, 2**20, 2**20)],
)
@pytest.mark.parametrize(("share", "bytes_of_token"), [(0.0, 0), (0.99, 12), (1.0, 4)])
def test_a_batch_fits_into_memory(
    length: int, components: int, vocabulary: int, share: float, bytes_of_token: int
) -> None:
    size = preparing.fitting_sequences(length, components, vocabulary, share)
    assert size >= 1
    taken = size * length * (8 * components + bytes_of_token * vocabulary)
    assert taken <= CHUNK_BYTES or size == 1
    assert size * length <= max(length, preparing.CHUNK_POSITIONS)


FLAT = """
import re
from pathlib import Path
import torch
from core.harvest import preparing
from core.harvest.kernel import HarvestBatch, HarvestEngine

def largest_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

preparing.CHUNK_BYTES = 96 * 2**20
vocabulary, components = 8192, 64
positions = preparing.fitting_sequences(1, components, vocabulary, 0.99)
engine = HarvestEngine([("all", components)], vocabulary)

def batch(sequence, length):
    importances = torch.zeros(1, length, components)
    importances[..., :3] = 0.5
    return HarvestBatch(
        torch.tensor([sequence]),
        torch.zeros(1, length, dtype=torch.int64),
        {"all": importances},
        {"all": torch.ones(1, length, components)},
        torch.full((1, length, vocabulary), 1 / vocabulary),
    )

engine.add_batch(batch(0, 16))
# Forgets the peak of importing, which may lie above all that follows.
Path("/proc/self/clear_refs").write_text("5")
before = largest_mb()
engine.add_batch(batch(1, positions))
print(largest_mb() - before)
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is set back and read in /proc"
)
def test_a_batch_of_flat_outputs_fits_into_memory() -> None:
    done = subprocess.run([sys.executable, "-c", FLAT], capture_output=True, text=True, check=True)
    # Nearly all of the vocabulary is kept at every position.
    assert 64 < float(done.stdout) < 1.15 * 96


def test_sizes_that_nobody_gave(planned: Callable[..., HarvestPlan]) -> None:
    plan = planned()
    assert plan.positions == 1_000_008
    assert (plan.shards, plan.threads, plan.batch_size, plan.device) == (1, 1, 341, "cpu")
    assert plan.checkpoint_step == 10


def test_whole_sequences_are_counted(planned: Callable[..., HarvestPlan]) -> None:
    assert planned(positions=13).sequences == 2
    assert planned(batches=3, batch_size=5).sequences == 15


def test_small_work_is_shared_all_the_same(planned: Callable[..., HarvestPlan]) -> None:
    plan = planned(positions=1200, workers=5)
    assert (plan.shards, plan.batches) == (5, 5)
    assert planned(positions=24, workers=5).shards == 2


def test_no_output_is_counted_of_features(
    toy_run: RunDirectory, request_of: MakeRequest, hearer: Any
) -> None:
    plan, _, inputs = new_plan(request_of(toy_run, output_share=0.5), hearer())
    assert (plan.settings.output_share, plan.kind, inputs.kind) == (0.0, "features", "features")
    assert (plan.positions, plan.length, plan.vocabulary) == (100_000, 1, 5)


def test_two_harvests_of_one_second_have_two_names(
    planned: Callable[..., HarvestPlan], text_run: RunDirectory
) -> None:
    plan = planned(positions=12).model_copy(
        update={"created": datetime(2026, 1, 1, 0, 0, 59, 500_000, tzinfo=UTC)}
    )
    text_run.harvest("h-20260101-000059").mkdir(parents=True)
    names = [begin(plan, text_run).name for _ in range(2)]
    assert names == ["h-20260101-000100", "h-20260101-000101"]
    assert read_plan(text_run.harvest_work(names[1])).name == names[1]
    assert text_run.unfinished_harvests() == names


def test_a_plan_that_cannot_be_written_leaves_no_folder(
    planned: Callable[..., HarvestPlan], text_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(positions=12)

    def full(self: HarvestPlan, work: Any) -> None:
        raise SpdError("the disk is full.")

    monkeypatch.setattr(HarvestPlan, "write", full)
    with pytest.raises(SpdError, match="full"):
        begin(plan, text_run)
    assert text_run.unfinished_harvests() == []


def test_a_harvest_of_another_machine_needs_its_device(
    planned: Callable[..., HarvestPlan],
    text_run: RunDirectory,
    request_of: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(planned(positions=12).model_copy(update={"device": "cuda"}), text_run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="device is cpu here and cuda there"):
        find_plan(request_of(text_run, resume=True))
    with pytest.raises(UsageError, match="finds no CUDA device"):
        find_plan(request_of(text_run, resume=True, device="auto"))


def test_a_target_that_changed_is_refused(
    planned: Callable[..., HarvestPlan],
    text_run: RunDirectory,
    request_of: MakeRequest,
    harvest_of: Callable[..., Any],
) -> None:
    begin(planned(positions=12).model_copy(update={"target_digest": "another"}), text_run)
    with pytest.raises(UsageError, match="was begun with another"):
        harvest_of(text_run, resume=True)


def test_workers_take_the_gpus_in_turn(
    text_run: RunDirectory,
    request_of: MakeRequest,
    planned: Callable[..., HarvestPlan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = planned(positions=12)
    there = here.model_copy(update={"device": "cuda"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_workers(request_of(text_run, device="cpu")) == 1
    assert count_workers(request_of(text_run, device="cuda")) == 2
    assert count_workers(request_of(text_run, device="cuda:1")) == 1
    assert _devices(here, "cpu", 2) == ["cpu", "cpu"]
    assert _devices(there, "cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert _devices(there, "cuda:1", 2) == ["cuda:1", "cuda:1"]


def test_no_more_workers_than_can_be_of_use(
    planned: Callable[..., HarvestPlan],
    text_run: RunDirectory,
    request_of: MakeRequest,
    harvest_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparing, "_cores", lambda: 2)
    with pytest.raises(UsageError, match="workers = 100000 is too many for the 2 cores here") as caught:
        harvest_of(text_run, workers=100_000)
    assert "at most 16" in str(caught.value.remedy)
    preparing.check_request(request_of(text_run, workers=16))


def test_shards_of_a_larger_machine_are_shared_by_fewer_workers(
    planned: Callable[..., HarvestPlan],
    text_run: RunDirectory,
    request_of: MakeRequest,
    hearer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(planned(positions=1200, batch_size=4).model_copy(update={"shards": 25}), text_run)
    monkeypatch.setattr(preparing, "_cores", lambda: 1)
    assert run._prepare(request_of(text_run, resume=True), hearer()).workers == 8


def test_a_checkpoint_replaced_while_the_target_is_opened(
    planned: Callable[..., HarvestPlan], text_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = preparing.open_run

    def slowly(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(preparing, "open_run", opened)
        text_run.checkpoint(10).rename(text_run.checkpoint(20))
        return opened(*arguments, **options)

    monkeypatch.setattr(preparing, "open_run", slowly)
    assert planned(positions=12).checkpoint_step == 20


def test_a_checkpoint_gone_before_it_was_kept_leaves_no_folder(
    planned: Callable[..., HarvestPlan], text_run: RunDirectory
) -> None:
    plan = planned(positions=12).model_copy(update={"checkpoint_step": 5})
    with pytest.raises(UsageError, match="step_5 is gone"):
        begin(plan, text_run)
    assert text_run.unfinished_harvests() == []


def test_a_file_system_without_links_keeps_a_copy(
    planned: Callable[..., HarvestPlan], text_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*paths: Any) -> None:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "link", unknown)
    name = begin(planned(positions=12), text_run).name
    kept = text_run.harvest_work(name) / COMPONENTS
    assert kept.read_bytes() == (text_run.checkpoint(10) / COMPONENTS).read_bytes()
