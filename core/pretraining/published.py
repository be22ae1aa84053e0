"""Finished pretrained targets on disk: a folder each, that appears whole and never changes after.

<root>/targets/<name>/settings.yaml      settings, seed, digest of the weights file
                      model.safetensors
                      tokenizer.json
                      metrics.jsonl      losses over training
                      samples.jsonl      what the model wrote meanwhile
                      summary.json       validation loss, entropy, size, time

`core.pretraining.naming` says what the name is made of.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import nn

from core.checked_weights import file_digest, load_checked_weights
from core.errors import SpdError, UsageError
from core.language_models.build import empty_language_model
from core.pretraining.checkpoint import plain_weights
from core.pretraining.naming import target_name
from core.pretraining.settings import SCHEMA_VERSION, PretrainSettings
from core.runs.directory import RunDirectory, targets_folder
from core.runs.files import new_folder, read_json, write_json
from core.settings import parse_settings, read_yaml, to_plain
from core.text.settings import CorpusSettings
from core.text.tokenizer import Tokenizer
from core.text.tokenizer_files import tokenizer_from

SETTINGS = "settings.yaml"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Pretrained:
    """A finished target, read from its folder."""

    model: nn.Module
    """In evaluation mode, on the CPU; its parameters do not require gradients."""
    tokenizer: Tokenizer
    settings: PretrainSettings
    folder: Path


def pretrained_folder(settings: PretrainSettings, root: Path) -> Path:
    """Where the target of these settings and of the text as it is now lies, once it is trained.

    Raises:
        UsageError: the text is not there.
    """
    return targets_folder(root) / target_name(settings)


def samples_file(run: RunDirectory) -> Path:
    """Where a training keeps what its model wrote."""
    return run.path / SAMPLES


def publish(
    folder: Path,
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: PretrainSettings,
    run: RunDirectory,
    summary: dict[str, Any],
) -> None:
    """Make the finished target at `folder`, in one rename, with the logs of the training in `run`.

    Raises:
        SpdError: it cannot be written.
    """
    with new_folder(folder) as temporary:
        weights = temporary / WEIGHTS
        save_file(plain_weights(model), weights)
        header = {
            "schema_version": SCHEMA_VERSION,
            "weights_sha256": file_digest(weights),
            "settings": to_plain(settings),
        }
        (temporary / SETTINGS).write_text(yaml.safe_dump(header, sort_keys=False), encoding="utf-8")
        tokenizer.save(temporary / TOKENIZER)
        shutil.copyfile(run.metrics, temporary / METRICS)
        shutil.copyfile(samples_file(run), temporary / SAMPLES)
        write_json(temporary / SUMMARY, summary)


def read_summary(folder: Path) -> dict[str, Any]:
    """The numbers of a finished target, with the path it lies at now.

    Raises:
        SpdError: the file is missing or damaged.
    """
    try:
        return {**read_json(folder / SUMMARY), "path": str(folder)}
    except UsageError as error:
        raise _damaged(folder / SUMMARY, error.message) from error


def restore_pretrained(folder: Path) -> Pretrained:
    """Read a finished target.

    Raises:
        UsageError: the folder is not one, or another version of spd wrote it.
        SpdError: a file in it is missing, cut short or changed since it was written.
    """
    settings, sha256 = _read_settings(folder)
    tokenizer = tokenizer_from(str(folder / TOKENIZER))
    model = empty_language_model(settings.model, tokenizer.vocabulary)
    load_checked_weights(model, folder / WEIGHTS, sha256, _damaged)
    model.eval().requires_grad_(False)
    return Pretrained(model, tokenizer, settings, folder)


def trained_corpus(folder: Path) -> CorpusSettings | None:
    """The corpus that the target in `folder` was trained on; None where its settings cannot be read."""
    try:
        return _read_settings(folder)[0].text.corpus
    except SpdError:
        return None


def _read_settings(folder: Path) -> tuple[PretrainSettings, str]:
    path = folder / SETTINGS
    if not path.is_file():
        raise UsageError(
            f"{folder} is not a pretrained target: it has no {SETTINGS}.", "`spd pretrain` makes one."
        )
    header = read_yaml(path)
    if header.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {header.get('schema_version')!r}; this spd reads {SCHEMA_VERSION}.",
            "Use the spd version that wrote it, or train it again with --restart.",
        )
    settings = parse_settings(PretrainSettings, header.get("settings"), str(path))
    return settings, str(header.get("weights_sha256"))


def _damaged(path: Path, reason: str) -> SpdError:
    return SpdError(
        f"the target's file {path} cannot be used: {reason}.",
        f"Delete the folder {path.parent}; the target is then trained again.",
    )
