"""Sequences are functions of their number, whatever batch they come in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.decomposition.opening import open_run
from core.harvest.inputs import DRAWN_TOGETHER, HarvestInputs, open_inputs
from core.runs.directory import RunDirectory
from core.targets.induction import InductionSettings, induction_batches
from core.targets.sparse_features import SparseFeatureSettings, feature_batches, feature_probes
from core.targets.target import Target


@pytest.fixture
def features() -> HarvestInputs:
    batch = feature_batches(SparseFeatureSettings(probability=0.3), 4, (-1.0, 1.0), 0)
    target = Target("residual_mlp", nn.Identity(), batch, "mse", feature_probes(4), (), "", None)
    return open_inputs(target, 4)


@pytest.fixture
def tokens() -> HarvestInputs:
    settings = InductionSettings(n_tokens=5, sequence_length=7)
    target = Target(
        "induction", nn.Identity(), induction_batches(settings, 0), "kl", None, (), "digest", None
    )
    return open_inputs(target, 6)


def test_features(features: HarvestInputs) -> None:
    assert (features.kind, features.length, features.vocabulary) == ("features", 1, 4)
    assert features.texts == ("x0", "x1", "x2", "x3")
    assert features.epoch is None
    assert features.batch(0, 10).shape == (10, 4)


def test_tokens(tokens: HarvestInputs) -> None:
    assert (tokens.kind, tokens.length, tokens.vocabulary) == ("tokens", 7, 6)
    assert tokens.texts == ("0", "1", "2", "3", "4", "BOS")
    assert tokens.batch(0, 10)[:, 0].tolist() == [5] * 10


@pytest.mark.parametrize("kind", ["features", "tokens"])
def test_drawn_sequences_do_not_depend_on_the_batch(kind: str, request: pytest.FixtureRequest) -> None:
    inputs: HarvestInputs = request.getfixturevalue(kind)
    total = 2 * DRAWN_TOGETHER + 80
    together = inputs.batch(0, total)
    for size in (1, 7, 40, DRAWN_TOGETHER, DRAWN_TOGETHER + 1):
        count = 30 if size == 1 else total // size
        parts = torch.cat([inputs.batch(index, size) for index in range(count)])
        assert torch.equal(parts, together[: len(parts)]), size
    assert len(together.unique(dim=0)) > total // 2


def test_features_are_drawn_again(features: HarvestInputs) -> None:
    rows = features.batch(0, 3000)
    wanted = np.asarray([2999, 5, 1024, 5], dtype=np.uint64)
    for number, found in zip(wanted.tolist(), features.features_of(wanted), strict=True):
        row = rows[number]
        assert found == {feature: float(row[feature]) for feature in range(4) if row[feature] != 0}


def test_a_language_model_reads_its_training_text_in_order(text_run: RunDirectory, tmp_path: Path) -> None:
    _, _, target = open_run(text_run, tmp_path)
    inputs = open_inputs(target, 300)
    assert (inputs.kind, inputs.stream, inputs.length, inputs.vocabulary) == ("text", "train", 12, 300)
    assert torch.equal(inputs.batch(3, 4), target.batch("train", 3, 4))
    assert torch.equal(inputs.batch(0, 16)[12:], inputs.batch(3, 4))
    assert target.text is not None
    assert inputs.epoch == target.text.n_windows("train")
    assert inputs.texts is not None
    assert len(inputs.texts) == 300
    spoken = "".join(inputs.texts[token] for token in inputs.batch(0, 1)[0].tolist())
    assert "·" in spoken
    # A model may have more ids than its tokenizer has tokens.
    wider = open_inputs(target, 310).texts
    assert wider is not None
    assert wider[309] == "<id 309>"
