"""Squashing functions and their gradients against golden numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.components.sigmoids import SigmoidKind, leaky_hard, lower_leaky_hard, squash, upper_leaky_hard

RTOL, ATOL = 1e-4, 1e-5


def check(case: Any, name: str, function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    x = case["x"].to(dtype, copy=True).requires_grad_(True)
    y = function(x)
    y.backward(case["grad_out"].to(dtype))
    assert x.grad is not None
    assert_close(y.detach().float(), case[f"{name}.y"], rtol=RTOL, atol=ATOL)
    assert_close(x.grad.float(), case[f"{name}.grad_x"], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["normal", "hard", "upper_leaky_hard", "swish_hard"])
def test_a_single_function_serves_both_branches(golden: Any, name: SigmoidKind, dtype: torch.dtype) -> None:
    case = golden("01_sigmoids")
    check(case, name, lambda x: squash(x, name)[0], dtype)
    check(case, name, lambda x: squash(x, name)[1], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_separate_functions(golden: Any, dtype: torch.dtype) -> None:
    case = golden("01_sigmoids")
    check(case, "leaky_hard", leaky_hard, dtype)
    check(case, "lower_leaky_hard", lower_leaky_hard, dtype)
    check(case, "upper_leaky_hard", upper_leaky_hard, dtype)


# float32 goes through the compiled kernel, float64 through torch.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "torch"])
def test_the_leaky_hard_pair(golden: Any, dtype: torch.dtype) -> None:
    case = golden("01_sigmoids")
    check(case, "lower_leaky_hard", lambda x: squash(x, "leaky_hard")[0], dtype)
    check(case, "upper_leaky_hard", lambda x: squash(x, "leaky_hard")[1], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "torch"])
def test_gradients_of_the_leaky_hard_pair_add_up(golden: Any, dtype: torch.dtype) -> None:
    case = golden("01_sigmoids")
    x = case["x"].to(dtype, copy=True).requires_grad_(True)
    lower, upper = squash(x, "leaky_hard")
    torch.autograd.backward((lower, upper), (case["grad_out"].to(dtype), case["grad_out"].to(dtype)))
    assert x.grad is not None
    both = case["lower_leaky_hard.grad_x"] + case["upper_leaky_hard.grad_x"]
    assert_close(x.grad.float(), both, rtol=RTOL, atol=ATOL)


def test_jitter_reaches_the_lower_branch_only(golden: Any) -> None:
    case = golden("01_sigmoids")
    x = case["x"]
    lower, upper = squash(torch.full_like(x, 0.5), "leaky_hard", jittered=x)
    assert_close(lower, case["lower_leaky_hard.y"], rtol=RTOL, atol=ATOL)
    assert_close(upper, torch.full_like(x, 0.5))
