"""The metrics log survives being killed, and cutting it back for a resume."""

import math
from pathlib import Path

import pytest

from core.errors import SpdError, UsageError
from core.runs.metrics_log import MetricsLog, read_metrics


def record(step: int, **values: float) -> dict[str, float | int | str]:
    return {"step": step, "kind": "train", **values}


def fill(path: Path, steps: range) -> None:
    with MetricsLog(path) as log:
        for step in steps:
            log.append(record(step, loss=step / 7))


def test_records_come_back_in_order_and_are_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.append(record(1, loss=0.1))
    assert read_metrics(path) == [{"step": 1, "kind": "train", "loss": 0.1}]
    log.append(record(2, loss=math.nan, big=math.inf))
    assert read_metrics(path)[1] == {"step": 2, "kind": "train", "loss": None, "big": None}
    log.close()
    log.append(record(3))
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 3]
    log.close()


def test_no_file_is_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "absent.jsonl") == []
    MetricsLog(tmp_path / "absent.jsonl").truncate_after(3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", [b'{"step": 4, "ki', b'{"step": 4}', b"\0\0\0\n"])
def test_unfinished_last_line_is_not_a_record(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    fill(path, range(1, 4))
    path.write_bytes(path.read_bytes() + torn)
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 3]


def test_append_after_a_torn_line_starts_clean(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    fill(path, range(1, 4))
    path.write_bytes(path.read_bytes() + b'{"step": 4, "x": "' + b"y" * 200_000)
    fill(path, range(4, 6))
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 3, 4, 5]


def test_cut_back_then_repeated_is_byte_identical(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    fill(whole, range(1, 10))
    fill(resumed, range(1, 8))
    resumed.write_bytes(resumed.read_bytes()[:-5])
    log = MetricsLog(resumed)
    log.truncate_after(4)
    assert [r["step"] for r in read_metrics(resumed)] == [1, 2, 3, 4]
    fill(resumed, range(5, 10))
    assert resumed.read_bytes() == whole.read_bytes()


def test_truncate_closes_and_appending_goes_on(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.append(record(1))
        log.append(record(2))
        log.truncate_after(1)
        log.append(record(2, again=1))
        assert read_metrics(log.path) == [record(1), record(2, again=1)]


def test_damage_before_the_end_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nbroken\n{"step": 3}\n')
    with pytest.raises(UsageError, match="line 2"):
        read_metrics(path)


def test_full_disk_loses_no_record_and_leaves_no_half_one(small_disk: Path) -> None:
    path = small_disk / "metrics.jsonl"
    written = 0
    with pytest.raises(SpdError, match="disk is full"), MetricsLog(path) as log:
        for step in range(100):
            log.append({"step": step, "note": "x" * 10_000})
            written += 1
    assert 0 < written < 100
    assert [r["step"] for r in read_metrics(path)] == list(range(written))
    assert path.read_bytes().endswith(b"\n")


def test_half_written_record_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.runs import metrics_log

    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append(record(1))

        def fails_half_way(file: object, data: bytes) -> None:
            file.write(data[:5])  # pyright: ignore[reportAttributeAccessIssue]
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(metrics_log, "_write_all", fails_half_way)
            with pytest.raises(SpdError, match="No space left"):
                log.append(record(2))
        log.append(record(3))
    assert path.read_text().count("\n") == 2
    assert [r["step"] for r in read_metrics(path)] == [1, 3]
