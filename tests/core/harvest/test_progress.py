"""How fast a harvest goes: what was there before does not count, nor does what comes after."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.harvest import progress
from core.harvest.plan import HarvestPlan
from core.harvest.progress import HarvestProgress
from core.harvest.settings import HarvestSettings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def plan() -> HarvestPlan:
    """Two shards of five batches of 100 positions."""
    return HarvestPlan(
        name="h-20260101-000000",
        run_id="s-1",
        run_digest="",
        target_digest="",
        checkpoint_step=1,
        settings=HarvestSettings(),
        kind="text",
        layers=(("h", 1),),
        vocabulary=2,
        length=10,
        sequences=100,
        batch_size=10,
        shards=2,
        threads=1,
        device="cpu",
        precision="fp32",
        save_seconds=60,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        command=(),
    )


def test_the_rate_is_of_this_session(plan: HarvestPlan, clock: list[float], hearer: Any) -> None:
    heard = hearer()
    made = HarvestProgress(plan, heard)
    made.start({0: 300, 1: 0})
    assert (made.positions, made.rate(), heard.notes) == (300, None, [""])
    clock[0] += 2
    made.counted(0, 4)
    made.counted(1, 1)
    assert heard.counted == [300, 400, 500]
    assert heard.notes[-1] == "100 tokens/s"
    clock[0] += 50  # merging
    assert made.rate() == 100


def test_a_shard_that_falls_back_is_work_done_twice(
    plan: HarvestPlan, clock: list[float], hearer: Any
) -> None:
    made = HarvestProgress(plan, hearer())
    made.start({0: 300, 1: 200})
    made.counted(0, 0)
    clock[0] += 1
    made.counted(0, 5)
    assert (made.positions, made.rate()) == (700, 500)


def test_samples_are_called_so(plan: HarvestPlan, clock: list[float], hearer: Any) -> None:
    heard = hearer()
    made = HarvestProgress(plan.model_copy(update={"kind": "features"}), heard)
    made.start({0: 0, 1: 0})
    clock[0] += 1
    made.counted(1, 5)
    assert heard.notes[-1] == "500 samples/s"
