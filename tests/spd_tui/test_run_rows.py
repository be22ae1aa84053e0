"""Records to series, rows and sparklines; settings, log lines."""

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.blocks import HEIGHTS
from spd_tui.rows.log import log_lines, record_line
from spd_tui.rows.run import (
    KEPT_RECORDS,
    MARKERS,
    PLAIN_MARKERS,
    TOTAL_L0,
    MetricsStore,
    SeriesKey,
    default_names,
    series_records,
    series_rows,
    sparkline,
)
from spd_tui.rows.run_facts import seconds_a_step
from spd_tui.rows.settings_tree import count, matching, settings_nodes

VALUES = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(),
    st.text(max_size=3),
    st.booleans(),
)
NAMES = st.sampled_from(("step", "kind", "loss/total", "l0/a", "eval/l0/a", "eval/live/a", "lr", ""))
RECORDS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=30)


def read(*records):
    store = MetricsStore()
    store.add(records)
    return store.snapshot()


def train(step, **values):
    return {
        "step": step,
        "kind": "train",
        **{name.replace("__", "/"): value for name, value in values.items()},
    }


def evaluated(step, **values):
    return {"step": step, "kind": "eval", **{f"eval/{n.replace('__', '/')}": v for n, v in values.items()}}


# ---- series


def test_train_and_eval_of_a_name_are_two_series():
    metrics = read(evaluated(0, loss__x=2.0), train(0, loss__x=3.0), train(10, loss__x=1.0))
    assert set(metrics.series) == {SeriesKey("loss/x", "train"), SeriesKey("loss/x", "eval")}
    series = metrics.series[SeriesKey("loss/x", "train")]
    assert series.steps.tolist() == [0, 10]
    assert series.values.tolist() == [3.0, 1.0]
    assert (series.last, metrics.step, metrics.count) == (1.0, 10, 3)


def test_null_is_a_gap_and_the_last_value_is_the_last_number():
    series = read(train(0, lr=1.0), train(1, lr=None)).series[SeriesKey("schedule/lr", "train")]
    assert math.isnan(series.values[1])
    assert series.last == 1.0


def test_infinities_and_numbers_too_large_are_gaps():
    series = read(train(0, lr=float("inf")), train(1, lr=10**400)).series[SeriesKey("schedule/lr", "train")]
    assert np.isnan(series.values).all()
    assert series.last is None


def test_l0_is_summed_over_modules():
    metrics = read(
        train(0, l0__a=1.0, l0__b=2.0),
        evaluated(0, l0__a=1.5, l0__b=2.5, l0__layer_0=4.0, live__a=3.0, live__b=3.0),
    )
    assert metrics.series[SeriesKey(TOTAL_L0, "train")].last == 3.0
    assert metrics.series[SeriesKey(TOTAL_L0, "eval")].last == 4.0


def test_a_logged_total_is_not_made_again():
    metrics = read(evaluated(0, l0__a=1.0, live__a=1.0, l0_total=7.0))
    assert metrics.series[SeriesKey(TOTAL_L0, "eval")].values.tolist() == [7.0]


def test_steps_out_of_order_are_sorted():
    metrics = read(train(10, lr=2.0), {"step": 5, "kind": "train", "more": 1, "lr": 1.0}, train(20, lr=3.0))
    series = metrics.series[SeriesKey("schedule/lr", "train")]
    assert series.steps.tolist() == [5, 10, 20]
    assert series.values.tolist() == [1.0, 2.0, 3.0]


def test_a_snapshot_does_not_change_when_more_comes():
    store = MetricsStore()
    store.add([train(0, lr=1.0)])
    before = store.snapshot()
    store.add([train(step, lr=2.0) for step in range(1, 500)])
    after = store.snapshot()
    key = SeriesKey("schedule/lr", "train")
    assert before.series[key].values.tolist() == [1.0]
    assert len(after.series[key].values) == 500


def test_a_series_that_has_not_grown_is_the_same_object():
    store = MetricsStore()
    store.add([train(0, lr=1.0), evaluated(0, loss__x=1.0)])
    before = store.snapshot()
    store.add([train(1, lr=1.0)])
    key = SeriesKey("loss/x", "eval")
    assert store.snapshot().series[key] is before.series[key]


def test_the_pace_is_the_mean_up_to_the_last_checkpoint():
    assert seconds_a_step({"step": 40, "seconds": 10.0}) == 0.25
    assert seconds_a_step({"step": 0, "seconds": 10.0}) is None
    assert seconds_a_step({"step": 40, "seconds": 0.0}) is None


def test_the_last_evaluation_and_the_last_records_are_kept_whole():
    store = MetricsStore()
    store.add([evaluated(0, loss__x=1.0)])
    store.add([train(step, lr=1.0) for step in range(KEPT_RECORDS)])
    metrics = store.snapshot()
    assert metrics.evaluation == {"step": 0, "loss/x": 1.0}
    assert len(metrics.tail) == KEPT_RECORDS


@given(RECORDS, st.integers(1, 5))
def test_any_records_make_series_of_numbers(records, pieces):
    store = MetricsStore()
    for start in range(0, len(records), pieces):
        store.add(records[start : start + pieces])
    metrics = store.snapshot()
    assert metrics.count == len(records)
    for series in metrics.series.values():
        assert len(series.steps) == len(series.values) > 0
        assert np.isfinite(series.steps).all() and (np.diff(series.steps) >= 0).all()
        assert not np.isinf(series.values).any()
        sparkline(series.values, 8)
    names = metrics.names()
    assert sorted(names) == sorted({key.name for key in metrics.series})
    assert [row.name for row in series_rows(metrics, "both") if not row.heading] == names
    json.dumps(series_records(list(metrics.series.values())), allow_nan=False)


