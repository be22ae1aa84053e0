"""Adversarial sources: they never help, they stay in range, and only they are moved."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.components.routing import RouteAll, RouteLayerwise
from core.losses.adversary import AdversarialMasks, source_masks
from core.losses.reconstruction import ReconstructionLoss

INITS = ["random", "ones", "zeros"]
SCOPES = ["unique_per_datapoint", "shared_across_batch"]


def loss_at(context: Any, sources: dict[str, Tensor]) -> float:
    masks = source_masks(context, dict.fromkeys(context.sites), sources)
    return float(context.compare(context.run(masks)[0]).value.detach())


def ascend(context: Any, **settings: Any) -> dict[str, Tensor]:
    return AdversarialMasks(**settings).ascend(context, dict.fromkeys(context.sites), ("test", 0))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("delta", [False, True], ids=["no delta", "delta"])
@pytest.mark.parametrize("distance", ["mse", "kl"])
def test_a_small_step_never_lowers_the_loss(
    model: Any, batch: Tensor, context_of: Any, scope: str, delta: bool, distance: str
) -> None:
    context = context_of(model, batch, weight_delta=delta, distance=distance)
    start = ascend(context, init="random", n_steps=0, scope=scope)
    moved = ascend(context, init="random", n_steps=1, step_size=1e-3, scope=scope)
    assert loss_at(context, moved) > loss_at(context, start)


def test_more_steps_find_worse_masks(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    losses = [
        loss_at(context, ascend(context, init="zeros", n_steps=n, step_size=0.02)) for n in (0, 2, 8, 30)
    ]
    assert losses == sorted(losses) and losses[-1] > losses[0]


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("scope", SCOPES)
def test_sources_have_the_right_shape_and_range(
    model: Any, batch: Tensor, context_of: Any, init: str, scope: str
) -> None:
    rows = 1 if scope == "shared_across_batch" else 9
    for delta in (False, True):
        context = context_of(model, batch, weight_delta=delta)
        sources = ascend(context, init=init, n_steps=3, step_size=0.7, scope=scope)
        for source in sources.values():
            assert source.shape == (rows, 7 + delta)
            assert float(source.min()) >= 0 and float(source.max()) <= 1


def test_the_ascent_leaves_no_gradients_behind(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    sources = ascend(context, n_steps=2, step_size=0.1)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(source.requires_grad for source in sources.values())


def test_the_model_learns_against_fixed_sources(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    settings = AdversarialMasks(n_steps=2, step_size=0.1, init="zeros")
    loss = ReconstructionLoss(coeff=1, masks=settings).measure(context, "adversarial").value
    found = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, materialize_grads=True)
    routed = dict.fromkeys(context.sites)
    masks = source_masks(context, routed, settings.ascend(context, routed, ("adversarial", 0)))
    fixed = context.compare(context.run(masks)[0]).value
    wanted = torch.autograd.grad(fixed, list(model.parameters()), materialize_grads=True)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other)
    assert any(bool(grad.any()) for grad in found)


def test_it_works_where_gradients_are_off(model: Any, batch: Tensor, context_of: Any) -> None:
    with torch.no_grad():
        context = context_of(model, batch)
        loss = ReconstructionLoss(coeff=1, masks=AdversarialMasks(n_steps=2, step_size=0.1, init="zeros"))
        found = float(loss.measure(context, "a").value)
    wanted = float(loss.measure(context_of(model, batch), "a").value.detach())
    assert found == pytest.approx(wanted)


def test_only_routed_modules_get_sources(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    sources = AdversarialMasks(n_steps=1).ascend(context, {"2": None}, ("test", 0))
    assert list(sources) == ["2"]


def test_layerwise_attacks_one_module_at_a_time(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    settings = AdversarialMasks(n_steps=3, step_size=0.3, init="zeros")
    layerwise = ReconstructionLoss(coeff=1, masks=settings, routing=RouteLayerwise()).measure(context, "a")
    whole = ReconstructionLoss(coeff=1, masks=settings, routing=RouteAll()).measure(context, "a")
    assert layerwise.count == 2 * whole.count


def test_random_starts_follow_the_step(model: Any, batch: Tensor, context_of: Any) -> None:
    context = context_of(model, batch)
    other = replace(context, noise=replace(context.noise, indices=(1,)))
    first, again, later = (ascend(c, init="random", n_steps=0)["0"] for c in (context, context, other))
    assert torch.equal(first, again) and not torch.equal(first, later)
