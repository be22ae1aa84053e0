"""Every compiled kernel against plain torch in double precision, and against itself on more threads."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from core import native


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def numbers(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.double().requires_grad_() for tensor in tensors]


def networks(a: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return (gelu(a.unsqueeze(-1) * w1 + b1) * w2).sum(-1) + b2


Networks = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def mlp_inputs(positions: tuple[int, ...], components: int, hidden: int) -> Networks:
    return (
        numbers(*positions, components, seed=0, scale=3.0),
        numbers(components, hidden, seed=1),
        numbers(components, hidden, seed=2),
        numbers(components, hidden, seed=3),
        numbers(components, seed=4),
    )


def mlp_gradients(inputs: Networks, grad_out: Tensor) -> tuple[Tensor, ...]:
    a, w1, b1, w2, _ = inputs
    return native.parallel_mlp_backward(a, w1, b1, w2, grad_out)


MLP_SHAPES = [((1,), 1, 1), ((7,), 3, 2), ((1300,), 20, 16), ((513,), 33, 5), ((3, 41), 17, 8), ((0,), 4, 3)]


@pytest.mark.parametrize(("positions", "components", "hidden"), MLP_SHAPES)
def test_parallel_mlp_matches_torch(positions: tuple[int, ...], components: int, hidden: int) -> None:
    inputs = mlp_inputs(positions, components, hidden)
    grad_out = numbers(*positions, components, seed=5)
    exact_inputs = leaves(*inputs)
    a, w1, b1, w2, b2 = exact_inputs
    exact = networks(a, w1, b1, w2, b2)
    exact_grads = torch.autograd.grad(exact, exact_inputs, grad_out.double())

    out = native.parallel_mlp_forward(*inputs)
    grads = mlp_gradients(inputs, grad_out)

    torch.testing.assert_close(out.double(), exact, rtol=2e-6, atol=5e-6)
    for measured, wanted in zip(grads, exact_grads, strict=True):
        assert measured.shape == wanted.shape
        torch.testing.assert_close(measured.double(), wanted, rtol=1e-5, atol=2e-4)


def test_parallel_mlp_gradients_are_as_accurate_as_torch_in_single_precision() -> None:
    inputs = mlp_inputs((4096,), 20, 16)
    grad_out = numbers(4096, 20, seed=5)
    exact_inputs, single_inputs = leaves(*inputs), [tensor.clone().requires_grad_() for tensor in inputs]
    exact = torch.autograd.grad(networks(*exact_inputs), exact_inputs, grad_out.double())
    single = torch.autograd.grad(networks(*single_inputs), single_inputs, grad_out)
    ours = mlp_gradients(inputs, grad_out)
    for measured, plain, wanted in zip(ours, single, exact, strict=True):
        error = (measured - wanted).abs().max()
        assert error <= 3 * (plain - wanted).abs().max() + 1e-6


def test_parallel_mlp_is_the_same_on_any_number_of_threads() -> None:
    inputs = mlp_inputs((1100,), 37, 6)
    grad_out = numbers(1100, 37, seed=5)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        grads = mlp_gradients(inputs, grad_out)
        results.append([native.parallel_mlp_forward(*inputs), *grads])
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_parallel_mlp_shows_a_nan_input() -> None:
    inputs = mlp_inputs((40,), 3, 4)
    inputs[0][7, 1] = float("nan")
    out = native.parallel_mlp_forward(*inputs)
    assert out[7, 1].isnan()
    assert int(out.isnan().sum()) == 1


def leaky_hard(pre: Tensor) -> tuple[Tensor, Tensor]:
    clamped = pre.clamp(0, 1)
    return clamped, torch.where(pre > 1, 1 + 0.01 * (pre - 1), clamped)


@pytest.mark.parametrize("size", [1, 7, 5000, 70_001])
def test_leaky_hard_matches_its_definition(size: int) -> None:
    pre = numbers(size, seed=0)
    pre[: min(size, 3)] = torch.tensor([0.0, 1.0, -0.0])[: min(size, 3)]
    grad_lower, grad_upper = numbers(size, seed=1), numbers(size, seed=2)
    lower, upper = native.leaky_hard_forward(pre)
    torch.testing.assert_close((lower, upper), leaky_hard(pre), rtol=1e-7, atol=0)
    leak = 0.01 * grad_lower.clamp(max=0)
    from_lower = torch.where((pre > 0) & (pre <= 1), grad_lower, torch.where(pre <= 0, leak, 0.0))
    from_upper = torch.where(
        (pre >= 0) & (pre <= 1), grad_upper, torch.where(pre > 1, 0.01 * grad_upper, 0.0)
    )
    close = torch.testing.assert_close
    close(native.leaky_hard_backward(pre, grad_lower, None), from_lower, rtol=1e-7, atol=0)
    close(native.leaky_hard_backward(pre, None, grad_upper), from_upper, rtol=1e-7, atol=0)
    close(
        native.leaky_hard_backward(pre, grad_lower, grad_upper), from_lower + from_upper, rtol=1e-6, atol=1e-9
    )
    assert not native.leaky_hard_backward(pre, None, None).any()


def test_uniform_is_a_pure_function_of_key_and_counter() -> None:
    draws = native.uniform((300, 40), key=11)
    assert torch.equal(draws, native.uniform((300, 40), key=11))
    assert torch.equal(draws.flatten()[123:], native.uniform((12_000 - 123,), key=11, offset=123))
    assert not torch.equal(draws, native.uniform((300, 40), key=12))
    assert draws.min() >= 0 and draws.max() < 1
    assert torch.equal(draws * 2**24, (draws * 2**24).round())


def test_uniform_moments_and_correlations_are_those_of_independent_draws() -> None:
    n = 1 << 20
    keys = [0, 1, 2, 3, 2**63, 2**64 - 1]
    streams = torch.stack([native.uniform((n,), key) for key in keys]).double() - 0.5
    standard_error = n**-0.5
    assert (streams.mean(1).abs() < 5 * standard_error / 12**0.5).all()
    assert ((streams.square().mean(1) - 1 / 12).abs() < 5 * standard_error * (1 / 180) ** 0.5).all()
    assert ((streams @ streams.T * 12 / n).fill_diagonal_(0).abs() < 5 * standard_error).all()
    for lag in (1, 2, 20, 4096):
        correlation = (streams[:, lag:] * streams[:, :-lag]).mean(1) * 12
        assert (correlation.abs() < 5 * standard_error).all()


@pytest.mark.parametrize("binomial", [False, True])
@pytest.mark.parametrize("with_delta", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (3, 700, 21), (1, 1), (40, 5000)])
def test_masked_acts_match_the_formula(shape: tuple[int, ...], with_delta: bool, binomial: bool) -> None:
    a, g, grad_out = numbers(*shape, seed=0), numbers(*shape, seed=1).sigmoid(), numbers(*shape, seed=2)
    delta_mask = numbers(*shape[:-1], seed=3).sigmoid() if with_delta else None
    r = native.uniform(shape, key=99, offset=17)
    if binomial:
        r = (r >= 0.5).float()
    a_leaf, g_leaf = leaves(a, g)
    mask = g_leaf + (1 - g_leaf) * r
    exact = a_leaf * (mask if delta_mask is None else mask - delta_mask.unsqueeze(-1))
    exact_grads = torch.autograd.grad(exact, (a_leaf, g_leaf), grad_out.double())

    out = native.masked_acts_forward(a, g, 99, 17, delta_mask, binomial)
    grads = native.masked_acts_backward(a, g, grad_out, 99, 17, delta_mask, binomial)

    torch.testing.assert_close(out.double(), exact, rtol=1e-6, atol=1e-6)
    for measured, wanted in zip(grads, exact_grads, strict=True):
        torch.testing.assert_close(measured.double(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("p", [0.4, 0.9, 1.0, 1.5, 2.0, 2.5])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("shape", [(4096, 20), (2, 333, 7), (1, 1), (70, 3000)])
def test_minimality_matches_the_formula(shape: tuple[int, ...], with_weights: bool, p: float) -> None:
    u = (numbers(*shape, seed=0) * 2 - 1).clamp(0, 1.01)
    weights = numbers(*shape[:-1], seed=1).abs() if with_weights else None
    grad_sums = numbers(shape[-1], seed=2)
    (leaf,) = leaves(u)
    powers = (leaf + 1e-12) ** p
    exact = (powers if weights is None else powers * weights.unsqueeze(-1)).flatten(0, -2).sum(0)
    (exact_grad,) = torch.autograd.grad(exact, leaf, grad_sums.double())

    torch.testing.assert_close(
        native.minimality_forward(u, weights, p, 1e-12).double(), exact, rtol=2e-6, atol=1e-9
    )
    grad = native.minimality_backward(u, weights, p, 1e-12, grad_sums)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=3e-6, atol=1e-9)


def test_elementwise_kernels_are_the_same_on_any_number_of_threads() -> None:
    a, g = numbers(3000, 41, seed=0), numbers(3000, 41, seed=1).sigmoid()
    delta_mask, grad = numbers(3000, seed=2).sigmoid(), numbers(3000, 41, seed=3)
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(
            [
                *native.leaky_hard_forward(a),
                native.leaky_hard_backward(a, grad, grad),
                native.uniform((3000, 41), 5),
                native.masked_acts_forward(a, g, 5, 0, delta_mask),
                *native.masked_acts_backward(a, g, grad, 5, 0, delta_mask),
                native.minimality_forward(g, delta_mask, 0.9, 1e-12),
                native.minimality_backward(g, delta_mask, 0.9, 1e-12, grad[0]),
            ]
        )
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))
