"""Kernels that take float32 or bfloat16, against the same formulas in plain torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from core import native
from core.components.masks import ExplicitMask, NoiseKey, SourceMask, StochasticMask
from core.losses.context import distance_sum

DTYPES = [torch.float32, torch.bfloat16]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def tolerance(dtype: torch.dtype) -> float:
    return 1e-5 if dtype is torch.float32 else 1e-2


def gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    upstream = draw(*out.shape, seed=9).to(out.dtype) - 0.5
    return list(torch.autograd.grad(out, inputs, upstream, allow_unused=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "no delta"])
@pytest.mark.parametrize("shape", [(1, 1, 37), (1, 5, 37), (4, 5, 37)], ids=["shared", "by place", "own"])
def test_given_sources(shape: tuple[int, ...], delta: bool, dtype: torch.dtype) -> None:
    a, g, r = (draw(4, 5, 37, seed=1) - 0.5).to(dtype), draw(4, 5, 37, seed=2), draw(*shape, seed=3)
    inputs = [a.requires_grad_(), g.requires_grad_(), r.requires_grad_()]
    mask_delta = draw(4, 5, seed=4).requires_grad_() if delta else None
    inputs += [mask_delta] if mask_delta is not None else []
    out = SourceMask(g, r, mask_delta).gate(a)
    wide = [value.detach().double().requires_grad_() for value in inputs]
    mask = wide[1] + (1 - wide[1]) * wide[2]
    exact = ExplicitMask(mask, wide[3] if delta else None).gate(wide[0])
    assert out.dtype == dtype
    assert_close(out.double(), exact, rtol=tolerance(dtype), atol=tolerance(dtype))
    found = gradients(out, inputs)
    upstream = draw(*out.shape, seed=9).to(dtype).double() - 0.5
    expected = torch.autograd.grad(exact, wide, upstream)
    for value, reference in zip(found, expected, strict=True):
        assert value.shape == reference.shape
        assert_close(value.double(), reference, rtol=2e-2 if dtype is torch.bfloat16 else 1e-5, atol=1e-2)


def test_gradients_of_constants_are_not_made() -> None:
    a, g, r = draw(6, 8), draw(6, 8, seed=1), draw(1, 8, seed=2).requires_grad_()
    (grad,) = torch.autograd.grad(SourceMask(g, r).gate(a).sum(), [r])
    assert_close(grad, (a * (1 - g)).sum(0, keepdim=True))
    made = native.source_acts_backward(
        a, g, r.detach().reshape(-1), None, torch.ones_like(a), (False, False, False, False)
    )
    assert made == (None, None, None, None)


@pytest.mark.parametrize("binomial", [False, True])
def test_random_sources_in_bfloat16_are_those_of_float32(binomial: bool) -> None:
    a, g, delta = draw(50, 33).bfloat16(), draw(50, 33, seed=1), draw(50, seed=2)
    key = NoiseKey(3, "masks", (7,))
    half = a.clone().requires_grad_()
    single = a.float().requires_grad_()
    halves = StochasticMask(g, key, delta, None, binomial).gate(half)
    singles = StochasticMask(g, key, delta, None, binomial).gate(single)
    assert halves.dtype is torch.bfloat16
    assert_close(halves, singles.bfloat16(), rtol=0, atol=0)
    halves.sum().backward()
    singles.sum().backward()
    assert half.grad is not None and single.grad is not None
    assert_close(half.grad, single.grad.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_divergence(dtype: torch.dtype) -> None:
    q, t = 8 * draw(3, 7, 501).to(dtype), 8 * draw(3, 7, 501, seed=1).to(dtype)
    q.requires_grad_()
    total, count = distance_sum(q, t, "kl")
    wide = q.detach().double().requires_grad_()
    log_p, log_q = F.log_softmax(t.double(), -1), F.log_softmax(wide, -1)
    exact = F.kl_div(log_q, log_p, log_target=True, reduction="sum")
    assert count == 21
    assert total.dtype is torch.float32
    assert_close(total.double(), exact, rtol=1e-5, atol=1e-5)
    (found,) = torch.autograd.grad(3 * total, [q])
    (expected,) = torch.autograd.grad(3 * exact, [wide])
    assert found.dtype == dtype
    assert_close(found.double(), expected, rtol=1e-2 if dtype is torch.bfloat16 else 1e-4, atol=1e-6)


def test_divergence_from_itself_is_nothing_and_spoilt_logits_are_seen() -> None:
    t = 20 * draw(4, 1000)
    assert distance_sum(t, t, "kl")[0].abs() < 1e-5
    spoilt = t.clone()
    spoilt[2, 3] = torch.nan
    assert not distance_sum(spoilt, t, "kl")[0].isfinite()


def test_threads_do_not_change_a_bit() -> None:
    a, g, r = draw(2000, 40).requires_grad_(), draw(2000, 40, seed=1), draw(1, 40, seed=2).requires_grad_()
    q, t = (8 * draw(400, 300)).requires_grad_(), 8 * draw(400, 300, seed=5)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = SourceMask(g, r).gate(a)
            kl = distance_sum(q, t, "kl")[0]
            results.append(
                (out, *torch.autograd.grad(out.square().sum(), [a, r]), kl, *torch.autograd.grad(kl, [q]))
            )
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)
