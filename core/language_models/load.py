"""The one door to language models from elsewhere."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from core.errors import UsageError
from core.language_models.build import empty_language_model
from core.language_models.checkpoint_format import architecture
from core.language_models.published_runs import published_run
from core.language_models.settings import ArchitectureSettings
from core.language_models.smollm2 import find_smollm2
from core.language_models.sources import (
    CheckpointSource,
    ModelSource,
    PretrainedSource,
    SmolLM2Source,
    TransformersSource,
)
from core.language_models.transformers_models import load_transformers
from core.language_models.weights import fit_weights, read_safetensors, read_torch_file, weights_digest
from core.runs.wandb_runs import PREFIX
from core.settings import Settings, parse_settings, read_yaml, to_plain
from core.text.settings import TokenizerFile

TOKENIZER = "tokenizer.json"
_MARKS = {
    "pretrained": ("settings.yaml", "model.safetensors"),
    "checkpoint": ("model_config.yaml",),
    "transformers": ("config.json",),
}
"""The files by which a folder of each kind is known."""
_STEP = re.compile(r"model_step_(\d+)\.pt")
_EMBEDDINGS = ("wte.weight", "transformer.wte.weight", "model.embed_tokens.weight")


@dataclass(frozen=True)
class LoadedLanguageModel:
    """A language model that is ready to be explained."""

    model: nn.Module
    """`model(ids (B S)) -> logits (B S vocab)`, float32, on the CPU, frozen, in evaluation mode.

    Its modules and parameters have the names of the checkpoint it came from.
    """
    name: str
    """What to call it: the last part of its path or hub name."""
    context: int
    """Longest sequence in tokens."""
    vocabulary: int
    """Rows of the embedding; a tokenizer may use fewer ids."""
    tokenizer: TokenizerFile | None
    """Where the model's own tokenizer is; None if none came with it."""
    digest: str
    """Names architecture and weights; equal digests mean the same function."""
    folder: Path | None
    """The folder it was read from; None when it came from the hub."""


def load_language_model(source: ModelSource, root: Path) -> LoadedLanguageModel:
    """Load a model; what has to be downloaded from Weights & Biases is kept under `<root>/pretrained/`.

    Raises:
        UsageError: nothing there, of another kind, damaged, not supported, or out of reach without network.
    """
    if isinstance(source, SmolLM2Source):
        source = TransformersSource(path=str(find_smollm2()))
    if isinstance(source, TransformersSource):
        return _from_transformers(source)
    if isinstance(source, PretrainedSource):
        return _from_pretrained(source)
    return _from_checkpoint(source, root)


class _Header(Settings):
    """The part of a pretrained target's settings that shapes the model."""

    model: ArchitectureSettings
    """The architecture."""


def _from_transformers(source: TransformersSource) -> LoadedLanguageModel:
    place = Path(source.path).expanduser()
    if place.is_dir() and source.gguf_file is None:
        _check_kind(place, "transformers")
    model, config, tokenizer = load_transformers(source)
    shape = json.dumps(config, sort_keys=True, default=str)
    folder = place.parent if place.is_file() else place if place.is_dir() else None
    return LoadedLanguageModel(
        _frozen(model),
        place.stem if place.is_file() else place.resolve().name if folder else source.path,
        int(config["max_position_embeddings"]),
        model.get_input_embeddings().weight.shape[0],  # pyright: ignore
        tokenizer,
        weights_digest(model, shape),
        folder,
    )


def _from_pretrained(source: PretrainedSource) -> LoadedLanguageModel:
    folder = _folder(source.path, "pretrained")
    path = folder / "settings.yaml"
    settings = read_yaml(path).get("settings")
    if not isinstance(settings, dict) or "model" not in settings:
        raise UsageError(f"{path} has no settings.model.", "`spd pretrain` makes a folder that can be read.")
    header: _Header = parse_settings(_Header, {"model": settings["model"]}, str(path))
    shape = header.model
    weights_file = folder / "model.safetensors"
    weights = read_safetensors(weights_file)
    rows = next((len(weights[name]) for name in _EMBEDDINGS if name in weights), None)
    model = empty_language_model(shape if shape.vocabulary else shape.model_copy(update={"vocabulary": rows}))
    fit_weights(model, weights, str(weights_file))
    return _loaded(model, shape, folder)


def _from_checkpoint(source: CheckpointSource, root: Path) -> LoadedLanguageModel:
    there = source.path.startswith(PREFIX)
    folder = published_run(source.path, root) if there else _folder(source.path, "checkpoint")
    path = folder / "model_config.yaml"
    config = read_yaml(path)
    weights_file = _newest(folder)
    weights = read_torch_file(weights_file)
    shape = architecture(config, str(path), weights)
    model = empty_language_model(shape)
    fit_weights(model, weights, str(weights_file))
    return _loaded(model, shape, folder)


def _loaded(model: nn.Module, shape: ArchitectureSettings, folder: Path) -> LoadedLanguageModel:
    tokenizer = folder / TOKENIZER
    return LoadedLanguageModel(
        _frozen(model),
        folder.resolve().name,
        shape.context,
        next(len(value) for name, value in model.named_parameters() if name in _EMBEDDINGS),
        TokenizerFile(path=str(tokenizer)) if tokenizer.is_file() else None,
        weights_digest(model, json.dumps(to_plain(shape), sort_keys=True)),
        folder,
    )


def _frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)


def _newest(folder: Path) -> Path:
    """The weights of the highest step, in the folder or its `checkpoints/`."""
    files = [*folder.glob("*.pt"), *folder.glob("checkpoints/*.pt")]
    steps = {int(match[1]): file for file in files if (match := _STEP.fullmatch(file.name))}
    if not steps:
        raise UsageError(
            f"{folder} has no model_step_<N>.pt, neither there nor in checkpoints/.",
            "Put the weights of the run beside model_config.yaml.",
        )
    return steps[max(steps)]


def _folder(path: str, kind: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {path!r} to load a model from.",
            "Name one that exists with --set target.model.path=FOLDER.",
        )
    _check_kind(folder, kind)
    return folder


def _check_kind(folder: Path, kind: str) -> None:
    """Refuse a folder that lacks the files of its kind, and say which kind it is if it is another."""
    missing = [name for name in _MARKS[kind] if not (folder / name).is_file()]
    if not missing:
        return
    others = [other for other, marks in _MARKS.items() if all((folder / mark).is_file() for mark in marks)]
    raise UsageError(
        f"{folder} is not a model folder of kind {kind!r}: it lacks {' and '.join(missing)}.",
        f"It looks like one of kind {others[0]!r}: --set target.model.kind={others[0]}."
        if others
        else f"Needed: {', '.join(_MARKS[kind])} and the weights.",
    )
