"""One process per run."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from core.errors import SpdError
from core.runs.directory import RunDirectory
from core.runs.lock import RunLock, lock_holder
from core.runs.processes import this_host


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lock_is_there_while_held_and_gone_after(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with RunLock(run):
        assert json.loads(run.lock.read_text())["pid"] == os.getpid()
        assert str(os.getpid()) in (lock_holder(run) or "")
    assert list(tmp_path.iterdir()) == []
    assert lock_holder(run) is None


def test_second_taker_is_told_who_holds_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with RunLock(run):
        with pytest.raises(SpdError, match=f"process {os.getpid()} on {this_host()}"), RunLock(run):
            pass
        assert run.lock.exists()


def test_released_when_the_work_fails(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RuntimeError), RunLock(run):
        raise RuntimeError
    assert not run.lock.exists()


@pytest.mark.parametrize("stale", ["dead", "later process", "unreadable"])
def test_stale_lock_is_taken_over(tmp_path: Path, stale: str) -> None:
    run = RunDirectory(tmp_path)
    if stale == "dead":
        run.lock.write_text(json.dumps({"pid": dead_pid(), "host": this_host(), "mark": None}))
    elif stale == "later process":
        run.lock.write_text(json.dumps({"pid": os.getpid(), "host": this_host(), "mark": "boot:1"}))
    else:
        run.lock.write_text("")
        os.utime(run.lock, (time.time() - 60, time.time() - 60))
    assert lock_holder(run) is None
    with RunLock(run):
        assert json.loads(run.lock.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.lock.write_text(json.dumps({"pid": dead_pid(), "host": "elsewhere", "mark": None}))
    with pytest.raises(SpdError, match="elsewhere") as caught, RunLock(run):
        pass
    assert str(run.lock) in str(caught.value)


def test_lock_that_is_just_being_written_is_respected(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.lock.write_text("")
    with pytest.raises(SpdError, match="just starting"), RunLock(run):
        pass


def test_someone_elses_lock_is_not_released(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    lock = RunLock(run)
    lock.acquire()
    run.lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "mark": None}))
    lock.release()
    assert run.lock.exists()


def test_only_one_of_many_takes_over_a_stale_lock(tmp_path: Path) -> None:
    dead = json.dumps({"pid": dead_pid(), "host": this_host(), "mark": None})
    for number in range(50):
        run = RunDirectory(tmp_path / str(number))
        run.path.mkdir()
        run.lock.write_text(dead)
        together = Barrier(8)

        def take(_: int, run: RunDirectory = run, together: Barrier = together) -> bool:
            together.wait()
            try:
                RunLock(run).acquire()
            except SpdError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1
