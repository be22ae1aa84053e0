"""`core.decompose` on models the project does not know."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core import decompose
from core.decomposition.settings import DecompositionSettings, settings_from
from core.errors import UsageError


def settings(*patterns: str, **changes: Any) -> DecompositionSettings:
    data = {
        "components": {"modules": [{"pattern": pattern, "C": 12} for pattern in patterns]},
        "importance": {"kind": "vector_mlp", "hidden": [8]},
        "losses": {
            "faithfulness": {"kind": "faithfulness", "coeff": 1.0},
            "minimality": {"kind": "minimality", "coeff": 1e-4},
            "stochastic": {"kind": "reconstruction", "coeff": 1.0},
        },
        "training": {"steps": 100, "batch_size": 64, "lr": {"start": 1e-3}},
        "evaluation": {"every": 50, "figures_every": 50, "batches": 1},
    }
    return settings_from(data | changes, "test")


class SmallCNN(nn.Module):
    """A convolution, and a linear head that is what can be decomposed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def test_the_head_of_a_cnn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SmallCNN()
    x = torch.randn(16, 1, 8, 8)
    before = model(x)
    draws = [torch.randn(64, 1, 8, 8) for _ in range(5)]
    result = decompose(model, draws, settings("head"), distance="kl", out=tmp_path, device="cpu")
    assert result.summary["recovered"] is None
    assert result.summary["losses"]["faithfulness"] < 0.05
    assert result.model.sites["head"].V.shape == (144, 12)
    result.model.detach()
    assert model(x).equal(before)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_transformers_model_with_conv1d_and_token_ids(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)

    def batches(step: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(step)
        return {"input_ids": torch.randint(0, 50, (4, 8), generator=draw)}

    chosen = settings("transformer.h.*.mlp.c_fc", "transformer.h.*.attn.c_attn")
    result = decompose(model, batches, chosen, distance="kl", out=tmp_path, device="cpu")
    assert set(result.summary["live_components"]) == {
        "transformer.h.0.attn.c_attn",
        "transformer.h.0.mlp.c_fc",
    }
    first, last = (result.summary["losses"]["stochastic"], 1.0)
    assert 0 <= first < last


def test_the_example_in_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import core.decomposition.api as api

    lines = [line[4:] for line in (api.__doc__ or "").splitlines() if line.startswith("    ")]
    monkeypatch.chdir(tmp_path)
    code = "\n".join(lines).replace("500", "20")
    exec(compile(code, "example", "exec"), {})
    assert len(lines) <= 18
    assert list((tmp_path / "out" / "runs").iterdir())


def test_no_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batches is empty"):
        decompose(SmallCNN(), [], settings("head"), out=tmp_path)


def test_a_module_that_never_runs_is_refused(tmp_path: Path) -> None:
    model = SmallCNN()
    model.add_module("spare", nn.Linear(3, 3))
    with pytest.raises(UsageError, match=r"\['spare'\] did not run"):
        decompose(model, [torch.randn(4, 1, 8, 8)], settings("head", "spare"), out=tmp_path)
    assert not list((tmp_path / "runs").glob("*"))


def test_a_model_that_cannot_be_decomposed_is_given_back(tmp_path: Path) -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(UsageError, match="'0' runs more than once"):
        decompose(nn.Sequential(layer, layer), [torch.randn(8, 4)], settings("0"), out=tmp_path)
    assert "forward" not in vars(layer)


def test_modules_with_other_positions_are_refused(tmp_path: Path) -> None:
    class Pooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).mean(1))

    with pytest.raises(UsageError, match=r"'body' and 'head' see different positions, \(8, 5\) and \(8,\)"):
        decompose(Pooling(), [torch.randn(8, 5, 4)], settings("body", "head"), out=tmp_path)


def test_a_model_in_half_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'head' is torch.bfloat16.*model.float\(\)"):
        decompose(SmallCNN().bfloat16(), [torch.randn(4, 1, 8, 8)], settings("head"), out=tmp_path)
    assert not list((tmp_path / "runs").glob("*"))
