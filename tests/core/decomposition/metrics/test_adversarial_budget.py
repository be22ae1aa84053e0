"""Adversaries with a budget: the ascent, what they see at once, how they are named."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.components.masks import SourceMask
from core.decomposition.metrics.adversarial_budget import AdversaryMetric, MultiBatchAdversaryMetric
from core.decomposition.metrics.metric import EvaluationBatches
from core.errors import UsageError
from core.losses.adversary import AdversarialMasks
from core.losses.context import LossContext, Measurement
from core.losses.reconstruction import ReconstructionLoss
from core.parallel import SINGLE, Ranks
from core.settings import parse_settings


def numbers(parts: dict[str, Measurement]) -> list[float]:
    return [float(part.value.detach()) for part in parts.values()]


@torch.no_grad()
@pytest.mark.parametrize("scope", ["shared_across_batch", "unique_per_datapoint"])
def test_a_longer_budget_is_a_longer_ascent(
    language_model: Any, language_context: Any, ids: Tensor, scope: Any
) -> None:
    context = language_context(language_model, ids)
    metric = AdversaryMetric(budgets=(0, 1, 4), step_size=0.2, init="zeros", scope=scope)
    found = metric.measure(context, "a")
    on = "each_batch" if scope == "shared_across_batch" else "each_position"
    assert list(found) == [f"loss/{steps}_steps_of_0.2_from_zeros_on_{on}" for steps in (0, 1, 4)]
    for steps, value in zip((0, 1, 4), numbers(found), strict=True):
        masks = AdversarialMasks(init="zeros", step_size=0.2, n_steps=steps, scope=scope)
        alone = ReconstructionLoss(coeff=1, masks=masks).measure(context, "other")
        assert value == pytest.approx(float(alone.value.detach()), rel=1e-4)
    assert numbers(found)[2] > numbers(found)[0]


def batches_of(model: Any, make: Any, ids: Tensor, size: int, ranks: Ranks = SINGLE) -> EvaluationBatches:
    def context(index: int) -> LossContext:
        return make(model, ids[index * size : (index + 1) * size], 0, ranks)

    return EvaluationBatches(len(ids) // size, context)


@torch.no_grad()
def test_many_batches_climb_as_one(language_model: Any, language_context: Any, ids: Tensor) -> None:
    metric = MultiBatchAdversaryMetric(budgets=(3,), step_size=0.3, batches=9)
    one = metric.measure_all(batches_of(language_model, language_context, ids, 4), "m")
    two = metric.measure_all(batches_of(language_model, language_context, ids, 2), "m")
    assert list(one) == ["loss/3_steps_of_0.3_from_random_on_1_batches"]
    assert list(two) == ["loss/3_steps_of_0.3_from_random_on_2_batches"]
    # Rounding may turn the sign of a gradient that is next to nothing.
    assert numbers(two) == pytest.approx(numbers(one), rel=1e-2)
    first = MultiBatchAdversaryMetric(budgets=(3,), step_size=0.3, batches=1)
    only = first.measure_all(batches_of(language_model, language_context, ids, 2), "m")
    alone = first.measure_all(batches_of(language_model, language_context, ids[:2], 2), "m")
    assert numbers(only) == numbers(alone)


@torch.no_grad()
def test_many_batches_against_an_ascent_by_hand(
    language_model: Any, language_context: Any, ids: Tensor
) -> None:
    batches = batches_of(language_model, language_context, ids, 2)
    metric = MultiBatchAdversaryMetric(budgets=(2,), step_size=0.4, init="zeros")
    sources = {name: torch.zeros(1, 1, 7) for name in language_model.sites}
    for _ in range(2):
        leaves = {name: source.clone().requires_grad_(True) for name, source in sources.items()}
        with torch.enable_grad():
            total = sum((divergence(context, leaves) for context in batches), torch.zeros(()))
        total.backward()
        sources = {n: (s + 0.4 * s.grad.sign()).detach().clamp(0, 1) for n, s in leaves.items()}  # type: ignore[union-attr]
        for parameter in language_model.parameters():
            parameter.grad = None
    wanted = float(sum(divergence(context, sources) for context in batches)) / ids.numel()
    assert numbers(metric.measure_all(batches, "m")) == pytest.approx([wanted], rel=1e-3)


def divergence(context: LossContext, sources: dict[str, Tensor]) -> Tensor:
    masks = {
        name: SourceMask(g, sources[name][..., :-1].expand_as(g), sources[name][..., -1].expand(g.shape[:-1]))
        for name, g in context.importance.lower.items()
    }
    p, q = context.target.output.log_softmax(-1), context.run(masks)[0].log_softmax(-1)
    return (p.exp() * (p - q)).sum()


@torch.no_grad()
def test_random_starts_differ_between_modules_and_not_between_ranks(
    language_model: Any, language_context: Any, ids: Tensor
) -> None:
    metric = MultiBatchAdversaryMetric()
    starts = [
        metric._start(
            language_context(language_model, ids, ranks=Ranks(rank, 2)), "m", torch.Size([1, 1]), True
        )
        for rank in range(2)
    ]
    first, second, *_ = starts[0].values()
    assert not first.equal(second)
    assert all(starts[1][name].equal(source) for name, source in starts[0].items())


@pytest.mark.parametrize("budgets", [[], [20, 10], [5, 5], [-1]])
def test_budgets_ascend(budgets: list[int]) -> None:
    with pytest.raises(UsageError, match="must be numbers of steps in ascending order"):
        parse_settings(AdversaryMetric, {"budgets": budgets}, "test")
