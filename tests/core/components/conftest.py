"""Small targets of every kind of module."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class Branching(nn.Module):
    """Tokens through an embedding, a norm and two linear layers, the second after a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(11, 6)
        self.norm = nn.LayerNorm(6)
        self.up = nn.Linear(6, 8)
        self.down = nn.Linear(8, 6, bias=False)
        self.head = nn.Linear(6, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.emb(tokens)
        stream = stream + self.down(torch.tanh(self.up(self.norm(stream))))
        return self.head(stream)


@pytest.fixture
def branching() -> Callable[[], Branching]:
    """Makes the target; equal calls give equal weights."""

    def make() -> Branching:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Branching()

    return make


@pytest.fixture
def tokens() -> Tensor:
    """Inputs of the target, (3 5)."""
    return torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(1))
