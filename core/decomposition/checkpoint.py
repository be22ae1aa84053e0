"""Checkpoints: what a run needs to go on as if it had never stopped.

`components.safetensors` holds V, U and the importance function by name, for any reader;
`training.pt` holds the optimiser and the sources of persistent adversaries. Random numbers and the data
position need no state: both are functions of the seed and the step. A checkpoint appears by one rename,
whole or not at all.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.components.component_model import ComponentModel
from core.components.subcomponents import TiedSubcomponents
from core.errors import UsageError
from core.runs.directory import RunDirectory
from core.runs.files import new_file, new_folder

SCHEMA_VERSION = 1
COMPONENTS = "components.safetensors"
TRAINING = "training.pt"


def component_tensors(model: ComponentModel) -> dict[str, Tensor]:
    """Everything that was learnt, by name: `V/<module>`, `U/<module>` and the importance function.

    That is `importance/<module>/<parameter>` of a function with one network per module, and
    `importance/<parameter>` of one for all modules.
    """
    tensors: dict[str, Tensor] = {}
    for name, site in model.sites.items():
        tensors[f"V/{name}"] = site.V.detach().contiguous()
        tensors[f"U/{name}"] = site.U.detach().contiguous()
    for key, value in model.importance_function.tensors().items():
        tensors[f"importance/{key}"] = value.detach().contiguous()
    return tensors


def load_component_tensors(model: ComponentModel, tensors: dict[str, Tensor], source: str) -> None:
    """Copy learnt tensors into a model of the same shape.

    Raises:
        UsageError: names or shapes that do not fit, naming the first that does not.
    """
    wanted = component_tensors(model)
    if missing := sorted(wanted.keys() ^ tensors.keys()):
        raise UsageError(f"{source} does not fit these settings: {missing[0]} is only on one side.")
    for key, value in wanted.items():
        if value.shape != tensors[key].shape:
            found = list(tensors[key].shape)
            raise UsageError(
                f"{source} does not fit these settings: {key} is {found}, not {list(value.shape)}."
            )
    with torch.no_grad():
        for name, site in model.sites.items():
            if not isinstance(site.subcomponents, TiedSubcomponents):
                site.V.copy_(tensors[f"V/{name}"])
                site.U.copy_(tensors[f"U/{name}"])
        prefix = "importance/"
        learnt = {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
        model.importance_function.load_tensors(learnt)


def save_checkpoint(
    run: RunDirectory, step: int, model: ComponentModel, training: dict[str, Any] | None, keep: int
) -> Path:
    """Write the checkpoint of `step` and remove all but the newest `keep`.

    Raises:
        SpdError: it could not be written; earlier checkpoints are untouched.
    """
    final = run.checkpoint(step)
    with new_folder(final) as folder:
        metadata = {"schema_version": str(SCHEMA_VERSION), "step": str(step)}
        save_file({k: v.cpu() for k, v in component_tensors(model).items()}, folder / COMPONENTS, metadata)
        if training is not None:
            torch.save(training, folder / TRAINING)
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(old), ignore_errors=True)  # what stays is only in the way
    return final


def keep_components(checkpoint: Path, folder: Path) -> None:
    """Keep the learnt tensors of a checkpoint in `folder` too, which training that goes on does not remove.

    Raises:
        UsageError: the checkpoint is not there any more.
        SpdError: they cannot be written.
    """
    source, kept = checkpoint / COMPONENTS, folder / COMPONENTS
    try:
        os.link(source, kept)  # a checkpoint is never written again, so one file can serve both
    except FileNotFoundError as error:
        raise UsageError(f"the checkpoint {checkpoint} is gone.", "Try again with the newest one.") from error
    except OSError:  # file systems without hard links
        with new_file(kept) as temporary:
            shutil.copyfile(source, temporary)


def read_components(folder: Path) -> tuple[dict[str, Tensor], int]:
    """Learnt tensors and step of a checkpoint.

    Raises:
        UsageError: missing, truncated, or of another schema version.
    """
    path = folder / COMPONENTS
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            version = metadata.get("schema_version")
            if version != str(SCHEMA_VERSION):
                raise UsageError(
                    f"{path} has schema version {version}; this spd reads {SCHEMA_VERSION}.",
                    "Use the spd version that wrote it.",
                )
            return {key: file.get_tensor(key) for key in list(file.keys())}, int(metadata["step"])
    except (SafetensorError, OSError) as error:
        raise UsageError(f"checkpoint {path} is damaged or missing ({error}).", _REMEDY) from error


def read_training(folder: Path) -> dict[str, Any]:
    """State of the optimiser and of persistent sources in a checkpoint.

    Raises:
        UsageError: missing or damaged.
    """
    path = folder / TRAINING
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged archive
        raise UsageError(
            f"checkpoint {path} is damaged or missing ({type(error).__name__}).", _REMEDY
        ) from error


_REMEDY = "Delete that step's folder to go on from the checkpoint before it."
