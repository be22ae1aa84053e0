"""Attention written out against torch's fused kernel."""

import torch
from torch.testing import assert_close

from core.language_models.attention import causal_mixture


def test_the_plain_formula_is_the_fused_one() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 17, 8, generator=draw).bfloat16().requires_grad_() for _ in range(3))
    plain = causal_mixture(q, k, v)
    wide = [x.detach().float().requires_grad_() for x in (q, k, v)]
    fused = causal_mixture(*wide)
    assert plain.dtype is torch.bfloat16
    assert_close(plain.float(), fused, rtol=2e-2, atol=2e-2)
    upstream = torch.randn(fused.shape, generator=draw)
    found = torch.autograd.grad(plain, [q, k, v], upstream.bfloat16())
    for grad, expected in zip(found, torch.autograd.grad(fused, wide, upstream), strict=True):
        assert_close(grad.float(), expected, rtol=5e-2, atol=5e-2)
