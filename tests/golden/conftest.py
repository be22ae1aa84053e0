"""Reading of the golden numbers, and the little models they were made with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.checkpoint import load_component_tensors

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Case:
    """One golden case: its scalars and lists, and its tensors by name."""

    name: str
    data: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors `prefix/<name>` by name."""
        start = f"{prefix}/"
        return {key.removeprefix(start): v for key, v in self.tensors.items() if key.startswith(start)}

    def learnt(self, start: str = "") -> dict[str, Tensor]:
        """The tensors `<start>V/...`, `<start>U/...` and `<start>ci/...`, named as in a checkpoint."""
        found: dict[str, Tensor] = {}
        for kind in "VU":
            found |= {f"{kind}/{name}": value for name, value in self.group(f"{start}{kind}").items()}
        for key, value in self.group(f"{start}ci").items():
            # `layers.2.W` counts activations as layers; here the second weight is `weights.1`.
            module, _, parameter = key.partition("/layers.")
            number, kind = parameter.split(".")
            own = f"{'weights' if kind == 'W' else 'biases'}.{int(number) // 2}"
            found[f"importance/{module}/{own}"] = value
        return found


def _read(name: str) -> Case:
    weights = DATA / f"{name}.safetensors"
    data = json.loads((DATA / f"{name}.json").read_text())
    return Case(name, data, load_file(weights) if weights.exists() else {})


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Case]:
    """Reads a case by name."""
    return _read


@pytest.fixture
def component_model(golden: Callable[[str], Case]) -> Callable[[str], tuple[Case, ComponentModel]]:
    """Builds the component model of a case with all its weights."""

    def build(name: str) -> tuple[Case, ComponentModel]:
        case = golden(name)
        return case, golden_model(case)

    return build


def golden_model(case: Case) -> ComponentModel:
    """The case's target with the case's subcomponents and importance networks."""
    config = case.data["target_config"]
    target = TinyMLP(config) if config.get("kind") == "TinyMLP" else TinyLlama(config)
    target.load_state_dict(case.group("target"))
    importance = case.data["ci_config"]
    model = ComponentModel(
        target,
        ComponentsSettings(modules=tuple(ModulePattern(pattern=m, C=c) for m, c in case.data["modules"])),
        LayerwiseImportance(
            kind=importance["fn_type"],
            hidden=tuple(importance["hidden_dims"]),
            sigmoid=case.data["sigmoid_type"],
        ),
    )
    load_component_tensors(model, case.learnt(), case.name)
    return model


class TinyMLP(nn.Module):
    """fc2(relu(fc1(x)))."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config["d_in"], config["d_hidden"])
        self.fc2 = nn.Linear(config["d_hidden"], config["d_out"])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class TinyLlama(nn.Module):
    """Pre-norm decoder: RMS norms, rotary positions in half-split order, tanh-GELU, tied embeddings."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["n_embd"]
        self.wte = nn.Embedding(config["vocab_size"], width)
        self.h = nn.ModuleList(_Block(config) for _ in range(config["n_layer"]))
        self.ln_f = _RMSNorm(width, config["rms_norm_eps"])
        self.lm_head = nn.Linear(width, config["vocab_size"], bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.wte(tokens)
        for block in self.h:
            stream = block(stream)
        return self.lm_head(self.ln_f(stream))


class _Block(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.rms_1 = _RMSNorm(config["n_embd"], config["rms_norm_eps"])
        self.attn = _Attention(config)
        self.rms_2 = _RMSNorm(config["n_embd"], config["rms_norm_eps"])
        self.mlp = _MLP(config)

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attn(self.rms_1(stream))
        return stream + self.mlp(self.rms_2(stream))


class _RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


class _Attention(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["n_embd"]
        self.heads = config["n_head"]
        self.base = config["rotary_base"]
        self.shared = self.heads // config["n_key_value_heads"]
        assert not config["rotary_adjacent_pairs"]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            out = width // self.shared if name in ("k_proj", "v_proj") else width
            setattr(self, name, nn.Linear(width, out, bias=config["attn_bias"]))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            self.get_submodule(name)(x).view(batch, length, -1, width // self.heads).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        k, v = (each.repeat_interleave(self.shared, dim=1) for each in (k, v))
        mixed = F.scaled_dot_product_attention(self._rotated(q), self._rotated(k), v, is_causal=True)
        return self.get_submodule("o_proj")(mixed.transpose(1, 2).reshape(batch, length, width))

    def _rotated(self, x: Tensor) -> Tensor:
        length, width = x.shape[-2:]
        frequency = self.base ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency).repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        return x * angle.cos() + torch.cat((-second, first), dim=-1) * angle.sin()


class _MLP(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config["n_embd"], config["n_intermediate"], bias=config["mlp_bias"])
        self.down_proj = nn.Linear(config["n_intermediate"], config["n_embd"], bias=config["mlp_bias"])

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.c_fc(x), approximate="tanh"))
