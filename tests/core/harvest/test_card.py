"""A component's card: what is stored, decoded, with what the numbers condition on."""

import json
import math
from pathlib import Path

import pytest

from core.errors import UsageError
from core.harvest.artifact import Harvest
from core.harvest.card import component_card, find_component, plain
from core.harvest.queries import associations
from core.stats.association import MEASURES
from tests.spd_tui.component_runs import TEXTS, add_feature_harvest, add_text_harvest, make_run


@pytest.fixture(scope="module")
def harvest(tmp_path_factory: pytest.TempPathFactory) -> Harvest:
    return Harvest(add_text_harvest(make_run(tmp_path_factory.mktemp("card"))))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Harvest:
    return Harvest(add_feature_harvest(make_run(tmp_path_factory.mktemp("toy"))))


def test_numbers_and_histogram(harvest: Harvest) -> None:
    card = component_card(harvest, 25)
    assert (card.key, card.layer, card.index) == ("h.0.mlp.down_proj:1", "h.0.mlp.down_proj", 1)
    assert (card.kind, card.positions, card.measure) == ("text", harvest.positions, "log_likelihood_ratio")
    stored = harvest.card(25)
    assert card.numbers["firings"] == stored.numbers["firings"] == sum(card.histogram.counts)
    assert len(card.histogram.edges) == len(card.histogram.counts)
    assert "importance_histogram" not in card.numbers and card.fires


@pytest.mark.parametrize("measure", list(MEASURES))
def test_associates_are_the_ends_of_the_ranking(harvest: Harvest, measure: str) -> None:
    card = component_card(harvest, 3, measure=measure, partners=4)
    found = {
        "input": (card.inputs_top, card.inputs_bottom),
        "output": (card.outputs_top, card.outputs_bottom),
        "component": (card.partners_top, card.partners_bottom),
    }
    for kind, (top, bottom) in found.items():
        table = associations(harvest, 3, kind)  # pyright: ignore[reportArgumentType] # the three kinds
        ranked = sorted((value for value in table[measure] if math.isfinite(value)), reverse=True)
        assert [row.measures[measure] for row in top] == pytest.approx(ranked[:4])
        assert [row.measures[measure] for row in bottom] == pytest.approx(ranked[::-1][:4])
        for row in top:
            assert row.text == (
                "{}:{}".format(*harvest.name(row.id)) if kind == "component" else TEXTS[row.id]
            )
            assert row.measures["other_given_this"] == pytest.approx(row.both / row.this)
            assert row.measures["this_given_other"] == pytest.approx(row.both / row.other)
            for name, (low, high) in row.intervals.items():
                assert low <= row.measures[name] + 1e-9 and row.measures[name] - 1e-9 <= high


def test_partners_say_what_they_fire_at(harvest: Harvest) -> None:
    row = component_card(harvest, 3).partners_top[0]
    token = harvest.card(row.id).numbers["top_input"]
    assert row.note == TEXTS[token]
    assert component_card(harvest, 3).inputs_top[0].note == ""


@pytest.mark.parametrize("strongest", [False, True])
def test_examples_are_decoded(harvest: Harvest, strongest: bool) -> None:
    card = component_card(harvest, 3, examples=4, strongest=strongest)
    stored = harvest.card(3).examples
    stored = stored.filter(stored["strongest"] == strongest).head(4)
    assert len(card.examples) == len(stored) > 0 and card.strongest == strongest
    for example, row in zip(card.examples, stored.iter_rows(named=True), strict=True):
        assert (example.sequence, example.position, example.mark) == (
            row["sequence"],
            row["position"],
            row["mark"],
        )
        assert [token.id for token in example.tokens] == row["tokens"]
        assert [token.text for token in example.tokens] == [TEXTS[token] for token in row["tokens"]]
        assert [token.importance for token in example.tokens] == row["importances"]
        assert example.tokens[example.mark].fires and example.features is None


def test_a_component_that_never_fired(harvest: Harvest) -> None:
    card = component_card(harvest, 6)
    assert not card.fires and card.examples == () and card.partners_top == () and card.inputs_top == ()


def test_toys_have_features(toy: Harvest) -> None:
    card = component_card(toy, 2)
    assert card.kind == "features" and card.inputs_top[0].text == "x2" and card.outputs_top == ()
    for example in card.examples:
        assert example.features is not None
        values = dict(example.features)
        assert 2 in values and abs(example.tokens[0].activation - values[2]) < 1e-6


def test_plain_is_strict_json(harvest: Harvest, toy: Harvest) -> None:
    for card in (component_card(harvest, 3), component_card(harvest, 6), component_card(toy, 0)):
        data = plain(card)
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert data["key"] == card.key and len(data["examples"]) == len(card.examples)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("h.0.mlp.c_fc:17", 17),
        (" 0.mlp.c_fc:17 ", 17),
        ("c_fc:17", 17),
        ("down_proj:2", 26),
        ("down:2", 26),
        ("attn:0", 40),
        ("41", 41),
    ],
)
def test_names(harvest: Harvest, text: str, number: int) -> None:
    assert find_component(harvest, text) == number


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("h.0.mlp.c_fd:17", r"Did you mean h\.0\.mlp\.c_fc"),
        ("mlp:1", r"fits 2 layers: h\.0\.mlp\.c_fc, h\.0\.mlp\.down_proj"),
        ("c_fc:24", "components 0 to 23, not 24"),
        ("52", "not one of 0 to 51"),
        ("c_fc", r"as h\.0\.mlp\.c_fc:0"),
        ("", "does not name a component"),
        (":3", "no layer"),
    ],
)
def test_names_of_nothing(harvest: Harvest, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        find_component(harvest, text)


def test_unknown_measure(harvest: Harvest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean jaccard"):
        component_card(harvest, 3, measure="jacard")
