"""A harvest on disk: it says what the engine counted, opens lazily, and is whole or not there."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import SpdError, UsageError
from core.harvest.artifact import Harvest
from core.harvest.kernel import HarvestBatch, HarvestEngine
from core.harvest.queries import associations, ranking
from core.harvest.settings import HarvestSettings
from core.harvest.writing import write_harvest

LAYERS = [("h.0.up", 30), ("h.1.down", 12)]
VOCABULARY = 40


def batch(seed: int, first: int, sequences: int = 10, length: int = 12, output: bool = True) -> HarvestBatch:
    draws = torch.Generator().manual_seed(seed)
    shape = (sequences, length)
    importances, activations = {}, {}
    for name, width in LAYERS:
        rates = torch.linspace(0, 0.8, width)
        fires = torch.rand(*shape, width, generator=draws) < rates
        importances[name] = torch.where(fires, torch.rand(*shape, width, generator=draws), 0.0)
        activations[name] = torch.randn(*shape, width, generator=draws)
    tokens = torch.randint(VOCABULARY, shape, generator=draws)
    probabilities = (torch.randn(*shape, VOCABULARY, generator=draws) * 3).softmax(-1) if output else None
    return HarvestBatch(
        torch.arange(first, first + sequences), tokens, importances, activations, probabilities
    )


@pytest.fixture
def engine() -> HarvestEngine:
    engine = HarvestEngine(
        LAYERS, VOCABULARY, HarvestSettings(context=3, uniform_examples=5, strongest_examples=2)
    )
    engine.add_batch(batch(0, 0))
    engine.add_batch(batch(1, 10))
    return engine


@pytest.fixture
def folder(engine: HarvestEngine, tmp_path: Path) -> Path:
    write_harvest(engine, tmp_path / "h", {"run": "s-1"})
    return tmp_path / "h"


def test_what_was_counted_stands_on_disk(engine: HarvestEngine, folder: Path) -> None:
    harvest = Harvest(folder)
    table, fired = engine.components(), engine.fired()
    assert harvest.manifest["run"] == "s-1"
    assert (harvest.positions, harvest.layers) == (240, tuple(LAYERS))
    components = harvest.scan("components").collect()
    assert components["firings"].to_list() == table.firings.tolist()
    assert components["density"].to_list() == (table.firings / 240).tolist()
    assert components["importance_histogram"].to_numpy().tolist() == table.importance_histogram.tolist()
    cofiring = harvest.scan("cofiring").collect()
    forward = {(a, b): n for a, b, n in cofiring.rows()}
    assert all(forward[b, a] == n for (a, b), n in forward.items())
    assert len(forward) == len(engine.cofiring(0, len(fired)).others)
    assert cofiring["component"].is_sorted()
    inputs = harvest.scan("tokens_in").collect()
    assert inputs["count"].sum() == table.firings.sum()
    occurrences = harvest.tokens()["occurrences"]
    assert occurrences.sum() == 240
    outputs = harvest.scan("tokens_out").collect()
    kept = float(outputs["mass"].sum()) + float(components["output_mass_dropped"].sum())
    assert kept == pytest.approx(float(table.firings.sum()), rel=1e-6)
    assert harvest.manifest["output_mass"]["total"] == pytest.approx(240, rel=1e-6)


def test_a_card_holds_the_rows_of_its_component(folder: Path) -> None:
    harvest = Harvest(folder)
    component = harvest.number("h.1.down", 9)
    assert harvest.name(component) == ("h.1.down", 9)
    card = harvest.card(component)
    assert (card.layer, card.index, card.numbers["component"]) == ("h.1.down", 9, 39)
    for table in (card.cofiring, card.tokens_in, card.tokens_out, card.examples):
        assert table["component"].unique().to_list() == [component]
    assert card.tokens_in["count"].sum() == card.numbers["firings"]
    assert card.examples["strongest"].to_list() == [False] * 5 + [True] * 2
    for row in card.examples.iter_rows(named=True):
        sequence = batch(0, 0) if row["sequence"] < 10 else batch(1, 10)
        index, at, mark = row["sequence"] % 10, row["position"], row["mark"]
        first = at - mark
        assert first == max(0, at - 3) and len(row["tokens"]) == min(12, at + 4) - first
        assert row["tokens"] == sequence.tokens[index, first : at + 4].tolist()
        values = sequence.importances["h.1.down"][index, first : at + 4, 9]
        assert row["importances"] == values.tolist()
        assert row["fires"] == (values > 0).tolist()
        assert row["fires"][mark]


def test_components_that_never_fired_have_a_card(folder: Path) -> None:
    card = Harvest(folder).card(0)
    assert card.numbers["firings"] == 0
    assert card.cofiring.is_empty() and card.examples.is_empty()


def test_rankings_put_the_strongest_first(folder: Path) -> None:
    harvest = Harvest(folder)
    table = associations(harvest, 20, "component")
    assert len(table) == len(harvest.card(20).cofiring)
    found = ranking(harvest, 20, "component", "jaccard", 4)
    expected = table.sort("jaccard", descending=True, maintain_order=True)
    assert found.top["other"].to_list() == expected["other"].to_list()[:4]
    assert found.bottom["jaccard"].to_list() == sorted(table["jaccard"].to_list())[:4]
    for partner in ("input", "output"):
        found = ranking(harvest, 20, partner, "pmi", 3)
        assert len(found.top) == len(found.bottom) == 3
        assert found.top["pmi"].to_list() == sorted(found.top["pmi"].to_list(), reverse=True)
    with pytest.raises(UsageError, match="Did you mean jaccard"):
        ranking(harvest, 20, "component", "jacard", 3)


def test_two_workers_write_the_same_bytes_as_one(engine: HarvestEngine, folder: Path, tmp_path: Path) -> None:
    settings = engine.settings
    first, second = HarvestEngine(LAYERS, VOCABULARY, settings), HarvestEngine(LAYERS, VOCABULARY, settings)
    first.add_batch(batch(1, 10))
    second.add_batch(batch(0, 0))
    first.merge(second)
    write_harvest(first, tmp_path / "merged", {"run": "s-1"})
    for path in folder.iterdir():
        assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_leading_token_is_the_first_of_the_ranking(folder: Path) -> None:
    harvest = Harvest(folder)
    for row in harvest.scan("components").collect().iter_rows(named=True):
        for partner in ("input", "output"):
            token, share = row[f"top_{partner}"], row[f"top_{partner}_share"]
            if row["firings"] == 0:
                assert token is None and share is None
                continue
            best = ranking(harvest, row["component"], partner, "log_likelihood_ratio", 1).top
            assert best["token"].to_list() == [token]
            assert best["other_given_this"].to_list() == [share]


def test_tokens_have_texts(engine: HarvestEngine, folder: Path, tmp_path: Path) -> None:
    assert Harvest(folder).tokens()["text"].to_list() == [str(token) for token in range(VOCABULARY)]
    texts = [f" word{token}\n" for token in range(VOCABULARY)]
    write_harvest(engine, tmp_path / "t", texts=texts)
    assert Harvest(tmp_path / "t").tokens()["text"].to_list() == texts


def test_examples_of_features_show_the_whole_input(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(2)
    active = torch.rand(20, 1, VOCABULARY, generator=draws) < 0.1
    values = torch.rand(20, 1, VOCABULARY, generator=draws)
    whole = batch(3, 0, 20, 1, output=False)
    engine = HarvestEngine(LAYERS, VOCABULARY, HarvestSettings(output_share=0, uniform_examples=4))
    engine.add_batch(replace(whole, features=active))

    def inputs(sequences: np.ndarray) -> list[dict[int, float]]:
        return [
            {int(feature): float(values[row, 0, feature]) for feature in active[row, 0].nonzero().flip(0)}
            for row in sequences.tolist()
        ]

    write_harvest(engine, tmp_path / "f", inputs=inputs)
    harvest = Harvest(tmp_path / "f")
    examples = harvest.scan("examples").collect()
    assert len(examples) > 40
    for row in examples.iter_rows(named=True):
        expected = active[row["sequence"], 0].nonzero().flatten()
        assert row["features"] == expected.tolist()
        assert row["feature_values"] == values[row["sequence"], 0, expected].tolist()
    assert harvest.tokens()["occurrences"].to_list() == active.sum((0, 1)).tolist()
    assert harvest.scan("components").collect()["top_output"].null_count() == 42


def test_examples_of_tokens_have_no_features(folder: Path) -> None:
    examples = Harvest(folder).scan("examples").collect()
    assert examples["features"].null_count() == examples["feature_values"].null_count() == len(examples)


def test_no_output_and_no_firing_can_be_written(tmp_path: Path) -> None:
    engine = HarvestEngine(LAYERS, VOCABULARY, HarvestSettings(output_share=0, context=0))
    write_harvest(engine, tmp_path / "none")
    assert Harvest(tmp_path / "none").card(3).tokens_out.is_empty()
    engine.add_batch(batch(0, 0, output=False))
    write_harvest(engine, tmp_path / "h")
    harvest = Harvest(tmp_path / "h")
    assert harvest.manifest["output_mass"] is None
    assert harvest.scan("tokens_out").collect().is_empty()
    assert {len(tokens) for tokens in harvest.card(20).examples["tokens"]} == {1}


def test_wrong_artifacts_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished harvest"):
        Harvest(tmp_path)
    with pytest.raises(UsageError, match=r"no layer h\.0\.pu"):
        Harvest(folder).number("h.0.pu", 0)
    with pytest.raises(UsageError, match="components 0 to 29"):
        Harvest(folder).number("h.0.up", 30)
    with pytest.raises(UsageError, match="not one of 0 to 41"):
        Harvest(folder).card(42)
    (folder / "cofiring.parquet").unlink()
    with pytest.raises(SpdError, match=r"cofiring\.parquet is missing") as missing:
        Harvest(folder).card(20)
    assert missing.value.exit_code == 1
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(UsageError, match="schema version 99, this program reads version 1"):
        Harvest(folder)


def test_nothing_half_written_remains(engine: HarvestEngine, tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("stop")

    monkeypatch.setattr("core.harvest.writing._write_examples", fail)
    with pytest.raises(RuntimeError):
        write_harvest(engine, tmp_path / "h")
    assert not list(tmp_path.iterdir())


def test_reading_needs_no_torch(folder: Path) -> None:
    import subprocess

    script = (
        "import sys; from pathlib import Path; from core.harvest.queries import ranking; "
        "from core.harvest.artifact import Harvest; h = Harvest(Path(sys.argv[1])); h.card(20); "
        "ranking(h, 20, 'input', 'pmi', 3); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)


def test_engine_arrays_are_not_shared(engine: HarvestEngine) -> None:
    table = engine.components()
    table.firings[:] = 0
    assert np.any(engine.components().firings > 0)
