"""One row for every component, and how often they fire in all."""

import subprocess
import sys
from time import perf_counter

import polars as pl
import pytest

from core.harvest.artifact import Harvest
from core.harvest.filters import parse_query, select
from core.harvest.listing import COLUMNS, component_table
from tests.spd_tui.component_runs import LAYERS, TEXTS, add_text_harvest, make_run


@pytest.fixture(scope="module")
def harvest(tmp_path_factory: pytest.TempPathFactory) -> Harvest:
    return Harvest(add_text_harvest(make_run(tmp_path_factory.mktemp("listing"))))


def test_a_row_for_every_component(harvest: Harvest) -> None:
    table = component_table(harvest)
    stored = harvest.scan("components").collect()
    assert tuple(table.columns) == COLUMNS
    assert table["component"].to_list() == list(range(sum(width for _, width in LAYERS)))
    for row, other in zip(table.iter_rows(named=True), stored.iter_rows(named=True), strict=True):
        assert row["key"] == f"{other['layer']}:{other['index']}"
        assert (row["firings"], row["density"]) == (other["firings"], other["density"])
        for side in ("top_input", "top_output"):
            token = other[side]
            assert row[f"{side}_text"] == (None if token is None else TEXTS[token])
        assert (row["mean_importance_at_firings"] is None) == (row["firings"] == 0)


def test_listing_needs_no_torch(harvest: Harvest) -> None:
    script = (
        "import sys; from pathlib import Path; from core.harvest.artifact import Harvest; "
        "from core.harvest.listing import component_table; from core.harvest.filters import *; "
        "from core.harvest.card import *; from core.harvest.catalogue import *; "
        "assert not {'torch', 'polars', 'numpy'} & set(sys.modules), 'before a table is read'; "
        "h = Harvest(Path(sys.argv[1])); select(component_table(h), parse_query('sort:density')); "
        "component_card(h, find_component(h, 'c_fc:3')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(harvest.folder)], check=True)


def test_forty_thousand_rows_are_narrowed_and_sorted_at_once(harvest: Harvest) -> None:
    table = component_table(harvest)
    many = pl.concat([table] * (40_000 // len(table) + 1)).head(40_000)
    for text in (
        "sort:density",
        "layer:mlp density>0.01 sort:-layer",
        "she",
        'token:" she" sort:top_input_text',
    ):
        query = parse_query(text)
        seconds = []
        for _ in range(3):
            began = perf_counter()
            select(many, query)
            seconds.append(perf_counter() - began)
        assert min(seconds) < 0.5, text  # 0.03 s on a quiet machine
