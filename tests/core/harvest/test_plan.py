"""Which batches a shard counts, and what a plan refuses."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.harvest.plan import PLAN_FILE, HarvestPlan, check_same, read_plan
from core.harvest.settings import HarvestSettings


def plan(**changes: Any) -> HarvestPlan:
    fields: dict[str, Any] = {
        "name": "h-20260101-000000",
        "run_id": "s-1",
        "run_digest": "run",
        "target_digest": "target",
        "checkpoint_step": 10,
        "settings": HarvestSettings(),
        "kind": "text",
        "layers": (("h.0", 3),),
        "vocabulary": 9,
        "length": 4,
        "sequences": 10,
        "batch_size": 3,
        "shards": 2,
        "threads": 1,
        "device": "cpu",
        "precision": "fp32",
        "save_seconds": 60.0,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "command": (),
    }
    return HarvestPlan(**{**fields, **changes})


@given(
    sequences=st.integers(1, 500),
    batch_size=st.integers(1, 40),
    shards=st.integers(1, 7),
    length=st.integers(1, 5),
)
def test_every_sequence_is_counted_by_one_shard(
    sequences: int, batch_size: int, shards: int, length: int
) -> None:
    made = plan(sequences=sequences, batch_size=batch_size, shards=shards, length=length)
    batches = sorted(batch for shard in range(shards) for batch in made.batches_of(shard))
    assert batches == list(range(made.batches))
    covered = [batch * batch_size + place for batch in batches for place in range(made.sequences_of(batch))]
    assert covered == list(range(sequences))
    positions = [made.positions_of(shard, len(made.batches_of(shard))) for shard in range(shards)]
    assert sum(positions) == made.positions
    assert made.positions_of(0, 0) == 0


def test_a_plan_is_read_back(tmp_path: Path) -> None:
    plan(settings=HarvestSettings(threshold=0.1)).write(tmp_path)
    assert read_plan(tmp_path) == plan(settings=HarvestSettings(threshold=0.1))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "has version 2; this spd goes on with version 1"),
        ({"batch_size": "many"}, "is damaged: batch_size"),
        ({"more": 1}, "is damaged: more"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    plan().write(tmp_path)
    data = json.loads((tmp_path / PLAN_FILE).read_text())
    (tmp_path / PLAN_FILE).write_text(json.dumps({**data, **change}))
    with pytest.raises(UsageError, match=f"{complaint}.*harvest again"):
        read_plan(tmp_path)


def test_everything_that_differs_is_named() -> None:
    check_same(plan(), {"threshold": 0.0, "sequences": None, "batch_size": 3})
    with pytest.raises(UsageError, match=r"threshold is 0\.5 here and 0\.0 there; batch_size is 4 here"):
        check_same(plan(), {"threshold": 0.5, "sequences": None, "batch_size": 4})


def test_another_amount_is_told_in_what_it_is_given_in() -> None:
    with pytest.raises(UsageError, match="tokens, in whole sequences, are 4 000 here and 40 there"):
        check_same(plan(), {"sequences": 1000})
    with pytest.raises(UsageError, match="samples are 20 here and 10 there"):
        check_same(plan(kind="features", length=1), {"sequences": 20})
