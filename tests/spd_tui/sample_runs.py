"""Run folders written by hand, without training anything: a manifest, metrics, settings."""

import json
import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.runs.directory import RunDirectory
from core.runs.manifest import Manifest, this_process

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
"""The time in tests that show ages."""

SETTINGS = """\
target:
  kind: toy_superposition
  n_features: 5
  n_hidden: 2
components:
  modules:
  - pattern: linear*
    C: 20
"""


def write_run(
    root: Path,
    run_id: str,
    *,
    recipe: str | None = "tms_5-2",
    status: str = "finished",
    step: int = 10_000,
    steps: int = 10_000,
    age: timedelta = timedelta(hours=2),
    records: int = 30,
    summary: dict[str, Any] | None = None,
    artifacts: tuple[str, ...] = (),
    **manifest: Any,
) -> RunDirectory:
    """A run under `root`; a running one is worked on by this very process."""
    run = RunDirectory.create(root, run_id)
    fields = {"host": "elsewhere", "pid": 1, **(this_process() if status == "running" else {}), **manifest}
    Manifest(
        run_id=run_id,
        recipe=recipe,
        settings_digest="d",
        created=NOW - age,
        status=status,  # pyright: ignore[reportArgumentType]
        step=step,
        steps=steps,
        **fields,
    ).write(run.manifest)
    run.settings.write_text(SETTINGS, encoding="utf-8")
    add_records(run, [step * number // max(1, records - 1) for number in range(records)])
    if summary is not None:
        run.summary.write_text(json.dumps(summary), encoding="utf-8")
    for kind in artifacts:
        folder = run.path / kind / "h-20261101-120000"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}", encoding="utf-8")
    return run


def add_records(run: RunDirectory, steps: list[int], updated: datetime = NOW) -> None:
    """Append training records of these steps, as a training does, last written at `updated`."""
    with open(run.metrics, "a", encoding="utf-8") as file:
        for step in steps:
            loss = 1e-3 + math.exp(-step / 1000)
            record = {
                "step": step,
                "kind": "train",
                "loss/total": loss,
                "l0/linear1": 0.5 + loss,
                "l0/linear2": 0.2,
            }
            file.write(json.dumps(record) + "\n")
    os.utime(run.metrics, (updated.timestamp(), updated.timestamp()))


def write_examples(root: Path) -> None:
    """One run of each kind, and one folder that is none."""
    found = {"verdict": {"headline": "Found.", "linear1": "5 of 5 features, one subcomponent each"}}
    write_run(
        root,
        "s-3fa91c02",
        recipe="tiny_lm",
        status="running",
        step=2340,
        steps=5000,
        age=timedelta(minutes=37),
    )
    write_run(root, "s-77be01d4", summary=found, artifacts=("harvest",), seconds=41.0)
    write_run(
        root,
        "s-9c1102aa",
        recipe="resid_mlp1",
        step=20_000,
        steps=20_000,
        age=timedelta(days=1),
        seconds=4000,
    )
    write_run(
        root,
        "s-0d2b6e11",
        recipe="tms_40-10",
        status="failed",
        step=4100,
        age=timedelta(days=1, hours=3),
        error="out of memory: 24 GiB asked for, 3 GiB free",
    )
    write_run(
        root,
        "s-5a5a5a5a",
        recipe=None,
        status="running",
        step=100,
        age=timedelta(days=400),
        host="node17",
        pid=4,
    )
    write_run(root, "s-11112222", recipe="tms_40-10", status="interrupted", step=9000, age=timedelta(days=3))
    broken = RunDirectory.create(root, "s-badbad00")
    broken.manifest.write_text('{"schema_version": 99}', encoding="utf-8")
