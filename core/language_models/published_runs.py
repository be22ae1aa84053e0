"""Fetching a published pretraining run from Weights & Biases, once, into a folder of its own."""

import netrc
import os
import re
from pathlib import Path
from urllib.parse import urlparse

from core.errors import UsageError
from core.runs.files import new_folder

PREFIX = "wandb:"
DEFAULT_PROJECT = "goodfire/spd"
"""Where a bare run id is looked for: the project of the SPD paper's authors."""

_PART = re.compile(r"\w[\w.-]*")
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
    entity, project, run_id = _parts(reference)
    folder = root / "pretrained" / f"{project}-{run_id}"
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            _download(f"{entity}/{project}/{run_id}", temporary)
    return folder


def _parts(reference: str) -> tuple[str, str, str]:
    text = reference.removeprefix(PREFIX)
    parts = [part for part in text.split("/") if part]
    if "runs" in parts[2:-1]:
        parts.remove("runs")
    if len(parts) == 1:
        parts = [*DEFAULT_PROJECT.split("/"), *parts]
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise UsageError(
            f"{reference!r} does not name a run at Weights & Biases.",
            "Allowed: wandb:entity/project/run_id or wandb:run_id.",
        )
    return parts[0], parts[1], parts[2]


def _download(path: str, folder: Path) -> None:
    try:
        import wandb

        if not _has_key(wandb.Settings().base_url):
            raise UsageError(f"cannot fetch {PREFIX}{path}: no Weights & Biases key was found.", _NEEDED)
        files = {file.name: file for file in wandb.Api(timeout=60).run(path).files()}
        for name in _chosen(list(files), path):
            files[name].download(root=str(folder), replace=True)
    except UsageError:
        raise
    except Exception as error:  # wandb passes on the errors of several network libraries
        reason = (str(error).split("\n", 1)[0] or type(error).__name__).rstrip(".")
        raise UsageError(f"cannot fetch {PREFIX}{path}: {reason}.", _NEEDED) from error


def _chosen(names: list[str], path: str) -> list[str]:
    steps = {int(match[1]): name for name in names if (match := _WEIGHTS.fullmatch(name))}
    if not steps or _BESIDE[0] not in names:
        raise UsageError(
            f"{PREFIX}{path} is not a pretraining run: it lacks {_BESIDE[0]} or model_step_<N>.pt.",
            "Choose a run that trained a language model.",
        )
    return [*(name for name in _BESIDE if name in names), steps[max(steps)]]


def _has_key(server: str) -> bool:
    # Looked up here, because wandb would otherwise stop and ask for it on a terminal.
    if os.environ.get("WANDB_API_KEY"):
        return True
    place = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(place).authenticators(urlparse(server).hostname or server) is not None
    except (OSError, netrc.NetrcParseError):
        return False
