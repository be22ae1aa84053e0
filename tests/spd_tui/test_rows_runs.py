"""Rows of the runs table and lines of its panel, for any run whatever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from core.runs.overview import RunOverview
from spd_tui.rows.pace import Pace
from spd_tui.rows.run_panel import RunDetail, losses, panel, resume_command
from spd_tui.rows.runs import (
    FILTERS,
    RunRow,
    RunRows,
    age_text,
    cells,
    columns,
    counts,
    duration,
    facts_text,
    next_filter,
    select,
    status_text,
    step_text,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WILD = st.text(max_size=30)
NUMBERS = st.one_of(st.none(), st.floats())
OVERVIEWS = st.builds(
    RunOverview,
    run_id=st.text("abcdef0123456789", min_size=1, max_size=8).map("s-{}".format),
    path=st.just(Path("/runs/s-1")),
    recipe=st.one_of(st.none(), WILD),
    imported_from=st.one_of(st.none(), WILD),
    seed=st.integers(0, 10**6),
    status=st.sampled_from(["running", "finished", "failed", "interrupted"]),
    reason=WILD,
    step=st.integers(0, 10**6),
    steps=st.integers(0, 10**6),
    loss=NUMBERS,
    sparsity=NUMBERS,
    verdict=st.one_of(st.none(), WILD),
    created=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
        lambda when: when.replace(tzinfo=UTC)
    ),
    updated=st.one_of(st.none(), st.just(NOW)),
    seconds=st.floats(0, 1e8),
    host=WILD,
    checkpoints=st.sampled_from([(), (5,), (5, 10_000)]),
    harvests=st.sampled_from([(), ("h-1", "h-2")]),
    attributions=st.sampled_from([(), ("a-1",)]),
    labels=st.just(()),
)
ROWS = st.one_of(
    st.builds(lambda overview: RunRow(overview.run_id, overview), OVERVIEWS),
    st.builds(lambda name, problem: RunRow(f"s-{name}", None, problem), st.text("xyz", max_size=4), WILD),
)
DETAILS = st.builds(
    RunDetail,
    run_id=st.just("s-1"),
    settings=st.sampled_from(
        [
            {},
            {"target": 3},
            {"target": {"kind": "a_b", "d_model": 8}, "components": {"modules": [{"pattern": "*", "C": 4}]}},
        ]
    ),
    modules=st.sampled_from([(), ("linear1", "linear2")]),
    losses=st.lists(st.floats(), max_size=80).map(tuple),
    sparsities=st.lists(st.floats(), max_size=80).map(tuple),
    problems=st.sampled_from([(), ("settings.yaml is damaged",)]),
)

OVERVIEW = RunOverview(
    "s-1", Path("/r/s-1"), "tms_5-2", None, 0, "running", "process 7 is alive", 50, 200, 0.5, 1.5, None,
    NOW - timedelta(minutes=5), NOW, 0.0, "vm", (), (), (), (), (),
)  # fmt: skip


def plain(cell: str | Text) -> str:
    return cell if isinstance(cell, str) else cell.plain


@given(ROWS)
def test_every_cell_is_one_harmless_line(row):
    written = cells(row, NOW)
    assert len(written) <= len(columns([row]))
    for cell in written:
        text = plain(cell)
        assert text.isprintable() or all(character == " " or character.isprintable() for character in text), (
            text
        )
        assert not any(ord(character) < 32 or ord(character) == 127 for character in text)


def test_the_panel_tells_finished_and_unfinished_harvests_apart():
    overview = replace(OVERVIEW, harvests=("h-1", "h-2"), unfinished_harvests=("h-3",))
    text = "\n".join(line.plain for line in panel(RunRow("s-1", overview), None, None, 120))
    assert "H 2 harvests, newest h-2  H 1 unfinished harvest, newest h-3" in text


@given(ROWS, st.one_of(st.none(), DETAILS), st.one_of(st.none(), st.floats(1e-6, 1e6)), st.integers(20, 200))
def test_the_panel_is_a_few_harmless_lines(row, detail, pace, width):
    lines = panel(row, detail, pace, width)
    assert 1 <= len(lines) <= 7
    for line in lines:
        assert "\n" not in line.plain and "\x1b" not in line.plain
    losses(row)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (
            {"kind": "toy_superposition", "n_features": 5, "n_hidden": 2},
            "toy superposition 5 features 2 hidden",
        ),
        (
            {
                "kind": "language_model",
                "model": {
                    "kind": "pretrain",
                    "settings": {"model": {"kind": "llama_simple_mlp", "layers": 2, "width": 128}},
                },
            },
            "llama simple mlp 2L d128",
        ),
        (
            {"kind": "language_model", "model": {"kind": "transformers", "path": "gpt2_medium"}},
            "transformers gpt2_medium",
        ),
    ],
)
def test_the_panel_names_what_is_decomposed(target, shown):
    detail = RunDetail("s-1", {"target": target}, (), (), ())
    assert (
        panel(RunRow("s-1", OVERVIEW), detail, None, 200)[0].plain == f"s-1 tms_5-2 · {shown} · seed 0 · vm"
    )


@given(st.lists(ROWS, max_size=12), st.sampled_from(FILTERS), st.text("tms s-1", max_size=5), st.data())
def test_selecting_is_filtering_and_sorting(rows, status, text, data):
    sort = data.draw(st.sampled_from([column.name for column in columns([]) if column.sortable]))
    chosen = select(rows, status, text, sort)
    assert all(row in rows for row in chosen)
    assert all(status in ("all", row.status) for row in chosen)
    backwards = select(rows, status, text, sort, descending=True)
    assert sorted(map(id, chosen)) == sorted(map(id, backwards))
    assert len(select(rows)) == len(rows)


def rows_of(**changes) -> list[RunRow]:
    names, values = list(changes), list(zip(*changes.values(), strict=True))
    made = []
    for number, each in enumerate(values):
        overview = replace(OVERVIEW, run_id=f"s-{number}", **dict(zip(names, each, strict=True)))
        made.append(RunRow(overview.run_id, overview))
    return made


def test_what_has_no_value_stands_last_in_either_order():
    rows = [*rows_of(loss=[0.3, None, 0.1]), RunRow("s-x", None, "damaged")]
    assert [row.run_id for row in select(rows, sort="loss")] == ["s-2", "s-0", "s-1", "s-x"]
    assert [row.run_id for row in select(rows, sort="loss", descending=True)][:2] == ["s-0", "s-2"]


def test_the_youngest_stands_first():
    rows = rows_of(created=[NOW - timedelta(days=2), NOW, NOW - timedelta(days=1)])
    assert [row.run_id for row in select(rows)] == ["s-1", "s-2", "s-0"]
    assert [row.run_id for row in select(rows, descending=True)] == ["s-0", "s-2", "s-1"]


def test_words_are_looked_for_everywhere():
    rows = [
        *rows_of(recipe=["tms_5-2", "tiny_lm"], reason=["out of memory", "alive"]),
        RunRow("s-bad", None, "version 99"),
    ]
    assert [row.run_id for row in select(rows, text="TMS memory")] == ["s-0"]
    assert [row.run_id for row in select(rows, text="version")] == ["s-bad"]
    assert select(rows, text="tms tiny") == []


def test_filters_step_through_what_there_is():
    rows = rows_of(status=["running", "failed"])
    assert counts(rows) == {"running": 1, "failed": 1}
    seen = ["all"]
    for _ in range(3):
        seen.append(next_filter(seen[-1], rows))
    assert seen == ["all", "running", "failed", "all"]
    assert next_filter("finished", rows) == "all"
    assert facts_text("~/o", rows, 1, "failed") == "~/o  1 of 2 runs  1 running  1 failed  only failed"
    assert facts_text("~/o", None, 0, "all") == "~/o"


def test_texts():
    row = RunRow("s-1", OVERVIEW)
    assert (status_text(row), step_text(row)) == ("▶ 25 %", "50/200")
    done = RunRow(
        "s-1", replace(OVERVIEW, status="finished", step=20_000, steps=20_000, verdict="5/5 features")
    )
    assert (status_text(done), step_text(done)) == ("✓ 5/5 features", "20 000")
    assert status_text(RunRow("s", replace(OVERVIEW, status="interrupted"))) == "‖ stopped 25 %"
    assert [age_text(s) for s in (-5, 59, 60, 7300, 90_000, 4e7)] == ["now", "now", "1m", "2h", "1d", "1y"]
    assert [duration(s) for s in (42, 700, 9000, 4e5)] == ["42 s", "12 min", "2.5 h", "5 days"]
    assert plain(cells(replace_harvest(row), NOW)[7]) == "· H · ·"


def replace_harvest(row: RunRow) -> RunRow:
    assert row.overview is not None
    return replace(row, overview=replace(row.overview, harvests=("h-1",)))


def test_a_run_that_stopped_says_how_to_go_on():
    stopped = replace(OVERVIEW, status="interrupted", reason="no process 7 on vm")
    text = "\n".join(line.plain for line in panel(RunRow("s-1", stopped), None, None, 80))
    assert resume_command(stopped) == "spd decompose s-1 --resume"
    assert "no process 7 on vm" in text and resume_command(stopped) in text
    running = "\n".join(line.plain for line in panel(RunRow("s-1", OVERVIEW), None, 0.5, 80))
    assert "--resume" not in running and "30.0 steps/min, 5 min left" in running


def test_the_pace_is_that_of_the_log():
    pace = Pace()
    row = RunRow("s-1", OVERVIEW)
    assert pace.of(row, None) is None
    assert pace.of(row, False) == 50 / 300
    assert pace.of(row, True) is None
    pace.look([row])
    later = RunRow("s-1", replace(OVERVIEW, step=80, updated=NOW + timedelta(seconds=10)))
    pace.look([later])
    assert pace.of(later, None) == 3.0
    pace.look([RunRow("s-1", replace(OVERVIEW, step=10, updated=NOW + timedelta(seconds=20)))])
    assert pace.of(RunRow("s-1", OVERVIEW), None) is None


def test_rows_know_where_a_run_is():
    rows = RunRows([RunRow("s-1", OVERVIEW), RunRow("s-2", None, "x")], lambda: NOW)
    assert (len(rows), rows.key(1), rows.index_of("s-2"), rows.index_of("s-9")) == (2, "s-2", 1, None)
    assert plain(rows.cells(0)[6]) == "5m"
