"""Losses, adversaries and the gradients of a whole training step against golden numbers."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from core.components.masks import Mask, NoiseKey, SourceMask
from core.components.routing import RouteAll, RoutedPass, RouteLayerwise, RouteSubset
from core.decomposition.checkpoint import component_tensors
from core.losses.adversary import AdversarialMasks
from core.losses.context import LossContext, Measurement
from core.losses.faithfulness import FaithfulnessLoss
from core.losses.hidden import HiddenActivationsLoss
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ImportanceMasks, ReconstructionLoss, StochasticMasks, UnmaskedMasks
from core.parallel import Ranks

CASES = ["04_losses_mlp", "04_losses_lm"]
RTOL, ATOL = 1e-4, 1e-5


def given_masks(case: Any, delta: bool) -> StochasticMasks:
    """Stochastic masks that take their sources from the case."""

    class Given(StochasticMasks):
        def masks(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Mask]:
            layerwise = len(routed) == 1 < len(context.sites)
            i = key[1] // len(context.sites) if layerwise else key[1]
            g = context.importance.lower
            return {
                n: SourceMask(g[n], case[f"r{i}/{n}"], case[f"delta_r{i}/{n}"] if delta else None, route)
                for n, route in routed.items()
            }

    return Given(samples=case.data["n_mask_samples"])


def given_routing(case: Any) -> RouteSubset:
    """A subset routing that takes its choice from the case."""

    class Given(RouteSubset):
        def passes(
            self, sites: list[str], positions: torch.Size, key: NoiseKey, device: torch.device
        ) -> list[RoutedPass]:
            return [{name: case[f"routing_mask/{name}"].bool() for name in sites}]

    return Given()


def context_of(case: Any, model: Any, **changes: Any) -> LossContext:
    inputs = case["batch"]
    target = model.target_pass(inputs)
    importance = model.importance(target)
    settings: dict[str, Any] = {
        "distance": "mse",
        "progress": 0.0,
        "noise": NoiseKey(0, "test", ()),
        "weight_delta": True,
        "n_positions": next(iter(importance.lower.values())).shape[:-1].numel(),
        **changes,
    }
    return LossContext(model=model, inputs=inputs, target=target, importance=importance, **settings)


def value(measured: Measurement) -> float:
    return float(measured.value.detach())


@pytest.mark.parametrize("name", CASES)
def test_target_and_importances(component_model: Any, name: str) -> None:
    case, model = component_model(name)
    context = context_of(case, model)
    assert_close(context.target.output, case["target_out"], rtol=RTOL, atol=ATOL)
    for site in model.sites:
        assert_close(context.importance.pre[site], case[f"pre_sigmoid/{site}"], rtol=RTOL, atol=ATOL)
        assert_close(context.importance.lower[site], case[f"lower_leaky/{site}"], rtol=RTOL, atol=ATOL)
        assert_close(context.importance.upper[site], case[f"upper_leaky/{site}"], rtol=RTOL, atol=ATOL)
        assert_close(model.weight_deltas()[site], case[f"delta/{site}"], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", CASES)
def test_faithfulness(component_model: Any, name: str) -> None:
    case, model = component_model(name)
    measured = FaithfulnessLoss(coeff=1).measure(context_of(case, model), "faithfulness")
    assert value(measured) == pytest.approx(case.data["faithfulness"], rel=RTOL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_minimality(component_model: Any, name: str, dtype: torch.dtype) -> None:
    case, model = component_model(name)
    for item in case.data["importance_minimality"]:
        context = context_of(case, model, progress=item["frac"], ranks=EqualRanks(size=item["world_size"]))
        for site, u in context.importance.upper.items():
            context.importance.upper[site] = u.to(dtype)
        loss = minimality(item)
        assert loss.exponent(context.progress) == pytest.approx(item["effective_p"], rel=1e-6)
        assert value(loss.measure(context, "minimality")) == pytest.approx(item["value"], rel=RTOL), item


class EqualRanks(Ranks):
    """Ranks that all hold the same rows."""

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.size * tensor.detach()


def minimality(item: dict[str, Any]) -> MinimalityLoss:
    return MinimalityLoss(
        coeff=item.get("coeff", 1),
        p=item["pnorm"],
        p_final=item["p_anneal_final_p"],
        anneal_start=item["p_anneal_start_frac"],
        anneal_end=item["p_anneal_end_frac"],
        beta=item["beta"],
        eps=item["eps"],
    )


@pytest.mark.parametrize("distance", ["mse", "kl"])
@pytest.mark.parametrize("name", CASES)
def test_reconstruction(component_model: Any, name: str, distance: Any) -> None:
    case, model = component_model(name)
    context = context_of(case, model)
    importance, unmasked, layerwise = ImportanceMasks(), UnmaskedMasks(), RouteLayerwise()
    with_delta, without = given_masks(case, delta=True), given_masks(case, delta=False)
    subset = given_routing(case)
    points: dict[str, tuple[Any, Any]] = {
        "unmasked": (unmasked, RouteAll()),
        "ci_masked": (importance, RouteAll()),
        "ci_masked_layerwise": (importance, layerwise),
        "ci_masked_subset": (importance, subset),
        "stochastic_delta": (with_delta, RouteAll()),
        "stochastic_layerwise_delta": (with_delta, layerwise),
        "stochastic_subset_delta": (with_delta, subset),
        "stochastic_nodelta": (without, RouteAll()),
        "stochastic_layerwise_nodelta": (without, layerwise),
        "stochastic_subset_nodelta": (without, subset),
    }
    wanted = case.data["recon"][distance]
    assert points.keys() == wanted.keys()
    for key, (masks, routing) in points.items():
        loss = ReconstructionLoss(coeff=1, masks=masks, routing=routing, distance=distance)
        assert value(loss.measure(context, key)) == pytest.approx(wanted[key], rel=RTOL), key


@pytest.mark.parametrize("name", CASES)
def test_hidden_activations(component_model: Any, name: str) -> None:
    case, model = component_model(name)
    context = context_of(case, model)
    wanted = case.data["hidden_acts"]
    for kind in ("delta", "nodelta"):
        loss = HiddenActivationsLoss(coeff=1, masks=given_masks(case, delta=kind == "delta"))
        assert value(loss.measure(context, "h")) == pytest.approx(wanted[f"stochastic_{kind}"], rel=RTOL)
        for site, measured in loss.per_module(context, "h").items():
            assert value(measured) == pytest.approx(wanted[f"stochastic_{kind}_per_module"][site], rel=RTOL)
    loss = HiddenActivationsLoss(coeff=1, masks=ImportanceMasks())
    pooled = wanted["ci"].pop("CIHiddenActsReconLoss")
    assert value(loss.measure(context, "h")) == pytest.approx(pooled, rel=RTOL)
    for site, measured in loss.per_module(context, "h").items():
        assert value(measured) == pytest.approx(wanted["ci"][f"CIHiddenActsReconLoss/{site}"], rel=RTOL)


def adversary(item: dict[str, Any]) -> AdversarialMasks:
    return AdversarialMasks(
        init="zeros" if item["init"] == "zeroes" else item["init"],
        n_steps=item["n_steps"],
        step_size=item["step_size"],
        scope=item["mask_scope"],
    )


@pytest.mark.parametrize("name", CASES)
def test_adversarial_losses(component_model: Any, name: str) -> None:
    case, model = component_model(name)
    routings: dict[str, Any] = {
        "loss": RouteAll(),
        "layerwise_loss": RouteLayerwise(),
        "subset_loss": given_routing(case),
    }
    for item in case.data["pgd"]:
        context = context_of(case, model, weight_delta=item["use_delta_component"])
        for distance in ("mse", "kl"):
            for key, routing in routings.items():
                loss = ReconstructionLoss(coeff=1, masks=adversary(item), routing=routing, distance=distance)
                wanted = item[f"{key}_{distance}"]
                assert value(loss.measure(context, key)) == pytest.approx(wanted, rel=1e-3), (item, key)


@pytest.mark.parametrize("distance", ["mse", "kl"])
@pytest.mark.parametrize("name", CASES)
def test_adversarial_sources(component_model: Any, name: str, distance: Any) -> None:
    case, model = component_model(name)
    for i, item in enumerate(case.data["pgd"]):
        context = context_of(case, model, weight_delta=item["use_delta_component"], distance=distance)
        sources = adversary(item).ascend(context, dict.fromkeys(context.sites), ("a", 0))
        for site, wanted in case.group(f"pgd_sources/{i}/{distance}").items():
            # The first position attends to itself alone, so its query has no gradient but rounding.
            skip = site.endswith("q_proj") and wanted.dim() == 3 and wanted.shape[1] > 1
            counted = (slice(None), slice(int(skip), None))
            assert_close(
                sources[site][counted],
                wanted[counted],
                rtol=0,
                atol=1e-4,
                msg=lambda m, s=site, i=i: f"{i} {s}: {m}",
            )


@pytest.mark.parametrize("name", CASES)
def test_training_total_and_gradients(component_model: Any, name: str) -> None:
    case, model = component_model(name)
    train = case.data["train"]
    context = context_of(case, model, distance=train["output_loss_type"], progress=0.25)
    reconstructions: dict[str, Any] = {
        "StochasticReconLoss": given_masks(case, delta=True),
        "CIMaskedReconLoss": ImportanceMasks(),
        "UnmaskedReconLoss": UnmaskedMasks(),
    }
    total = torch.zeros(())
    for term in train["terms"]:
        kind, coeff = term["classname"], term["coeff"]
        if kind == "FaithfulnessLoss":
            loss: Any = FaithfulnessLoss(coeff=coeff)
        elif kind == "ImportanceMinimalityLoss":
            loss = minimality(term)
        else:
            loss = ReconstructionLoss(coeff=coeff, masks=reconstructions[kind])
        measured = loss.measure(context, kind).value
        assert float(measured.detach()) == pytest.approx(term["value"], rel=1e-3), kind
        total = total + loss.coeff * measured
    assert float(total.detach()) == pytest.approx(train["total"], rel=1e-3)
    total.backward()
    found = gradients(model)
    wanted = case.learnt("grad/")
    assert found.keys() == wanted.keys()
    for key, grad in wanted.items():
        atol = 1e-4 * max(0.01, float(grad.abs().max()))
        assert_close(found[key], grad, rtol=1e-3, atol=atol, msg=lambda m, key=key: f"{key}: {m}")


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, site in model.sites.items():
        found |= {f"V/{name}": site.V.grad, f"U/{name}": site.U.grad}
        for key, parameter in model.network(name).named_parameters():
            found[f"importance/{name}/{key}"] = parameter.grad
    assert found.keys() == component_tensors(model).keys()
    return found
