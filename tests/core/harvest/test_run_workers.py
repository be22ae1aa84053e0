"""A harvest shared among processes: any number of them, killed at any moment, gives the same tables."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Interrupted, SpdError
from core.harvest.run import HarvestResult
from core.runs.directory import RunDirectory
from core.runs.processes import this_host, why_dead

Harvesting = Callable[..., HarvestResult]

WORK: dict[str, Any] = {"positions": 48_000, "batch_size": 4, "save_seconds": 0.0}
"""A thousand batches, saved as often as can be."""

pytestmark = pytest.mark.slow


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The worker processes, as they are started; all on one thread, as this process is."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    processes: list[subprocess.Popen[str]] = []
    plain = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[str]:
        processes.append(plain(*args, **options))
        return processes[-1]

    monkeypatch.setattr("core.harvest.workers.subprocess.Popen", start)
    return processes


def killing(started: list[subprocess.Popen[str]], seed: int) -> Callable[[], None]:
    """Kill one of the workers that live."""

    def kill() -> None:
        living = [process for process in started if process.poll() is None]
        random.Random(seed).choice(living).kill()

    return kill


@pytest.mark.parametrize("count", [2, 5])
def test_any_number_of_workers_gives_the_same(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    started: list[subprocess.Popen[str]],
    count: int,
) -> None:
    whole = harvest_of(text_run, **WORK)
    assert started == []
    heard = hearer()
    shared = harvest_of(text_run, heard, workers=count, **WORK)
    assert len(started) == count
    assert heard.counted[-1] == WORK["positions"]
    assert heard.counted == sorted(heard.counted)
    same_tables(whole.folder, shared.folder)


@pytest.mark.parametrize(("seed", "before", "after"), [(0, 2, 2), (1, 5, 2), (2, 2, 1)])
def test_a_worker_that_is_killed_costs_nothing_but_time(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    started: list[subprocess.Popen[str]],
    seed: int,
    before: int,
    after: int,
) -> None:
    whole = harvest_of(text_run, **WORK)
    draw = random.Random(seed)
    at = draw.randrange(48, WORK["positions"] // 2)
    with pytest.raises(SpdError, match=r"worker of shards? .*was killed \(SIGKILL.*--resume") as caught:
        harvest_of(text_run, hearer(at, killing(started, seed)), workers=before, **WORK)
    assert caught.value.exit_code == 1
    assert all(process.poll() is not None for process in started)
    assert text_run.harvest_names() == [whole.folder.name]
    heard = hearer()
    resumed = harvest_of(text_run, heard, resume=True, workers=after)
    # Whoever was not killed has saved everything.
    assert heard.counted[0] > 0
    same_tables(whole.folder, resumed.folder)


def test_workers_are_stopped_and_go_on(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    started: list[subprocess.Popen[str]],
) -> None:
    whole = harvest_of(text_run, **WORK)
    stop = hearer(10_000, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="everything up to there is saved"):
        harvest_of(text_run, stop, workers=2, **WORK)
    assert [process.returncode for process in started] == [130, 130]
    heard = hearer()
    resumed = harvest_of(text_run, heard, resume=True, workers=2)
    assert heard.counted[0] >= 10_000
    same_tables(whole.folder, resumed.folder)


def test_what_a_worker_cannot_do_is_said_in_its_words(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    started: list[subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def spoil(*args: Any, **options: Any) -> Any:
        [name] = text_run.unfinished_harvests()
        components = text_run.harvest_work(name) / "components.safetensors"
        components.write_bytes(components.read_bytes()[:100])
        return count(*args, **options)

    import core.harvest.run as harvesting

    count = harvesting.count_with_workers
    monkeypatch.setattr(harvesting, "count_with_workers", spoil)
    with pytest.raises(SpdError, match=r"components\.safetensors is damaged.*Remove .*\.work") as caught:
        harvest_of(text_run, workers=2, **WORK)
    assert caught.value.exit_code == 2
    assert len(started) == 2


SCRIPT = """
import os, subprocess, sys
from pathlib import Path
import core.harvest.workers as workers
from core.harvest.preparing import HarvestRequest
from core.harvest.run import harvest_run
from core.harvest.settings import HarvestSettings
from core.runs.directory import RunDirectory

plain = subprocess.Popen
pids = []

def start(*args, **options):
    process = plain(*args, **options)
    pids.append(process.pid)
    return process

workers.subprocess.Popen = start

class Observer:
    def message(self, text): pass
    def progress(self, phase, done, total, note="", unit="step"):
        if done >= 5000:
            print(*pids, flush=True)
            os.kill(os.getpid(), 9)

settings = HarvestSettings(context=3, uniform_examples=4, strongest_examples=2)
run = RunDirectory(Path(sys.argv[1]))
harvest_run(
    HarvestRequest(
        run, Path(sys.argv[2]), settings, positions=48000, batch_size=4, workers=2, device="cpu",
        save_seconds=0,
    ),
    Observer(),
)
"""


def test_workers_do_not_outlive_the_process_that_started_them(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    started: list[subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    whole = harvest_of(text_run, **WORK)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(text_run.path), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 60
    for pid in map(int, done.stdout.split()):
        while why_dead(this_host(), pid, None) is None:
            assert time.monotonic() < deadline, f"worker {pid} still lives"
            time.sleep(0.05)
    heard = hearer()
    resumed = harvest_of(text_run, heard, resume=True, workers=2)
    assert heard.counted[0] >= 4000
    same_tables(whole.folder, resumed.folder)
