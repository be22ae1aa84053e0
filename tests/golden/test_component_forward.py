"""Masked forward passes of every kind of module against golden numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import ExplicitMask, Mask
from core.components.selection import ComponentsSettings, ModulePattern

KINDS = ["linear", "linear_nobias", "embedding", "conv1d", "identity"]
RTOL, ATOL = 1e-4, 1e-5


class OneModule(nn.Module):
    def __init__(self, lin: nn.Module) -> None:
        super().__init__()
        self.lin = lin

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


def module(kind: str, case: Any) -> nn.Module:
    weight = case["target/lin.weight"]
    if kind == "embedding":
        return nn.Embedding(*weight.shape)
    if kind == "conv1d":
        conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
        return conv1d(weight.shape[1], weight.shape[0])
    return nn.Linear(weight.shape[1], weight.shape[0], bias="target/lin.bias" in case.tensors)


def build(kind: str, case: Any) -> ComponentModel:
    target = OneModule(module(kind, case))
    target.load_state_dict(case.group("target"))
    counts = dict(case.data["modules"])
    identities = tuple(ModulePattern(pattern="lin", C=c) for n, c in counts.items() if n != "lin")
    components = ComponentsSettings(
        modules=(ModulePattern(pattern="lin", C=counts["lin"]),), identities=identities
    )
    model = ComponentModel(target, components, LayerwiseImportance())
    with torch.no_grad():
        for name, site in model.sites.items():
            site.V.copy_(case[f"V/{name}"])
            site.U.copy_(case[f"U/{name}"])
    return model


def masks(case: Any, model: ComponentModel, delta: bool, route: bool) -> dict[str, Mask]:
    return {
        name: ExplicitMask(
            case[f"mask/{name}"],
            case[f"delta_mask/{name}"] if delta else None,
            case[f"routing_mask/{name}"].bool() if route else None,
        )
        for name in model.sites
    }


# With what the target pass saw at hand, parts of the masked pass are not computed again; nothing may change.
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "after a target pass"])
@pytest.mark.parametrize("kind", KINDS)
def test_masked_forward(golden: Any, kind: str, shared: bool) -> None:
    case = golden(f"03_component_forward_{kind}")
    model = build(kind, case)
    x = case["x"]
    target = model.target_pass(x)
    assert_close(target.output, case["target_out"], rtol=RTOL, atol=ATOL)
    acts = {name: site.activations(target.inputs[name]) for name, site in model.sites.items()}
    known: tuple[Any, ...] = (target, acts) if shared else ()

    def run(chosen: dict[str, Mask]) -> Tensor:
        return model.masked_pass(x, chosen, *known)[0]

    unmasked: dict[str, Mask] = {name: ExplicitMask() for name in model.sites}
    assert_close(run(unmasked), case["out_unmasked"], rtol=RTOL, atol=ATOL)
    assert_close(run(masks(case, model, False, False)), case["out_masked"], rtol=RTOL, atol=ATOL)
    assert_close(run(masks(case, model, True, False)), case["out_masked_delta"], rtol=RTOL, atol=ATOL)
    assert_close(run(masks(case, model, True, True)), case["out_masked_delta_routed"], rtol=RTOL, atol=ATOL)
    if kind == "identity":
        only: dict[str, Mask] = {"lin.pre_identity": ExplicitMask(case["mask/lin.pre_identity"])}
        assert_close(run(only), case["out_identity_only"], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_activations(golden: Any, kind: str) -> None:
    case = golden(f"03_component_forward_{kind}")
    model = build(kind, case)
    _, outputs = model.masked_pass(case["x"], masks(case, model, True, False))
    for name, site in model.sites.items():
        assert_close(site.target_weight(), case[f"target_weight/{name}"], rtol=RTOL, atol=ATOL)
        assert_close(site.component_weight(), case[f"component_weight/{name}"], rtol=RTOL, atol=ATOL)
        assert_close(site.weight_delta(), case[f"delta/{name}"], rtol=RTOL, atol=ATOL)
        seen = outputs["lin.pre_identity"] if kind == "identity" and name == "lin" else case["x"]
        assert_close(site.activations(seen), case[f"component_acts/{name}"], rtol=RTOL, atol=ATOL)
