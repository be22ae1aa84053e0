"""Bringing in decompositions that were published in the file layout of the SPD paper's authors.

Such a run is a folder with `final_config.yaml`, one or more `model_<step>.pth` and the training settings of
its target, or the same files at Weights & Biases. It becomes a finished run of our own: settings, manifest,
one checkpoint, and the target's weights in the target cache. Everything is read and checked before the
first file is written.
"""

import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from core.components.component_model import ComponentModel
from core.decomposition.checkpoint import component_tensors, load_component_tensors, save_checkpoint
from core.decomposition.imports_settings import imported_settings, target_config_name
from core.decomposition.imports_wandb import fetch_run, is_wandb_reference
from core.decomposition.imports_weights import (
    imported_component_tensors,
    imported_target_tensors,
    renamed_state,
    weights_digest,
)
from core.decomposition.settings import DecompositionSettings
from core.errors import UsageError
from core.runs.directory import RunDirectory, new_run_id, runs_folder
from core.runs.files import ensure_writable, new_folder, write_text
from core.runs.manifest import new_manifest
from core.settings import read_yaml, to_yaml
from core.targets.cache import publish, target_digest, target_folder
from core.targets.residual_mlp import ResidualMLP, ResidualMLPSettings
from core.targets.target import freeze
from core.targets.toy_superposition import ToySuperposition, ToySuperpositionSettings

CONFIG_FILE = "final_config.yaml"
_CHECKPOINT = re.compile(r"model_(\d+)\.pth")


@dataclass(frozen=True)
class _Source:
    """The files of a run to be imported."""

    origin: str
    """What the manifest says it was imported from."""
    folder: Path
    weights: Path


@dataclass(frozen=True)
class _Imported:
    """A run that was read and found consistent."""

    origin: str
    settings: DecompositionSettings
    target: nn.Module
    model: ComponentModel
    step: int


def import_run(source: str, root: Path) -> Path:
    """Import a run into `root` and return the folder of the new run.

    `source` is a folder, a `.pth` file in one, or `wandb:entity/project/run_id`.

    Raises:
        UsageError: nothing there, a file that is missing, damaged or not understood, a kind of run that
            is not supported, or (for Weights & Biases) no key or no network; nothing is left on disk.
        SpdError: the run could not be written; nothing is left on disk.
    """
    ensure_writable(runs_folder(root))
    with _located(source) as files:
        imported = _read(files)
    return _write(imported, root)


@contextmanager
def _located(source: str) -> Iterator[_Source]:
    if not is_wandb_reference(source):
        yield _local(Path(source).expanduser().absolute())
        return
    with TemporaryDirectory(prefix="spd-import-") as folder:
        origin = fetch_run(source, Path(folder))
        found = _local(Path(folder))
        yield _Source(origin, found.folder, found.weights)


def _local(path: Path) -> _Source:
    if path.is_file():
        return _Source(str(path), path.parent, path)
    if not path.is_dir():
        raise UsageError(f"there is nothing at {path}.", "Give the run's folder or its model_<step>.pth.")
    steps = {int(match[1]): file for file in path.iterdir() if (match := _CHECKPOINT.fullmatch(file.name))}
    if not steps:
        raise UsageError(
            f"{path} holds no model_<step>.pth.", f"Give the folder that has it beside its {CONFIG_FILE}."
        )
    return _Source(str(path), path, steps[max(steps)])


def _read(source: _Source) -> _Imported:
    config = read_yaml(_existing(source.folder / CONFIG_FILE))
    origin = f"{source.origin} ({CONFIG_FILE})"
    target_config = read_yaml(_existing(source.folder / target_config_name(config, origin)))
    state = renamed_state(_load(source.weights), str(source.weights))
    draft = imported_settings(config, target_config, None, origin)
    target = _empty_target(draft)
    tensors = imported_target_tensors(state, str(source.weights))
    try:
        target.load_state_dict(tensors)
    except RuntimeError as error:
        raise UsageError(f"the target in {source.weights} does not fit its settings: {error}.") from error
    settings = imported_settings(config, target_config, weights_digest(tensors), origin)
    ties = _ties(settings, target, str(source.weights))
    model = ComponentModel(freeze(target), settings.components, settings.importance, ties, seed=settings.seed)
    learnt = imported_component_tensors(state, model, settings.components)
    _load_components(model, learnt, str(source.weights))
    match = _CHECKPOINT.fullmatch(source.weights.name)
    step = int(match[1]) if match else settings.training.steps
    return _Imported(source.origin, settings, target, model, step)


def _write(imported: _Imported, root: Path) -> Path:
    """The target first, then the run: a run that is there can be opened."""
    settings = imported.settings
    assert settings.target is not None
    digest = target_digest(settings.target, settings.seed)
    cached = target_folder(root, settings.target.kind, digest)
    known = cached.exists()
    if not known:
        note = {"step": 0, "kind": "imported", "attempt": 0, "note": f"imported from {imported.origin}"}
        imported.model.detach()
        publish(cached, imported.target, settings.target, settings.seed, [note])
    run = RunDirectory(runs_folder(root) / new_run_id())
    try:
        with new_folder(run.path) as temporary:
            _fill(RunDirectory(temporary), run.run_id, imported)
    except BaseException:
        if not known:
            shutil.rmtree(cached, ignore_errors=True)
        raise
    return run.path


def _fill(run: RunDirectory, run_id: str, imported: _Imported) -> None:
    settings = imported.settings
    manifest = new_manifest(
        run_id=run_id,
        settings_digest=settings.digest(),
        seed=settings.seed,
        status="finished",
        step=imported.step,
        steps=settings.training.steps,
        imported_from=imported.origin,
    )
    write_text(run.settings, to_yaml(settings))
    manifest.write(run.manifest)
    save_checkpoint(run, imported.step, imported.model, None, keep=1)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is missing.", f"A run needs its {path.name} beside its model_<step>.pth.")
    return path


def _load(path: Path) -> Mapping[str, Tensor]:
    try:
        # Weights only: a file from elsewhere must not be able to run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} is not a state dict: it must map names to tensors.")
    return {str(name): value for name, value in state.items()}


def _damaged(path: Path, error: Exception) -> UsageError:
    reason = str(error).split("\n", 1)[0] or type(error).__name__
    return UsageError(f"{path} is damaged or not a torch file ({reason}).", "Fetch it again.")


def _empty_target(settings: DecompositionSettings) -> nn.Module:
    match settings.target:
        case ToySuperpositionSettings():
            return ToySuperposition(settings.target)
        case ResidualMLPSettings():
            return ResidualMLP(settings.target)
        case other:
            raise AssertionError(f"no import makes a target of {other!r}")


def _ties(settings: DecompositionSettings, target: nn.Module, source: str) -> tuple[tuple[str, str], ...]:
    shape = settings.target
    if not isinstance(shape, ToySuperpositionSettings) or not shape.tied_weights:
        return ()
    assert isinstance(target, ToySuperposition)
    if not torch.equal(target.linear1.weight, target.linear2.weight.T):
        raise UsageError(f"{source} says that linear1 and linear2 are tied, but their weights differ.")
    return (("linear1", "linear2"),)


def _load_components(model: ComponentModel, tensors: dict[str, Tensor], source: str) -> None:
    load_component_tensors(model, tensors, source)
    # Subcomponents of tied modules are stored twice in the file and once here.
    changed = [key for key, value in component_tensors(model).items() if not torch.equal(value, tensors[key])]
    if changed:
        raise UsageError(f"{source}: {changed[0]} is not the transpose of the module that it is tied to.")
