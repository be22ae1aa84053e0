"""The manifest: round trip, refused versions, and how a run really stands."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import UsageError
from core.runs.files import read_json, write_json
from core.runs.manifest import (
    Manifest,
    actual_status,
    installed_versions,
    new_manifest,
    this_process,
)
from core.runs.processes import start_mark, this_host


def manifest(**changes: object) -> Manifest:
    return new_manifest(run_id="s-00000001", settings_digest="ab", recipe="tms_5-2").update(**changes)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    before = manifest(step=3, seconds=1.5, resumed=[datetime.now(UTC)], wandb_id="x")
    before.write(path)
    assert Manifest.read(path) == before
    assert read_json(path)["created"].endswith("Z")


def test_update_checks_and_leaves_the_original() -> None:
    before = manifest()
    assert before.update(status="finished").status == "finished"
    assert before.status == "running"
    with pytest.raises(ValidationError):
        before.update(status="asleep")
    with pytest.raises(ValidationError):
        before.update(no_such_field=1)


def test_it_says_what_made_the_run() -> None:
    made = manifest()
    assert (made.host, made.pid) == (this_host(), os.getpid())
    assert {"spd", "python", "torch"} <= set(made.versions)
    assert made.created.tzinfo is not None


def test_versions_come_without_importing_torch() -> None:
    code = "import sys; from core.runs.manifest import installed_versions as v; assert v()['torch']; "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert installed_versions()["python"].startswith("3.")


@pytest.mark.parametrize("version", [0, 99, None, "1"])
def test_other_schema_versions_are_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "manifest.json"
    manifest().write(path)
    write_json(path, {**read_json(path), "schema_version": version})
    with pytest.raises(UsageError, match="schema version") as caught:
        Manifest.read(path)
    assert ("Update spd" in str(caught.value)) == (version == 99)


def test_damaged_manifest_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest().write(path)
    write_json(path, {**read_json(path), "pid": "many"})
    with pytest.raises(UsageError, match="pid"):
        Manifest.read(path)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_running_process_is_running() -> None:
    status, reason = actual_status(manifest(**this_process()))
    assert status == "running" and str(os.getpid()) in reason


def test_killed_process_reads_as_interrupted() -> None:
    process = sleeper()
    running = manifest(pid=process.pid, process_mark=start_mark(process.pid))
    assert actual_status(running)[0] == "running"
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # Dead but not yet collected by its parent, then gone.
    assert actual_status(running)[0] == "interrupted"
    process.wait()
    status, reason = actual_status(running)
    assert status == "interrupted" and str(process.pid) in reason


def test_number_used_again_by_a_later_process_reads_as_interrupted() -> None:
    if start_mark(os.getpid()) is None:
        pytest.skip("this system does not tell when a process started: run on Linux")
    status, reason = actual_status(manifest(pid=os.getpid(), process_mark="boot:1"))
    assert status == "interrupted" and "later" in reason


def test_another_host_is_taken_at_its_word() -> None:
    status, reason = actual_status(manifest(host="elsewhere", pid=1))
    assert status == "running" and "elsewhere" in reason


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_other_states_stand(status: str) -> None:
    assert actual_status(manifest(status=status, pid=2**22 + 1))[0] == status
