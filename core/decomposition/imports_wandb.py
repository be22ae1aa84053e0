"""Fetching a published decomposition from Weights & Biases."""

import re
from pathlib import Path

from core.errors import UsageError
from core.runs.wandb_runs import ADDRESS, PREFIX, download_run, run_path

_WANTED = re.compile(r"final_config\.yaml|[a-z_]+_train_config\.yaml")
_CHECKPOINT = re.compile(r"model_(\d+)\.pth")
_NEEDED = (
    "It needs a network connection and a key: log in with `wandb login` or set WANDB_API_KEY. "
    "A folder with the run's files can be imported without either."
)


def is_wandb_reference(source: str) -> bool:
    """Whether `source` names a run at Weights & Biases rather than a path."""
    return source.startswith((PREFIX, ADDRESS))


def fetch_run(source: str, folder: Path) -> str:
    """Download the settings and the newest checkpoint of a run into `folder`; returns its full name.

    Raises:
        UsageError: no key, no network, no such run, or a run without a checkpoint.
    """
    path = run_path(source)
    download_run(path, folder, lambda names: _chosen(names, path), _NEEDED)
    return f"{PREFIX}{path}"


def _chosen(names: list[str], path: str) -> list[str]:
    steps = {int(match[1]): name for name in names if (match := _CHECKPOINT.fullmatch(name))}
    if not steps:
        raise UsageError(f"{PREFIX}{path} has no model_<step>.pth.", "Choose a run that saved a checkpoint.")
    return [*(name for name in names if _WANTED.fullmatch(name)), steps[max(steps)]]
