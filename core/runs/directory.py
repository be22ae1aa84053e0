"""Where everything of a run lies; no other module builds a path inside a run folder."""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from core.errors import UsageError
from core.runs.files import ensure_writable, write_error

_STEP = re.compile(r"step_(\d+)")
_WORK = re.compile(r"\.(h-\d{8}-\d{6})\.work")

HARVEST = "harvest"
"""Folder of the harvests of a run."""


def output_root(cli_value: Path | None = None) -> Path:
    """The folder all runs and targets live under: `cli_value`, else $SPD_OUT_DIR, else ~/spd_out."""
    chosen = cli_value or Path(os.environ.get("SPD_OUT_DIR") or Path.home() / "spd_out")
    return chosen.expanduser().absolute()


def runs_folder(root: Path) -> Path:
    """The folder that holds one folder per run."""
    return root / "runs"


def targets_folder(root: Path) -> Path:
    """The folder that holds the cached targets."""
    return root / "targets"


def new_run_id() -> str:
    """A fresh run id: `s-` and eight hexadecimal digits, from the system's entropy, not from any seed."""
    return f"s-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder and the path of everything in it."""

    path: Path

    @classmethod
    def create(cls, root: Path, run_id: str | None = None) -> "RunDirectory":
        """Make an empty run folder under `root`; nothing is created where it could not be written.

        Raises:
            UsageError: `root` is not writable, or the run exists already.
            SpdError: the folder could not be made for another reason.
        """
        ensure_writable(runs_folder(root))
        path = runs_folder(root) / (run_id or new_run_id())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError as error:
            raise UsageError(f"the run {path} exists already.", "Choose another run id.") from error
        except OSError as error:
            raise write_error(path, error) from error
        return cls(path)

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def settings(self) -> Path:
        """The whole resolved settings, YAML."""
        return self.path / "settings.yaml"

    @property
    def manifest(self) -> Path:
        """What made the run and how it stands, JSON."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """The numbers of a finished run, JSON."""
        return self.path / "summary.json"

    @property
    def lock(self) -> Path:
        """Names the process that works on the run."""
        return self.path / "lock.json"

    @property
    def figures(self) -> Path:
        """Folder of the PNG figures."""
        return self.path / "figures"

    def figure(self, name: str) -> Path:
        """The PNG file of one figure."""
        return self.figures / f"{name}.png"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step_{step}"

    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; one still being written does not count."""
        matches = (_STEP.fullmatch(entry.name) for entry in _entries(self.checkpoints) if entry.is_dir())
        return sorted(int(match[1]) for match in matches if match)

    def latest_checkpoint(self) -> Path | None:
        """The folder of the newest checkpoint, None when there is none."""
        steps = self.checkpoint_steps()
        return self.checkpoint(steps[-1]) if steps else None

    @property
    def harvests(self) -> Path:
        """Folder of the harvests: `h-<time>` is a finished one, `.h-<time>.work` one under way."""
        return self.path / HARVEST

    def harvest(self, name: str) -> Path:
        """The folder of one harvest, which is there when it is finished."""
        return self.harvests / name

    def harvest_work(self, name: str) -> Path:
        """The folder of what is kept of a harvest until it is finished."""
        return self.harvests / f".{name}.work"

    def harvest_lock(self, name: str) -> Path:
        """Names the process that works on a harvest."""
        return self.harvest_work(name) / "lock.json"

    def harvest_names(self) -> list[str]:
        """The finished harvests, oldest first."""
        return self.finished(HARVEST)

    def unfinished_harvests(self) -> list[str]:
        """The harvests under way or broken off, oldest first."""
        found = (_WORK.fullmatch(entry.name) for entry in _entries(self.harvests) if entry.is_dir())
        return sorted(match[1] for match in found if match)

    def finished(self, kind: str) -> list[str]:
        """The finished artifacts in the folder `kind` (`harvest`, `attributions`, ...), oldest first.

        Their names end in the time they were begun; a folder without a manifest is not finished.
        """
        return sorted(
            entry.name
            for entry in _entries(self.path / kind)
            if not entry.name.startswith(".") and (entry / "manifest.json").is_file()
        )

    def has(self, kind: str) -> bool:
        """Whether there is a finished artifact of this kind."""
        return bool(self.finished(kind))


def _entries(folder: Path) -> list[Path]:
    """What lies in `folder`; nothing where there is none, or where it is deleted while it is looked at."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
