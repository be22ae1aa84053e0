"""Runs at Weights & Biases: what a reference means, and fetching the files of one."""

import netrc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from core.errors import UsageError

PREFIX = "wandb:"
DEFAULT_PROJECT = "goodfire/spd"
"""Where a bare run id is looked for: the project of the SPD paper's authors."""

ADDRESS = "https://"
_PART = re.compile(r"\w[\w.-]*")


def run_path(source: str) -> str:
    """`entity/project/run_id` of a reference: that form, the one with `/runs/`, a URL, or a bare run id.

    Raises:
        UsageError: none of these.
    """
    text = source.removeprefix(PREFIX)
    if text.startswith(ADDRESS):
        text = urlparse(text).path
    parts = [part for part in text.split("/") if part]
    if "runs" in parts[2:-1]:
        # A page's address may have more in front of entity/project/runs/id, and more behind it.
        place = parts.index("runs", 2)
        parts = [*parts[place - 2 : place], parts[place + 1]]
    if len(parts) == 1:
        parts = [*DEFAULT_PROJECT.split("/"), parts[0]]
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise UsageError(
            f"{source!r} does not name a run at Weights & Biases.",
            "Allowed: wandb:entity/project/run_id, wandb:run_id, or the address of the run's page.",
        )
    return "/".join(parts)


def download_run(path: str, folder: Path, choose: Callable[[list[str]], list[str]], needed: str) -> None:
    """Fetch the files that `choose` picks among the names of a run's, into `folder`.

    `path` is `entity/project/run_id`; `needed` tells the user what else there is to do when it fails.

    Raises:
        UsageError: no key, no network or no such run; and whatever `choose` raises.
    """
    try:
        import wandb

        if not _has_key(wandb.Settings().base_url):
            raise UsageError(f"cannot fetch {PREFIX}{path}: no Weights & Biases key was found.", needed)
        files = {file.name: file for file in wandb.Api(timeout=60).run(path).files()}
        for name in choose(list(files)):
            files[name].download(root=str(folder), replace=True)
    except UsageError:
        raise
    except Exception as error:  # wandb passes on the errors of several network libraries
        raise UsageError(f"cannot fetch {PREFIX}{path}: {_reason(error)}.", needed) from error


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
