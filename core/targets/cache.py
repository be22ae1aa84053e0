"""Trained targets on disk, one folder each, named by a hash of everything that determines the weights.

    <out_dir>/targets/<kind>-<digest>/settings.yaml      settings, seed, digest of the weights file
                                      model.safetensors
                                      metrics.jsonl      one line per attempt, then the quality

A folder appears whole, by one rename, and never changes after. Of two processes that train the same target
the later one finds the folder there and reads it in place of writing its own.
"""

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import nn

from core.checked_weights import file_digest, load_checked_weights
from core.errors import SpdError
from core.runs.files import write_error
from core.settings import Settings, to_plain

SCHEMA_VERSION = 1
"""Part of every digest; raised when the same settings would train to other weights."""

SETTINGS_FILE = "settings.yaml"
WEIGHTS_FILE = "model.safetensors"
METRICS_FILE = "metrics.jsonl"

Json = dict[str, Any]


def target_digest(settings: Settings, seed: int) -> str:
    """Twelve hex digits that name the settings, the seed and the version of the training code."""
    named = json.dumps(_header(settings, seed), sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()[:12]


def target_folder(out_dir: Path, kind: str, digest: str) -> Path:
    """Where the target with this digest is kept."""
    return out_dir / "targets" / f"{kind}-{digest}"


def publish(folder: Path, model: nn.Module, settings: Settings, seed: int, metrics: list[Json]) -> None:
    """Write a trained target so that `folder` appears whole or not at all.

    If another process published the same target meanwhile, its folder stays and this one is dropped.

    Raises:
        SpdError: the folder cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        weights = temporary / WEIGHTS_FILE
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
        header = {"weights_sha256": file_digest(weights), **_header(settings, seed)}
        (temporary / SETTINGS_FILE).write_text(yaml.safe_dump(header, sort_keys=False), encoding="utf-8")
        lines = "".join(json.dumps(line) + "\n" for line in metrics)
        (temporary / METRICS_FILE).write_text(lines, encoding="utf-8")
        for path in temporary.iterdir():
            _sync(path)
        _rename_unless_there(temporary, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore(folder: Path, model: nn.Module, settings: Settings, seed: int) -> Json:
    """Read the weights of `folder` into `model` and return the last line of its metrics, the quality.

    Raises:
        SpdError: a file is missing, cut short or changed since it was written.
    """
    header = _read_header(folder / SETTINGS_FILE)
    weights_sha256 = header.pop("weights_sha256", None)
    if header != _header(settings, seed):
        raise _damaged(folder / SETTINGS_FILE, "its settings are not those in the folder's name")
    load_checked_weights(model, folder / WEIGHTS_FILE, weights_sha256, _damaged)
    metrics = folder / METRICS_FILE
    try:
        return json.loads(metrics.read_text(encoding="utf-8").splitlines()[-1])
    except OSError as error:
        raise _damaged(metrics, error.strerror or str(error)) from error
    except (ValueError, IndexError) as error:
        raise _damaged(metrics, "its last line is not JSON") from error


def _header(settings: Settings, seed: int) -> Json:
    return {"schema_version": SCHEMA_VERSION, "seed": seed, "settings": to_plain(settings)}


def _read_header(path: Path) -> Json:
    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _damaged(path, "it is not YAML") from error
    if not isinstance(header, dict):
        raise _damaged(path, "it is not a mapping")
    return header


def _damaged(path: Path, reason: str) -> SpdError:
    return SpdError(
        f"the cached target file {path} cannot be used: {reason}.",
        f"Delete the folder {path.parent}; the target is then trained again.",
    )


def _rename_unless_there(temporary: Path, folder: Path) -> None:
    try:
        # A folder cannot be renamed onto one that has files in it, so the first process to come wins.
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
        return
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
