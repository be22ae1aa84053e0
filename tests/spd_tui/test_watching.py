"""What the panel is told of a run."""

from pathlib import Path

from spd_tui.watching import read_detail, read_row
from tests.spd_tui.sample_runs import add_records, write_run


def test_a_stopped_run_is_told_up_to_the_step_it_goes_on_from(tmp_path: Path) -> None:
    run = write_run(tmp_path, "s-1", status="interrupted", step=2000, records=3)
    add_records(run, [3000, 4000])
    overview = read_row(run.path).overview
    losses = read_detail(run.path).losses
    assert overview is not None and overview.step == 2000
    assert len(losses) == 3 and losses[-1] == overview.loss
