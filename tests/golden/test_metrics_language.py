"""Cross-entropy and KL of a masked language model against golden numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from core.components.masks import NoiseKey
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric
from core.losses.context import LossContext, Measurement

RTOL = 1e-3
RENAMED = {"ci_masked": "ci", "rounded_masked": "rounded", "zero_masked": "zero", "unmasked": "unmasked"}


def context_of(model: Any, tokens: Any, lower: dict[str, Any]) -> LossContext:
    target = model.target_pass(tokens)
    importance = model.importance(target)
    for site, wanted in lower.items():
        importance.lower[site] = wanted
    return LossContext(
        model=model,
        inputs=tokens,
        target=target,
        importance=importance,
        distance="kl",
        progress=0.0,
        noise=NoiseKey(0, "test", ()),
        weight_delta=True,
        n_positions=tokens.numel(),
    )


def named(values: dict[str, Any]) -> dict[str, float]:
    """Our numbers under the names of the case."""
    found = {f"kl_{theirs}": values[f"kl/{ours}"] for theirs, ours in RENAMED.items()}
    for theirs, ours in RENAMED.items():
        if ours != "zero":
            found[f"ce_difference_{theirs}"] = values[f"ce_difference/{ours}"]
            found[f"ce_unrecovered_{theirs}"] = values[f"ce_unrecovered/{ours}"]
    return found


@torch.no_grad()
def test_cross_entropy_and_divergence(component_model: Callable[[str], tuple[Any, Any]]) -> None:
    case, model = component_model("06_metrics_ce_kl")
    metric = CrossEntropyMetric(rounding_threshold=case.data["rounding_threshold"])
    found: list[dict[str, float]] = []
    parts: dict[str, list[Measurement]] = {}
    for index, tokens in enumerate(case["batches"]):
        context = context_of(model, tokens, case.group(f"lower_leaky{index}"))
        measured = metric.measure(context, "ce")
        for key, part in measured.items():
            parts.setdefault(key, []).append(part)
        found.append(named(metric.finish({key: float(part.value) for key, part in measured.items()})))
        wanted = case.data["per_batch"][index]
        assert found[-1].keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[-1][key] == pytest.approx(value, rel=RTOL), (index, key)
    whole = named(metric.finish({key: float(Measurement.merged(p).value) for key, p in parts.items()}))
    for key, value in case.data["result"].items():
        # The case averages the ratio over batches; a whole evaluation compares mean cross-entropies.
        ours = sum(each[key] for each in found) / len(found) if "unrecovered" in key else whole[key]
        assert ours == pytest.approx(value, rel=RTOL), key


def test_importances_of_the_case_are_ours(component_model: Callable[[str], tuple[Any, Any]]) -> None:
    case, model = component_model("06_metrics_ce_kl")
    for index, tokens in enumerate(case["batches"]):
        importance = model.importance(model.target_pass(tokens))
        for site, wanted in case.group(f"lower_leaky{index}").items():
            assert_close(importance.lower[site], wanted, rtol=1e-4, atol=1e-5)
