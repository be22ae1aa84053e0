"""Reconstruction and hidden-activation losses: samples, routing and names."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.components.routing import RouteLayerwise, RouteProbability, RouteSubset
from core.losses.adversary import AdversarialMasks
from core.losses.faithfulness import FaithfulnessLoss
from core.losses.hidden import HiddenActivationsLoss
from core.losses.reconstruction import ImportanceMasks, ReconstructionLoss, StochasticMasks, UnmaskedMasks

SOURCES = [UnmaskedMasks(), ImportanceMasks(), StochasticMasks(samples=2), AdversarialMasks(n_steps=1)]


def value(loss: Any, context: Any, name: str = "loss") -> float:
    return float(loss.measure(context, name).value.detach())


def test_samples_are_averaged(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)

    def one(sample: int) -> float:
        masks = StochasticMasks().masks(context, dict.fromkeys(context.sites), ("loss", sample))
        return float(context.compare(context.run(masks)[0]).value.detach())

    loss = ReconstructionLoss(coeff=1, masks=StochasticMasks(samples=3))
    assert value(loss, context) == pytest.approx(sum(map(one, range(3))) / 3)
    assert len({one(sample) for sample in range(3)}) == 3


def test_names_keep_the_noise_of_two_losses_apart(model: Any, batch: Tensor, context_of: Any) -> None:
    context, loss = context_of(model, batch), ReconstructionLoss(coeff=1)
    assert value(loss, context, "a") == value(loss, context, "a")
    assert value(loss, context, "a") != value(loss, context, "b")


@pytest.mark.parametrize("masks", SOURCES, ids=lambda m: m.kind)
def test_layerwise_is_the_mean_over_modules_replaced_alone(
    model: Any, batch: Tensor, context_of: Any, masks: Any
) -> None:
    context = context_of(model, batch)
    loss = ReconstructionLoss(coeff=1, masks=masks, routing=RouteLayerwise())
    parts = []
    for sample in range(getattr(masks, "samples", 1)):
        for index, site in enumerate(context.sites):
            alone = masks.masks(context, {site: None}, ("loss", 2 * sample + index))
            parts.append(float(context.compare(context.run(alone)[0]).value.detach()))
    assert value(loss, context) == pytest.approx(sum(parts) / len(parts))


@pytest.mark.parametrize("masks", SOURCES, ids=lambda m: m.kind)
@pytest.mark.parametrize("routing", [RouteSubset(), RouteProbability(probability=0.3)], ids=lambda r: r.kind)
def test_random_routing_replaces_something_but_not_everything(
    model: Any, batch: Tensor, context_of: Any, masks: Any, routing: Any
) -> None:
    context = context_of(model, batch, weight_delta=False)
    routed = value(ReconstructionLoss(coeff=1, masks=masks, routing=routing), context)
    everything = value(ReconstructionLoss(coeff=1, masks=masks), context)
    assert routed > 0 and routed != everything


@pytest.mark.parametrize("masks", SOURCES, ids=lambda m: m.kind)
def test_a_perfect_decomposition_has_no_loss(model: Any, batch: Tensor, context_of: Any, masks: Any) -> None:
    # All of each weight in subcomponents that are all important, whatever the sources.
    with torch.no_grad():
        for site in model.sites.values():
            rank = min(site.d_in, site.d_out)
            u, s, v = torch.linalg.svd(site.target_weight(), full_matrices=False)
            site.V.zero_()
            site.U.zero_()
            site.V[:, :rank] = v.T * s
            site.U[:rank] = u.T
            final = model.network(site.name).biases[-1]
            final.fill_(100.0)
    context = context_of(model, batch)
    assert all(bool((g == 1).all()) for g in context.importance.lower.values())
    assert value(ReconstructionLoss(coeff=1, masks=masks), context) < 1e-9
    assert value(FaithfulnessLoss(coeff=1), context) < 1e-9
    if masks.kind in ("stochastic", "importance"):
        assert value(HiddenActivationsLoss(coeff=1, masks=masks), context) < 1e-9


def test_hidden_activations_pool_the_modules(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    loss = HiddenActivationsLoss(coeff=1, masks=StochasticMasks(samples=2))
    parts = loss.per_module(context, "h")
    assert {name: part.count for name, part in parts.items()} == {"0": 2 * 9 * 8, "2": 2 * 9 * 5}
    total = sum(float(part.total.detach()) for part in parts.values())
    assert value(loss, context, "h") == pytest.approx(total / (2 * 9 * 13))


def test_the_distance_of_a_loss_replaces_that_of_the_context(
    model: Any, batch: Tensor, context_of: Any
) -> None:
    own = ReconstructionLoss(coeff=1, masks=ImportanceMasks(), distance="kl")
    plain = ReconstructionLoss(coeff=1, masks=ImportanceMasks())
    assert value(own, context_of(model, batch)) == value(plain, context_of(model, batch, distance="kl"))
    assert value(own, context_of(model, batch)) != value(plain, context_of(model, batch))


def test_binomial_sampling_draws_whole_sources(batch: Tensor, model: Any, context_of: Any) -> None:
    settings = model.importance_settings
    model.importance_settings = settings.model_copy(update={"sampling": "binomial"})
    context = context_of(model, batch, weight_delta=True)
    masks = StochasticMasks().masks(context, dict.fromkeys(context.sites), ("loss", 0))
    for name, mask in masks.items():
        sources = mask.sources()  # type: ignore[attr-defined]
        assert set(sources.unique().tolist()) == {0.0, 1.0}, name
        assert mask.delta is not None and len(mask.delta.unique()) == 9


def test_faithfulness_is_one_mean_over_all_entries(model: Any, batch: Tensor, context_of: Any) -> None:
    deltas = [site.target_weight() - (site.V @ site.U).T for site in model.sites.values()]
    measured = FaithfulnessLoss(coeff=1).measure(context_of(model, batch), "f")
    assert measured.count == 6 * 8 + 8 * 5
    wanted = torch.cat([delta.flatten() for delta in deltas]).square().mean()
    assert_close(measured.value, wanted)
