"""Neuron contributions of target and subcomponents."""

import pytest
import torch
from torch import Tensor

from core.decomposition.metrics.neuron_contributions import agree, neuron_contributions

F, D, NEURONS = 6, 8, 5


def network(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """embed, mlp_in, mlp_out, unembed with orthonormal feature directions."""
    source = torch.Generator().manual_seed(seed)
    embed = torch.linalg.qr(torch.randn(D, D, generator=source, dtype=torch.float64)).Q[:F].contiguous()
    mlp_in = torch.randn(NEURONS, F, generator=source, dtype=torch.float64) @ embed
    mlp_out = torch.randn(D, NEURONS, generator=source, dtype=torch.float64)
    return embed, mlp_in, mlp_out, embed.T


def test_target_follows_the_definition() -> None:
    embed, mlp_in, mlp_out, unembed = network()
    found = neuron_contributions(embed, mlp_in, mlp_out, unembed, torch.zeros(D, 2), torch.zeros(2, NEURONS))
    for f in range(F):
        for n in range(NEURONS):
            expected = (embed[f] @ mlp_in[n]) * (mlp_out[:, n] @ unembed[:, f])
            assert float(found.target[f, n]) == pytest.approx(float(expected))
    assert float(found.summed.abs().max()) == 0


def test_one_subcomponent_a_feature_lies_on_the_diagonal() -> None:
    embed, mlp_in, mlp_out, unembed = network()
    order = torch.tensor([3, 1, 0, 5, 2, 4])
    V, U = embed.T[:, order], (embed @ mlp_in.T)[order] * 1.02
    found = neuron_contributions(embed, mlp_in, mlp_out, unembed, V, U)
    assert order[found.best].tolist() == list(range(F))
    assert found.agreement.pearson == pytest.approx(1)
    assert found.agreement.slope == pytest.approx(1.02)
    torch.testing.assert_close(found.summed, found.matched)


def test_best_is_the_longest_row_among_live_or_the_one_chosen() -> None:
    embed, mlp_in, mlp_out, unembed = network()
    source = torch.Generator().manual_seed(1)
    V, U = torch.randn(D, 7, generator=source).double(), torch.randn(7, NEURONS, generator=source).double()
    back = (mlp_out.T @ unembed).T
    rows = torch.einsum("fd,dc,cn,fn->fcn", embed, V, U, back)
    found = neuron_contributions(embed, mlp_in, mlp_out, unembed, V, U)
    best = rows.norm(dim=2).argmax(dim=1)
    assert torch.equal(found.best, best)
    torch.testing.assert_close(found.matched, rows[torch.arange(F), best])
    live = torch.zeros(7, dtype=torch.bool)
    live[4] = True
    assert neuron_contributions(embed, mlp_in, mlp_out, unembed, V, U, live=live).best.tolist() == [4] * F
    chosen = torch.arange(F)
    found = neuron_contributions(embed, mlp_in, mlp_out, unembed, V, U, chosen=chosen)
    torch.testing.assert_close(found.matched, rows[chosen, chosen])


def test_agreement_has_an_intercept_and_survives_constants() -> None:
    x = torch.tensor([0.0, 1.0, 2.0])
    fit = agree(x, 3 * x + 7)
    assert (fit.pearson, fit.slope) == (pytest.approx(1), pytest.approx(3))
    assert agree(x, -x).pearson == pytest.approx(-1)
    assert agree(x, torch.ones(3)).slope == 0
    assert agree(torch.ones(3), x).pearson == 0
