"""No test of language models may reach for a network."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub counts as out of reach, and nobody is logged in at Weights & Biases."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def global_generator_untouched() -> Iterator[None]:
    """Whatever is built or loaded, nobody else's random numbers change."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())
