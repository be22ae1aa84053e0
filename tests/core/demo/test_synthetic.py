import unicodedata
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.demo.population import groups_of
from core.demo.record import synthetic_metrics
from core.demo.stream import SyntheticStream
from core.demo.synthetic import IMPORTED_FROM, layers_of, make_synthetic
from core.demo.vocabulary import make_vocabulary
from core.errors import UsageError
from core.harvest.artifact import TABLES, Harvest
from core.harvest.kernel import HarvestEngine
from core.runs.catalogue import open_run, resolve_run
from core.runs.directory import RunDirectory
from core.runs.metrics_log import read_metrics
from core.runs.observer import Silent
from core.settings import read_yaml

SIZES = {"positions": 2048, "vocabulary": 512, "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


def made(root: Path, seed: int = 0) -> RunDirectory:
    return make_synthetic(root, 480, seed, Silent(), **SIZES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return made(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def harvest(run: RunDirectory) -> Harvest:
    (name,) = run.harvest_names()
    return Harvest(run.harvest(name))


def test_is_a_finished_run_like_any_other(run: RunDirectory) -> None:
    entry = resolve_run(run.path.parent.parent, "latest")
    assert entry.run_id == "synthetic-480"
    assert (entry.status, entry.manifest.recipe) == ("finished", None)
    assert entry.manifest.imported_from == IMPORTED_FROM
    assert entry.manifest.step == entry.manifest.steps == read_yaml(run.settings)["training"]["steps"]


def test_the_last_evaluation_says_what_the_harvest_counted(run: RunDirectory, harvest: Harvest) -> None:
    last = read_metrics(run.metrics)[-1]
    numbers = harvest.scan("components").collect()
    assert last["kind"] == "eval"
    for (layer,), rows in numbers.group_by("layer"):
        assert last[f"eval/l0/{layer}"] == pytest.approx(rows["firings"].sum() / harvest.positions)
        assert last[f"eval/live/{layer}"] == (rows["firings"] > 0).sum()


def test_steps_of_the_metrics_ascend_and_every_record_of_a_kind_has_the_same_names(run: RunDirectory) -> None:
    records = read_metrics(run.metrics)
    assert all(a["step"] <= b["step"] for a, b in pairwise(records))
    for kind in ("train", "eval"):
        assert len({tuple(record) for record in records if record["kind"] == kind}) == 1


def test_the_same_seed_gives_the_same_tables_and_another_seed_others(
    harvest: Harvest, run: RunDirectory, tmp_path: Path
) -> None:
    again = made(tmp_path)
    other = made(tmp_path, seed=1)
    same = Harvest(again.harvest(again.harvest_names()[0]))
    different = Harvest(other.harvest(other.harvest_names()[0]))
    for table in TABLES:
        assert harvest.scan(table).collect().equals(same.scan(table).collect(), null_equal=True), table
    assert not harvest.scan("components").collect().equals(different.scan("components").collect())
    assert run.metrics.read_bytes() == again.metrics.read_bytes()


def test_is_not_made_twice_and_overwrites_no_other_run(tmp_path: Path) -> None:
    first = made(tmp_path)
    before = first.manifest.stat().st_mtime_ns
    assert made(tmp_path) == first
    assert first.manifest.stat().st_mtime_ns == before
    open_run(first.path).manifest.update(imported_from=None).write(first.manifest)
    with pytest.raises(UsageError, match="is another run"):
        made(tmp_path)
    with pytest.raises(UsageError, match="components = 12 is too few"):
        make_synthetic(tmp_path, 12, 0, Silent())


def test_densities_spread_over_orders_of_magnitude_and_signs_are_both(harvest: Harvest) -> None:
    numbers = harvest.scan("components").collect()
    live = numbers.filter(pl.col("firings") > 0)
    assert 0.1 < len(live) / len(numbers) < 0.5
    densities = live["density"].to_numpy()
    assert densities.max() > 0.5
    assert densities.min() < 0.005
    signs = np.sign(live["mean_activation_at_firings"].to_numpy())
    assert (signs > 0).any()
    assert (signs < 0).any()


def test_components_keep_to_their_roles() -> None:
    words = make_vocabulary(512)
    layers = layers_of(480)
    stream = SyntheticStream(layers, words, seed=3)
    engine = HarvestEngine(layers, 512)
    for batch in stream.batches(8):
        engine.add_batch(batch)
    population = stream.population
    fired = set(engine.fired().tolist())
    assert fired <= set(np.concatenate(list(population.roles.values())).tolist())
    tied = {number: set() for number in population.roles["token"].tolist()}
    for token, component in population.ties.tolist():
        if component in tied:
            tied[component].add(token)
    places = engine.fired().tolist()
    inputs = engine.input_tokens(0, len(places))
    for place, component in enumerate(places):
        if component in tied:
            seen = inputs.tokens[int(inputs.starts[place]) : int(inputs.starts[place + 1])].tolist()
            assert set(seen) <= tied[component]
    group = groups_of(population)[0].tolist()
    place = places.index(group[0])
    partners = engine.cofiring(place, place + 1)
    counts = dict(zip(partners.others.tolist(), partners.counts.tolist(), strict=True))
    firings = engine.components().firings
    assert counts[group[1]] > 0.4 * firings[group[0]]


def test_a_batch_leaves_nothing_behind_for_the_next() -> None:
    stream = SyntheticStream(layers_of(240), make_vocabulary(512))
    first, second = (
        {name: values.clone() for name, values in batch.importances.items()} for batch in stream.batches(2)
    )
    total = sum(int((values > 0).sum()) for values in second.values())
    shared = sum(int(((first[name] > 0) & (values == first[name])).sum()) for name, values in second.items())
    assert shared < 0.2 * total


def test_every_token_can_be_shown_and_no_two_look_the_same() -> None:
    words = make_vocabulary(5000)
    assert len(set(words.texts)) == 5000
    assert words.frequencies.sum() == pytest.approx(1)
    for text in words.texts:
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Zs") for char in text), ascii(text)
    hard = [words.texts[index] for index in words.hard]
    for wanted in ("⇥", "<0xE2><0x80>", "😀", "的", "<U+0301>", "<U+001B>[31mred<U+001B>[0m", "↵↵"):
        assert wanted in hard


def test_metrics_fall_and_end_where_they_should() -> None:
    from core.demo.record import Counted

    counted = Counted({"h.0.mlp.c_fc": 100}, {"h.0.mlp.c_fc": 30}, {"h.0.mlp.c_fc": 2.5})
    records = list(synthetic_metrics(counted, 0))
    trained = [record for record in records if record["kind"] == "train"]
    assert trained[-1]["loss/total"] < trained[0]["loss/total"] / 5
    assert records[-1]["eval/l0_total"] == 2.5
