"""Opening a harvest of a run: the newest first, and what is wrong with one that cannot be opened."""

from pathlib import Path

import pytest

from core.errors import SpdError, UsageError
from core.harvest.card import component_card
from core.harvest.catalogue import open_harvest
from core.harvest.listing import component_table
from core.runs.directory import RunDirectory
from tests.spd_tui.component_runs import LAYERS, add_text_harvest, make_run

RUN = "s-0000aaaa"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = make_run(tmp_path, RUN)
    add_text_harvest(run, "h-20261101-120000")
    add_text_harvest(run, "h-20261102-120000", seed=1)
    return run


def test_newest_first(run: RunDirectory) -> None:
    newest = open_harvest(run)
    assert newest.folder.name == "h-20261102-120000"
    assert (newest.positions, newest.layers) == (2 * 8 * 24, tuple(LAYERS))
    assert open_harvest(run, "h-20261101-120000").folder.name == "h-20261101-120000"


def test_unfinished_ones_do_not_count(run: RunDirectory) -> None:
    (run.harvests / ".h-20261103-120000.work").mkdir()
    (run.harvests / "h-20261104-120000").mkdir()
    assert open_harvest(run).folder.name == "h-20261102-120000"


@pytest.mark.parametrize(
    ("text", "told", "code"),
    [
        ("{", f"not valid JSON.*Harvest again: spd harvest {RUN}", 1),
        ("[]", f"expected a JSON object.*Harvest again: spd harvest {RUN}", 1),
        ('{"schema_version": 1}', f"damaged.*Harvest again: spd harvest {RUN}", 1),
        ('{"schema_version": 99}', "version 99.*Harvest again, or use the version", 2),
    ],
)
def test_what_cannot_be_opened_says_why(run: RunDirectory, text: str, told: str, code: int) -> None:
    (run.harvests / "h-20261102-120000" / "manifest.json").write_text(text)
    with pytest.raises(SpdError, match=told) as refused:
        open_harvest(run)
    assert refused.value.exit_code == code
    assert open_harvest(run, "h-20261101-120000").positions > 0


def test_no_harvest_and_another_name(run: RunDirectory, tmp_path: Path) -> None:
    other = make_run(tmp_path, "s-0000bbbb")
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
    with pytest.raises(SpdError, match=rf"{table}\.parquet.*Harvest again: spd harvest {RUN}") as refused:
        component_table(harvest)
        component_card(harvest, 0)
        component_card(harvest, 1)
    assert refused.value.exit_code == 1
