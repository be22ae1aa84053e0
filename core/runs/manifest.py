"""The manifest of a run: what made it, where, and how it stands."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UsageError
from core.runs.files import read_json, write_json
from core.runs.processes import start_mark, this_host, why_dead

SCHEMA_VERSION = 1
"""Version of everything inside a run folder; a reader refuses any other."""

Status = Literal["running", "finished", "failed", "interrupted"]

_DISTRIBUTIONS = ("spd", "torch", "numpy", "safetensors", "pydantic")


class Manifest(BaseModel):
    """What is known about a run besides its settings. Immutable: `update` gives a changed copy."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    """Version of the run folder's layout."""
    run_id: str
    """Name of the run, also of its folder."""
    recipe: str | None = None
    """Recipe the settings came from; None for a settings file or an imported run."""
    seed: int = 0
    """Seed of every draw in the run."""
    settings_digest: str
    """Hash of the resolved settings."""
    command: list[str] = Field(default_factory=list)
    """Command line that started the run."""
    created: datetime
    """When the run was started, UTC."""
    host: str
    """Machine of the process that works or last worked on it."""
    pid: int
    """Number of that process."""
    process_mark: str | None = None
    """Tells that process from a later one with its number, where the system can."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of spd, Python and the packages that decide the numbers."""
    commit: str | None = None
    """Git commit of the project, `-dirty` when files were changed; None outside a checkout."""
    device: str = "cpu"
    """Device the run computes on."""
    precision: str = "fp32"
    """Precision of the training steps."""
    threads: int = 1
    """CPU threads it computes on; sums depend on it in the last bit, so a resumed run keeps it."""
    status: Status = "running"
    """How the run stands by its own account; see `actual_status`."""
    error: str | None = None
    """Why it failed."""
    step: int = 0
    """Training steps done and saved."""
    steps: int = 0
    """Training steps asked for."""
    seconds: float = 0.0
    """Wall time spent, over all sessions of the run."""
    wandb_id: str | None = None
    """Run id at Weights & Biases."""
    wandb_url: str | None = None
    """Address of the mirror at Weights & Biases."""
    warm_start: str | None = None
    """Run whose components it started from."""
    imported_from: str | None = None
    """Where it was imported from."""
    resumed: list[datetime] = Field(default_factory=list)
    """When it was resumed, UTC."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            UsageError: missing, damaged, or of another schema version.
        """
        data = read_json(path)
        check_schema_version(data.get("schema_version"), path)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"{path} is damaged: {where}: {first['msg']}.") from error

    def write(self, path: Path) -> None:
        """Write the manifest in one step."""
        write_json(path, self.model_dump(mode="json"))

    def update(self, **changes: Any) -> Self:
        """A copy with some fields changed and checked."""
        return type(self).model_validate({**dict(self), **changes})


def new_manifest(*, run_id: str, settings_digest: str, **fields: Any) -> Manifest:
    """A manifest of a run that this process starts now; `fields` are those of `Manifest` nobody can guess."""
    return Manifest(
        run_id=run_id,
        settings_digest=settings_digest,
        created=datetime.now(UTC),
        versions=installed_versions(),
        commit=checkout_commit(),
        **{**this_process(), **fields},
    )


def this_process() -> dict[str, Any]:
    """The manifest fields that name this process, for `update` when a run is resumed."""
    pid = os.getpid()
    return {"host": this_host(), "pid": pid, "process_mark": start_mark(pid)}


def actual_status(manifest: Manifest) -> tuple[Status, str]:
    """How the run really stands, and how we know.

    A `running` manifest whose process is gone (killed, machine restarted) is `interrupted`. The process
    of another host cannot be looked at from here, so its word is taken.
    """
    if manifest.status != "running":
        return manifest.status, manifest.error or "its manifest says so"
    reason = why_dead(manifest.host, manifest.pid, manifest.process_mark)
    if reason is not None:
        return "interrupted", f"stopped without a word: {reason}"
    here = manifest.host == this_host()
    where = "is alive" if here else f"on {manifest.host}, which cannot be checked from {this_host()}"
    return "running", f"process {manifest.pid} {where}"


def check_schema_version(found: Any, path: Path) -> None:
    """Refuse a file of another schema version.

    Raises:
        UsageError: `found`, the version in the file at `path`, is not ours.
    """
    if found == SCHEMA_VERSION:
        return
    newer = isinstance(found, int) and found > SCHEMA_VERSION
    remedy = "Update spd." if newer else "Use the spd version that wrote it."
    raise UsageError(f"{path} has schema version {found!r}; this spd reads {SCHEMA_VERSION}.", remedy)


def installed_versions() -> dict[str, str]:
    """Versions of spd, Python and the packages that decide the numbers, without importing any of them."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def checkout_commit() -> str | None:
    """Commit of the checkout this code runs from (with `-dirty` for changed files); None outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
