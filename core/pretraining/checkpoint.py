"""What a training needs to go on as if it had never stopped: the weights and the optimiser.

The place in the text and the learning rate need no state: both are functions of the step.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import UsageError
from core.runs.directory import RunDirectory
from core.runs.files import new_folder

WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.pt"


def save_checkpoint(
    run: RunDirectory, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, keep: int
) -> None:
    """Write the checkpoint of `step`, whole or not at all, and remove all but the newest `keep`.

    Raises:
        SpdError: it could not be written; earlier checkpoints are untouched.
    """
    with new_folder(run.checkpoint(step)) as folder:
        save_file(plain_weights(model), folder / WEIGHTS)
        torch.save(optimizer.state_dict(), folder / OPTIMIZER)
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(old), ignore_errors=True)  # what stays is only in the way


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put model and optimiser into the state that was saved in `folder`.

    Raises:
        UsageError: a file is missing, damaged, or of another model.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
        state: dict[str, Any] = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise UsageError(
            f"the checkpoint {folder} is damaged or missing ({type(error).__name__}: {error}).",
            "Delete that step's folder to go on from the one before it, or begin again with --restart.",
        ) from error
    except Exception as error:  # a damaged archive makes torch raise whatever its pickle reader raises
        raise UsageError(
            f"the checkpoint {folder} is damaged ({type(error).__name__}).",
            "Delete that step's folder to go on from the one before it, or begin again with --restart.",
        ) from error


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, each a tensor of its own on the CPU, also where two are tied."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
