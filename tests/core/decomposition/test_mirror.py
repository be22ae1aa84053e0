"""The copy at Weights & Biases: written with the real client, read back from its file."""

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.decomposition.mirror import WandbMirror
from core.decomposition.start import RunResult
from core.errors import Interrupted
from core.runs.manifest import Manifest
from core.runs.metrics_log import read_metrics

BLOCK = 32768
FILE_HEADER = 7
CHUNK = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of a `.wandb` file, a log of chunks in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), FILE_HEADER, b""
    while at + CHUNK.size <= len(data):
        if BLOCK - at % BLOCK < CHUNK.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = CHUNK.unpack_from(data, at)
        body = data[at + CHUNK.size : at + CHUNK.size + length]
        at += CHUNK.size + length
        parts = body if kind in (FULL, FIRST) else parts + body
        if kind in (FULL, LAST):
            record: Any = wandb_internal_pb2.Record()  # pyright: ignore[reportAttributeAccessIssue]
            record.ParseFromString(parts)
            yield record


def history(folder: Path) -> tuple[set[str], list[dict[str, Any]]]:
    """Run ids and logged rows of every offline file under a folder."""
    ids: set[str] = set()
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append(
                    {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
                )
    return ids, rows


def test_what_was_copied_is_what_is_on_disk(run_tiny: Callable[..., RunResult]) -> None:
    run = run_tiny(wandb_project="test").directory
    ids, rows = history(run.path)
    assert ids == {run.run_id}
    for record in read_metrics(run.metrics):
        wanted = {f"{record['kind']}/{k}": v for k, v in record.items() if k not in ("step", "kind")}
        found = [row for row in rows if row["step"] == record["step"] and wanted.keys() <= row.keys()]
        assert len(found) == 1, f"{len(found)} rows of step {record['step']}"
        assert {key: found[0][key] for key in wanted} == pytest.approx(wanted)
    assert any(key.startswith("figures/") for row in rows for key in row)


def test_a_resumed_run_goes_on_under_the_same_id(
    run_tiny: Callable[..., RunResult], witness: Any, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        run_tiny(witness(30, lambda: os.kill(os.getpid(), signal.SIGINT)), wandb_project="test")
    run = run_tiny(resume=True, wandb_project="test").directory
    ids, rows = history(run.path)
    assert ids == {run.run_id}
    assert {row["step"] for row in rows} >= {0, 25, 30, 55, 60}
    assert Manifest.read(run.manifest).wandb_id == run.run_id


def test_a_mirror_that_breaks_mid_run_stops_nothing(
    run_tiny: Callable[..., RunResult], witness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    scalars = WandbMirror.scalars

    def breaking(self: WandbMirror, record: dict[str, Any]) -> None:
        calls.append(record["step"])
        if record["step"] == 20 and not self._closed:

            class Broken:
                def log(self, *_: Any) -> None:
                    raise ConnectionError("network is unreachable")

            self._run.finish(exit_code=1)
            self._run = Broken()
        scalars(self, record)

    monkeypatch.setattr(WandbMirror, "scalars", breaking)
    seen = witness()
    run = run_tiny(seen, wandb_project="test")
    assert run.summary["steps"] == 60
    assert calls[-1] == 60
    told = [text for text in seen.messages if "network is unreachable" in text]
    assert len(told) == 1, "said once"
    assert Manifest.read(run.directory.manifest).status == "finished"


@pytest.mark.slow
def test_a_server_that_is_not_there_stops_nothing(
    run_tiny: Callable[..., RunResult], witness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    seen = witness()
    run = run_tiny(seen, wandb_project="test")
    assert run.summary["steps"] == 60
    assert any("Weights & Biases stopped working" in text for text in seen.messages)
