import pytest
import torch
from torch import nn

from core.targets.sparse_features import UNIT_RANGE, SparseFeatureSettings, feature_batches
from core.targets.target import TargetProgress
from core.targets.toy_superposition import ToySuperposition, ToySuperpositionSettings, ToySuperpositionTask
from core.targets.training import TargetTrainingSettings, train_attempt


def quick(**changes: object) -> ToySuperpositionSettings:
    training = TargetTrainingSettings(steps=60, batch_size=128, lr=5e-3)
    return ToySuperpositionSettings.model_validate({"training": training, **changes})


def train(settings: ToySuperpositionSettings, seed: int = 0) -> ToySuperposition:
    batches = feature_batches(settings.data, settings.n_features, UNIT_RANGE, seed)
    task = ToySuperpositionTask(settings)
    model, _ = train_attempt(task, batches, settings.training, 0, seed, lambda progress: None)
    assert isinstance(model, ToySuperposition)
    return model


def pentagon(bias: float, missing: int | None = None) -> ToySuperposition:
    """The known solution of five features in two dimensions."""
    model = ToySuperpositionTask(ToySuperpositionSettings()).build(0)
    angles = torch.arange(5) * (2 * torch.pi / 5)
    columns = torch.stack([angles.cos(), angles.sin()])
    if missing is not None:
        columns[:, missing] = 0.0
    with torch.no_grad():
        model.linear1.weight.copy_(columns)
        model.linear2.weight.copy_(columns.T)
        model.linear2.bias.fill_(bias)
    return model


def test_the_tie_is_exact_after_training_and_the_matrix_has_moved() -> None:
    settings = quick(n_hidden_layers=1)
    start = ToySuperpositionTask(settings).build(0)
    model = train(settings)
    assert torch.equal(model.linear2.weight, model.linear1.weight.T)
    assert not torch.allclose(start.linear1.weight, model.linear1.weight)


def test_a_tied_pair_is_one_parameter_with_the_gradient_of_both_uses() -> None:
    task = ToySuperpositionTask(quick())
    model = task.build(3)
    x = feature_batches(SparseFeatureSettings(probability=0.5), 5, UNIT_RANGE, 0)("train", 0, 64)
    parameters = task.parameters(model)
    assert len(parameters) == 2
    ours = torch.autograd.grad(task.loss(model, x), parameters)[0]
    apart = (model(x) - x).square().mean()
    first, second = torch.autograd.grad(apart, [model.linear1.weight, model.linear2.weight])
    assert torch.allclose(ours, first + second.T, atol=1e-7)


def test_untied_weights_are_trained_apart() -> None:
    model = train(quick(tied_weights=False))
    assert not torch.allclose(model.linear2.weight, model.linear1.weight.T, atol=1e-2)


@pytest.mark.parametrize("init", ["identity", "random"])
def test_hidden_layers_stay_fixed_and_orthogonal(init: str) -> None:
    settings = quick(n_hidden=3, n_hidden_layers=2, hidden_layer_init=init)
    start, model = ToySuperpositionTask(settings).build(0), train(settings)
    for before, layer in zip(start.hidden_layers, model.hidden_layers, strict=True):
        assert isinstance(before, nn.Linear) and isinstance(layer, nn.Linear)
        assert layer.bias is None
        assert torch.equal(before.weight, layer.weight)
        assert torch.allclose(layer.weight @ layer.weight.T, torch.eye(3), atol=1e-6)
        assert torch.equal(layer.weight, torch.eye(3)) == (init == "identity")


def test_bias_starts_where_asked() -> None:
    assert ToySuperpositionTask(quick(init_bias_to_zero=True)).build(0).linear2.bias.abs().max() == 0
    assert ToySuperpositionTask(quick()).build(0).linear2.bias.abs().max() > 0


def test_importance_weighs_the_features() -> None:
    task = ToySuperpositionTask(quick(importance=0.5))
    model = task.build(0)
    x = torch.rand(8, 5)
    weights = torch.tensor([1.0, 0.5, 0.25, 0.125, 0.0625])
    expected = (weights * (x - model(x)) ** 2).mean()
    assert torch.allclose(task.loss(model, x), expected)


def test_quality_accepts_the_pentagon_and_refuses_a_missing_feature() -> None:
    task = ToySuperpositionTask(ToySuperpositionSettings())
    good = task.quality(pentagon(bias=-0.05))
    assert good.passed and good.numbers["represented"] == 5
    assert not task.hopeless(pentagon(bias=-0.05))
    bad = task.quality(pentagon(bias=-0.05, missing=3))
    assert not bad.passed and bad.note == "4 of 5 features represented (missing: 3)"
    assert task.hopeless(pentagon(bias=-0.05, missing=3))


def test_quality_refuses_a_feature_that_answers_for_another() -> None:
    model = pentagon(bias=0.0)
    with torch.no_grad():
        model.linear1.weight[:, 1] = 1.5 * model.linear1.weight[:, 0]
    assert not ToySuperpositionTask(ToySuperpositionSettings()).quality(model).passed


def test_training_lowers_the_loss_and_reports_it() -> None:
    settings = quick(init_bias_to_zero=True)
    heard: list[TargetProgress] = []
    batches = feature_batches(settings.data, 5, UNIT_RANGE, 0)
    task = ToySuperpositionTask(settings)
    _, attempt = train_attempt(task, batches, settings.training, 4, 0, heard.append)
    assert [progress.step for progress in heard] == list(range(1, 61))
    assert {progress.attempt for progress in heard} == {4}
    assert heard[0].loss is not None and attempt.loss < heard[0].loss


def test_training_is_a_function_of_the_seed() -> None:
    assert torch.equal(train(quick()).linear1.weight, train(quick()).linear1.weight)
    assert not torch.equal(train(quick()).linear1.weight, train(quick(), seed=1).linear1.weight)


@pytest.mark.slow
def test_the_published_settings_reach_five_features_from_a_zero_bias() -> None:
    settings = ToySuperpositionSettings(init_bias_to_zero=True)
    model = train(settings)
    assert ToySuperpositionTask(settings).quality(model).passed
