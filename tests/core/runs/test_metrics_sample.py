"""A few records spread over a metrics file, whatever is in it."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.runs.metrics_sample import sampled_records


def write(path, steps, end=""):
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in steps) + end, encoding="utf-8")
    return path


def steps_of(path, count):
    return [record["step"] for record in sampled_records(path, count)]


def test_spread_over_the_whole_file_with_its_end(tmp_path):
    steps = steps_of(write(tmp_path / "m.jsonl", range(10_000)), 20)
    assert len(steps) == 20 and steps == sorted(set(steps))
    assert steps[-1] == 9_999 and steps[0] < 1_000
    assert max(later - earlier for earlier, later in pairwise(steps)) < 1_200


def test_no_file_an_empty_one_and_a_half_line(tmp_path):
    assert sampled_records(tmp_path / "none", 5) == []
    assert sampled_records(tmp_path, 5) == []
    assert steps_of(write(tmp_path / "m.jsonl", []), 5) == []
    assert steps_of(write(tmp_path / "m.jsonl", [1, 2], '{"step": 3'), 5) == [1, 2]
    assert steps_of(write(tmp_path / "m.jsonl", [], '{"step": 3'), 5) == []


def test_what_is_no_record_is_passed_over(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1}\nnonsense\n[1]\n{"step": 2}\n', encoding="utf-8")
    assert steps_of(tmp_path / "m.jsonl", 9) == [1, 2]


@given(st.lists(st.integers(0, 10**6), max_size=40), st.integers(0, 60))
def test_a_sample_is_a_part_in_order(steps, count):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "m.jsonl", [f"{n}:{step}" for n, step in enumerate(steps)])
        found = [record["step"] for record in sampled_records(path, count)]
    places = [int(text.split(":")[0]) for text in found]
    assert places == sorted(set(places)) and len(found) <= count
    assert not steps or not count or places[-1] == len(steps) - 1
