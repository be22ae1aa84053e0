"""Causal-importance functions against golden numbers, through a component model."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance import ImportanceSettings
from core.components.masks import NoiseKey
from core.components.selection import ComponentsSettings, ModulePattern

CASES = ["02_ci_mlp", "02_ci_vector_mlp", "02_ci_shared_mlp", "02_ci_shared_mlp_linear"]
RTOL, ATOL = 1e-4, 1e-5


class Bench(nn.Module):
    """Modules at given paths, each fed its own input."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, module in modules.items():
            parent: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(last, module)

    def forward(self, **inputs: Tensor) -> Tensor:
        return torch.stack([self.get_submodule(name)(x).sum() for name, x in inputs.items()])


def build(case: Any, sampling: Any = "continuous") -> ComponentModel:
    config = case.data["ci_config"]
    modules: dict[str, nn.Module] = {}
    for name, _, kind in case.data["modules"]:
        d_in = case[f"V/{name}"].shape[0]
        modules[name] = nn.Embedding(d_in, 4) if kind == "embedding" else nn.Linear(d_in, 4)
    settings = ImportanceSettings(
        kind=config["fn_type"],
        hidden=tuple(config["hidden_dims"]),
        sigmoid=case.data["sigmoid_type"],
        sampling=sampling,
    )
    patterns = tuple(ModulePattern(pattern=name, C=C) for name, C, _ in case.data["modules"])
    model = ComponentModel(Bench(modules), ComponentsSettings(modules=patterns), settings)
    with torch.no_grad():
        for name, site in model.sites.items():
            site.V.copy_(case[f"V/{name}"])
            parameters = case.group(f"ci/{name}")
            network = model.network(name)
            assert len(parameters) == len(list(network.parameters()))
            for key, value in parameters.items():
                _, number, kind = key.split(".")
                own = network.get_parameter(f"{'weights' if kind == 'W' else 'biases'}.{int(number) // 2}")
                assert own.shape == value.shape
                own.copy_(value)
    return model


@pytest.mark.parametrize("name", CASES)
def test_importances(golden: Any, name: str) -> None:
    case = golden(name)
    model = build(case)
    inputs = case.group("in")
    importance = model.importance(model.target_pass({n: inputs[n] for n in model.sites}))
    for module in model.sites:
        assert_close(importance.pre[module], case[f"pre_sigmoid/{module}"], rtol=RTOL, atol=ATOL)
        assert_close(importance.lower[module], case[f"lower_leaky/{module}"], rtol=RTOL, atol=ATOL)
        assert_close(importance.upper[module], case[f"upper_leaky/{module}"], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", CASES)
def test_binomial_sampling_jitters_what_masks_are_made_from(
    golden: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = golden(name)
    model = build(case, sampling="binomial")
    names = list(model.sites)
    monkeypatch.setattr(NoiseKey, "uniform", lambda key, *_: case[f"binomial_u/{names[key.indices[-1]]}"])
    inputs = case.group("in")
    target = model.target_pass({n: inputs[n] for n in names})
    importance = model.importance(target, NoiseKey(0, "jitter", ()))
    for module in names:
        lower, upper = case[f"binomial_lower_leaky/{module}"], case[f"binomial_upper_leaky/{module}"]
        assert_close(importance.lower[module], lower, rtol=RTOL, atol=ATOL)
        assert_close(importance.upper[module], upper, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", CASES)
def test_the_torch_path_agrees_with_the_compiled_one(golden: Any, name: str) -> None:
    case = golden(name)
    model = build(case)
    inputs = case.group("in")
    target = model.target_pass({n: inputs[n] for n in model.sites})
    for module, site in model.sites.items():
        reads = site.activations(target.inputs[module]) if name == "02_ci_mlp" else target.inputs[module]
        exact = model.network(module).double()(reads.double())
        assert exact.dtype is torch.float64
        assert_close(exact.float(), case[f"pre_sigmoid/{module}"], rtol=RTOL, atol=ATOL)