# ---- the list


def test_series_stand_under_headings_loss_first_schedule_last():
    metrics = read(
        train(0, lr=1.0, loss__a=1.0, loss__total=1.0, l0__m=1.0, grad_norm__c=1.0),
        evaluated(0, loss__hidden__m=1.0, cross_entropy__ce__ci=1.0, cross_entropy__kl__ci=1.0),
    )
    rows = series_rows(metrics, "both")
    headings = [row.label for row in rows if row.heading]
    assert headings == [
        "loss", "loss hidden", "l0", "cross entropy ce", "cross entropy kl", "grad norm", "schedule",
    ]  # fmt: skip
    assert [row.name for row in rows][1:3] == ["loss/total", "loss/a"]


def test_kinds_and_words_narrow_the_list():
    metrics = read(train(0, lr=1.0, loss__a=1.0), evaluated(0, loss__b=1.0))
    assert metrics.names("eval") == ["loss/b"]
    assert metrics.names("both", "LOSS a") == ["loss/a"]
    assert series_rows(metrics, "both", "nothing") == []


def test_the_total_loss_is_plotted_first():
    assert default_names(read(train(0, loss__a=1.0, loss__total=1.0))) == ["loss/total"]
    assert default_names(read(train(0, lr=1.0))) == ["schedule/lr"]
    assert default_names(read()) == []


def test_every_curve_has_a_marker_of_its_own_in_ascii_too():
    assert len(set(MARKERS)) == len(MARKERS) == len(PLAIN_MARKERS) == len(set(PLAIN_MARKERS))
    assert PLAIN_MARKERS.isascii()


# ---- sparklines


def test_a_sparkline_rises_and_keeps_gaps():
    assert sparkline([0.0, math.nan, 1.0], 3) == f"{HEIGHTS[1]} {HEIGHTS[8]}"


def test_a_constant_series_is_level():
    assert sparkline([2.0] * 5, 5) == HEIGHTS[4] * 5


def test_many_decades_are_drawn_by_their_logarithm():
    assert sparkline([1.0, 1e-2, 1e-4], 3) == HEIGHTS[8] + HEIGHTS[5] + HEIGHTS[1]


def test_infinities_are_as_high_or_low_as_it_gets():
    line = sparkline([1.0, math.inf, -math.inf], 3)
    assert line[1] == HEIGHTS[8] and line[2] == HEIGHTS[1]


@given(st.lists(st.floats(), max_size=200), st.integers(0, 20))
def test_a_sparkline_fits_and_has_only_blocks(values, width):
    line = sparkline(values, width)
    assert len(line) <= width
    assert set(line) <= set(HEIGHTS)


# ---- settings

SETTINGS = {
    "seed": 0,
    "training": {"lr": {"start": 1e-3}, "betas": [0.9, 0.95], "clip": None},
    "x": [{"a": ""}],
    "y": {},
}


def test_settings_are_a_tree_of_paths():
    nodes = settings_nodes(SETTINGS)
    values = {node.path: node.value for top in nodes for node in top.walk() if node.value is not None}
    assert values == {
        "seed": "0",
        "training.lr.start": "0.001",
        "training.betas": "[0.9, 0.95]",
        "training.clip": "null",
        "x.0.a": "''",
        "y": "{}",
    }


def test_a_search_keeps_what_leads_to_a_setting():
    found = matching(settings_nodes(SETTINGS), "TRAINING 0.001")
    assert [node.path for top in found for node in top.walk()] == [
        "training",
        "training.lr",
        "training.lr.start",
    ]
    assert count(matching(settings_nodes(SETTINGS), "training")) == 3
    assert matching(settings_nodes(SETTINGS), "nowhere") == ()


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), TREES, max_size=4), st.text(max_size=3))
def test_any_settings_can_be_searched(settings, text):
    nodes = settings_nodes(settings)
    found = matching(nodes, text)
    assert count(found) <= count(nodes)
    if not text.split():
        assert tuple(found) == nodes


# ---- the log's end


def test_a_record_fits_its_line_and_says_how_much_is_left_out():
    record = {
        "step": 1200,
        "kind": "train",
        "loss/total": 0.5,
        "lr": 1e-5,
        **{f"l0/m{i}": 1.0 for i in range(40)},
    }
    line = record_line(record, 60)
    assert line.startswith("    1 200  train  total 0.500  lr 1.00e-5")
    assert len(line) <= 60
    assert line.endswith("more")


def test_the_end_says_what_is_wrong_and_how_the_run_stands():
    lines = log_lines(
        [], ["settings.yaml is damaged."], "failed", "out of memory", "Traceback\n  out of \x1b[31mmemory", 80
    )
    assert lines[0] == "nothing logged yet"
    assert "! settings.yaml is damaged." in lines
    assert lines[-1] == "failed: out of memory"
    assert not any("\x1b" in line for line in lines)


@given(RECORDS, st.integers(1, 200))
def test_any_record_is_one_harmless_line(records, width):
    for line in log_lines(records, [], "running", "", None, width):
        assert line.isprintable()
