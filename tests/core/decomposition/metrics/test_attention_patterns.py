"""Attention patterns against attention written by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.components.component_model import ComponentModel
from core.decomposition.metrics import attention_patterns
from core.decomposition.metrics.attention_patterns import AttentionPatternsMetric
from core.decomposition.metrics.mask_modes import mode_masks
from core.errors import UsageError
from core.losses.context import LossContext, Measurement
from core.parallel import Ranks

Rotation = Callable[[Tensor, int], Tensor]


def turned(x: Tensor, position: int, adjacent: bool = False, base: float = 10000.0) -> Tensor:
    """One head's vector turned pair by pair."""
    out, width = x.clone(), len(x)
    for pair in range(width // 2):
        i, j = (2 * pair, 2 * pair + 1) if adjacent else (pair, pair + width // 2)
        angle = torch.tensor(position * base ** (-2 * pair / width))
        out[i] = x[i] * angle.cos() - x[j] * angle.sin()
        out[j] = x[j] * angle.cos() + x[i] * angle.sin()
    return out


def divergence_by_hand(
    target: tuple[Tensor, Tensor], masked: tuple[Tensor, Tensor], heads: int, groups: int, turn: Rotation
) -> float:
    """Mean over sequences, heads and rows of KL(target || masked), in loops."""
    total, rows = 0.0, 0
    width = target[0].shape[-1] // heads
    for sequence in range(target[0].shape[0]):
        for head in range(heads):
            shared = head // (heads // groups)
            for row in range(target[0].shape[1]):
                patterns: list[Tensor] = []
                for q, k in (target, masked):
                    query = turn(q[sequence, row, head * width : (head + 1) * width], row)
                    scores = [
                        query @ turn(k[sequence, at, shared * width : (shared + 1) * width], at)
                        for at in range(row + 1)
                    ]
                    patterns.append((torch.stack(scores) / width**0.5).softmax(0))
                total += float((patterns[0] * (patterns[0] / patterns[1]).log()).sum())
                rows += 1
    return total / rows


def check(context: LossContext, names: tuple[str, str], heads: int, groups: int, turn: Rotation) -> None:
    """Both kinds of masks at the attention module of two names, or of one that is fused."""
    metric = AttentionPatternsMetric()
    metric.check("attention", context.model.target, context.sites)
    found = {key: float(part.value) for key, part in metric.measure(context, "p").items()}
    for mode in ("ci", "stochastic"):
        outputs = context.run(mode_masks(context, mode, "p"))[1]
        sides = [tuple(side[name] for name in names) for side in (context.target.outputs, outputs)]
        if names[0] == names[1]:
            d = sides[0][0].shape[-1] // (heads + 2 * groups)
            sides = [side[0].split([heads * d, groups * d, groups * d], dim=-1)[:2] for side in sides]
        wanted = divergence_by_hand(sides[0], sides[1], heads, groups, turn)
        parent = names[0].rpartition(".")[0]
        assert found[f"{mode}/{parent}"] == pytest.approx(wanted, rel=1e-3)
        assert wanted > 1e-3, "the masks change the pattern"
    modules = [key for key in found if key.startswith("ci/")]
    assert found["ci"] == pytest.approx(sum(found[key] for key in modules) / len(modules))


@torch.no_grad()
@pytest.mark.parametrize("pairs", ["halves", "adjacent"])
def test_separate_projections_with_grouped_keys(
    make_llama: Any, decompose_modules: Any, language_context: Any, ids: Tensor, pairs: str
) -> None:
    model = decompose_modules(make_llama(rotary_pairs=pairs), "h.*.q_proj", "h.*.k_proj", "h.*.c_fc")
    names = ("h.1.attn.q_proj", "h.1.attn.k_proj")
    adjacent = pairs == "adjacent"
    check(language_context(model, ids[:2]), names, 4, 2, lambda x, at: turned(x, at, adjacent))


@torch.no_grad()
def test_fused_projections(
    make_llama: Any, decompose_modules: Any, language_context: Any, ids: Tensor
) -> None:
    model = decompose_modules(make_llama(fused_qkv=True), "h.*.c_attn")
    check(language_context(model, ids[:2]), ("h.0.attn.c_attn", "h.0.attn.c_attn"), 4, 2, turned)


@pytest.mark.slow
@torch.no_grad()
def test_transformers_models(decompose_modules: Any, language_context: Any, ids: Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    gpt2 = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=4)
    )
    names = ("transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_attn")
    model = decompose_modules(louder(gpt2), "*c_attn")
    check(language_context(model, ids[:2]), names, 4, 4, lambda x, at: x)
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    model = decompose_modules(louder(llama), "*q_proj", "*k_proj")
    prefix = "model.layers.0.self_attn"
    check(language_context(model, ids[:2]), (f"{prefix}.q_proj", f"{prefix}.k_proj"), 4, 2, turned)


def louder(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
    return model


@torch.no_grad()
def test_blocks_and_ranks_add_up(
    language_model: Any, language_context: Any, ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = AttentionPatternsMetric()
    whole = metric.measure(language_context(language_model, ids), "p")
    monkeypatch.setattr(attention_patterns, "BLOCK", 1)
    halves = [
        metric.measure(language_context(language_model, ids, ranks=Ranks(rank, 2)), "p") for rank in range(2)
    ]
    for key, part in whole.items():
        merged = Measurement.merged([half[key] for half in halves])
        assert (merged.count, float(merged.value)) == (part.count, pytest.approx(float(part.value), rel=1e-4))


def test_what_cannot_be_read_is_refused(language_model: ComponentModel, make_llama: Any) -> None:
    metric, model = AttentionPatternsMetric(), make_llama()
    with pytest.raises(UsageError, match="matches no decomposed module") as error:
        metric.check("attention", model, ["h.0.mlp.c_fc"])
    assert "Modules: h.0.mlp.c_fc" in str(error.value)
    with pytest.raises(UsageError, match=r"'h.0.attn' only 'h.0.attn.q_proj' is decomposed"):
        metric.check("attention", model, ["h.0.attn.q_proj", "h.0.mlp.c_fc"])
    strange = nn.ModuleDict({"attn": nn.ModuleDict({"c_attn": nn.Linear(4, 12)})})
    with pytest.raises(UsageError, match="does not say how many heads") as error:
        metric.check("attention", strange, ["attn.c_attn"])
    assert "`heads`" in str(error.value)
    AttentionPatternsMetric(heads=2).check("attention", strange, ["attn.c_attn"])
