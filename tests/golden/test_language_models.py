"""The architectures against pinned logits and losses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.language_models.build import empty_language_model
from core.language_models.checkpoint_format import architecture

CASES = ("gpt2_simple", "llama_simple", "llama_simple_mlp", "llama_simple_mlp_fused_qkv")


@pytest.mark.parametrize("name", CASES)
def test_logits_and_loss(golden: Callable[[str], Any], name: str) -> None:
    case = golden(f"13_pretrain_{name}")
    settings = architecture(case.data["config"], case.name)
    model = empty_language_model(settings)
    model.load_state_dict(case.group("target"))
    with torch.no_grad():
        logits = model(case["tokens"])
    torch.testing.assert_close(logits, case["logits"], rtol=1e-4, atol=1e-5)
    loss = F.cross_entropy(logits.flatten(0, 1), case["targets"].flatten(), ignore_index=-1)
    assert loss.item() == pytest.approx(case.data["loss"], rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_names_of_parameters_and_their_tie(golden: Callable[[str], Any], name: str) -> None:
    case = golden(f"13_pretrain_{name}")
    model = empty_language_model(architecture(case.data["config"], case.name))
    assert set(model.state_dict()) == set(case.group("target"))
    assert model.get_parameter("lm_head.weight") is model.get_parameter("wte.weight")
