"""Following a metrics file: only what is new, whatever happens to the file meanwhile."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.runs.metrics_log import MetricsLog
from core.runs.metrics_tail import MetricsTail, last_records


def line(step: int, **more: Any) -> str:
    return json.dumps({"step": step, "kind": "train", **more}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def steps(records: list[dict[str, Any]]) -> list[int]:
    return [record["step"] for record in records]


def test_only_what_is_new_is_read(path: Path) -> None:
    tail = MetricsTail(path)
    assert tail.read().records == [] and tail.read().problem is None
    with MetricsLog(path) as log:
        log.append({"step": 1})
        assert steps(tail.read().records) == [1]
        assert tail.read().records == []
        log.append({"step": 2})
        log.append({"step": 3})
        update = tail.read()
    assert steps(update.records) == [2, 3]
    assert (update.restarted, update.problem, update.more) == (False, None, False)


def test_a_half_written_line_waits_until_it_is_whole(path: Path) -> None:
    tail = MetricsTail(path)
    whole = line(1) + line(2)
    path.write_text(whole[: len(line(1)) + 5])
    assert steps(tail.read().records) == [1]
    path.write_text(whole)
    update = tail.read()
    assert steps(update.records) == [2] and update.problem is None


def test_a_resume_cuts_the_file_back(path: Path) -> None:
    tail = MetricsTail(path)
    path.write_text("".join(line(step) for step in range(10)))
    tail.read()
    with MetricsLog(path) as log:
        log.truncate_after(4)
        log.append({"step": 5})
    update = tail.read()
    assert update.restarted and steps(update.records) == [0, 1, 2, 3, 4, 5]
    assert not tail.read().restarted


def test_a_file_cut_back_in_place_that_has_grown_again_is_noticed(path: Path) -> None:
    tail = MetricsTail(path)
    path.write_text("".join(line(step) for step in range(10)))
    tail.read()
    kept = os.stat(path).st_ino
    with open(path, "r+") as file:
        file.truncate(len(line(0)))
        file.seek(0, os.SEEK_END)
        file.write("".join(line(step) for step in range(20, 40)))
    assert os.stat(path).st_ino == kept
    update = tail.read()
    assert update.restarted and steps(update.records) == [0, *range(20, 40)]


def test_a_deleted_file_is_told_and_one_that_comes_back_starts_anew(path: Path) -> None:
    tail = MetricsTail(path)
    path.write_text(line(1) + line(2))
    tail.read()
    path.unlink()
    update = tail.read()
    assert update.records == [] and update.problem == f"{path} is gone" and not update.restarted
    path.write_text(line(7))
    update = tail.read()
    assert update.restarted and steps(update.records) == [7] and update.problem is None


def test_bad_lines_are_counted_and_named(path: Path) -> None:
    tail = MetricsTail(path)
    path.write_text(line(1) + "not json\n" + line(2) + "[1]\n" + '{"step": 3}, {"step": 4}\n')
    update = tail.read()
    assert steps(update.records) == [1, 2]
    assert tail.bad_lines == 3
    assert update.problem == f"line 2 of {path} is not a metrics record, nor are 2 others"
    with open(path, "a") as file:
        file.write(line(5))
    update = tail.read()
    assert steps(update.records) == [5] and "line 2" in (update.problem or "")


def test_a_file_that_may_not_be_read_is_a_problem_not_an_error(path: Path) -> None:
    path.mkdir()
    update = MetricsTail(path).read()
    assert update.records == [] and f"cannot read {path}" in (update.problem or "")


@example(cuts=[], broken={0, 2}, most=12)
@given(
    cuts=st.lists(st.integers(0, 600), max_size=8),
    broken=st.sets(st.integers(0, 11), max_size=4),
    most=st.integers(1, 300),
)
def test_any_pieces_give_the_same_records(
    cuts: list[int], broken: set[int], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = ["{bad\n" if number in broken else line(number, note="é" * number) for number in range(12)]
    data = "".join(lines).encode()
    path = tmp_path_factory.mktemp("tail") / "metrics.jsonl"
    tail, seen = MetricsTail(path), []
    written = 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        with open(path, "ab") as file:
            file.write(data[written:cut])
        written = max(written, cut)
        update = tail.read(most)
        seen += update.records
        while update.more:
            update = tail.read(most)
            seen += update.records
    assert steps(seen) == [number for number in range(12) if number not in broken]
    assert tail.bad_lines == len(broken)
    assert steps(list(last_records(path))) == steps(seen)[::-1]


def test_a_hundred_thousand_lines_are_read_at_once(path: Path) -> None:
    numbers = {f"loss/{name}": 0.123456 for name in ("total", "stochastic", "minimality")}
    path.write_text("".join(line(step, **numbers) for step in range(100_000)))
    tail, seen, began = MetricsTail(path), 0, perf_counter()
    while True:
        update = tail.read()
        seen += len(update.records)
        if not update.more:
            break
    assert seen == 100_000
    assert perf_counter() - began < 3  # 0.3 s on a quiet machine


def test_a_long_file_comes_in_pieces(path: Path) -> None:
    path.write_text("".join(line(step) for step in range(1000)))
    tail = MetricsTail(path)
    first = tail.read(4096)
    assert first.more and 50 < len(first.records) < 200
    assert first.records[-1]["step"] + 1 == tail.read(4096).records[0]["step"]


@pytest.mark.parametrize("damage", [lambda p: None, lambda p: p.write_text(""), lambda p: p.mkdir()])
def test_the_end_of_no_records_is_empty(path: Path, damage: Callable[[Path], Any]) -> None:
    damage(path)
    assert list(last_records(path)) == []


def test_only_the_end_of_a_long_file_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("".join(line(step, note="x" * 200) for step in range(20_000)) + '{"step": 20000')
    records = last_records(path)
    assert steps([next(records), next(records)]) == [19_999, 19_998]
    monkeypatch.setattr("core.runs.metrics_tail.MOST_END_BYTES", 100_000)
    assert 300 < len(list(last_records(path))) < 500
