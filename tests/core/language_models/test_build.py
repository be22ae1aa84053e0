"""Building language models: the weights they start from, and what is refused."""

import cmath
import copy
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import UsageError
from core.language_models.attention import Rotary
from core.language_models.build import build_language_model, check_vocabulary
from core.language_models.gpt2_simple import GPT2Simple
from core.language_models.settings import (
    ArchitectureSettings,
    GPT2Settings,
    GPT2SimpleSettings,
    LlamaSettings,
    LlamaSimpleMLPSettings,
    LlamaSimpleSettings,
)

SIZES: dict[str, Any] = {"vocabulary": 50, "context": 12, "layers": 2, "heads": 4, "width": 32}
GROUPED: dict[str, Any] = {**SIZES, "kv_heads": 2}
ALL: list[ArchitectureSettings] = [
    GPT2SimpleSettings(**SIZES),
    LlamaSimpleSettings(**GROUPED),
    LlamaSimpleMLPSettings(**GROUPED, rotary_pairs="adjacent", fused_qkv=True, mlp_bias=True),
    GPT2Settings(**SIZES),
    LlamaSettings(**GROUPED),
]
IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(0))

every_architecture = pytest.mark.parametrize("settings", ALL, ids=lambda settings: settings.kind)


@every_architecture
def test_weights_are_a_function_of_the_seed(settings: ArchitectureSettings) -> None:
    first, again, other = (build_language_model(settings, seed) for seed in (0, 0, 1))
    state, same, different = (model.state_dict() for model in (first, again, other))
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert all(not torch.equal(state[n], different[n]) for n in state if state[n].ndim > 1)


@every_architecture
def test_first_weights_have_the_intended_size(settings: ArchitectureSettings) -> None:
    model = build_language_model(settings, 0)
    residual = ("o_proj.weight", "down_proj.weight", "c_proj.weight")
    count = 0
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.full_like(weight, 0.0 if "bias" in name else 1.0)), name
            continue
        expected = 0.02 / 2 if name.endswith(residual) else 0.02  # two layers: sqrt(4) = 2
        count += name.endswith(residual)
        assert weight.std().item() == pytest.approx(expected, rel=0.12), name
    assert count == 4


@every_architecture
def test_logits_come_as_a_tensor_and_look_only_back(settings: ArchitectureSettings) -> None:
    model = build_language_model(settings, 0).eval()
    changed = IDS.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 50
    with torch.no_grad():
        logits, after = model(IDS), model(changed)
    assert logits.shape == (3, 9, 50) and logits.dtype == torch.float32
    torch.testing.assert_close(logits[:, :5], after[:, :5])
    assert (logits[:, 5:] - after[:, 5:]).abs().amax(dim=(0, 2)).min() > 0


@every_architecture
def test_a_copy_computes_with_its_own_weights(settings: ArchitectureSettings) -> None:
    model = build_language_model(settings, 0).eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = model(IDS)
        for parameter in twin.parameters():
            parameter.zero_()
        assert torch.equal(model(IDS), before)
        assert not twin(IDS).any()


@every_architecture
def test_longer_than_the_context_is_refused(settings: ArchitectureSettings) -> None:
    model = build_language_model(settings, 0)
    with pytest.raises(UsageError, match="13 tokens do not fit the model, whose context is 12"):
        model(torch.zeros(1, 13, dtype=torch.long))


@pytest.mark.parametrize("settings", ALL[:3], ids=lambda settings: settings.kind)
def test_bf16_autocast_runs(settings: ArchitectureSettings) -> None:
    model = build_language_model(settings, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(IDS).float().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("settings", ALL[:3], ids=lambda settings: settings.kind)
def test_attention_head_by_head(settings: ArchitectureSettings) -> None:
    attention: Any = build_language_model(settings, 3).get_submodule("h.0.attn")
    x = 5 * torch.randn(7, 32, generator=torch.Generator().manual_seed(1))
    if attention.fused:
        q, k, v = attention.c_attn(x).split(attention.splits, dim=-1)
    else:
        q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    shared_by = 4 // attention.groups
    mixed = torch.zeros(7, 32)
    for head in range(4):
        own, group = (
            slice(8 * head, 8 * head + 8),
            slice(8 * (head // shared_by), 8 * (head // shared_by) + 8),
        )
        turned_q, turned_k = q[:, own], k[:, group]
        if attention.rotary is not None:
            turned_q, turned_k = attention.rotary(turned_q), attention.rotary(turned_k)
        for position in range(7):
            scores = turned_k[: position + 1] @ turned_q[position] / 8**0.5
            mixed[position, own] = scores.softmax(0) @ v[: position + 1, group]
    torch.testing.assert_close(attention(x.unsqueeze(0))[0], attention.o_proj(mixed))


@pytest.mark.parametrize("pairs", [[(0, 2), (1, 3)], [(0, 1), (2, 3)]])
def test_rotary_turns_pairs_as_complex_numbers(pairs: list[tuple[int, int]]) -> None:
    x = torch.randn(1, 1, 5, 4, generator=torch.Generator().manual_seed(2))
    turned = Rotary(4, 8, 100.0, "halves" if pairs[0] == (0, 2) else "adjacent")(x)
    for position in range(5):
        for i, (first, second) in enumerate(pairs):
            angle = position * 100.0 ** (-2 * i / 4)
            number = complex(x[0, 0, position, first], x[0, 0, position, second]) * cmath.exp(1j * angle)
            assert turned[0, 0, position, first].item() == pytest.approx(number.real, abs=1e-5)
            assert turned[0, 0, position, second].item() == pytest.approx(number.imag, abs=1e-5)


def test_without_norms_nothing_is_normed() -> None:
    model = build_language_model(GPT2SimpleSettings(**SIZES, layer_norm=False), 0)
    assert isinstance(model, GPT2Simple)
    assert not any(isinstance(module, nn.LayerNorm) for module in model.modules())
    assert not any("ln_" in name for name in model.state_dict())
    assert model(IDS).isfinite().all()


def test_vocabulary_comes_from_the_tokenizer_when_the_settings_name_none() -> None:
    settings = GPT2SimpleSettings(**{**SIZES, "vocabulary": None})
    assert build_language_model(settings, 0, vocabulary=37).get_parameter("wte.weight").shape == (37, 32)
    with pytest.raises(UsageError, match="no tokenizer is known"):
        build_language_model(settings, 0)
    with pytest.raises(UsageError, match="the tokenizer has 51 ids, the model's embedding only 50"):
        build_language_model(GPT2SimpleSettings(**SIZES), 0, vocabulary=51)


def test_a_larger_embedding_than_the_tokenizer_needs_is_fine() -> None:
    check_vocabulary(50, 64)
    with pytest.raises(UsageError) as caught:
        check_vocabulary(65, 64)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"heads": 5}, "width 32 is not divisible by heads 5"),
        ({"kv_heads": 3}, "heads 4 is not divisible by kv_heads 3"),
        ({"heads": 32, "kv_heads": 1}, "head width 1 is odd"),
    ],
)
def test_heads_must_fit(changes: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LlamaSimpleSettings(**{**GROUPED, **changes})
