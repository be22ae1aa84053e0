"""Fetching a published decomposition from Weights & Biases."""

import netrc
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from core.errors import UsageError

PREFIX = "wandb:"
DEFAULT_PROJECT = "goodfire/spd"
"""Where a bare run id is looked for: the project of the SPD paper's authors."""

_ADDRESS = "https://"
_WANTED = re.compile(r"final_config\.yaml|[a-z_]+_train_config\.yaml")
_CHECKPOINT = re.compile(r"model_(\d+)\.pth")
_NEEDED = (
    "It needs a network connection and a key: log in with `wandb login` or set WANDB_API_KEY. "
    "A folder with the run's files can be imported without either."
)


def is_wandb_reference(source: str) -> bool:
    """Whether `source` names a run at Weights & Biases rather than a path."""
    return source.startswith((PREFIX, _ADDRESS))


def run_path(source: str) -> str:
    """`entity/project/run_id` of a reference: that form, the one with `/runs/`, a URL, or a bare run id.

    Raises:
        UsageError: none of these.
    """
    text = source.removeprefix(PREFIX)
    if text.startswith(_ADDRESS):
        text = urlparse(text).path
    parts = [part for part in text.split("/") if part]
    if "runs" in parts[2:-1]:
        # A page's address may have more in front of entity/project/runs/id, and more behind it.
        place = parts.index("runs", 2)
        parts = [*parts[place - 2 : place], parts[place + 1]]
    if len(parts) == 1:
        parts = [*DEFAULT_PROJECT.split("/"), parts[0]]
    if len(parts) != 3:
        raise UsageError(
            f"{source!r} does not name a run at Weights & Biases.",
            "Allowed: wandb:entity/project/run_id, wandb:run_id, or the address of the run's page.",
        )
    return "/".join(parts)


def fetch_run(source: str, folder: Path) -> str:
    """Download the settings and the newest checkpoint of a run into `folder`; returns its full name.

    Raises:
        UsageError: no key, no network, no such run, or a run without a checkpoint.
    """
    path = run_path(source)
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
        raise UsageError(f"cannot fetch {PREFIX}{path}: {_reason(error)}.", _NEEDED) from error
    return f"{PREFIX}{path}"


def _chosen(names: list[str], path: str) -> list[str]:
    steps = {int(match[1]): name for name in names if (match := _CHECKPOINT.fullmatch(name))}
    if not steps:
        raise UsageError(f"{PREFIX}{path} has no model_<step>.pth.", "Choose a run that saved a checkpoint.")
    return [*(name for name in names if _WANTED.fullmatch(name)), steps[max(steps)]]


def _has_key(server: str) -> bool:
    # Looked up here, because wandb would otherwise stop and ask for it on a terminal.
    if os.environ.get("WANDB_API_KEY"):
        return True
    place = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(place).authenticators(urlparse(server).hostname or server) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _reason(error: Any) -> str:
    return (str(error).split("\n", 1)[0] or type(error).__name__).rstrip(".")
