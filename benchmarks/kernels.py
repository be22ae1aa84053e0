"""Time every compiled kernel against the same formula in plain torch, in one run.

    python benchmarks/kernels.py [--threads N] [--repeats N]

Both sides do a forward and a backward pass on the same tensors, alternating, and the best of the repeats
counts. One thread is timed by its own CPU seconds, so that other work on the machine does not disturb it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu

from core import native


@dataclass(frozen=True)
class Case:
    """One kernel at one size: two ways to do the same work on `elements` numbers."""

    name: str
    elements: int
    kernel: Callable[[], object]
    plain: Callable[[], object]


def mlp_case(rows: int, components: int, hidden: int) -> Case:
    """The per-component importance networks; an element is one hidden unit of one component in one row."""
    a, grad = torch.randn(rows, components), torch.randn(rows, components)
    w1, b1, w2 = (torch.randn(components, hidden) for _ in range(3))
    b2 = torch.randn(components)
    leaves = [tensor.clone().requires_grad_() for tensor in (a, w1, b1, w2, b2)]

    def kernel() -> None:
        native.parallel_mlp_forward(a, w1, b1, w2, b2)
        native.parallel_mlp_backward(a, w1, b1, w2, grad)

    def plain() -> None:
        x, p1, q1, p2, q2 = leaves
        out = torch.einsum("nch,ch->nc", gelu(x.unsqueeze(-1) * p1 + q1), p2) + q2
        torch.autograd.grad(out, leaves, grad)

    return Case(f"parallel_mlp N={rows} C={components} H={hidden}", rows * components * hidden, kernel, plain)


def leaky_hard_case(rows: int, components: int) -> Case:
    """Both sigmoids; the plain side lets autograd clamp, which is cheaper than the real backward rule."""
    pre, grad = torch.randn(rows, components), torch.randn(rows, components)
    leaf = pre.clone().requires_grad_()

    def kernel() -> None:
        native.leaky_hard_forward(pre)
        native.leaky_hard_backward(pre, grad, grad)

    def plain() -> None:
        lower = leaf.clamp(0, 1)
        upper = torch.where(leaf > 1, 1 + 0.01 * (leaf - 1), lower)
        torch.autograd.grad([lower, upper], leaf, [grad, grad])

    return Case(f"leaky_hard N={rows} C={components}", rows * components, kernel, plain)


def masked_acts_case(rows: int, components: int) -> Case:
    """Noise, mask and product with the component activations."""
    a, g, grad = (torch.rand(rows, components) for _ in range(3))
    delta_mask = torch.rand(rows)
    leaves = [a.clone().requires_grad_(), g.clone().requires_grad_()]

    def kernel() -> None:
        native.masked_acts_forward(a, g, 3, 0, delta_mask)
        native.masked_acts_backward(a, g, grad, 3, 0, delta_mask)

    def plain() -> None:
        x, importance = leaves
        r = torch.rand(rows, components)
        out = x * (importance + (1 - importance) * r - delta_mask.unsqueeze(-1))
        torch.autograd.grad(out, leaves, grad)

    return Case(f"masked_acts N={rows} C={components}", rows * components, kernel, plain)


def minimality_case(rows: int, components: int, p: float) -> Case:
    """Sum over rows of the p-th power."""
    u, grad_sums = torch.rand(rows, components), torch.rand(components)
    leaf = u.clone().requires_grad_()

    def kernel() -> None:
        native.minimality_forward(u, None, p, 1e-12)
        native.minimality_backward(u, None, p, 1e-12, grad_sums)

    def plain() -> None:
        torch.autograd.grad(((leaf + 1e-12) ** p).sum(0), leaf, grad_sums)

    return Case(f"minimality N={rows} C={components} p={p}", rows * components, kernel, plain)


def best_seconds(
    functions: list[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> list[float]:
    """Best time of each function, taking turns."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for index, function in enumerate(functions):
            start = clock()
            function()
            best[index] = min(best[index], clock() - start)
    return best


def interleaved(threads: int, repeats: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of the MLP kernel alone and right after a torch matrix product on the same threads.

    torch's own threads keep spinning for a while after a parallel region; this shows what that costs.
    """
    kernel = mlp_case(4096, 200, 16).kernel
    x: Tensor = torch.randn(4096, 200)
    w = torch.randn(200, 200)
    alone, after = [], []
    for _ in range(repeats):
        start = clock()
        kernel()
        alone.append(clock() - start)
        _ = x @ w
        start = clock()
        kernel()
        after.append(clock() - start)
    print(f"after a {threads}-thread torch product the MLP kernel takes ", end="")
    return sorted(alone)[repeats // 2], sorted(after)[repeats // 2]


def main() -> None:
    """Print one line a kernel: nanoseconds per element on both sides, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    cases = [
        mlp_case(4096, 20, 16),
        mlp_case(4096, 200, 16),
        mlp_case(1300, 500, 128),
        leaky_hard_case(4096, 200),
        masked_acts_case(4096, 200),
        masked_acts_case(4096, 20),
        minimality_case(4096, 200, 0.9),
        minimality_case(4096, 200, 2.0),
    ]
    print(f"{'kernel, forward and backward':44}{'ours ns':>10}{'torch ns':>10}{'ratio':>8}")
    for case in cases:
        ours, plain = best_seconds([case.kernel, case.plain], options.repeats, clock)
        scale = 1e9 / case.elements
        print(f"{case.name:44}{ours * scale:10.3f}{plain * scale:10.3f}{plain / ours:7.1f}x")
    if options.threads > 1:
        alone, after = interleaved(options.threads, 2 * options.repeats, clock)
        print(f"{after * 1e3:.2f} ms, alone {alone * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
