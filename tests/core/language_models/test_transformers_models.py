"""Models of transformers: GPT-2 and Llama, from folders and from GGUF."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import UsageError
from core.language_models import transformers_models
from core.language_models.load import LoadedLanguageModel, load_language_model
from core.language_models.sources import SmolLM2Source, TransformersSource

IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(0))


def saved(folder: Path, family: str, tied: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    """A tiny random model of a family, saved as transformers does; the model."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        if family == "gpt2":
            model: Any = GPT2LMHeadModel(
                GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=4)
            )
        else:
            config = LlamaConfig(
                vocab_size=50,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=16,
                tie_word_embeddings=tied,
            )
            model = LlamaForCausalLM(config)
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0.1, 0.3)
    model = model.to(dtype).eval()
    model.save_pretrained(folder)
    return model


def load(path: Path | str, root: Path, **fields: Any) -> LoadedLanguageModel:
    return load_language_model(TransformersSource(path=str(path), **fields), root)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


@pytest.mark.parametrize("family", ["gpt2", "llama", "llama untied"])
def test_a_saved_model_comes_back(tmp_path: Path, family: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "tiny", family.split(maxsplit=1)[0], tied="untied" not in family)
    capfd.readouterr()
    loaded = load(tmp_path / "tiny", tmp_path)
    assert capfd.readouterr() == ("", "")
    with torch.no_grad():
        torch.testing.assert_close(logits(loaded.model), model(IDS).logits)
    assert (loaded.name, loaded.context, loaded.vocabulary) == ("tiny", 16, 50)
    assert loaded.tokenizer is None and loaded.folder == tmp_path / "tiny"
    assert [name for name, _ in loaded.model.named_modules()] == [name for name, _ in model.named_modules()]
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    with pytest.raises(UsageError, match="17 tokens do not fit the model, whose context is 16"):
        loaded.model(torch.zeros(1, 17, dtype=torch.long))


def test_half_precision_is_widened_without_loss(tmp_path: Path) -> None:
    model = saved(tmp_path, "llama", dtype=torch.bfloat16)
    loaded = load(tmp_path, tmp_path).model
    state = model.state_dict()
    assert all(torch.equal(value, state[name].float()) for name, value in loaded.state_dict().items())
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())


def test_digest_names_weights_and_configuration(tmp_path: Path) -> None:
    saved(tmp_path / "a", "llama")
    first = load(tmp_path / "a", tmp_path).digest
    assert load(tmp_path / "a", tmp_path).digest == first
    config = tmp_path / "a" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.1}))
    assert load(tmp_path / "a", tmp_path).digest != first


def test_damaged_weights(tmp_path: Path) -> None:
    saved(tmp_path, "gpt2")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"cannot load the model in .*Copy it again"):
        load(tmp_path, tmp_path)
    weights.unlink()
    with pytest.raises(UsageError, match="cannot load the model in "):
        load(tmp_path, tmp_path)


def test_weights_that_are_not_all_there(tmp_path: Path) -> None:
    saved(tmp_path, "llama")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 3}))
    with pytest.raises(UsageError, match=r"not all there: model.layers.2.\S+ is missing, and \d more"):
        load(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nobody/no-such-model", "from the Hugging Face hub: .*--set target.model.path=FOLDER"),
        ("no-such-model", "from the Hugging Face hub"),
        ("/no/such/folder", "there is no folder or .gguf file '/no/such/folder'"),
        ("./here", "there is no folder"),
        ("model.gguf", "there is no folder or .gguf file"),
    ],
)
def test_names_that_lead_nowhere(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        load(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"kind 'transformers': it lacks config.json"):
        load(tmp_path, tmp_path)
    with pytest.raises(UsageError, match=r"there is no file .*tiny.gguf"):
        load(tmp_path, tmp_path, gguf_file="tiny.gguf")


def test_gguf_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="pip install '.[gguf]'")
    (tmp_path / "tiny.gguf").write_bytes(b"no model")
    with pytest.raises(UsageError, match=r"cannot load the model in .*tiny.gguf"):
        load(tmp_path / "tiny.gguf", tmp_path)


def test_gguf_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"no model")
    monkeypatch.setattr(transformers_models, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs gguf and accelerate, .* `pip install 'spd\[gguf\]'`"):
        load(tmp_path / "tiny.gguf", tmp_path)


@pytest.mark.slow
def test_smollm2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from core.components.component_model import ComponentModel
    from core.components.importance import LayerwiseImportance
    from core.components.selection import ComponentsSettings, ModulePattern
    from core.decomposition.metrics.wrapping_error import logit_error
    from core.text.tokenizer_files import load_tokenizer

    loaded = load_language_model(SmolLM2Source(), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (loaded.vocabulary, loaded.context) == (49152, 8192)
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 134_515_008
    assert loaded.tokenizer is not None
    ids = torch.tensor([load_tokenizer(loaded.tokenizer).encode("The capital of France is the city of")])
    with torch.no_grad():
        best = loaded.model(ids)[0, -1].argmax().item()
    assert load_tokenizer(loaded.tokenizer).decode([int(best)]).strip() == "Paris"
    components = ComponentsSettings(modules=(ModulePattern(pattern="model.layers.12.mlp.up_proj", C=64),))
    model = ComponentModel(loaded.model, components, LayerwiseImportance(kind="mlp", hidden=(4,)))
    assert logit_error(model, ids).relative < 1e-5
