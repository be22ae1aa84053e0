"""Divergence from logits: the plain form in blocks against the textbook's, and against the kernel."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from core import native
from core.losses import divergence
from core.losses.divergence import divergence_sum


def logits(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (6 * torch.randn(3, 5, 41, generator=torch.Generator().manual_seed(seed))).to(dtype)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "usable_stored", lambda tensor: False)
    monkeypatch.setattr(divergence, "BLOCK", 41 * 4)  # blocks of 4 positions, the last one not full


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_blocks_follow_the_definition(plain: None, dtype: torch.dtype) -> None:
    q, t = logits(0, dtype).requires_grad_(), logits(1, dtype)
    wide = q.detach().double().requires_grad_()
    log_p, log_q = F.log_softmax(t.double(), -1), F.log_softmax(wide, -1)
    exact = F.kl_div(log_q, log_p, log_target=True, reduction="sum")
    total = divergence_sum(q, t)
    assert_close(total.double(), exact, rtol=1e-5, atol=1e-5)
    (grad,) = torch.autograd.grad(0.7 * total, [q])
    (expected,) = torch.autograd.grad(0.7 * exact, [wide])
    assert grad.dtype is dtype
    assert_close(grad.double(), expected, rtol=1e-2 if dtype is torch.bfloat16 else 1e-4, atol=1e-5)


def test_a_block_more_or_less_changes_nothing_but_rounding(
    plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = divergence_sum(logits(0), logits(1))
    monkeypatch.setattr(divergence, "BLOCK", 1 << 20)
    assert_close(divergence_sum(logits(0), logits(1)), one, rtol=1e-6, atol=0)


def test_two_types_of_logits_are_compared_in_float32() -> None:
    mixed = divergence_sum(logits(0), logits(1, torch.bfloat16))
    assert_close(mixed, divergence_sum(logits(0), logits(1, torch.bfloat16).float()), rtol=0, atol=0)
