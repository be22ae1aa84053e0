"""Case 7: a small stream's statistics, windows, and what is asked of them afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from core.harvest.artifact import Harvest
from core.harvest.kernel import HarvestBatch, HarvestEngine
from core.harvest.queries import Partner, associations, ranking
from core.harvest.settings import HarvestSettings
from core.harvest.tables import ExampleTable
from core.harvest.writing import write_harvest
from core.stats.association import MEASURES, Counts

SEQUENCES = 3


@pytest.fixture(scope="module")
def case(golden: Callable[[str], Any]) -> Any:
    return golden("07_harvest")


def harvested(case: Any, batches: list[int], **settings: Any) -> HarvestEngine:
    layers = [(name, width) for name, width in case.data["layers"]]
    chosen = {
        "threshold": case.data["activation_threshold"],
        "context": case.data["context_tokens_per_side"],
        "output_share": 1.0,
        "uniform_examples": 1000,
        "strongest_examples": 0,
    }
    engine = HarvestEngine(layers, case.data["vocab_size"], HarvestSettings(**(chosen | settings)))
    widths = [width for _, width in layers]
    for index in batches:
        importances = case["ci"][index].split(widths, -1)
        activations = case["component_activation"][index].split(widths, -1)
        engine.add_batch(
            HarvestBatch(
                torch.arange(SEQUENCES) + SEQUENCES * index,
                case["tokens"][index],
                {name: values for (name, _), values in zip(layers, importances, strict=True)},
                {name: values for (name, _), values in zip(layers, activations, strict=True)},
                case["output_probs"][index],
            )
        )
    return engine


def close(found: Any, expected: Tensor) -> None:
    torch.testing.assert_close(
        torch.as_tensor(np.asarray(found, np.float64)), expected.double(), rtol=1e-4, atol=1e-5
    )


def dense(rows: int, columns: int, fired: Any, starts: Any, keys: Any, values: Any) -> np.ndarray:
    table = np.zeros((rows, columns))
    for component, start, stop in zip(fired, starts[:-1], starts[1:], strict=True):
        table[component, keys[start:stop]] = values[start:stop]
    return table


def assert_statistics(engine: HarvestEngine, case: Any, group: str) -> None:
    expected = case.group(group)
    table, fired = engine.components(), engine.fired()
    components, vocabulary, count = len(table.firings), case.data["vocab_size"], len(fired)
    assert engine.positions == int(expected["total_tokens"])
    assert table.firings.tolist() == expected["firing_counts"].tolist()
    close(table.importance_sum, expected["activation_sums/causal_importance"])
    close(table.activation_sum, expected["activation_sums/component_activation"])
    cofiring = engine.cofiring(0, count)
    pairs = dense(components, components, fired, cofiring.starts, cofiring.others, cofiring.counts)
    np.fill_diagonal(pairs, table.firings)
    assert pairs.tolist() == expected["cooccurrence_counts"].tolist()
    inputs, tokens = engine.input_tokens(0, count), engine.tokens()
    counts = dense(components, vocabulary, fired, inputs.starts, inputs.tokens, inputs.counts)
    assert counts.tolist() == expected["input_cooccurrence"].tolist()
    assert tokens.occurrences.tolist() == expected["input_marginals"].tolist()
    outputs = engine.output_tokens(0, count)
    assert outputs is not None
    masses = dense(components, vocabulary, fired, outputs.starts, outputs.tokens, outputs.masses)
    close(masses, expected["output_cooccurrence"])
    close(tokens.output_mass, expected["output_marginals"])
    assert not outputs.dropped.any()


@pytest.mark.parametrize(
    ("group", "batches"), [("all", range(6)), ("worker0", range(0, 6, 2)), ("worker1", range(1, 6, 2))]
)
def test_statistics(case: Any, group: str, batches: range) -> None:
    assert_statistics(harvested(case, list(batches)), case, group)


def test_merged_workers(case: Any) -> None:
    engine = harvested(case, [0, 2, 4])
    engine.merge(harvested(case, [1, 3, 5]))
    assert_statistics(engine, case, "merged")
    assert_statistics(engine, case, "all")


def padded(examples: ExampleTable, context: int) -> dict[tuple[int, int, int], tuple[list[float], ...]]:
    """Windows by (sequence, position, component), filled up to full length outside the sequence."""
    found = {}
    for row in range(len(examples.components)):
        part = slice(int(examples.starts[row]), int(examples.starts[row + 1]))
        before = context - int(examples.marks[row])
        after = 2 * context + 1 - before - (part.stop - part.start)
        place = (int(examples.sequences[row]), int(examples.positions[row]), int(examples.components[row]))
        importances = np.pad(examples.importances[part], (before, after))
        found[place] = (
            np.pad(examples.tokens[part].astype(np.int64), (before, after), constant_values=-1).tolist(),
            (importances > 0).tolist(),
            importances.tolist(),
            np.pad(examples.activations[part], (before, after)).tolist(),
        )
    return found


def test_windows(case: Any) -> None:
    context = case.data["context_tokens_per_side"]
    engine = harvested(case, [0])
    examples = engine.examples(0, len(engine.fired()))
    windows = padded(examples, context)
    expected = case.group("windows")
    assert [place[2] for place in sorted(windows)] == expected["component_idx"].tolist()
    tokens, fires, importances, activations = zip(*(windows[place] for place in sorted(windows)), strict=True)
    assert list(tokens) == expected["tokens"].tolist()
    assert torch.tensor(fires).long().tolist() == expected["firings"].tolist()
    close(importances, expected["causal_importance"])
    close(activations, expected["component_activation"])


def test_samples_hold_as_many_as_there_are(case: Any) -> None:
    size = case.data["max_examples_per_component"]
    engine = harvested(case, list(range(6)), uniform_examples=size)
    examples = engine.examples(0, len(engine.fired()))
    held = np.bincount(examples.components, minlength=len(engine.components().firings))
    assert held.tolist() == np.minimum(engine.components().firings, size).tolist()


@pytest.fixture(scope="module")
def artifact(case: Any, tmp_path_factory: pytest.TempPathFactory) -> Harvest:
    folder = tmp_path_factory.mktemp("golden") / "h"
    write_harvest(harvested(case, list(range(6))), Path(folder))
    return Harvest(folder)


def component(artifact: Harvest, key: str) -> int:
    layer, _, index = key.rpartition(":")
    return artifact.number(layer, int(index))


OURS = {"precision": "other_given_this", "recall": "this_given_other", "jaccard": "jaccard", "pmi": "pmi"}


def test_cards(case: Any, artifact: Harvest) -> None:
    rows = artifact.scan("components").collect().to_dicts()
    live = [row for row in rows if row["firings"]]
    assert [f"{row['layer']}:{row['index']}" for row in live] == [
        entry["component_key"] for entry in case.data["components"]
    ]
    for row, entry in zip(live, case.data["components"], strict=True):
        close(row["density"], torch.tensor(entry["firing_density"]))
        means = entry["mean_activations"]
        close(row["mean_importance"], torch.tensor(means["causal_importance"]))
        close(row["mean_activation"], torch.tensor(means["component_activation"]))
        for partner in get_args(Partner)[1:]:
            expected = entry[f"{partner}_token_pmi"]["top"]
            top = ranking(artifact, row["component"], partner, "pmi", len(expected)).top
            close(top["pmi"].to_list(), torch.tensor([score for _, score in expected]))
            scores = dict(associations(artifact, row["component"], partner).select("token", "pmi").rows())
            for token, score in expected:
                close(scores[token], torch.tensor(score))


def test_correlations(case: Any, artifact: Harvest) -> None:
    for key, query in case.data["queries"].items():
        this = component(artifact, key)
        for name, expected in query["correlations"].items():
            measure, _, which = name.partition("/")
            if which in ("bottom5",):
                continue  # shortened by what is left out afterwards; bottom1000 is the whole list
            size = int(which.removeprefix("top").removeprefix("bottom"))
            found = ranking(artifact, this, "component", OURS[measure], size)
            table = found.top if which.startswith("top") else found.bottom
            assert len(table) == len(expected)
            close(table[OURS[measure]].to_list(), torch.tensor([row[1] for row in expected]))
            by_other = {row["other"]: row for row in table.iter_rows(named=True)}
            for other, score, n_this, n_other, both, total in expected:
                row = by_other.get(component(artifact, other))
                if row is None:
                    # Another of the same score took its place.
                    assert size < 1000
                    continue
                assert (row["this"], row["other_count"], row["both"]) == (n_this, n_other, both)
                assert artifact.positions == total
                close(row[OURS[measure]], torch.tensor(score))


TOKENS = {
    "recall": "other_given_this",
    "precision": "this_given_other",
    "lift": "lift",
    "pmi": "pmi",
}


def test_token_lists(case: Any, artifact: Harvest) -> None:
    for key, query in case.data["queries"].items():
        this = component(artifact, key)
        for partner in ("input", "output"):
            if query[partner] is None:
                assert artifact.firings()[this] == 0
                continue
            for name, expected in query[partner].items():
                which, _, measure = name.partition("_")
                found = ranking(artifact, this, partner, TOKENS[measure], len(expected))
                table = found.top if which == "top" else found.bottom
                scores = table[TOKENS[measure]].to_numpy()
                np.testing.assert_allclose(scores, [score for _, score in expected], atol=6e-3)


def test_token_statistics(case: Any) -> None:
    engine = harvested(case, list(range(6)))
    table, fired, tokens = engine.components(), engine.fired(), engine.tokens()
    inputs, outputs = engine.input_tokens(0, len(fired)), engine.output_tokens(0, len(fired))
    assert outputs is not None and tokens.output_mass is not None
    shape = (len(table.firings), case.data["vocab_size"])
    both = {
        "input": dense(*shape, fired, inputs.starts, inputs.tokens, inputs.counts),
        "output": dense(*shape, fired, outputs.starts, outputs.tokens, outputs.masses),
    }
    for kind, marginal in (("input", tokens.occurrences), ("output", tokens.output_mass)):
        counts = Counts.of(both[kind], table.firings[:, None], marginal[None], engine.positions)
        for name, expected in case.group(f"token_stats/{kind}").items():
            found = MEASURES[TOKENS[name.partition("__")[0]]](counts)
            defined = table.firings > 0
            close(found[defined], expected[torch.from_numpy(defined)])
