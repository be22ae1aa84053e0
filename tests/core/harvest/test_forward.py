"""What a forward pass hands to the engine is what its definition says."""

from pathlib import Path

import pytest
import torch

from core.decomposition.opening import open_run
from core.harvest.forward import Forward, output_width
from core.harvest.inputs import open_inputs
from core.runs.directory import RunDirectory

CPU = torch.device("cpu")


def test_a_batch_of_text(text_run: RunDirectory, tmp_path: Path) -> None:
    model, _, target = open_run(text_run, tmp_path)
    inputs = open_inputs(target, output_width(model, target.batch("train", 0, 1), CPU))
    batch = Forward(model, inputs, CPU, "fp32", counts_output=True).batch(2, 5, 3)
    tokens = target.batch("train", 2, 5)[:3]
    assert torch.equal(batch.tokens, tokens)
    assert batch.sequences.tolist() == [10, 11, 12]
    assert batch.features is None
    assert batch.probabilities is not None
    assert torch.equal(batch.probabilities, target.model(tokens).softmax(-1))
    target_pass = model.target_pass(tokens)
    importance = model.importance(target_pass)
    fires = 0
    for name, site in model.sites.items():
        found, seen = batch.importances[name], target_pass.inputs[name]
        assert torch.equal(found, importance.lower[name])
        assert 0 <= found.min() <= found.max() <= 1
        assert not found.requires_grad
        fires += int((found > 0).sum())
        wanted = torch.einsum("bsd,dc->bsc", seen, site.V) * site.U.square().sum(1).sqrt()
        torch.testing.assert_close(batch.activations[name], wanted)
    assert fires > 0


def test_no_output_where_none_is_counted(text_run: RunDirectory, tmp_path: Path) -> None:
    model, _, target = open_run(text_run, tmp_path)
    forward = Forward(model, open_inputs(target, 300), CPU, "fp32", counts_output=False)
    assert forward.batch(0, 2, 2).probabilities is None


def test_half_precision_is_near_and_cheap_to_tell_apart(text_run: RunDirectory, tmp_path: Path) -> None:
    model, _, target = open_run(text_run, tmp_path)
    inputs = open_inputs(target, 300)
    whole = Forward(model, inputs, CPU, "fp32", counts_output=True).batch(0, 4, 4)
    half = Forward(model, inputs, CPU, "bf16", counts_output=True).batch(0, 4, 4)
    assert whole.probabilities is not None
    assert half.probabilities is not None
    assert half.probabilities.dtype == torch.float32
    assert not torch.equal(half.probabilities, whole.probabilities)
    torch.testing.assert_close(half.probabilities, whole.probabilities, atol=1e-3, rtol=0.1)
    for name in model.sites:
        assert 0 <= half.importances[name].min() <= half.importances[name].max() <= 1


def test_a_batch_of_features(toy_run: RunDirectory, tmp_path: Path) -> None:
    model, _, target = open_run(toy_run, tmp_path)
    inputs = open_inputs(target, 5)
    batch = Forward(model, inputs, CPU, "fp32", counts_output=False).batch(1, 100, 60)
    rows = inputs.batch(1, 100)[:60]
    assert batch.features is not None
    assert torch.equal(batch.features, (rows != 0)[:, None])
    assert batch.tokens.shape == (60, 1)
    for row, token in zip(rows, batch.tokens[:, 0].tolist(), strict=True):
        assert row[token].abs() == row.abs().max()
    norms = model.sites["linear1"].U.norm(dim=1)[:5]
    torch.testing.assert_close(batch.activations["linear1"][:, 0, :5], rows * norms)
    assert torch.equal(batch.importances["linear1"][:, 0, :5] > 0, rows > 0)


def test_both_layers_have_a_place(toy_run: RunDirectory, tmp_path: Path) -> None:
    model, _, target = open_run(toy_run, tmp_path)
    batch = Forward(model, open_inputs(target, 5), CPU, "fp32", counts_output=False).batch(0, 8, 8)
    assert {name: tuple(values.shape) for name, values in batch.importances.items()} == {
        "linear1": (8, 1, 7),
        "linear2": (8, 1, 7),
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_nearly_the_same(text_run: RunDirectory, tmp_path: Path) -> None:
    here, _, target = open_run(text_run, tmp_path)
    there, _, _ = open_run(text_run, tmp_path, "cuda")
    inputs = open_inputs(target, 300)
    one = Forward(here, inputs, CPU, "fp32", counts_output=True).batch(0, 4, 4)
    other = Forward(there, inputs, torch.device("cuda"), "fp32", counts_output=True).batch(0, 4, 4)
    for name in here.sites:
        assert other.importances[name].is_pinned()
        torch.testing.assert_close(other.importances[name], one.importances[name], atol=1e-3, rtol=1e-2)
        torch.testing.assert_close(other.activations[name], one.activations[name], atol=1e-3, rtol=1e-2)
