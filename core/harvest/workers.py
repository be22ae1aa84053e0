"""Sharing a harvest among processes: starting them, following them, and stopping all when one fails."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from core.errors import SpdError, UsageError
from core.harvest.plan import HarvestPlan
from core.harvest.shards import Watch
from core.launching import LAUNCHER, STOPPED
from core.runs.directory import RunDirectory

_WAIT_SECONDS = 0.2
"""How long a request to stop may wait for the next word of a worker."""

_STDERR_SHOWN = 4000


@dataclass
class _Worker:
    """A process and what it was given."""

    process: "subprocess.Popen[str]"
    shards: tuple[int, ...]
    errors: IO[bytes]
    """What it wrote to stderr."""
    said: dict[str, Any] | None = field(default=None)
    """The error it told."""

    def stop(self) -> None:
        """Ask it to save and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def failure(self) -> SpdError | None:
        """Why it ended before its work was done; None if it was done or told to stop."""
        code = self.process.returncode
        if self.said is not None:
            kind = UsageError if code == UsageError.exit_code else SpdError
            return kind(self.said["error"], self.said["remedy"])
        if code == 0 or code in (STOPPED, -signal.SIGTERM, -signal.SIGINT):
            return None
        shards = f"shard{'s' if len(self.shards) > 1 else ''} {', '.join(map(str, self.shards))}"
        if code < 0:
            why = f"was killed ({signal.Signals(-code).name}{', out of memory?' if code == -9 else ''})"
        else:
            self.errors.seek(0)
            said = self.errors.read()[-_STDERR_SHOWN:].decode(errors="replace").strip()
            why = f"ended with code {code}:\n{said}\n"
        return SpdError(f"the worker of {shards} {why}; what it had saved is kept.", "Go on with --resume.")


def count_with_workers(
    plan: HarvestPlan,
    run: RunDirectory,
    root: Path,
    shards: Sequence[int],
    devices: Sequence[str],
    watch: Watch,
) -> bool:
    """Count these shards in one process for each of `devices`; False if they were stopped before the end.

    A worker that fails ends the others, once each of them has saved what it has.

    Raises:
        SpdError: what a worker says, or how it died.
    """
    said: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
    with ExitStack() as stack:
        workers: list[_Worker] = []
        stack.callback(_end_all, workers)
        for place, device in enumerate(devices):
            share = tuple(shards[place :: len(devices)])
            if share:
                errors = stack.enter_context(tempfile.TemporaryFile())
                worker = _start(plan, run, root, share, device, errors)
                workers.append(worker)
                threading.Thread(target=_listen, args=(worker, said), daemon=True).start()
        return _follow(workers, said, watch)


def _follow(
    workers: list[_Worker], said: "queue.Queue[tuple[_Worker, dict[str, Any] | None]]", watch: Watch
) -> bool:
    running, stopping = len(workers), False
    first: SpdError | None = None
    while running:
        if watch.stopping() and not stopping:
            stopping = True
            _stop_all(workers)
        try:
            worker, what = said.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            continue
        if what is None:
            running -= 1
            failure = worker.failure()
            if failure is not None and first is None:
                first = failure
                _stop_all(workers)
        elif "counted" in what:
            watch.counted(*what["counted"])
        elif "message" in what:
            watch.tell(what["message"])
        elif "error" in what:
            worker.said = what
    if first is not None:
        raise first
    return all(worker.process.returncode == 0 for worker in workers)


def _start(
    plan: HarvestPlan, run: RunDirectory, root: Path, shards: tuple[int, ...], device: str, errors: IO[bytes]
) -> _Worker:
    request = {
        "run": str(run.path),
        "root": str(root),
        "name": plan.name,
        "shards": shards,
        "device": device,
    }
    package = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(plan.threads),
        "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))),
        LAUNCHER: str(os.getpid()),
    }
    process = subprocess.Popen(
        # -P: what lies in the folder one happens to work in is not imported.
        [sys.executable, "-P", "-m", "core.harvest.worker", json.dumps(request)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
    )
    return _Worker(process, shards, errors)


def _listen(worker: _Worker, said: "queue.Queue[tuple[_Worker, dict[str, Any] | None]]") -> None:
    """Pass on what a worker says, then None when it has ended."""
    assert worker.process.stdout is not None
    for line in worker.process.stdout:
        with suppress(ValueError):  # whoever is killed may leave half a line
            said.put((worker, json.loads(line)))
    worker.process.wait()
    said.put((worker, None))


def _stop_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()


def _end_all(workers: list[_Worker]) -> None:
    """Leave no process behind, whatever went wrong."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
        if worker.process.stdout is not None:
            worker.process.stdout.close()
