"""Rows of the table of components and lines of a card, from real artifacts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.harvest.card import component_card
from spd_tui.rows.card import SECTIONS, CardView, activation_scale, card_lines, component_name, head_lines
from spd_tui.rows.components import (
    ComponentColumn,
    ComponentRows,
    Order,
    Ranks,
    load_components,
    narrow,
    short_layers,
    visible_columns,
    written_share,
)
from spd_tui.rows.tokens import View
from tests.spd_tui.component_runs import LAYERS, add_feature_harvest, add_text_harvest, make_run


@pytest.fixture(scope="module")
def text_data(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("out"))
    add_text_harvest(run)
    return load_components(run, None)


@pytest.fixture(scope="module")
def toy_data(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("toy"))
    add_feature_harvest(run)
    return load_components(run, None)


def lines_of(data, component, section, width=90, **view):
    card = component_card(data.harvest, component)
    shown = CardView(
        section=section,
        width=width,
        view=View(scale=activation_scale(card), **view),
        layers=data.layers,
        unit=data.unit,
        ranks=Ranks.of(data, "mean_importance"),
    )
    return [line.plain for line in head_lines(card, shown)], card_lines(card, shown)


def test_rows_come_largest_mean_importance_first(text_data):
    rows = narrow(text_data, "", Order())
    assert len(rows) == sum(width for _, width in LAYERS)
    means = rows.frame["mean_importance"].to_list()
    assert means == sorted(means, reverse=True)
    assert rows.index_of(rows.key(7)) == 7
    assert rows.index_of(10_000) is None
    assert rows.index_of("no number") is None


def test_a_row_says_what_the_frame_says(text_data):
    rows = narrow(text_data, "", Order("component", False))
    cells = dict(zip((column.name for column in rows.columns), rows.cells(0), strict=True))
    numbers = text_data.table.row(0, named=True)
    assert cells["layer"] == "0.mlp.c_fc"
    assert cells["index"] == "0"
    assert float(str(cells["density"])) == pytest.approx(100 * numbers["density"], rel=0.005)
    assert float(str(cells["mean_importance"])) == pytest.approx(numbers["mean_importance"], rel=0.005)
    assert cells["top_input_text"] == "·she"
    assert cells["firings"] == str(numbers["firings"])


def test_decimal_points_of_all_rows_stand_under_each_other(text_data):
    rows = narrow(text_data, "", Order())
    place = [column.name for column in rows.columns].index("mean_importance")
    points = {str(rows.cells(row)[place]).find(".") for row in range(len(rows))}
    assert points <= {1, -1}


def test_a_component_that_never_fired_has_no_top_token(text_data):
    rows = narrow(text_data, "is:silent", Order())
    assert len(rows) == 52 - text_data.fired > 0
    cells = dict(zip((column.name for column in rows.columns), rows.cells(0), strict=True))
    assert cells["top_input_text"] == ""
    assert cells["density"].strip() == "0"


def test_a_query_that_sorts_wins_over_the_order_of_the_table(text_data):
    by_density = narrow(text_data, "sort:density layer:c_fc", Order("layer", False))
    densities = by_density.frame["density"].to_list()
    assert densities == sorted(densities, reverse=True)
    assert len(by_density) == 24


def test_a_query_that_cannot_be_understood_says_why(text_data):
    with pytest.raises(UsageError, match="density"):
        narrow(text_data, "densty>0.1", Order())
    assert len(narrow(text_data, 'token:"', Order())) == len(text_data.table)  # while it is typed


def test_columns_that_later_work_adds_are_shown(text_data):
    import polars as pl

    frame = text_data.table.with_columns(
        label=pl.lit("pronouns\x1b[31m"), detection=pl.lit(0.71234), checked=pl.lit(True), parts=pl.lit(["a"])
    )
    rows = ComponentRows(frame, text_data.layers)
    cells = dict(zip((column.name for column in rows.columns), rows.cells(0), strict=True))
    assert cells["label"] == "pronouns<U+001B>[31m"
    assert cells["detection"] == "0.712"
    assert cells["checked"] == "True"
    assert "a" in cells["parts"]


def test_layers_lose_the_path_they_share():
    assert short_layers(["h.0.mlp.c_fc", "h.1.attn.q"]) == {
        "h.0.mlp.c_fc": "0.mlp.c_fc",
        "h.1.attn.q": "1.attn.q",
    }
    assert short_layers(["linear1", "linear2"]) == {"linear1": "linear1", "linear2": "linear2"}
    assert short_layers(["model.layers.0.up", "model.layers.0.up2"])["model.layers.0.up"] == "up"
    assert short_layers(["a.b"]) == {"a.b": "a.b"}


@given(st.lists(st.text("ab.", min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
def test_short_layer_names_stay_different_and_end_as_they_did(layers):
    short = short_layers(layers)
    assert len(set(short.values())) == len(layers)
    assert all(layer.endswith(name) for layer, name in short.items())


@given(st.floats(0, 1))
def test_shares_fit_their_column(share):
    assert re.fullmatch(r"(<0|\d{1,3})(\.\d{1,3})?", written_share(share))


def test_unknown_columns_come_after_the_known_ones():
    names = [column.name for column in visible_columns(["score", "density", "layer", "key"], {"a": "a"})]
    assert names == ["layer", "density", "score"]
    assert all(isinstance(column, ComponentColumn) for column in visible_columns(["x"], {}))


def test_ranks_agree_with_the_table(text_data):
    ranks = Ranks.of(text_data, "density")
    densities = text_data.table["density"].to_list()
    assert list(ranks.values) == sorted(densities, reverse=True)
    for component, density in enumerate(densities):
        assert ranks.values[ranks.places[component]] == density
        assert ranks.order[ranks.places[component]] == component


def test_the_head_answers_in_two_lines(text_data):
    head, _ = lines_of(text_data, 0, "examples")
    assert re.match(r"0\.mlp\.c_fc:0  fires on [\d.]+ % of tokens · \d+ firings", head[0])
    assert re.match(r"mean CI [\d.]+, [\d.]+ when firing · firings by CI, log: 0 [ ▁-█]{16} 1", head[1])
    assert head[2].startswith("[examples] tokens  related  rank")


def test_examples_say_what_is_under_the_cursor(text_data):
    _, lines = lines_of(text_data, 0, "examples")
    first = lines[0].item
    assert first is not None
    assert re.match(r"\S+  CI [\d.]+  activation -?[\d.]+  sequence \d+ position \d+", first.says)
    assert sum(line.text.plain.count("[·she]") for line in lines) >= 3


def test_token_tables_name_what_they_condition_on(text_data):
    _, lines = lines_of(text_data, 0, "tokens")
    text = [line.text.plain for line in lines]
    assert text[1] == "input tokens, more often than by chance"
    assert "P(token|fires)" in text[2] and "P(fires|token)" in text[2]
    assert text[3].startswith("·she")
    assert any(line.startswith("output tokens by predicted mass") for line in text)
    card = component_card(text_data.harvest, 0)
    she = card.inputs_top[0]
    numbers = re.findall(r"\d\.\d+", text[3])
    assert float(numbers[0]) == pytest.approx(she.both / she.this, rel=0.005)
    assert float(numbers[1]) == pytest.approx(she.both / she.other, rel=0.005)


def test_related_components_lead_on(text_data):
    _, lines = lines_of(text_data, 0, "related")
    items = [line.item for line in lines if line.item is not None]
    assert items and all(item.component is not None for item in items)
    assert items[0].copies.startswith("h.")
    card = component_card(text_data.harvest, 0)
    assert items[0].component == card.partners_top[0].id


def test_the_rank_section_marks_the_component_among_its_neighbours(text_data):
    _, lines = lines_of(text_data, 5, "rank")
    marked = [line.text.plain for line in lines if line.text.plain.startswith("▸")]
    assert len(marked) == 1
    assert "0.mlp.c_fc:5 " in marked[0]


def test_a_component_that_never_fires_says_so(text_data):
    head, lines = lines_of(text_data, 6, "examples")
    assert "fires on 0 % of tokens" in head[0]
    assert lines[0].text.plain == "It fires on no token of 384."


def test_toys_show_input_features_and_values(toy_data):
    assert "top_output_text" not in [column.name for column in narrow(toy_data, "", Order()).columns]
    head, lines = lines_of(toy_data, 1, "examples")
    assert "[examples] features  related" in head[2]
    assert "of inputs" in head[0]
    assert "values of active inputs" in head[2]
    card = component_card(toy_data.harvest, 1)
    first = card.examples[0].features
    assert first is not None
    for feature, value in first:
        assert f"x{feature} = {value:+.3g}"[:8] in lines[0].text.plain
    assert re.search(r"[+-][▁-█]", lines[1].text.plain)
    _, tokens = lines_of(toy_data, 1, "tokens")
    text = [line.text.plain for line in tokens]
    assert "input features, more often than by chance" in text
    assert "No output was counted in this harvest." in text


@pytest.mark.parametrize("width", [20, 40, 58, 78, 110, 160])
@pytest.mark.parametrize("section", SECTIONS)
def test_no_line_is_wider_than_the_card(text_data, toy_data, section, width):
    for data in (text_data, toy_data):
        for component in (0, 3, 6, 15):
            for shading, centred in (("both", True), ("activation", False)):
                head, lines = lines_of(data, component, section, width, shading=shading, centred=centred)
                assert max(line.text.cell_len for line in lines) <= width
                assert all(len(line) <= width for line in head)


def test_names_of_components():
    widths = (("h.0.up", 3), ("h.1.up", 2))
    assert component_name(3, {"h.1.up": "1.up"}, widths) == "1.up:0"
    assert component_name(9, {}, widths) == "4"


def test_a_run_without_a_harvest_says_what_makes_one(tmp_path: Path):
    with pytest.raises(UsageError, match="spd harvest s-0000aaaa"):
        load_components(make_run(tmp_path), None)


def test_the_screens_are_imported_without_polars_and_numpy():
    code = (
        "import sys, spd_tui.screens.components\n"
        "print(sorted({'torch', 'polars', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_reading_and_writing_out_needs_no_torch(text_data):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from core.runs.directory import RunDirectory\n"
        "from spd_tui.rows.components import Order, load_components, narrow\n"
        "from spd_tui.screens.card_reading import CardRequest, read_card\n"
        f"data = load_components(RunDirectory(Path({str(text_data.harvest.folder.parents[1])!r})), None)\n"
        "narrow(data, 'density>0', Order()).cells(0)\n"
        "read_card(data.harvest, CardRequest(0, 'pmi', True))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
