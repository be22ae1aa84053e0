"""One worker of a harvest, a process of its own: `python -m core.harvest.worker REQUEST`.

REQUEST is JSON: the run's folder, the folder of all runs, the name of the harvest, the shards to count and
the device. What there is to say goes to stdout, one JSON object a line: `counted` [shard, batches],
`message`, or `error` with `remedy`, whose exit code is the process's own.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from core.errors import SpdError
from core.launching import STOPPED, end_with_launcher
from core.runs.directory import RunDirectory
from core.runs.stopping import StopSignal


class _Line:
    """The line to the process that started this one; when nobody hears, it is time to stop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.broken = False

    def say(self, **what: Any) -> None:
        """Send one object."""
        try:
            self._stream.write(json.dumps(what) + "\n")
            self._stream.flush()
        except OSError:
            self.broken = True


def main() -> int:
    """Count the shards that are asked for; returns the exit code."""
    # Whatever else writes to stdout goes to stderr, which is shown when the process dies.
    line = _Line(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    end_with_launcher()
    with StopSignal() as stop:
        try:
            return _work(json.loads(sys.argv[1]), line, stop)
        except SpdError as error:
            line.say(error=error.message, remedy=error.remedy)
            return error.exit_code


def _work(request: dict[str, Any], line: _Line, stop: StopSignal) -> int:
    from core.devices import resolve_device, thread_count
    from core.harvest.forward import Forward
    from core.harvest.plan import read_plan
    from core.harvest.preparing import open_at_checkpoint
    from core.harvest.shards import Watch, count_shard

    run = RunDirectory(Path(request["run"]))
    work = run.harvest_work(request["name"])
    plan = read_plan(work)
    with thread_count(plan.threads):
        model, inputs = open_at_checkpoint(plan, run, Path(request["root"]), request["device"])
        device = resolve_device(request["device"])
        forward = Forward(model, inputs, device, plan.precision, plan.settings.output_share > 0)
        watch = Watch(
            counted=lambda shard, batches: line.say(counted=[shard, batches]),
            tell=lambda text: line.say(message=text),
            stopping=lambda: stop.requested or line.broken,
        )
        for shard in request["shards"]:
            if watch.stopping() or not count_shard(plan, shard, work, forward, watch):
                return STOPPED
    return 0


if __name__ == "__main__":
    code = main()
    with suppress(OSError):
        sys.stderr.flush()
    sys.exit(code)
