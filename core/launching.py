"""Starting the processes of a data-parallel run, and finding out that one was started as part of one.

Both sides speak torchrun's language: RANK, WORLD_SIZE, LOCAL_RANK and the address of rank 0 in environment
variables. So `torchrun -m spd_cli ...` and `srun spd ... --dp N` are as good as `spd ... --dp N`. That one
starts the processes itself, on one machine, and rank 0's messages, JSON and exit code are its own.
"""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from core.errors import UsageError

GRACE_SECONDS = 15.0
"""How long the other ranks may go on after one has failed, to say why themselves."""


_STOPS = (signal.SIGINT, signal.SIGTERM)

LAUNCHER = "SPD_LAUNCHER"
"""Environment variable with the process that started a rank."""

REFUSED = 2
"""Exit code of a process that was asked for something impossible."""

STOPPED = 130
"""Exit code of a process that the user stopped."""


@dataclass(frozen=True)
class Place:
    """A process's place among those it was launched with."""

    rank: int
    """Its number among all, from 0."""
    size: int
    """Number of all."""
    local: int
    """Its number on its machine, which chooses its GPU."""
    local_size: int
    """How many there are on its machine."""


def launched_place(wanted: int | None) -> Place | None:
    """This process's place among those it was launched with; None when it was launched alone.

    Raises:
        UsageError: `wanted` ranks were asked for and another number was launched.
    """
    environment = os.environ
    if "RANK" in environment and "WORLD_SIZE" in environment:
        size = int(environment["WORLD_SIZE"])
        if wanted not in (None, size):
            raise UsageError(
                f"--dp {wanted} was asked for, but {size} processes were launched together.",
                "Leave --dp out: the launcher has said how many there are.",
            )
        local_size = int(environment.get("LOCAL_WORLD_SIZE", "1"))
        return Place(int(environment["RANK"]), size, int(environment.get("LOCAL_RANK", "0")), local_size)
    if wanted in (None, 1) or "SLURM_STEP_ID" not in environment:  # a batch script itself is no task of srun
        return None
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks == 1:
        return None
    if tasks != wanted:
        raise UsageError(
            f"--dp {wanted} was asked for, but srun started {tasks} tasks.", f"Use srun --ntasks {wanted}."
        )
    environment.setdefault("MASTER_ADDR", first_host(environment["SLURM_STEP_NODELIST"]))
    # The same port in every task, and another one for every step on a shared machine.
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    environment.setdefault("MASTER_PORT", str(20_000 + (job * 101 + step) % 20_000))
    local_size = int(re.split(r"[(,]", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))[0])
    return Place(int(environment["SLURM_PROCID"]), tasks, int(environment["SLURM_LOCALID"]), local_size)


def end_with_launcher() -> None:
    """Be told to stop when the process that launched this one dies, which could not tell it (Linux)."""
    if os.environ.get(LAUNCHER) == str(os.getppid()) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


_PR_SET_PDEATHSIG = 1


def first_host(nodes: str) -> str:
    """The first name of a SLURM node list such as `gpu[03-05,9],cpu1`."""
    found = re.match(r"([^,\[]+)(?:\[([^\]]*)\])?", nodes)
    assert found, f"unreadable node list {nodes!r}"
    inside = found.group(2)
    return found.group(1) + (re.split(r"[-,]", inside)[0] if inside else "")


def launch(command: list[str], count: int) -> tuple[int, str]:
    """Run `count` copies of a command as the ranks of one group; returns the exit code and what went wrong.

    Rank 0 has this process's streams. The others are heard only when one of them fails first: then the end of
    what it wrote to stderr is returned. A rank that fails ends the group. Signals that ask to stop are passed
    on (Ctrl-C at a terminal comes to the ranks by itself too, which counts once: see `core.runs.stopping`).
    """
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),  # all of them share the cores
        **os.environ,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        LAUNCHER: str(os.getpid()),
    }
    ranks: list[subprocess.Popen[bytes]] = []
    said: list[IO[bytes] | None] = []
    with _signals_passed_on(ranks) as asked, ExitStack() as logs:
        try:
            for rank in range(count):
                log = logs.enter_context(tempfile.TemporaryFile()) if rank else None
                said.append(log)
                ranks.append(_start(command, environment, rank, log))
            guilty = _wait(ranks, asked)
        finally:
            for process in ranks:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        code, log = ranks[guilty].returncode, said[guilty]
        wrong = "" if log is None else f"rank {guilty} of {count} failed:\n{_tail(log)}"
        if asked and -code in _STOPS:  # told a second time when it had stopped and was about to end
            return STOPPED, ""
        if code < 0:
            name = signal.Signals(-code).name
            wrong = f"rank {guilty} of {count} was killed ({name}{', out of memory?' if code == -9 else ''})."
    return (128 - code if code < 0 else code), wrong


def _start(
    command: list[str], environment: dict[str, str], rank: int, log: IO[bytes] | None
) -> "subprocess.Popen[bytes]":
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    if log is None:
        return subprocess.Popen(command, env=environment | place)
    return subprocess.Popen(command, env=environment | place, stdout=subprocess.DEVNULL, stderr=log)


def _wait(ranks: "list[subprocess.Popen[bytes]]", asked: list[int]) -> int:
    """Wait for all, or a while after one has failed; returns who failed first, rank 0 if nobody did."""
    first: int | None = None
    deadline = float("inf")
    while any(process.poll() is None for process in ranks) and time.monotonic() < deadline:
        failed = _failed(ranks, asked)
        if failed and first is None:
            # The others lose their partner and fail too: theirs is only the echo.
            first, deadline = failed[0], time.monotonic() + GRACE_SECONDS
        time.sleep(0.05)
    if ranks[0].poll() == REFUSED:  # all refuse the same; rank 0 has told it
        return 0
    return first if first is not None else [*_failed(ranks, asked), 0][0]


def _failed(ranks: "list[subprocess.Popen[bytes]]", asked: list[int]) -> list[int]:
    """Those that ended otherwise than done or, all of them together, stopped by the user."""
    fine = [None, 0, STOPPED, *(-number for number in (_STOPS if asked else ()))]
    return [rank for rank, process in enumerate(ranks) if process.poll() not in fine]


@contextmanager
def _signals_passed_on(ranks: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass signals that ask to stop on to the ranks; yields the list of those that came."""
    asked: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        for process in ranks:
            if process.poll() is None:
                process.send_signal(number)

    # Not SIG_IGN, which the ranks would inherit: then nothing before and after their loops could be stopped.
    before = {number: signal.signal(number, pass_on) for number in _STOPS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tail(log: IO[bytes], size: int = 4000) -> str:
    log.seek(0)
    return log.read()[-size:].decode(errors="replace").strip()
