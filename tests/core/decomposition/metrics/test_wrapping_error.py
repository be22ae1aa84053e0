"""The wrapped model with everything switched on is the target."""

from typing import Any

import pytest
import torch

from core.components.component_model import ComponentModel
from core.components.importance import LayerwiseImportance
from core.components.masks import ExplicitMask
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.metrics.wrapping_error import logit_error
from core.errors import UsageError
from core.language_models.build import build_language_model
from core.language_models.settings import (
    ArchitectureSettings,
    GPT2Settings,
    GPT2SimpleSettings,
    LlamaSettings,
    LlamaSimpleMLPSettings,
    LlamaSimpleSettings,
)

SIZES: dict[str, Any] = {"vocabulary": 40, "context": 12, "layers": 2, "heads": 4, "width": 16}
CASES: dict[str, tuple[ArchitectureSettings, list[str]]] = {
    "gpt2_simple": (GPT2SimpleSettings(**SIZES), ["wte", "wpe", "h.*.attn.*_proj", "h.*.mlp.*"]),
    "llama_simple": (LlamaSimpleSettings(**SIZES, kv_heads=2), ["wte", "h.*.attn.?_proj", "h.*.mlp.*"]),
    "llama_simple_mlp": (
        LlamaSimpleMLPSettings(**SIZES, fused_qkv=True),
        ["h.*.attn.c_attn", "h.*.mlp.*", "lm_head"],
    ),
    "gpt2": (GPT2Settings(**SIZES), ["transformer.wte", "transformer.h.*.c_*"]),
    "llama": (LlamaSettings(**SIZES, kv_heads=2), ["model.embed_tokens", "model.layers.*_proj"]),
}
IDS = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(0))


def wrapped(settings: ArchitectureSettings, patterns: list[str]) -> ComponentModel:
    target = build_language_model(settings, 0)
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            if parameter.ndim == 1:  # norms of 1 and biases of 0 would hide mistakes
                parameter.add_(0.3 * torch.sin(torch.arange(len(parameter)) + len(name)))
            else:
                parameter.mul_(10)
    components = ComponentsSettings(modules=tuple(ModulePattern(pattern=p, C=7) for p in patterns))
    return ComponentModel(target, components, LayerwiseImportance(kind="mlp", hidden=(4,)))


@pytest.mark.parametrize("name", CASES)
def test_only_rounding_is_left(name: str) -> None:
    model = wrapped(*CASES[name])
    before = model.target(IDS)
    error = logit_error(model, IDS)
    assert error.absolute == pytest.approx(error.relative * before.abs().max().item())
    assert error.relative < 3e-6
    assert torch.equal(before, model.target(IDS))


@pytest.mark.parametrize("name", CASES)
def test_a_module_that_computes_something_else_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrapped(*CASES[name])
    site = next(site for site in model.sites.values() if site.kind != "embedding")
    forward: Any = site.module.forward
    passes: list[int] = []

    def worse_the_second_time(x: torch.Tensor) -> torch.Tensor:
        passes.append(1)
        return forward(x) * (1.0 if len(passes) == 1 else 1.001)

    monkeypatch.setattr(site.module, "forward", worse_the_second_time)
    assert logit_error(model, IDS).relative > 1e-5


@pytest.mark.parametrize(("name", "embedding"), [("gpt2_simple", "wte"), ("gpt2", "transformer.wte")])
def test_decomposing_the_embedding_leaves_the_tied_unembedding_alone(name: str, embedding: str) -> None:
    model = wrapped(CASES[name][0], [embedding])
    unembedding: Any = model.target.get_submodule("lm_head")
    assert unembedding.weight is model.target.get_parameter(f"{embedding}.weight")
    rest: list[torch.Tensor] = []
    unembedding.register_forward_hook(
        lambda module, args, output: rest.append(output - args[0] @ module.weight.T)
    )
    target = model.target_pass(IDS)
    masked, _ = model.masked_pass(IDS, {embedding: ExplicitMask(m=torch.zeros(3, 9, 7))})
    assert not torch.allclose(masked, target.output)
    assert len(rest) == 2 and all(part.abs().max() < 1e-4 for part in rest)


@pytest.mark.parametrize(
    ("name", "both"),
    [("llama_simple", ["wte", "lm_head"]), ("llama", ["model.embed_tokens", "lm_head"])],
)
def test_tied_embeddings_are_not_patched_twice(name: str, both: list[str]) -> None:
    with pytest.raises(UsageError, match="share one weight"):
        wrapped(CASES[name][0], both)
