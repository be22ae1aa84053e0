"""Following a run's folder through everything that may become of it."""

import json
import os
import shutil

import pytest

from core.runs.directory import RunDirectory
from core.runs.metrics_log import MetricsLog
from spd_tui.loading import Job, Stopped
from spd_tui.run_follower import RunFollower
from tests.spd_tui.sample_runs import add_records, write_run


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return write_run(tmp_path, "s-00000001", status="running", step=290, steps=1000, records=30)


def test_the_first_look_has_everything(run):
    look = RunFollower(run).look()
    assert look is not None and look.details is not None
    assert look.metrics.count == 30
    assert look.details.overview.status == "running"
    assert look.details.settings["target"]["n_features"] == 5
    assert look.problems == () and not look.gone


def test_nothing_new_is_none(run):
    follower = RunFollower(run)
    assert follower.look() is not None
    assert follower.look() is None


def test_only_what_grew_is_new(run):
    follower = RunFollower(run)
    first = follower.look()
    add_records(run, [300])
    second = follower.look()
    assert first is not None and second is not None and second.details is not None
    assert (first.metrics.count, second.metrics.count) == (30, 31)
    assert second.details.overview.step == 300
    assert first.details is not None and second.details.settings is first.details.settings


def test_half_a_line_waits(run):
    follower = RunFollower(run)
    follower.look()
    with open(run.metrics, "a", encoding="utf-8") as file:
        file.write('{"step": 300, "ki')
        file.flush()
        look = follower.look()
        assert look is None or (look.metrics.count == 30 and look.problems == ())
        file.write('nd": "train", "loss/total": 1.0}\n')
    look = follower.look()
    assert look is not None and look.metrics.step == 300


def test_a_resume_cuts_back(run):
    follower = RunFollower(run)
    follower.look()
    with MetricsLog(run.metrics) as log:
        log.truncate_after(100)
    look = follower.look()
    assert look is not None and look.restarted
    assert look.metrics.step == 100 and look.metrics.count < 30


def test_a_bad_line_is_named_and_passed_over(run):
    with open(run.metrics, "a", encoding="utf-8") as file:
        file.write("no record\n")
    look = RunFollower(run).look()
    assert look is not None and look.metrics.count == 30
    assert "line 31" in look.problems[0]


def test_a_deleted_run_is_said_and_what_was_known_stays(run):
    follower = RunFollower(run)
    follower.look()
    shutil.rmtree(run.path)
    look = follower.look()
    assert look is not None and look.gone
    assert look.problems == (f"{run.path} has been deleted.",)
    assert look.metrics.count == 30 and look.details is not None
    assert follower.look() is None


def test_a_run_that_comes_back_is_read_again(run, tmp_path):
    follower = RunFollower(run)
    follower.look()
    run.path.rename(tmp_path / "aside")
    gone = follower.look()
    assert gone is not None and gone.gone
    (tmp_path / "aside").rename(run.path)
    back = follower.look()
    assert back is not None and not back.gone and back.problems == ()


def test_another_schema_version_is_said(run):
    follower = RunFollower(run)
    follower.look()
    data = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps({**data, "schema_version": 99}))
    look = follower.look()
    assert look is not None and "schema version 99" in look.problems[0]
    assert look.details is not None
    run.manifest.write_text(json.dumps(data))
    look = follower.look()
    assert look is not None and look.problems == ()


def test_a_manifest_half_written_is_said_even_at_the_first_look(run):
    run.manifest.write_text('{"schema_ver')
    look = RunFollower(run).look()
    assert look is not None and look.details is None
    assert str(run.manifest) in look.problems[0]
    assert look.metrics.count == 30


def test_damaged_settings_and_summary_are_named(run):
    run.settings.write_text("a: [1")
    run.summary.write_text("{")
    look = RunFollower(run).look()
    assert look is not None
    assert any("settings.yaml" in problem for problem in look.problems)
    assert any("summary.json" in problem for problem in look.problems)


def test_a_process_that_dies_makes_the_run_interrupted(run):
    follower = RunFollower(run)
    follower.look()
    data = json.loads(run.manifest.read_text())
    state = run.manifest.stat()
    run.manifest.write_text(json.dumps({**data, "process_mark": "of another process"}))
    os.utime(run.manifest, ns=(state.st_atime_ns, state.st_mtime_ns))
    look = follower.look()
    assert look is not None and look.details is not None
    assert look.details.overview.status == "interrupted"


def test_a_run_without_metrics_yet(tmp_path):
    run = write_run(tmp_path, "s-00000002", status="running", records=0)
    run.metrics.unlink(missing_ok=True)
    follower = RunFollower(run)
    look = follower.look()
    assert look is not None and look.metrics.count == 0 and look.problems == ()
    add_records(run, [0, 1])
    look = follower.look()
    assert look is not None and look.metrics.count == 2


def test_stopping_ends_a_look(run):
    job = Job("looking", None, lambda: job)  # pyright: ignore[reportArgumentType]
    job.stop()
    with pytest.raises(Stopped):
        RunFollower(run).look(job)


@pytest.mark.slow
def test_a_hundred_thousand_records_are_read_in_pieces(tmp_path):
    run = write_run(tmp_path, "s-00000003", records=0)
    add_records(run, list(range(100_000)))
    follower = RunFollower(run)
    look = follower.look()
    while look is not None and look.more:
        look = follower.look()
    assert look is not None and look.metrics.count == 100_000
