"""Text that a model writes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from core.errors import UsageError
from core.language_models.build import build_language_model
from core.language_models.generate import generate
from core.language_models.settings import LlamaSimpleMLPSettings

BEGIN = torch.tensor([[1, 2], [3, 4]])


class Counter(nn.Module):
    """Of ten tokens likes best the next higher one, and each further one less by 1."""

    def forward(self, ids: Tensor) -> Tensor:
        return -((torch.arange(10) - (ids.unsqueeze(-1) + 1)) % 10).float()


def test_zero_temperature_takes_the_likeliest() -> None:
    assert generate(Counter(), BEGIN, 4, temperature=0).tolist() == [[1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8]]


def test_top_1_is_the_likeliest_at_any_temperature() -> None:
    assert torch.equal(generate(Counter(), BEGIN, 4, 100.0, top_k=1), generate(Counter(), BEGIN, 4, 0))


def test_top_k_draws_only_among_the_likeliest() -> None:
    begin = torch.zeros(200, 1, dtype=torch.long)
    drawn = generate(Counter(), begin, 1, temperature=1000.0, top_k=3)[:, 1]
    assert set(drawn.tolist()) == {1, 2, 3}
    assert len(set(generate(Counter(), begin, 1, temperature=1000.0)[:, 1].tolist())) == 10


def test_probabilities_are_those_of_the_divided_logits() -> None:
    begin = torch.zeros(20_000, 1, dtype=torch.long)
    drawn = generate(Counter(), begin, 1, temperature=2.0)[:, 1]
    expected = (-torch.tensor([9, *range(9)]).float() / 2).softmax(-1)
    torch.testing.assert_close(torch.bincount(drawn, minlength=10) / 20_000, expected, atol=0.015, rtol=0)


def model_of(context: int) -> nn.Module:
    return build_language_model(
        LlamaSimpleMLPSettings(vocabulary=20, context=context, layers=1, heads=2, width=8), 0
    )


@pytest.mark.parametrize("change", [lambda seed: seed, lambda seed: seed + 1])
def test_the_seed_decides(change: Callable[[int], int]) -> None:
    model = model_of(16)
    first, second = generate(model, BEGIN, 10, seed=5), generate(model, BEGIN, 10, seed=change(5))
    assert torch.equal(first, second) == (change(5) == 5)


def test_beyond_the_context_only_the_last_tokens_are_read() -> None:
    model = model_of(4)
    assert generate(model, BEGIN, 6, context=4).shape == (2, 8)
    with pytest.raises(UsageError, match="5 tokens do not fit"):
        generate(model, BEGIN, 6)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"ids": torch.zeros(1, 0, dtype=torch.long)}, "no token to continue"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"top_k": 0}, "top_k 0"),
    ],
)
def test_nonsense_is_refused(arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        generate(**{"model": Counter(), "ids": BEGIN, "n_tokens": 1, **arguments})  # type: ignore[arg-type]
