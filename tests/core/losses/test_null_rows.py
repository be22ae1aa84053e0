"""Folding rows of zeros changes neither losses nor gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.routing import RouteLayerwise, RouteSubset
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition import null_rows
from core.decomposition.null_rows import Batch, fold_null_rows, zero_rows_are_null
from core.losses.adversary import AdversarialMasks
from core.losses.hidden import HiddenActivationsLoss
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ImportanceMasks, ReconstructionLoss, UnmaskedMasks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(null_rows, "ROW_BLOCK", 4)


# Losses without noise: the noise of a folded batch is another draw of the same distribution.
LOSSES: dict[str, Any] = {
    "minimality": MinimalityLoss(coeff=1, p=0.9, beta=0.5),
    "minimality, p = 2": MinimalityLoss(coeff=1, p=2),
    "importance": ReconstructionLoss(coeff=1, masks=ImportanceMasks()),
    "unmasked": ReconstructionLoss(coeff=1, masks=UnmaskedMasks()),
    "layerwise": ReconstructionLoss(coeff=1, masks=ImportanceMasks(), routing=RouteLayerwise()),
    "kl": ReconstructionLoss(coeff=1, masks=ImportanceMasks(), distance="kl"),
    "hidden": HiddenActivationsLoss(coeff=1, masks=ImportanceMasks()),
    "adversary per input": ReconstructionLoss(
        coeff=1,
        masks=AdversarialMasks(n_steps=2, init="zeros", step_size=0.1, scope="unique_per_datapoint"),
    ),
    "shared adversary": ReconstructionLoss(
        coeff=1, masks=AdversarialMasks(n_steps=2, init="zeros", step_size=0.1)
    ),
}


@pytest.fixture
def sparse(batch: Tensor) -> Tensor:
    """Nine live rows among 21."""
    rows = torch.zeros(21, 6)
    rows[torch.tensor([1, 2, 5, 7, 8, 12, 13, 19, 20])] = batch
    return rows


@pytest.fixture
def deaf(model: ComponentModel) -> ComponentModel:
    """A model whose second module too sees zeros for an input of zeros, and whose importances differ."""
    with torch.no_grad():
        for network in map(model.network, model.sites):
            for bias in network.get_submodule("biases").parameters():
                bias.uniform_(-0.3, 0.9, generator=torch.Generator().manual_seed(4))
    return model


def folded_context(context_of: Any, model: ComponentModel, batch: Batch) -> Any:
    return context_of(model, batch.inputs, n_positions=batch.size, row_weights=batch.weights)


def test_folding_keeps_one_zero_row_with_the_others_weight(sparse: Tensor, batch: Tensor) -> None:
    folded = fold_null_rows(sparse)
    assert folded.size == 21 and folded.weights is not None
    assert torch.equal(folded.inputs[:9], batch) and not folded.inputs[9:].any()
    assert folded.weights.tolist() == [1.0] * 9 + [12.0, 0.0, 0.0], "rounded up to a multiple of 4"


@pytest.mark.parametrize("zeros", [0, 1])
def test_batches_without_equal_rows_are_left_alone(batch: Tensor, zeros: int) -> None:
    rows = torch.cat([batch, torch.zeros(zeros, 6)])
    folded = fold_null_rows(rows)
    assert folded.inputs is rows and folded.weights is None and folded.size is None


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_those_of_the_whole_batch(
    deaf: ComponentModel, sparse: Tensor, context_of: Any, name: str
) -> None:
    loss, parameters = LOSSES[name], list(deaf.parameters())

    def measured(context: Any) -> list[Tensor]:
        value = loss.measure(context, "loss").value
        return [value.detach(), *torch.autograd.grad(value, parameters, materialize_grads=True)]

    whole = measured(context_of(deaf, sparse))
    folded = measured(folded_context(context_of, deaf, fold_null_rows(sparse)))
    assert any(bool(grad.any()) for grad in whole[1:])
    for found, wanted in zip(folded, whole, strict=True):
        assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("routing", [None, RouteSubset()])
def test_stochastic_reconstruction_of_a_null_row_is_exact(
    deaf: ComponentModel, context_of: Any, routing: RouteSubset | None
) -> None:
    context = context_of(deaf, torch.zeros(50, 6))
    loss = ReconstructionLoss(coeff=1) if routing is None else ReconstructionLoss(coeff=1, routing=routing)
    value = loss.measure(context, "loss").value
    assert float(value.detach()) == 0
    gradients = torch.autograd.grad(value, list(deaf.parameters()), materialize_grads=True)
    assert not any(bool(gradient.any()) for gradient in gradients)


def test_stochastic_losses_agree_in_the_mean(deaf: ComponentModel, sparse: Tensor, context_of: Any) -> None:
    loss = ReconstructionLoss.model_validate({"coeff": 1, "masks": {"kind": "stochastic", "samples": 400}})
    whole = float(loss.measure(context_of(deaf, sparse), "loss").value.detach())
    folded = folded_context(context_of, deaf, fold_null_rows(sparse))
    assert float(loss.measure(folded, "loss").value.detach()) == pytest.approx(whole, rel=0.05)


def attached(target: nn.Module) -> ComponentModel:
    components = ComponentsSettings(modules=(ModulePattern(pattern="[02]", C=3),))
    return ComponentModel(target, components, LayerwiseImportance())


def test_zero_rows_are_null_only_if_every_module_sees_zeros(model: ComponentModel) -> None:
    assert zero_rows_are_null(model, torch.ones(2, 6))
    biased = attached(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)))
    assert not zero_rows_are_null(biased, torch.ones(2, 6))
    shifted = attached(nn.Sequential(nn.Linear(6, 8, bias=False), nn.Sigmoid(), nn.Linear(8, 5)))
    assert not zero_rows_are_null(shifted, torch.ones(2, 6))


def test_tokens_and_sequences_are_never_folded(model: ComponentModel) -> None:
    assert not zero_rows_are_null(model, torch.ones(2, 3, 6))
    assert not zero_rows_are_null(model, torch.ones(2, 6, dtype=torch.long))
    assert not zero_rows_are_null(model, {"x": torch.ones(2, 6)})


class Windows(nn.Module):
    """Cuts every input row into positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.unflatten(1, (2, 3)))


def test_rows_of_several_positions_are_not_folded() -> None:
    components = ComponentsSettings(modules=(ModulePattern(pattern="layer", C=5),))
    model = ComponentModel(Windows(), components, LayerwiseImportance(hidden=(4,)))
    assert not zero_rows_are_null(model, torch.zeros(9, 6))
