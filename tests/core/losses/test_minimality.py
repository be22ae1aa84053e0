"""The minimality penalty: the compiled path, its gradient, weights of rows, and its settings."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.losses.minimality import MinimalityLoss, power_sums


def draw(*shape: int, seed: int = 0) -> Tensor:
    u = 1.4 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.2
    return u.clamp(min=0)  # upper importances are never negative, and often exactly zero


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 0.9])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5)])
def test_the_compiled_sums_are_the_plain_ones(shape: tuple[int, ...], p: float, weighted: bool) -> None:
    u, eps = draw(*shape), 1e-3
    weights = 1 + draw(*shape[:-1], seed=1) if weighted else None
    upstream = draw(shape[-1], seed=2)

    def measured(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        # float32 goes through the kernel, float64 through torch.
        inputs = u.to(dtype, copy=True).requires_grad_(True)
        sums = power_sums(inputs, p, eps, None if weights is None else weights.to(dtype))
        (grad,) = torch.autograd.grad((sums * upstream.to(dtype)).sum(), inputs)
        return sums.detach().float(), grad.float()

    for found, wanted in zip(measured(torch.float32), measured(torch.float64), strict=True):
        assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_weights_stand_for_equal_rows() -> None:
    u = draw(4, 5)
    repeated = torch.cat([u[:3], u[3:].expand(6, 5)])
    weights = torch.tensor([1.0, 1.0, 1.0, 6.0])
    assert_close(power_sums(u, 0.7, 1e-6, weights), power_sums(repeated, 0.7, 1e-6, None))


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_gradients_at_zero_are_finite(p: float) -> None:
    u = torch.zeros(3, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(power_sums(u, p, 1e-12, None).sum(), u)
    assert bool(torch.isfinite(grad).all()) and bool((grad > 0).all())


def test_beta_punishes_firing_often_more_than_firing_widely(
    model: Any, batch: Tensor, context_of: Any
) -> None:
    context = context_of(model, batch)

    def value(u: Tensor, beta: float) -> float:
        context.importance.upper.clear()
        context.importance.upper["0"] = u
        return float(MinimalityLoss(coeff=1, beta=beta).measure(context, "m").value)

    often, spread = torch.zeros(9, 9), torch.eye(9)
    often[:, 0] = 1
    assert value(often, 0.0) == pytest.approx(value(spread, 0.0))
    assert value(often, 0.5) > value(spread, 0.5) > value(spread, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 0}, "greater than 0"),
        ({"eps": 0}, "greater than 0"),
        ({"coeff": -1}, "greater than or equal to 0"),
        ({"anneal_start": 0.6, "anneal_end": 0.5}, r"anneal_end = 0\.5 is before anneal_start = 0\.6"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MinimalityLoss.model_validate({"coeff": 1.0, **settings})


@pytest.mark.parametrize("p", [3.2, 4.0, 6.5])
def test_large_exponents_of_zero_importances_are_zero(p: float) -> None:
    # eps^p is then smaller than any float.
    u = torch.tensor([[0.5], [0.0]], requires_grad=True)
    sums = power_sums(u, p, 1e-12, None)
    (grad,) = torch.autograd.grad(sums.sum(), u)
    assert_close(sums.detach(), torch.tensor([0.5**p]), rtol=1e-6, atol=0)
    assert_close(grad, torch.tensor([[p * 0.5 ** (p - 1)], [0.0]]), rtol=1e-6, atol=1e-20)
