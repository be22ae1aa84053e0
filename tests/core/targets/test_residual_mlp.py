import pytest
import torch

from core.targets.residual_mlp import ResidualMLP, ResidualMLPSettings, ResidualMLPTask
from core.targets.sparse_features import SYMMETRIC_RANGE, SparseFeatureSettings, feature_batches
from core.targets.training import TargetTrainingSettings, train_attempt


def small(**changes: object) -> ResidualMLPSettings:
    defaults = {
        "n_features": 8,
        "d_embed": 24,
        "d_mlp": 8,
        "data": SparseFeatureSettings(probability=0.2),
        "training": TargetTrainingSettings(steps=400, batch_size=256, lr=1e-2, schedule="cosine"),
    }
    return ResidualMLPSettings.model_validate({**defaults, **changes})


def train(settings: ResidualMLPSettings) -> tuple[ResidualMLPTask, ResidualMLP, bool]:
    task = ResidualMLPTask(settings, seed=0)
    batches = feature_batches(settings.data, settings.n_features, SYMMETRIC_RANGE, 0)
    model, attempt = train_attempt(task, batches, settings.training, 0, 0, lambda progress: None)
    assert isinstance(model, ResidualMLP)
    return task, model, attempt.quality.passed


def test_embedding_has_unit_rows_and_the_unembedding_is_its_transpose() -> None:
    model = ResidualMLPTask(small(), 0).build(5)
    assert torch.equal(model.W_U.weight, model.W_E.weight.T)
    assert torch.allclose(model.W_U.weight.norm(dim=1), torch.ones(8), atol=1e-6)
    assert model.W_E.bias is None and model.W_U.bias is None


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_folded_pass_computes_the_same_function_and_gradients(n_layers: int, activation: str) -> None:
    task = ResidualMLPTask(small(n_layers=n_layers, activation=activation), 0)
    model = task.build(1)
    x = torch.randn(32, 8)
    assert torch.allclose(model(x), model.folded_forward(x), atol=1e-5)
    parameters = task.parameters(model)
    plain = torch.autograd.grad(model(x).square().mean(), parameters)
    folded = torch.autograd.grad(model.folded_forward(x).square().mean(), parameters)
    for a, b in zip(plain, folded, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_training_computes_every_feature_and_leaves_the_embedding(n_layers: int) -> None:
    settings = small(n_layers=n_layers)
    task, model, passed = train(settings)
    assert passed
    assert torch.equal(model.W_E.weight, task.build(0).W_E.weight)
    x = torch.zeros(1, 8)
    x[0, 2] = 0.5
    assert model(x)[0, 2] > 0.9 and model(-x)[0, 2] > -0.6


def test_biases_are_trained_when_asked_for() -> None:
    _, model, _ = train(
        small(in_bias=True, out_bias=True, training=small().training.model_copy(update={"steps": 20}))
    )
    biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2 and all(bias.abs().max() > 0 for bias in biases)


def test_a_network_that_only_passes_features_through_is_refused() -> None:
    task = ResidualMLPTask(small(), 0)
    model = task.build(0)
    with torch.no_grad():
        for parameter in task.parameters(model):
            parameter.zero_()
    quality = task.quality(model)
    assert not quality.passed
    assert quality.numbers["computed_fraction_min"] == pytest.approx(0.0, abs=1e-6)


def test_labels() -> None:
    x = torch.tensor([[-0.5, 0.5] * 4])
    assert ResidualMLPTask(small(), 0).label(x)[0, :2].tolist() == [-0.5, 1.0]
    assert ResidualMLPTask(small(label="absolute"), 0).label(x)[0, :2].tolist() == [0.5, 0.5]
    random = ResidualMLPTask(small(label="absolute", label_coefficients="random"), 0)
    assert (random.label(x) / x.abs()).min() >= 1.0 and (random.label(x) / x.abs()).max() < 2.0
    assert (random.label(x) / x.abs()).std() > 0.05


def test_importance_weighs_the_features() -> None:
    task = ResidualMLPTask(small(importance=0.5), 0)
    model = task.build(0)
    x = torch.randn(16, 8)
    weights = 0.5 ** torch.arange(8)
    expected = (weights * (task.label(x) - model(x)) ** 2).mean()
    assert torch.allclose(task.loss(model, x), expected, rtol=1e-4)
