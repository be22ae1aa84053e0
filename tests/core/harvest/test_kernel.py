"""The compiled harvest against the oracle on random streams: equal tables, any batches and formats."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.errors import SpdError
from core.harvest.kernel import HarvestBatch, HarvestEngine
from core.harvest.reference import ReferenceHarvest
from core.harvest.settings import HarvestSettings
from core.runs import files

Layers = list[tuple[str, int]]


def stream(
    seed: int, layers: Layers, vocabulary: int, shape: tuple[int, int], rate: float, output: bool = True
) -> HarvestBatch:
    """Random sequences; the first component of a layer always fires, the last never."""
    draws = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, shape, generator=draws)
    importances, activations = {}, {}
    for name, width in layers:
        rates = torch.rand(width, generator=draws) ** 3 * rate
        values = torch.rand(*shape, width, generator=draws)
        fires = torch.rand(*shape, width, generator=draws) < rates
        # A few equal values, so that ties occur.
        importances[name] = torch.where(fires, (values * 8).ceil() / 8, 0.0)
        importances[name][..., 0] = 1.0
        importances[name][..., -1] = 0.0
        activations[name] = torch.randn(*shape, width, generator=draws)
    logits = torch.randn(*shape, vocabulary, generator=draws) * 3
    return HarvestBatch(
        torch.arange(shape[0]) + 100, tokens, importances, activations, logits.softmax(-1) if output else None
    )


def part(batch: HarvestBatch, rows: slice) -> HarvestBatch:
    return HarvestBatch(
        batch.sequences[rows],
        batch.tokens[rows],
        {name: values[rows] for name, values in batch.importances.items()},
        {name: values[rows] for name, values in batch.activations.items()},
        None if batch.probabilities is None else batch.probabilities[rows],
        None if batch.features is None else batch.features[rows],
    )


def dense(
    starts: np.ndarray, keys: np.ndarray, values: np.ndarray, fired: np.ndarray, shape: tuple
) -> Tensor:
    table = np.zeros(shape)
    for component, start, stop in zip(fired, starts[:-1], starts[1:], strict=True):
        assert (np.diff(keys[start:stop].astype(np.int64)) > 0).all()
        table[component, keys[start:stop]] = values[start:stop]
    return torch.from_numpy(table)


def assert_equal(engine: HarvestEngine, oracle: ReferenceHarvest) -> None:
    fired = engine.fired()
    count, components, vocabulary = len(fired), len(oracle.firings), len(oracle.occurrences)
    assert engine.positions == oracle.positions
    assert fired.tolist() == oracle.firings.nonzero().flatten().tolist()
    table = engine.components()
    for name in ("firings", "importance_histogram"):
        assert torch.equal(torch.from_numpy(getattr(table, name).astype(np.int64)), getattr(oracle, name)), (
            name
        )
    for name in ("importance_sum", "activation_sum", "firing_importance_sum", "firing_activation_sum"):
        assert torch.equal(torch.from_numpy(getattr(table, name)), getattr(oracle, name)), name
    cofiring = engine.cofiring(0, count)
    found = dense(cofiring.starts, cofiring.others, cofiring.counts, fired, (components, components))
    assert torch.equal(found, oracle.cofiring.fill_diagonal_(0))
    inputs = engine.input_tokens(0, count)
    found = dense(inputs.starts, inputs.tokens, inputs.counts, fired, (components, vocabulary))
    assert torch.equal(found, oracle.input_tokens.T)
    tokens = engine.tokens()
    assert tokens.occurrences.tolist() == oracle.occurrences.tolist()
    outputs = engine.output_tokens(0, count)
    if outputs is None:
        assert engine.output_totals() is None and tokens.output_mass is None
    else:
        found = dense(outputs.starts, outputs.tokens, outputs.masses, fired, (components, vocabulary))
        assert torch.equal(found, oracle.output_mass)
        assert outputs.dropped.tolist() == oracle.output_dropped[fired.astype(np.int64)].tolist()
        assert tokens.output_mass is not None and tokens.kept_mass is not None
        assert tokens.output_mass.tolist() == oracle.token_mass.tolist()
        assert tokens.kept_mass.tolist() == oracle.kept_token_mass.tolist()
    ours, wanted = engine.examples(0, count), oracle.examples()
    for name in wanted.__dataclass_fields__:
        assert np.array_equal(getattr(ours, name), getattr(wanted, name)), name


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    vocabulary=st.integers(1, 90),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 20)),
    share=st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.0]),
    threshold=st.sampled_from([0.0, 0.25, 0.9]),
    sizes=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4)),
    batch_size=st.integers(1, 12),
)
def test_tables_are_those_of_the_oracle(seed, widths, vocabulary, shape, share, threshold, sizes, batch_size):
    layers = [(f"h.{index}", width) for index, width in enumerate(widths)]
    chosen = HarvestSettings(
        threshold=threshold,
        context=sizes[2],
        uniform_examples=sizes[0],
        strongest_examples=sizes[1],
        output_share=share,
        seed=seed,
    )
    batch = stream(seed, layers, vocabulary, shape, 0.5, share > 0)
    engine, oracle = (
        HarvestEngine(layers, vocabulary, chosen),
        ReferenceHarvest(layers, vocabulary, chosen),
    )
    oracle.add_batch(batch)
    for start in range(0, shape[0], batch_size):
        engine.add_batch(part(batch, slice(start, start + batch_size)))
    assert_equal(engine, oracle)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    features=st.integers(1, 70),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 3)),
    rate=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    batch_size=st.integers(1, 30),
)
def test_active_features_are_counted_in_the_place_of_tokens(seed, features, shape, rate, batch_size):
    layers = [("mlp_in", 13), ("mlp_out", 6)]
    chosen = HarvestSettings(context=2, uniform_examples=3, strongest_examples=2, output_share=0, seed=seed)
    batch = stream(seed, layers, features, shape, 0.5, False)
    draws = torch.Generator().manual_seed(seed)
    active = torch.rand(*shape, features, generator=draws) < rate
    batch = changed(batch, features=active)
    engine, oracle = HarvestEngine(layers, features, chosen), ReferenceHarvest(layers, features, chosen)
    oracle.add_batch(batch)
    for start in range(0, shape[0], batch_size):
        engine.add_batch(part(batch, slice(start, start + batch_size)))
    assert_equal(engine, oracle)
    assert engine.tokens().occurrences.sum() == active.sum()


LAYERS = [("a", 30), ("b", 7)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sixteen_bit_values_are_read_where_they_lie(dtype: torch.dtype) -> None:
    chosen = HarvestSettings(context=3, uniform_examples=4, strongest_examples=4)
    batch = stream(3, LAYERS, 50, (8, 15), 0.4)
    assert batch.probabilities is not None
    narrow = HarvestBatch(
        batch.sequences,
        batch.tokens.to(torch.int32),
        {name: values.to(dtype) for name, values in batch.importances.items()},
        {name: values.to(dtype) for name, values in batch.activations.items()},
        batch.probabilities.to(dtype),
    )
    engine, oracle = HarvestEngine(LAYERS, 50, chosen), ReferenceHarvest(LAYERS, 50, chosen)
    engine.add_batch(narrow)
    oracle.add_batch(narrow)
    assert_equal(engine, oracle)


def test_shards_on_any_number_of_threads_merge_to_the_whole(tmp_path) -> None:
    chosen = HarvestSettings(context=3, uniform_examples=4, strongest_examples=4)
    batch = stream(5, LAYERS, 50, (20, 15), 0.4)
    oracle = ReferenceHarvest(LAYERS, 50, chosen)
    oracle.add_batch(batch)
    threads = torch.get_num_threads()
    engines = []
    try:
        for index in range(3):
            torch.set_num_threads(index + 1)
            engine = HarvestEngine(LAYERS, 50, chosen)
            for row in range(index, 20, 3):
                engine.add_batch(part(batch, slice(row, row + 1)))
            engine.save(tmp_path / f"{index}.state")
            engines.append(HarvestEngine.load(tmp_path / f"{index}.state"))
    finally:
        torch.set_num_threads(threads)
    assert engines[0].settings == chosen and engines[0].layers == tuple(LAYERS)
    engines[1].merge(engines[2])
    engines[1].merge(engines[0])
    assert engines[2].positions == 0
    assert_equal(engines[1], oracle)
    assert set(engines[1].memory_bytes()) == {
        "components",
        "cofiring",
        "input_tokens",
        "output_mass",
        "examples",
    }


def test_a_damaged_state_is_refused(tmp_path) -> None:
    engine = HarvestEngine(LAYERS, 50)
    engine.add_batch(stream(5, LAYERS, 50, (4, 15), 0.4))
    path = tmp_path / "x.state"
    engine.save(path)
    data = path.read_bytes()
    for wrong in (data[: len(data) // 2], data[:-8], data[:500] + b"!" + data[501:], b""):
        path.write_bytes(wrong)
        with pytest.raises(SpdError, match=r"cannot read the harvest state .*x\.state"):
            HarvestEngine.load(path)
    with pytest.raises(SpdError, match="cannot read"):
        HarvestEngine.load(tmp_path / "none.state")


def changed(batch: HarvestBatch, **parts) -> HarvestBatch:
    return HarvestBatch(**{name: getattr(batch, name) for name in batch.__dataclass_fields__} | parts)


def test_what_is_wrong_with_a_batch_is_named() -> None:
    engine = HarvestEngine(LAYERS, 50)
    good = stream(5, LAYERS, 50, (4, 15), 0.4)

    def importances(value: float) -> dict[str, Tensor]:
        values = good.importances["b"].clone()
        values[2, 7, 3] = value
        return {**good.importances, "b": values}

    tokens = good.tokens.clone()
    tokens[3, 14] = 50
    negative = good.tokens.clone()
    negative[0, 1] = -1
    place = "layer b, sequence 2 of the batch, position 7, component 3"
    cases = [
        (changed(good, importances=importances(float("nan"))), f"{place}: the causal importance is NaN"),
        (changed(good, importances=importances(1.5)), f"{place}: the causal importance is 1.5, allowed is 0"),
        (changed(good, activations=importances(float("inf"))), f"{place}: the component activation is inf"),
        (changed(good, tokens=tokens), "token id 50 at sequence 3 of the batch, position 14 is outside"),
        (changed(good, tokens=negative), "token id -1 at sequence 0 of the batch, position 1 is outside"),
        (changed(good, importances={"a": good.importances["a"]}), "no importances of layer b"),
        (changed(good, importances={**good.importances, "c": tokens}), "importances of c"),
        (changed(good, activations={**good.importances, "a": tokens}), "activations of layer a have shape"),
        (changed(good, sequences=good.sequences[1:]), r"sequences have shape \(3,\), expected \(4,\)"),
        (changed(good, probabilities=None), "the batch has no probabilities"),
        (changed(good, probabilities=tokens), "output probabilities have shape"),
        (changed(good, features=tokens > 3), r"features have shape \(4, 15\), expected \(4, 15, 50\)"),
    ]
    for batch, message in cases:
        with pytest.raises(SpdError, match=message):
            engine.add_batch(batch)
    assert engine.positions == 0
    engine.add_batch(good)
    assert engine.positions == 60


def test_engines_that_cannot_be_are_refused() -> None:
    for layers, vocabulary in (([], 5), ([("a", 0)], 5), ([("a", 2)], 0), ([("a", 2**20 + 1)], 5)):
        with pytest.raises(SpdError, match=r"possible|no components"):
            HarvestEngine(layers, vocabulary)
    with pytest.raises(SpdError, match="different settings"):
        HarvestEngine(LAYERS, 50).merge(HarvestEngine(LAYERS, 51))


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    engine = HarvestEngine(LAYERS, 50)
    engine.save(tmp_path / "x.state")
    before = (tmp_path / "x.state").read_bytes()

    @contextmanager
    def into_full(path: Path) -> Iterator[Path]:
        with files.new_file(path):
            yield full

    monkeypatch.setattr("core.harvest.kernel.new_file", into_full)
    with pytest.raises(SpdError, match="No space left on device;"):
        engine.save(tmp_path / "x.state")
    assert (tmp_path / "x.state").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.state"]


@given(
    threshold=st.sampled_from([0.0, 0.1, 1e-6, 0.123456, 1 / 3]),
    share=st.sampled_from([0.0, 1e-10, 0.99, 0.999999, 0.123456789, 1.0]),
)
@settings(max_examples=30, deadline=None)
def test_a_saved_engine_knows_the_settings_it_was_given(tmp_path_factory, threshold, share) -> None:
    given_settings = HarvestSettings(threshold=threshold, output_share=share)
    path = tmp_path_factory.mktemp("settings") / "x.state"
    HarvestEngine(LAYERS, 50, given_settings).save(path)
    found = HarvestEngine.load(path).settings
    assert found.threshold == pytest.approx(threshold, rel=1e-7)
    assert found.output_share == pytest.approx(share, abs=2**-33)
    assert (found.output_share == 0) == (share == 0)
    if threshold != 1 / 3:
        assert found.threshold == threshold
