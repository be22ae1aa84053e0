"""A stream kept in factors gives what the wide stream gives."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.factored import Factored, dense, times
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import ExplicitMask, Mask, NoiseKey, SourceMask
from core.components.selection import ComponentsSettings, ModulePattern
from core.targets.residual_mlp import ResidualMLP, ResidualMLPSettings


def test_reading_a_sum_of_factors_is_reading_the_wide_tensor() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (
        Factored(((torch.randn(4, k, generator=draw), torch.randn(k, 9, generator=draw)),)) for k in (2, 3)
    )
    matrix = torch.randn(9, 5, generator=draw)
    assert isinstance(a + b, Factored)
    assert_close(dense(a + b), a.dense() + b.dense())
    assert_close(a + b.dense(), dense(a + b))
    wide: Any = a.dense()
    assert_close(wide + b, dense(a + b))
    assert_close(times(a + b, matrix), dense(a + b) @ matrix)


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "vector_mlp", "shared_mlp"])
def test_a_residual_mlp_in_factors_agrees_with_the_wide_one(
    kind: Any, delta: bool, routed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ResidualMLPSettings(n_features=6, d_embed=40, n_layers=2, d_mlp=5)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(1))

    def measured(factors: bool) -> list[Tensor]:
        monkeypatch.setattr(ResidualMLP, "linear_stream", factors)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            target = ResidualMLP(settings)
        model = ComponentModel(
            target,
            ComponentsSettings(modules=(ModulePattern(pattern="layers.*.mlp_*", C=8),)),
            LayerwiseImportance(kind=kind, hidden=(4,)),
        )
        seen = model.target_pass(x)
        assert isinstance(seen.outputs["layers.0.mlp_out"], Factored) == factors
        importance = model.importance(seen)
        masks: dict[str, Mask] = {}
        for i, (name, g) in enumerate(importance.lower.items()):
            key = NoiseKey(0, "test", (i,))
            route = key.uniform(torch.Size([7]), x.device) > 0.4 if routed else None
            m_delta = key.uniform(torch.Size([7]), x.device) if delta else None
            masks[name] = SourceMask(g, key.uniform(g.shape, x.device), m_delta, route)
        outs = [model.masked_pass(x, masks, seen, importance.acts)[0], model.masked_pass(x, masks)[0]]
        outs.append(model.masked_pass(x, {"layers.1.mlp_out": ExplicitMask()}, seen, importance.acts)[0])
        loss = torch.stack([out.square().sum() for out in outs]).sum()
        loss = loss + torch.stack([u.sum() for u in importance.upper.values()]).sum()
        grads = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        return [seen.output, *outs, *grads]

    for found, wanted in zip(measured(True), measured(False), strict=True):
        assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_other_operations_see_the_wide_tensor() -> None:
    x: Any = Factored(((torch.randn(4, 2), torch.randn(2, 9)),))
    assert_close(torch.relu(x), x.dense().relu())
    assert_close(torch.nn.functional.linear(x, weight=torch.eye(9)), x.dense())


def test_a_layer_wider_than_the_stream_is_handled() -> None:
    # Its masked output is wider than subcomponents and input together, so it comes in factors to the ReLU.
    target = ResidualMLP(ResidualMLPSettings(n_features=6, d_embed=6, d_mlp=40))
    components = ComponentsSettings(modules=(ModulePattern(pattern="layers.*.mlp_*", C=5),))
    model = ComponentModel(target, components, LayerwiseImportance(hidden=(4,)))
    x = torch.randn(7, 6)
    seen = model.target_pass(x)
    everything = {name: ExplicitMask(torch.ones(7, 5), delta=torch.ones(7)) for name in model.sites}
    assert_close(model.masked_pass(x, everything, seen)[0], seen.output, rtol=1e-4, atol=1e-5)
