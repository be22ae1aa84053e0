"""Fetching a published pretraining run from Weights & Biases, once, into a folder of its own."""

import re
from pathlib import Path

from core.errors import UsageError
from core.runs.files import new_folder
from core.runs.wandb_runs import PREFIX, download_run, run_path

_WEIGHTS = re.compile(r"(?:checkpoints/)?model_step_(\d+)\.pt")
_BESIDE = ("model_config.yaml", "final_config.yaml", "tokenizer.json")
_NEEDED = (
    "It needs a network connection and a key (`wandb login` or WANDB_API_KEY); or give a folder with "
    "model_config.yaml and model_step_<N>.pt: --set target.model.path=FOLDER."
)


def published_run(reference: str, root: Path) -> Path:
    """The folder `<root>/pretrained/<project>-<id>/` of a run, downloaded if it is not there yet.

    Raises:
        UsageError: not a reference to a run, no key, no network, no such run, or one without weights.
    """
    path = run_path(reference)
    _, project, run_id = path.split("/")
    folder = root / "pretrained" / f"{project}-{run_id}"
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            _download(path, temporary)
    return folder


def _download(path: str, folder: Path) -> None:
    download_run(path, folder, lambda names: _chosen(names, path), _NEEDED)


def _chosen(names: list[str], path: str) -> list[str]:
    steps = {int(match[1]): name for name in names if (match := _WEIGHTS.fullmatch(name))}
    if not steps or _BESIDE[0] not in names:
        raise UsageError(
            f"{PREFIX}{path} is not a pretraining run: it lacks {_BESIDE[0]} or model_step_<N>.pt.",
            "Choose a run that trained a language model.",
        )
    return [*(name for name in _BESIDE if name in names), steps[max(steps)]]
