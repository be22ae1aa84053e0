"""Learning-rate schedules and the annealing of the minimality exponent against golden numbers."""

from typing import Any

import pytest

from core.losses.minimality import MinimalityLoss
from core.schedule import Schedule


def test_schedules_give_the_golden_value_at_every_step(golden: Any) -> None:
    for item in golden("05_schedules").data["schedules"]:
        schedule = Schedule(
            start=item["start_val"],
            kind=item["fn_type"],
            warmup=item["warmup_pct"],
            final=item["final_val_frac"],
        )
        steps = item["total_steps"]
        values = [schedule.at(step, steps) for step in range(steps + 1)]
        assert values == pytest.approx(item["values"], rel=1e-6, abs=1e-12), item


def test_exponents_anneal_as_the_golden_ones(golden: Any) -> None:
    for item in golden("05_schedules").data["p_annealing"]:
        loss = MinimalityLoss(
            coeff=1,
            p=item["initial_p"],
            p_final=item["final_p"],
            anneal_start=item["start_frac"],
            anneal_end=item["end_frac"],
        )
        values = [loss.exponent(progress) for progress in item["fracs"]]
        assert values == pytest.approx(item["values"], rel=1e-6), item
