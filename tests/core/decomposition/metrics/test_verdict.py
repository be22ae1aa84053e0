"""The judgement in words."""

from dataclasses import replace

import pytest

from core.decomposition.metrics.verdict import ModuleEvidence, verdict

GOOD = ModuleEvidence("identity", expected=5, found=5, error=0, live=5, mmcs=0.99997, ml2r=0.9951)


def test_recovered() -> None:
    result = verdict({"linear1": GOOD})
    assert result.recovered is True
    assert result.failures == {}
    sentence = "5 of 5 features, one subcomponent each; 5 live; MMCS 1.000, ML2R 1.00"
    assert result.sentences == {"linear1": sentence}
    assert result.headline == "Ground truth recovered."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": 6, "found": 4}, "identity error is 6, must be 0"),
        ({"error": 6, "found": 4}, "only 4 of 5 features with a subcomponent of their own"),
        ({"error": None}, "identity error was not measured"),
        ({"mmcs": 0.98996}, "MMCS is 0.9900, must be at least 0.99"),
        ({"mmcs": float("nan")}, "MMCS is nan"),
        ({"ml2r": 1.19}, "ML2R is 1.190, must be 0.9 to 1.1"),
        ({"ml2r": 0.89}, "ML2R is 0.890"),
        ({"ml2r": float("nan")}, "ML2R is nan"),
    ],
)
def test_each_condition_fails_alone_and_is_named(change: dict, words: str) -> None:
    result = verdict({"linear1": GOOD, "linear2": replace(GOOD, **change)})
    assert result.recovered is False
    assert list(result.failures) == ["linear2"]
    assert words in result.sentences["linear2"]
    assert "Failed" not in result.sentences["linear1"]
    assert "linear2" in result.headline


def test_dense_modules_without_weights_to_match() -> None:
    dense = ModuleEvidence("dense", expected=2, found=2, error=1, loose_error=0, live=2)
    assert (
        verdict({"hidden": dense}).sentences["hidden"]
        == "2 of 2 subcomponents shared by all features; 2 live"
    )
    result = verdict({"hidden": replace(dense, found=1, loose_error=1)})
    assert result.recovered is False
    assert "dense error is 1 at tolerance 0.2" in result.sentences["hidden"]


def test_live_count_is_remarked_on_but_does_not_decide() -> None:
    result = verdict({"linear1": replace(GOOD, live=7)})
    assert result.recovered is True
    assert "7 live where 5 are expected" in result.sentences["linear1"]


def test_no_ground_truth() -> None:
    result = verdict({"lin": ModuleEvidence(live=12), "other": ModuleEvidence(mmcs=0.2)})
    assert result.recovered is None
    assert result.sentences["lin"] == "12 live"
    assert verdict({}).recovered is None


def test_modules_without_an_answer_do_not_spoil_the_others() -> None:
    assert verdict({"linear1": GOOD, "free": ModuleEvidence(mmcs=0.1)}).recovered is True
