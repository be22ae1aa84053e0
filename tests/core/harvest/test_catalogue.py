"""Which harvests a run has: newest first, and what is wrong with those that cannot be opened."""

import json
from pathlib import Path

import pytest

from core.errors import SpdError, UsageError
from core.harvest.card import component_card
from core.harvest.catalogue import list_harvests, open_harvest
from core.harvest.listing import component_table
from core.runs.directory import RunDirectory
from tests.spd_tui.component_runs import LAYERS, add_text_harvest, make_run


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = make_run(tmp_path)
    add_text_harvest(run, "h-20261101-120000")
    add_text_harvest(run, "h-20261102-120000", seed=1)
    return run


def test_newest_first(run: RunDirectory) -> None:
    found = list_harvests(run)
    assert [entry.name for entry in found] == ["h-20261102-120000", "h-20261101-120000"]
    entry = found[0]
    assert entry.problem is None and entry.created is not None and entry.created.year == 2026
    assert (entry.positions, entry.components) == (2 * 8 * 24, sum(width for _, width in LAYERS))
    assert 0 < entry.fired < entry.components
    assert open_harvest(run).folder == entry.folder
    assert open_harvest(run, "h-20261101-120000").folder == found[1].folder


def test_unfinished_ones_do_not_count(run: RunDirectory) -> None:
    (run.harvests / ".h-20261103-120000.work").mkdir()
    (run.harvests / "h-20261104-120000").mkdir()
    assert len(list_harvests(run)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "not valid JSON"), ('{"schema_version": 99}', "version 99"), ('{"schema_version": 1}', "damaged")],
)
def test_what_cannot_be_opened_says_why(run: RunDirectory, text: str, told: str) -> None:
    (run.harvests / "h-20261102-120000" / "manifest.json").write_text(text)
    broken, whole = list_harvests(run)
    assert told in (broken.problem or "") and broken.components == 0
    assert whole.problem is None
    with pytest.raises(UsageError, match=told):
        open_harvest(run)


def test_no_harvest_and_another_name(run: RunDirectory, tmp_path: Path) -> None:
    other = make_run(tmp_path, "s-0000bbbb")
    assert list_harvests(other) == []
    with pytest.raises(UsageError, match="spd harvest s-0000bbbb"):
        open_harvest(other)
    with pytest.raises(UsageError, match="Did you mean h-20261101-120000"):
        open_harvest(run, "h-20261101-12000")


@pytest.mark.parametrize("table", ["components", "tokens", "tokens_in", "tokens_out", "cofiring", "examples"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_table_is_named(run: RunDirectory, table: str, damage: str) -> None:
    harvest = open_harvest(run)
    file = harvest.folder / f"{table}.parquet"
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "overwritten":
        file.write_bytes(data[:4] + bytes(byte ^ 0x5A for byte in data[4:-200]) + data[-200:])
    else:
        file.unlink()
    with pytest.raises(SpdError, match=rf"{table}\.parquet"):
        component_table(harvest)
        component_card(harvest, 0)
        component_card(harvest, 1)


def test_a_manifest_without_a_time_is_no_problem(run: RunDirectory) -> None:
    manifest = run.harvests / "h-20261102-120000" / "manifest.json"
    data = json.loads(manifest.read_text())
    del data["created"]
    manifest.write_text(json.dumps(data))
    assert list_harvests(run)[0].created is None and list_harvests(run)[0].problem is None
