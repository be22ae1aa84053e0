"""Importance networks: the compiled path is the plain one, and settings are checked."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.testing import assert_close

from core.components.importance import ImportanceSettings
from core.components.importance_function import ModuleWidths
from core.components.importance_layerwise import LayerwiseImportance, ParallelMLP, build_network


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "mlp", "hidden": []},
        {"kind": "vector_mlp", "hidden": []},
        {"kind": "mlp", "hidden": [4, 0]},
        {"kind": "global"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"hidden|widths|does not match any of the expected tags"):
        TypeAdapter(ImportanceSettings).validate_python(settings)


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (65, 5)])
def test_the_compiled_scalar_networks_are_the_plain_ones(shape: tuple[int, ...]) -> None:
    network = ParallelMLP(5, None, (16,), torch.Generator().manual_seed(0))
    for bias in network.biases:
        torch.nn.init.normal_(bias, generator=torch.Generator().manual_seed(1))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(3))

    def measured(dtype: torch.dtype) -> list[Tensor]:
        # float32 goes through the kernel, float64 through torch.
        inputs = x.to(dtype, copy=True).requires_grad_(True)
        out = network.to(dtype)(inputs)
        grads = torch.autograd.grad((out * weight.to(dtype)).sum(), [inputs, *network.parameters()])
        return [out.detach().double(), *(grad.double() for grad in grads)]

    wanted = measured(torch.float64)
    for found, exact in zip(measured(torch.float32), wanted, strict=True):
        assert_close(found, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["mlp", "vector_mlp"])
def test_networks_of_different_subcomponents_do_not_mix(kind: Any) -> None:
    settings = LayerwiseImportance(kind=kind, hidden=(4, 3))
    network = build_network(settings, ModuleWidths(5, 5), torch.Generator().manual_seed(0))
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    before = network(x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[2] += 1
    changed = (network(x) != before).any(0)
    assert changed.tolist() == [False, False, True, False, False]


def test_equal_seeds_give_equal_networks() -> None:
    def first(seed: int) -> Tensor:
        network = build_network(
            LayerwiseImportance(), ModuleWidths(3, 5), torch.Generator().manual_seed(seed)
        )
        return next(network.parameters())

    assert torch.equal(first(0), first(0)) and not torch.equal(first(0), first(1))
