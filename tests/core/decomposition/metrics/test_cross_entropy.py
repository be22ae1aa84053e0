"""The table of cross-entropy and KL against one written by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.components.masks import SourceMask
from core.decomposition.metrics import next_token
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric, unrecovered
from core.decomposition.metrics.mask_modes import MASK_MODES, mode_masks
from core.decomposition.metrics.next_token import TargetLogits
from core.errors import UsageError
from core.losses.context import LossContext, Measurement
from core.parallel import Ranks


def by_hand(context: LossContext, logits: Tensor) -> dict[str, float]:
    ids, target = context.inputs, context.target.output
    losses = [F.cross_entropy(row[:-1], tokens[1:]) for row, tokens in zip(logits, ids, strict=True)]
    p, q = target.softmax(-1), logits.softmax(-1)
    return {
        "ce": float(torch.stack(losses).mean()),
        "kl": float((p * (p / q).log()).sum(-1).mean()),
        "top1": float((logits.argmax(-1) == target.argmax(-1)).float().mean()),
    }


def values(parts: dict[str, Measurement]) -> dict[str, float]:
    return {key: float(part.value) for key, part in parts.items()}


@torch.no_grad()
def test_every_mode_is_the_average_over_positions(
    language_model: Any, language_context: Callable[..., LossContext], ids: Tensor
) -> None:
    context = language_context(language_model, ids)
    found = values(CrossEntropyMetric(rounding_threshold=0.3).measure(context, "ce"))
    masks = {
        "unmasked": {name: torch.ones_like(g) for name, g in context.importance.lower.items()},
        "ci": context.importance.lower,
        "rounded": {name: (g > 0.3).float() for name, g in context.importance.lower.items()},
        "zero": {name: torch.zeros_like(g) for name, g in context.importance.lower.items()},
    }
    assert 0 < float(masks["rounded"]["h.0.attn.q_proj"].mean()) < 1, "both values occur"
    for mode, m in masks.items():
        zeros = {name: torch.zeros_like(each) for name, each in m.items()}
        logits = context.run({name: SourceMask(each, zeros[name]) for name, each in m.items()})[0]
        for key, wanted in by_hand(context, logits).items():
            assert found[f"{key}/{mode}"] == pytest.approx(wanted, rel=1e-4), (key, mode)
    assert found["ce/target"] == pytest.approx(by_hand(context, context.target.output)["ce"], rel=1e-5)


def test_stochastic_masks_have_a_delta_whatever_the_settings(
    language_model: Any, language_context: Callable[..., LossContext], ids: Tensor
) -> None:
    context = replace(language_context(language_model, ids), weight_delta=False)
    for mode in MASK_MODES:
        masks = mode_masks(context, mode, "ce")
        assert set(masks) == set(context.sites)
        assert all((mask.delta is not None) == (mode == "stochastic") for mask in masks.values())
    noise = [mask.m for mask in mode_masks(context, "random", "ce").values()]  # type: ignore[attr-defined]
    assert not noise[0].equal(noise[2]), "modules draw for themselves"


@torch.no_grad()
def test_blocks_do_not_change_the_sums(
    language_model: Any, language_context: Any, ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = language_context(language_model, ids)
    whole = values(CrossEntropyMetric().measure(context, "ce"))
    monkeypatch.setattr(next_token, "BLOCK", 3 * 40)
    in_blocks = values(CrossEntropyMetric().measure(context, "ce"))
    assert in_blocks == pytest.approx(whole, rel=1e-5)


@torch.no_grad()
def test_batches_and_ranks_add_up(language_model: Any, language_context: Any, ids: Tensor) -> None:
    metric = CrossEntropyMetric()
    whole = metric.measure(language_context(language_model, ids), "ce")
    halves = [
        metric.measure(language_context(language_model, ids, ranks=Ranks(rank, 2)), "ce") for rank in range(2)
    ]
    assert halves[0].keys() == whole.keys()
    for key, part in whole.items():
        merged = Measurement.merged([half[key] for half in halves])
        assert merged.count == part.count
        assert float(merged.value) == pytest.approx(float(part.value), rel=1e-5), key


def test_recovery_is_told_from_mean_cross_entropies() -> None:
    means = {f"ce/{mode}": 3.0 for mode in MASK_MODES} | {"ce/target": 2.0, "ce/zero": 6.0, "ce/ci": 2.5}
    found = CrossEntropyMetric().finish(means)
    assert found["ce_difference/ci"] == 0.5
    assert found["ce_unrecovered/ci"] == 0.125
    assert found["ce_recovered/ci"] == 0.875
    assert found["ce_difference/zero"] == 4
    assert "ce_recovered/zero" not in found
    assert isnan(unrecovered(3.0, 2.0, 2.0)), "modules that make no difference"


def test_only_token_ids_have_next_tokens(language_model: Any, language_context: Any, ids: Tensor) -> None:
    context = language_context(language_model, ids)
    with pytest.raises(UsageError, match=r"this target takes torch.float32 of shape \(4, 10\)"):
        TargetLogits.of(replace(context, inputs=ids.float()))
    flat = replace(context.target, output=context.target.output[:, -1])
    with pytest.raises(UsageError, match="logits at each of the"):
        TargetLogits.of(replace(context, target=flat))
    assert TargetLogits.of(replace(context, inputs={"input_ids": ids})).labels[9] == -1
