"""Published decompositions whose importance function spans all modules."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.factored import dense
from core.components.importance_reverse import ReverseResidualImportance
from core.components.importance_transformer import TransformerImportance
from core.decomposition.imports import import_run
from core.decomposition.opening import open_run
from core.decomposition.settings import DecompositionSettings
from core.errors import UsageError
from core.runs.directory import RunDirectory
from core.targets.residual_mlp import ResidualMLP, ResidualMLPSettings

SHAPE = ResidualMLPSettings(n_features=6, d_embed=8, n_layers=2, d_mlp=5)
PREFIX = "ci_fn._global_ci_fn."
C = {"mlp_out": 4, "mlp_in": 3}
ORDER = [f"layers.{layer}.{name}" for name in C for layer in range(2)]
"""The file has `mlp_out` before `mlp_in`: neither the model's order nor that of the names."""
WIDTHS = {name: 5 if name.endswith("out") else 8 for name in ORDER}
COUNTS = {name: C[name.rpartition(".")[2]] for name in ORDER}


def publish(folder: Path, function: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write a run with the given importance function and random everything else."""
    state = {f"target_model.{name}": value.clone() for name, value in ResidualMLP(SHAPE).state_dict().items()}
    for name in ("W_E", "W_U"):
        state[f"target_model.{name}"] = state.pop(f"target_model.{name}.weight").T
    for name in ORDER:
        d_out = 8 if name.endswith("out") else 5
        dashed = name.replace(".", "-")
        state[f"_components.{dashed}.V"] = torch.randn(WIDTHS[name], COUNTS[name])
        state[f"_components.{dashed}.U"] = torch.randn(COUNTS[name], d_out)
    config = {
        "module_info": [{"module_pattern": f"layers.*.{name}", "C": count} for name, count in C.items()],
        "ci_config": {"mode": "global", **function},
        "sigmoid_type": "normal",
        "loss_metric_configs": [{"classname": "StochasticReconLoss", "coeff": 1.0}],
        "lr_schedule": {"start_val": 2e-3},
        "steps": 20,
        "batch_size": 4,
        "task_config": {"task_name": "resid_mlp", "feature_probability": 0.01},
    }
    model = SHAPE.model_dump(include={"n_features", "d_embed", "n_layers", "d_mlp", "in_bias", "out_bias"})
    folder.mkdir()
    (folder / "final_config.yaml").write_text(yaml.safe_dump(config))
    train = {"resid_mlp_model_config": {**model, "act_fn_name": "relu"}}
    (folder / "resid_mlp_train_config.yaml").write_text(yaml.safe_dump(train))
    torch.save(state | {PREFIX + name: value for name, value in weights.items()}, folder / "model_20.pth")


def imported(folder: Path) -> tuple[ComponentModel, DecompositionSettings]:
    model, settings, _ = open_run(
        RunDirectory(import_run(str(folder), folder.parent / "out")), folder.parent / "out"
    )
    return model, settings


def layers(name: str, *widths: int) -> dict[str, Tensor]:
    """Weights and biases as published: layer 2 i is the i-th product."""
    found: dict[str, Tensor] = {}
    for i, (w_in, w_out) in enumerate(pairwise(widths)):
        found |= {f"{name}{2 * i}.W": torch.randn(w_in, w_out), f"{name}{2 * i}.b": torch.randn(w_out)}
    return found


def applied(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    x = x @ weights[f"{name}0.W"] + weights[f"{name}0.b"]
    return F.gelu(x) @ weights[f"{name}2.W"] + weights[f"{name}2.b"]


def test_a_perceptron_over_all_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = layers("layers.", sum(WIDTHS.values()), 9, sum(COUNTS.values()))
    publish(tmp_path / "run", {"fn_type": "global_shared_mlp", "hidden_dims": [9]}, weights)
    model, settings = imported(tmp_path / "run")
    assert settings.importance.kind == "global_shared_mlp" and settings.importance.sigmoid == "normal"
    target = model.target_pass(torch.randn(11, 6))
    names = sorted(ORDER)
    joined = torch.cat([dense(target.inputs[name]) for name in names], dim=-1)
    wanted = applied(weights, "layers.", joined).split([COUNTS[name] for name in names], dim=-1)
    found = model.importance(target).pre
    for name, value in zip(names, wanted, strict=True):
        assert_close(found[name], value)


def test_groups_keep_the_order_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blocks = [{"name": "l.1", "patterns": ["layers.1.*"]}, {"name": "l.0", "patterns": ["layers.0.*"]}]
    weights: dict[str, Tensor] = {}
    for safe in ("l-1", "l-0"):
        weights |= {
            f"_inp_projectors.{safe}.W": torch.randn(13, 6),
            f"_inp_projectors.{safe}.b": torch.randn(6),
        }
        weights |= layers(f"_readers.{safe}.", 6, 7, 7)
        weights[f"_reader_norms.{safe}.weight"] = torch.randn(6)
    weights |= layers("_transitions.l-1.", 6, 5, 6)
    weights["_transition_norms.l-1.weight"] = torch.randn(6)
    function = {
        "fn_type": "global_reverse_residual",
        "block_groups": blocks,
        "d_resid_ci_fn": 6,
        "reader_hidden_dims": [7],
        "transition_hidden_dim": 5,
        "transition_attn_config": None,
    }
    publish(tmp_path / "run", function, weights)
    model, settings = imported(tmp_path / "run")
    assert isinstance(settings.importance, ReverseResidualImportance)
    assert [block.name for block in settings.importance.blocks] == ["l.1", "l.0"]
    target = model.target_pass(torch.randn(11, 6))
    found = model.importance(target).pre

    def normed(x: Tensor, name: str) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1.1920929e-07).rsqrt() * weights[f"{name}.weight"]

    stream = torch.zeros(11, 6)
    for layer, safe in ((1, "l-1"), (0, "l-0")):
        names = [name for name in ORDER if f".{layer}." in name]
        assert names == [f"layers.{layer}.mlp_out", f"layers.{layer}.mlp_in"]
        joined = torch.cat([dense(target.inputs[name]) for name in names], dim=-1)
        stream = stream + joined @ weights[f"_inp_projectors.{safe}.W"] + weights[f"_inp_projectors.{safe}.b"]
        if layer == 1:
            stream = stream + applied(weights, "_transitions.l-1.", normed(stream, "_transition_norms.l-1"))
        read = applied(weights, f"_readers.{safe}.", normed(stream, f"_reader_norms.{safe}"))
        for name, value in zip(names, read.split([COUNTS[n] for n in names], dim=-1), strict=True):
            assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def transformer(heads: int = 2) -> tuple[dict[str, Any], dict[str, Tensor]]:
    weights = {"_input_projector.W": torch.randn(26, 8), "_input_projector.b": torch.randn(8)}
    weights |= {"_output_head.W": torch.randn(8, 14), "_output_head.b": torch.randn(14)}
    weights |= layers("_blocks.0.mlp.", 8, 5, 8)
    weights |= {f"_blocks.0.attn.{part}_proj.weight": torch.randn(8, 8) for part in ("q", "k", "v", "out")}
    weights["_blocks.0.attn.rope.inv_freq"] = torch.ones(2)
    attention = {"n_heads": heads, "max_len": 512, "rope_base": 500.0}
    shape = {"d_model": 8, "n_blocks": 1, "mlp_hidden_dim": [5], "attn_config": attention}
    return {"fn_type": "global_shared_transformer", "simple_transformer_ci_cfg": shape}, weights


def test_a_transformer_over_all_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    function, weights = transformer()
    publish(tmp_path / "run", function, weights)
    model, settings = imported(tmp_path / "run")
    assert isinstance(settings.importance, TransformerImportance)
    assert (settings.importance.attention.n_heads, settings.importance.attention.rope_base) == (2, 500.0)
    learnt = model.importance_function.tensors()
    assert torch.equal(learnt["blocks.0.attention.qkv"][:, 8:16], weights["_blocks.0.attn.k_proj.weight"].T)
    assert torch.equal(learnt["head.weights.0"], weights["_output_head.W"])


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("_blocks.0.attn.k_proj.weight", "importance/blocks.0.attention.* is only on one side"),
        ("_output_head.b", "importance/head.biases.0 is only on one side"),
    ],
)
def test_weights_that_are_missing_are_named(tmp_path: Path, missing: str, message: str) -> None:
    function, weights = transformer()
    del weights[missing]
    publish(tmp_path / "run", function, weights)
    with pytest.raises(UsageError, match=message):
        import_run(str(tmp_path / "run"), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    function, weights = transformer()
    del function["simple_transformer_ci_cfg"]["attn_config"]
    publish(tmp_path / "run", function, weights)
    with pytest.raises(UsageError, match="has no 'attn_config'"):
        import_run(str(tmp_path / "run"), tmp_path / "out")


def test_heads_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    function, weights = transformer(heads=3)
    publish(tmp_path / "run", function, weights)
    with pytest.raises(UsageError, match="d_model = 8 is not a multiple of n_heads = 3"):
        import_run(str(tmp_path / "run"), tmp_path / "out")
