"""Masks: the fused stochastic gate is the plain formula with the sources it says it draws."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.components.masks import ExplicitMask, NoiseKey, SourceMask, StochasticMask

SHAPES = [(7, 5), (3, 4, 6), (1, 1), (129, 33)]


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gradients(mask: SourceMask | StochasticMask, a: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    out = mask.gate(a)
    return out.detach(), *torch.autograd.grad((out * weight).sum(), (a, mask.g))


@pytest.mark.parametrize("binomial", [False, True], ids=["uniform", "binomial"])
@pytest.mark.parametrize("delta", [False, True], ids=["no delta", "delta"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fused_gate_is_the_plain_one(shape: tuple[int, ...], delta: bool, binomial: bool) -> None:
    a = (draw(shape, 0) - 0.5).requires_grad_(True)
    g = draw(shape, 1).requires_grad_(True)
    weight = draw(shape, 2) - 0.5
    m_delta = draw(shape[:-1], 3) if delta else None
    fused = StochasticMask(g, NoiseKey(0, "test", (1, 2)), m_delta, binomial=binomial)
    plain = SourceMask(g, fused.sources(), m_delta)
    for found, wanted in zip(gradients(fused, a, weight), gradients(plain, a, weight), strict=True):
        assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_gradients_of_the_fused_gate_are_those_of_the_formula() -> None:
    # A finite difference in float32: the gate is linear in a and in g, so a large step is exact.
    mask = StochasticMask(draw((4, 3), 1), NoiseKey(0, "test", ()))
    a = draw((4, 3), 0).requires_grad_(True)
    (grad,) = torch.autograd.grad(mask.gate(a).sum(), a)
    step = torch.zeros(4, 3)
    step[2, 1] = 1.0
    difference = (mask.gate(a + step) - mask.gate(a)).sum()
    assert_close(grad[2, 1], difference.detach(), rtol=1e-5, atol=1e-6)


def test_strides_do_not_matter() -> None:
    a, g = draw((6, 9), 0), draw((6, 9), 1)
    key = NoiseKey(0, "test", ())
    wanted = StochasticMask(g, key).gate(a)
    assert torch.equal(StochasticMask(g.T.contiguous().T, key).gate(a.T.contiguous().T), wanted)


def test_the_gate_without_the_kernel_uses_the_same_sources() -> None:
    a, g = draw((6, 9), 0).double(), draw((6, 9), 1).double()
    key = NoiseKey(0, "test", ())
    wanted = StochasticMask(g.float(), key).gate(a.float())
    assert_close(StochasticMask(g, key).gate(a).float(), wanted)


def test_masks_lie_between_importance_and_one() -> None:
    g = draw((50, 40), 1)
    m = StochasticMask(g, NoiseKey(0, "test", ())).gate(torch.ones(50, 40))
    assert bool((m >= g - 1e-6).all()) and bool((m <= 1).all())
    # The mean of g + (1 - g) r over uniform r is (1 + g) / 2; 2000 draws.
    assert abs(float((m - (1 + g) / 2).mean())) < 0.02


def test_binomial_sources_are_zero_or_one_with_even_odds() -> None:
    r = StochasticMask(torch.zeros(100, 100), NoiseKey(0, "test", ()), binomial=True).sources()
    assert set(r.unique().tolist()) == {0.0, 1.0}
    assert abs(float(r.mean()) - 0.5) < 0.02


def test_a_key_decides_the_draw() -> None:
    g = torch.zeros(20, 20)
    first = StochasticMask(g, NoiseKey(0, "a", (1,))).sources()
    assert torch.equal(first, StochasticMask(g, NoiseKey(0, "a", (1,))).sources())
    for other in (NoiseKey(1, "a", (1,)), NoiseKey(0, "b", (1,)), NoiseKey(0, "a", (2,))):
        assert not torch.equal(first, StochasticMask(g, other).sources())


def test_explicit_masks() -> None:
    a, m, delta = draw((4, 3), 0), draw((4, 3), 1), draw((4,), 2)
    assert ExplicitMask().gate(a) is a
    assert_close(ExplicitMask(m).gate(a), a * m)
    assert_close(ExplicitMask(m, delta).gate(a), a * (m - delta[:, None]))
    assert_close(ExplicitMask(None, delta).gate(a), a * (1 - delta[:, None]))


def test_given_sources_get_gradients() -> None:
    a, g = draw((4, 3), 0), draw((4, 3), 1)
    r = draw((4, 3), 2).requires_grad_(True)
    delta = draw((4,), 3).requires_grad_(True)
    grad_r, grad_delta = torch.autograd.grad(SourceMask(g, r, delta).gate(a).sum(), (r, delta))
    assert_close(grad_r, a * (1 - g))
    assert_close(grad_delta, -a.sum(-1))
