"""The evaluation in words and tables."""

from hypothesis import given
from hypothesis import strategies as st

from spd_tui.rows.evaluation import MASKS, read_evaluation, sheet, table, words

TOY = {
    "steps": 10_000,
    "recovered": True,
    "verdict": {
        "headline": "Ground truth recovered.",
        "linear1": "5 of 5 features, one subcomponent each; 5 live; MMCS 1.000, ML2R 1.00",
        "linear2": "5 of 5 features, one subcomponent each; 5 live; MMCS 0.999, ML2R 0.98",
    },
    "live_components": {"linear1": 5, "linear2": 5},
    "components": {"linear1": 20, "linear2": 20},
    "identity_ci_error": {"linear1": 0, "linear2": 0},
    "mmcs": {"linear1": 1.0, "linear2": 0.9991},
    "ml2r": {"linear1": 1.0, "linear2": 0.98},
    "l0": {"linear1": 0.21, "linear2": 0.23},
    "l0_total": 0.44,
    "losses": {"minimality": 0.5},
}

LANGUAGE = {
    "steps": 3000,
    "verdict": {"headline": "CI masks recover much.", "h.0": "7 of 160 live, L0 0.80"},
    "live_components": {"h.0": 7},
    "components": {"h.0": 160},
    "l0": {"h.0": 0.8, "layer_0": 0.8},
    "l0_total": 0.8,
    "cross_entropy": {
        "ce/ci": 4.58,
        "kl/ci": 0.423,
        "ce_recovered/ci": 0.984,
        "kl/stochastic": 0.19,
        "ce/target": 4.1,
    },
    "adversaries": [
        {
            "metric": "adversary",
            "loss": 0.83,
            "steps": 20,
            "step_size": 0.1,
            "init": "random",
            "on": "each batch",
        }
    ],
    "metrics": {
        "cross_entropy": {"ce/ci": 4.58},
        "adversary": {"loss/20_steps_of_0.1_from_random_on_each_batch": 0.83},
        "hidden": {"ci/h.0": 0.46},
    },
}

RECORD = {
    "step": 800,
    "loss/minimality": 0.9,
    "l0/linear1": 0.6,
    "l0/layer_0": 0.6,
    "live/linear1": 10.0,
    "mmcs/linear1": 0.9876,
    "ml2r/linear1": 0.24,
    "identity_ci_error/linear1": 11.0,
    "adversary/loss/20_steps_of_0.1_from_random_on_each_batch": 0.83,
    "cross_entropy/kl/ci": 0.423,
    "target_solution_error/total": 11.0,
}


def test_a_recovered_toy_is_told_in_words():
    phrases = words(read_evaluation(TOY, {}))
    assert phrases[:3] == ["5 of 5 features recovered", "MMCS 0.999", "ML2R 0.98"]
    assert "10 of 40 subcomponents live" in phrases
    assert phrases[-1] == "L0 0.440"


def test_an_adversary_is_told_with_its_budget():
    assert "PGD KL 0.830 at 20 steps of 0.1 (random start, each batch)" in words(
        read_evaluation(LANGUAGE, {})
    )
    assert "PGD KL 0.830 at 20 steps of 0.1 (random start, each batch)" in words(
        read_evaluation(None, RECORD)
    )


def test_a_language_model_is_told_by_what_its_masks_recover():
    phrases = words(read_evaluation(LANGUAGE, {}))
    assert phrases[0] == "CI masks recover 98.4 % of the cross-entropy (KL 0.423)"
    assert phrases[1] == "KL 0.190 with stochastic masks"


def test_a_record_of_a_running_training_is_enough():
    found = read_evaluation(None, RECORD)
    assert found is not None and not found.finished and found.step == 800
    assert "11 wrong entries against the known answer" in words(found)
    assert found.modules["linear1"]["live"] == 10.0
    assert found.total_l0 == 0.6
    assert list(found.other) == ["target_solution_error/total"]


def test_nothing_is_said_before_the_first_evaluation():
    assert read_evaluation(None, {}) is None
    assert read_evaluation(None, {"step": 3}) is None
    assert words(None) == ["no evaluation yet"]
    assert sheet(None)[0].lines == ("no evaluation yet",)


def test_the_sheet_has_every_number_once():
    sections = {section.title: section.lines for section in sheet(read_evaluation(LANGUAGE, {}))}
    assert "CI masks recover much." not in sections["Evaluation at the end"], "the phrases say it"
    assert list(sections) == ["Evaluation at the end", "Modules", "Masks", "Adversaries", "Other metrics"]
    assert any(line.startswith(MASKS["ci"]) and "0.984" in line for line in sections["Masks"])
    assert [line.split()[0] for line in sections["Other metrics"]] == ["name", "hidden/ci/h.0"]


def test_tables_stand_on_their_decimal_points():
    lines = table("name", {"a": {"x": 12.5, "n": None}, "long": {"x": 0.00123}, "none": {"x": None}})
    assert lines[0].split() == ["name", "x"]
    points = {line.index(".") for line in lines[1:3]}
    assert len(points) == 1
    assert lines[3].split() == ["none", "-"]


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted({*TOY, *LANGUAGE})), ANYTHING))
def test_any_summary_is_read(summary):
    found = read_evaluation(summary, {})
    assert words(found)
    assert sheet(found)


@given(st.dictionaries(st.sampled_from(sorted({*RECORD, "hidden/ci", "cross_entropy/ce/ci"})), ANYTHING))
def test_any_record_is_read(record):
    found = read_evaluation(None, record)
    assert words(found)
    assert sheet(found)
