"""Processes of a data-parallel run: who they are, and what becomes of the group when one fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import UsageError
from core.launching import first_host, launch, launched_place

WHO = "import json, os, sys; from core.launching import launched_place as p; q = p(None)\n"


def test_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert launched_place(None) is None
    assert launched_place(4) is None


def test_torchrun_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    place = launched_place(None)
    assert place is not None
    assert (place.rank, place.size, place.local, place.local_size) == (3, 4, 1, 2)
    assert launched_place(4) == place
    with pytest.raises(UsageError, match=r"--dp 2 was asked for, but 4 processes"):
        launched_place(2)


SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
}


@pytest.fixture
def srun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # set, so that the test takes away what the code sets
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)


def test_tasks_of_srun_are_ranks_when_as_many_were_asked_for(srun: None) -> None:
    place = launched_place(16)
    assert place is not None
    assert (place.rank, place.size, place.local, place.local_size) == (9, 16, 1, 8)
    assert os.environ["MASTER_ADDR"] == "gpu03"
    assert 20_000 <= int(os.environ["MASTER_PORT"]) < 40_000


def test_tasks_of_srun_without_dp_are_runs_of_their_own(srun: None) -> None:
    assert launched_place(None) is None


def test_tasks_of_srun_of_another_number_are_refused(srun: None) -> None:
    with pytest.raises(UsageError, match=r"--dp 8 was asked for, but srun started 16 tasks"):
        launched_place(8)


def test_a_batch_script_is_no_task(srun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_STEP_ID")
    assert launched_place(16) is None


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[03-05,9],cpu1", "gpu03"), ("n1", "n1"), ("a7,b2", "a7"), ("x[9]", "x9")]
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_each_process_learns_its_place(tmp_path: Path) -> None:
    script = WHO + f"open(r'{tmp_path}/' + str(q.rank), 'w').write(json.dumps([q.rank, q.size, q.local]))"
    assert launch([sys.executable, "-c", script], 3) == (0, "")
    assert [json.loads((tmp_path / str(r)).read_text()) for r in range(3)] == [[r, 3, r] for r in range(3)]


def test_exit_code_of_rank_0_is_that_of_the_command() -> None:
    assert launch([sys.executable, "-c", WHO + "sys.exit(130 if q.rank == 0 else 0)"], 2) == (130, "")


def test_a_failing_follower_ends_the_group_and_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.launching.GRACE_SECONDS", 0.2)
    script = (
        WHO + "import time\nif q.rank == 0: time.sleep(600)\nprint('no room', file=sys.stderr); sys.exit(7)"
    )
    began = time.monotonic()
    code, wrong = launch([sys.executable, "-c", script], 2)
    assert code == 7
    assert wrong.startswith("rank 1 of 2 failed:") and "no room" in wrong
    assert time.monotonic() - began < 60


def test_a_termination_reaches_every_rank(tmp_path: Path) -> None:
    child = (
        "import os, signal, sys, time\n"
        f"name = r'{tmp_path}/' + os.environ['RANK']\n"
        "def told(*_):\n    open(name + '.told', 'w').close(); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, told)\n"
        "open(name + '.up', 'w').close()\n"
        "time.sleep(600)\n"
    )
    command = f"[sys.executable, '-c', {child!r}]"
    parent = f"import sys; from core.launching import launch; sys.exit(launch({command}, 2)[0])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    while len(list(tmp_path.glob("*.up"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert sorted(path.name for path in tmp_path.glob("*.told")) == ["0.told", "1.told"]


def test_a_killed_rank_is_called_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.launching.GRACE_SECONDS", 0.2)
    script = (
        WHO + "import time, signal\nif q.rank == 0: time.sleep(600)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    code, wrong = launch([sys.executable, "-c", script], 2)
    assert code == 128 + signal.SIGKILL
    assert wrong == "rank 1 of 2 was killed (SIGKILL, out of memory?)."


def test_ranks_end_with_their_launcher(tmp_path: Path) -> None:
    child = (
        "import os, signal, sys, time\n"
        "from core.launching import end_with_launcher\n"
        f"name = r'{tmp_path}/' + os.environ['RANK']\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open(name + '.told', 'w').close(), sys.exit(130)))\n"
        "end_with_launcher()\n"
        "open(name + '.up', 'w').close()\n"
        "time.sleep(600)\n"
    )
    command = f"[sys.executable, '-c', {child!r}]"
    parent = f"import sys; from core.launching import launch; launch({command}, 2)"
    process = subprocess.Popen([sys.executable, "-c", parent])
    while len(list(tmp_path.glob("*.up"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.told"))) < 2:
        assert time.monotonic() < deadline, "the ranks go on without their launcher"
        time.sleep(0.02)


def test_a_rank_that_is_told_once_more_at_its_end_has_not_failed(tmp_path: Path) -> None:
    child = (
        "import os, signal, sys, time\n"
        f"open(r'{tmp_path}/' + os.environ['RANK'] + '.up', 'w').close()\n"
        "time.sleep(600)\n"  # dies of the signal, as one does that has given its handlers back
    )
    parent = (
        "import sys; from core.launching import launch\n"
        f"code, wrong = launch([sys.executable, '-c', {child!r}], 2)\n"
        "assert not wrong, wrong\nsys.exit(code)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    while len(list(tmp_path.glob("*.up"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
