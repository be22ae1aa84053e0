"""Subsets of modules: who is replaced, who is worst."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.decomposition.metrics.layers import by_layer, kind_of, layer_of
from core.decomposition.metrics.mask_modes import mode_masks, stochastic_masks
from core.decomposition.metrics.module_subsets import ModuleSubsetsMetric
from core.decomposition.metrics.next_token import TargetLogits
from core.errors import UsageError
from core.settings import parse_settings


@torch.no_grad()
def test_only_the_subset_is_replaced(language_model: Any, language_context: Any, ids: Tensor) -> None:
    context = language_context(language_model, ids)
    metric = ModuleSubsetsMetric(include={"mlp": ("*c_fc", "*down_proj")}, exclude={"rest": ("*.mlp.*",)})
    metric.check("subsets", language_model.target, context.sites)
    members = metric.members(context.sites)
    assert members["mlp"] == [site for site in context.sites if ".mlp." in site]
    assert members["rest"] == [site for site in context.sites if ".attn." in site]
    found = {key: float(part.value) for key, part in metric.measure(context, "s").items()}
    target = TargetLogits.of(context)
    for subset, names in members.items():
        masks = stochastic_masks(context, "s/0", context.sites)
        logits = context.run({name: masks[name] for name in names})[0]
        for key in ("ce", "kl"):
            assert found[f"{key}/{subset}"] == pytest.approx(float(target.compare(logits)[key].value))
    result = metric.finish(found)
    worst = max(members, key=lambda subset: found[f"kl/{subset}"])
    assert (result["worst_kl"], result["worst_kl_subset"]) == (found[f"kl/{worst}"], worst)
    zero = context.run(mode_masks(context, "zero", ""))[0]
    assert found["ce_zero"] == pytest.approx(float(target.compare(zero)["ce"].value))


def test_what_is_unrecovered_and_the_worst_of_each_kind() -> None:
    means = {"ce_target": 2.0, "ce_zero": 6.0, "ce/a": 3.0, "kl/a": 0.2, "ce/b": 2.5, "kl/b": 0.3}
    found = ModuleSubsetsMetric(include={"a": ("x",), "b": ("y",)}).finish(means)
    assert (found["ce_unrecovered/a"], found["ce_unrecovered/b"]) == (0.25, 0.125)
    assert [found[f"worst_{kind}_subset"] for kind in ("kl", "ce", "ce_unrecovered")] == ["b", "a", "a"]
    assert found["worst_ce_unrecovered"] == 0.25
    assert "ce_target" not in found


def test_one_subset_for_each_layer_if_none_is_named() -> None:
    sites = ["h.0.attn.q_proj", "h.1.attn.q_proj", "h.10.mlp.c_fc", "h.0.mlp.c_fc", "lm_head"]
    assert ModuleSubsetsMetric().members(sites) == {
        "h.0": ["h.0.attn.q_proj", "h.0.mlp.c_fc"],
        "h.1": ["h.1.attn.q_proj"],
        "h.10": ["h.10.mlp.c_fc"],
        "lm_head": ["lm_head"],
    }
    assert by_layer([]) == {}
    assert [layer_of(n) for n in ("model.layers.3.self_attn.q_proj", "hidden_layers.0")] == [
        "model.layers.3",
        "hidden_layers.0",
    ]
    assert [kind_of(n) for n in ("h.0.attn.q_proj", "lm_head", "layers.0")] == [
        "attn.q_proj",
        "lm_head",
        "layers.0",
    ]


def test_bad_patterns_are_refused_with_the_modules_there_are() -> None:
    sites = ["h.0.mlp.c_fc", "h.1.mlp.c_fc"]
    with pytest.raises(UsageError, match=r"metrics.subs.include.attn: '\*attn\*' matches no") as error:
        ModuleSubsetsMetric(include={"attn": ("*attn*",)}).check("subs", torch.nn.Module(), sites)
    assert "h.0.mlp.c_fc, h.1.mlp.c_fc" in str(error.value)
    with pytest.raises(UsageError, match="subset 'none' has no module"):
        ModuleSubsetsMetric(exclude={"none": ("h.*",)}).check("subs", torch.nn.Module(), sites)
    with pytest.raises(UsageError, match="subset 'a' is under include and under exclude"):
        parse_settings(ModuleSubsetsMetric, {"include": {"a": ["*"]}, "exclude": {"a": ["*"]}}, "test")
