"""Causal-importance functions against golden numbers, through a component model."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance import ImportanceSettings
from core.components.masks import NoiseKey
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.imports_importance import (
    imported_function_tensors,
    imported_importance,
    layer_name,
    published_order,
    widths_of,
)

LAYERWISE = ["02_ci_mlp", "02_ci_vector_mlp", "02_ci_shared_mlp", "02_ci_shared_mlp_linear"]
GLOBAL = [
    "02_ci_global_shared_mlp",
    "02_ci_global_shared_transformer",
    "02_ci_global_reverse_residual",
    "02_ci_global_reverse_residual_attn",
]
CASES = LAYERWISE + GLOBAL
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


def settings_of(case: Any, sampling: str) -> ImportanceSettings:
    config = case.data | {"sampling": sampling}
    plain = imported_importance(config, case.name)
    return TypeAdapter(ImportanceSettings).validate_python(plain)


def build(case: Any, sampling: str = "continuous", order: Any = list) -> ComponentModel:
    """The model of a case, its modules registered in the order that `order` makes of their names."""
    given = {name: (C, kind) for name, C, kind in case.data["modules"]}
    modules: dict[str, nn.Module] = {}
    for name in order(given):
        d_in = case[f"V/{name}"].shape[0]
        modules[name] = nn.Embedding(d_in, 4) if given[name][1] == "embedding" else nn.Linear(d_in, 4)
    components = ComponentsSettings(
        modules=tuple(ModulePattern(pattern=name, C=C) for name, (C, _) in given.items())
    )
    model = ComponentModel(Bench(modules), components, settings_of(case, sampling))
    with torch.no_grad():
        for name, site in model.sites.items():
            site.V.copy_(case[f"V/{name}"])
    load_function(model, case, components)
    return model


def load_function(model: ComponentModel, case: Any, components: ComponentsSettings) -> None:
    published = case.group("ci")
    if case.data["ci_config"]["mode"] == "global":
        names = published_order(components, model.sites)
        found = imported_function_tensors(published, model.importance_settings, widths_of(model), names)
    else:
        split = {key: key.partition("/layers.") for key in published}
        found = {f"{split[key][0]}/{layer_name(split[key][2])}": value for key, value in published.items()}
    assert found.keys() == model.importance_function.tensors().keys()
    model.importance_function.load_tensors(found)


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


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize("order", [sorted, lambda names: sorted(names)[::-1]], ids=["sorted", "reversed"])
def test_the_order_of_modules_does_not_matter(golden: Any, name: str, order: Any) -> None:
    case = golden(name)
    model = build(case, order=order)
    inputs = case.group("in")
    importance = model.importance(model.target_pass({n: inputs[n] for n in model.sites}))
    for module in model.sites:
        assert_close(importance.pre[module], case[f"pre_sigmoid/{module}"], rtol=RTOL, atol=ATOL)


def test_positions_without_a_sequence_are_sequences_of_length_one(golden: Any) -> None:
    case = golden("02_ci_global_shared_transformer")
    model = build(case)
    inputs = case.group("in2d")
    importance = model.importance(model.target_pass({n: inputs[n] for n in model.sites}))
    for module in model.sites:
        assert_close(importance.pre[module], case[f"pre_sigmoid2d/{module}"], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", LAYERWISE)
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
