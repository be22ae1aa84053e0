"""Counts over batches: golden numbers, exact merging, weights of positions."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from core.decomposition.metrics.importance_tally import (
    BINS,
    IMPORTANCE_RANGE,
    ImportanceTally,
    bin_edges,
    in_group,
)
from core.errors import UsageError
from core.parallel import Ranks

GOLDEN = Path(__file__).parents[3] / "golden" / "06_metrics_l0_density_mean"


def tallies_equal(one: ImportanceTally, other: ImportanceTally) -> bool:
    return one.modules.keys() == other.modules.keys() and all(
        torch.equal(getattr(one.modules[name], field), getattr(other.modules[name], field))
        for name in one.modules
        for field in ("positions", "firings", "fixed_sum", "importance_bins", "pre_bins")
    )


def batch(seed: int, positions: tuple[int, ...] = (6,), C: int = 4) -> tuple[dict, dict]:
    pre = 2 * torch.randn(*positions, C, generator=torch.Generator().manual_seed(seed))
    return {"m": pre.clamp(0, 1)}, {"m": pre}


def test_equals_golden() -> None:
    case, t = (
        json.loads(GOLDEN.with_suffix(".json").read_text()),
        load_file(GOLDEN.with_suffix(".safetensors")),
    )
    names = [name for name, _ in case["modules"]]
    tally = ImportanceTally(threshold=case["ci_alive_threshold"])
    for index in range(3):
        tally.add({name: t[f"batch{index}/{name}"] for name in names})
    found = {f"0.0_{name}": value for name, value in {**tally.l0(), **tally.group_l0(case["groups"])}.items()}
    assert found == pytest.approx(case["l0"], rel=1e-6)
    for name in names:
        torch.testing.assert_close(tally.density()[name].float(), t[f"density/{name}"])
        torch.testing.assert_close(tally.mean_importance()[name].float(), t[f"mean_ci/{name}"])


def test_groups_match_by_regular_expression_prefix() -> None:
    assert in_group("h.10.mlp.c_fc", ["h.1.*"]), "a dot stands for any letter, and * for .*"
    assert not in_group("h.10.mlp.c_fc", [r"h\.1\."])
    assert in_group("h.1.mlp.c_fc", [r"h\.1\."])
    assert not in_group("wte", ["te"])
    with pytest.raises(UsageError, match="regular expression"):
        in_group("wte", ["("])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=5), st.data())
def test_any_cut_and_merge_gives_the_same_bits(seeds: list[int], data: st.DataObject) -> None:
    batches = [batch(seed) for seed in seeds]
    whole = ImportanceTally(0.1)
    whole.add(
        {"m": torch.cat([lower["m"] for lower, _ in batches])},
        {"m": torch.cat([pre["m"] for _, pre in batches])},
    )
    parts = [ImportanceTally(0.1), ImportanceTally(0.1)]
    for lower, pre in data.draw(st.permutations(batches)):
        parts[data.draw(st.integers(0, 1))].add(lower, pre)
    assert tallies_equal(parts[0].merge(parts[1]), whole)
    assert tallies_equal(parts[1].merge(parts[0]), whole)


def test_merging_leaves_the_parts_alone_and_refuses_other_thresholds() -> None:
    one, other = ImportanceTally(0.1), ImportanceTally(0.1)
    one.add(*batch(0))
    other.add(*batch(1))
    one.merge(other)
    assert int(one.modules["m"].positions) == 6
    with pytest.raises(ValueError, match="threshold"):
        one.merge(ImportanceTally(0.2))


def test_weights_repeat_or_drop_positions() -> None:
    lower, pre = batch(3, positions=(2, 3))
    weights = torch.tensor([[0, 1, 2], [3, 0, 1]])
    weighted = ImportanceTally(0.1)
    weighted.add(lower, pre, weights)
    repeated = ImportanceTally(0.1)
    repeat = weights.reshape(-1)
    rows = [{"m": v["m"].reshape(6, 4).repeat_interleave(repeat, dim=0)} for v in (lower, pre)]
    repeated.add(rows[0], rows[1])
    assert tallies_equal(weighted, repeated)
    with pytest.raises(TypeError):
        weighted.add(lower, pre, weights / 2)


def test_histograms_count_every_entry_once() -> None:
    tally = ImportanceTally()
    tally.add({"m": torch.tensor([[0.0, 0.005, 0.5, 1.0]])}, {"m": torch.tensor([[-9.0, 0.05, 0.55, 9.0]])})
    counts = tally.modules["m"]
    assert counts.importance_bins.nonzero().squeeze(1).tolist() == [0, 50, 99]
    assert counts.importance_bins.sum() == counts.pre_bins.sum() == 4
    assert counts.pre_bins.nonzero().squeeze(1).tolist() == [0, 50, 55, 99]
    assert len(bin_edges(IMPORTANCE_RANGE)) == BINS + 1


def test_counts_do_not_drown_in_large_sums() -> None:
    tally = ImportanceTally()
    tally.add({"m": torch.ones(1, 1)}, weights=torch.tensor([2**30]))
    tally.add({"m": torch.full((1, 1), 2.0**-20)})
    counts = tally.modules["m"]
    assert int(counts.firings) == 2**30 + 1
    assert int(counts.fixed_sum) == 2**62 + 2**12


def dense_stream(C: int = 20, positions: int = 20_000) -> Tensor:
    """Five subcomponents in use at 5% of positions; the rest fire once in 10,000 positions."""
    source = torch.Generator().manual_seed(0)
    rate = torch.full((C,), 1e-4)
    rate[:5] = 0.05
    return (torch.rand(positions, C, generator=source) < rate).float()


def test_live_counts() -> None:
    tally = ImportanceTally(threshold=0.1)
    tally.add({"m": dense_stream()})
    spectrum = tally.live_by_spectrum()["m"]
    assert spectrum.live.tolist() == [True] * 5 + [False] * 15
    assert spectrum.gap_decades > 1
    assert int(tally.live_by_threshold()["m"].sum()) > 5, "any firing at all counts"
    assert tally.live_by_threshold(density_floor=0.01)["m"].tolist() == spectrum.live.tolist()


def test_counts_of_ranks_add_up() -> None:
    class Twice(Ranks):
        def sum(self, tensor: torch.Tensor) -> torch.Tensor:
            return self.size * tensor

    g = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    one, both = ImportanceTally(0.5), ImportanceTally(0.5)
    one.add({"a": g, "b": g[:, :2]}, {"a": g, "b": g[:, :2]})
    for _ in range(2):
        both.add({"a": g, "b": g[:, :2]}, {"a": g, "b": g[:, :2]})
    merged = one.over_ranks(Twice(size=2))
    assert one.over_ranks(Ranks()) is one
    for name, part in both.modules.items():
        for field in ("positions", "firings", "fixed_sum", "importance_bins", "pre_bins"):
            found, wanted = getattr(merged.modules[name], field), getattr(part, field)
            assert found.shape == wanted.shape and found.equal(wanted), field
