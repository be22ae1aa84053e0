"""Finding runs: listing them, and what a person may call one (id, path, `latest`, recipe)."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.errors import SpdError, UsageError, nearest_names
from core.runs.directory import RunDirectory, runs_folder
from core.runs.lock import harvest_holder, lock_holder
from core.runs.manifest import Manifest, Status, actual_status, this_process


@dataclass(frozen=True)
class RunEntry:
    """A run as the catalogue sees it: its folder, manifest, real status and how that is known."""

    directory: RunDirectory
    manifest: Manifest
    status: Status
    reason: str

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.directory.run_id


def open_run(path: Path) -> RunEntry:
    """The run in the folder `path`.

    Raises:
        UsageError: no run there, a damaged manifest or one of another schema version.
    """
    directory = RunDirectory(path.expanduser().absolute())
    if not directory.manifest.is_file():
        raise UsageError(
            f"{path} is not a run: it holds no {directory.manifest.name}.", "`spd runs list` shows them."
        )
    manifest = Manifest.read(directory.manifest)
    return RunEntry(directory, manifest, *actual_status(manifest))


def list_runs(root: Path) -> list[RunEntry]:
    """Every readable run under `root`, newest first; see `unreadable_runs` for the others."""
    return _scan(root)[0]


def unreadable_runs(root: Path) -> dict[str, str]:
    """Run folders under `root` that cannot be read, with the reason."""
    return _scan(root)[1]


def resolve_run(root: Path, reference: str) -> RunEntry:
    """The run that `reference` names: its id or a unique beginning of it, a path, `latest`, or a recipe.

    Raises:
        UsageError: nothing or more than one run fits; the nearest names are given.
    """
    if reference.startswith("wandb:"):
        raise UsageError(
            f"{reference!r} is not on this machine.", f"Fetch it first: `spd runs pull {reference}`."
        )
    if is_run_path(reference):
        return open_run(Path(reference))
    direct = runs_folder(root) / reference
    if reference not in ("", ".", "..") and (direct / "manifest.json").is_file():
        return open_run(direct)
    runs = list_runs(root)
    if not runs:
        raise UsageError(f"there are no runs in {runs_folder(root)}.", "`spd decompose tms_5-2` makes one.")
    if reference == "latest":
        return runs[0]
    of_recipe = [run for run in runs if run.manifest.recipe == reference]
    if of_recipe:
        return of_recipe[0]
    beginning = [run for run in runs if reference and run.run_id.startswith(reference)]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        names = ", ".join(run.run_id for run in beginning[:5])
        raise UsageError(f"{reference!r} fits {len(beginning)} runs: {names}.", "Give more of the id.")
    known = {run.run_id for run in runs} | {run.manifest.recipe for run in runs if run.manifest.recipe}
    raise UsageError(
        f"no run {reference!r} in {runs_folder(root)}.", nearest_names(reference, known | {"latest"})
    )


def is_run_path(reference: str) -> bool:
    """Whether `reference` is a path and not a name: it has a separator or leads to a run."""
    if os.sep in reference or reference.startswith("~"):
        return True
    return bool(reference) and (Path(reference) / "manifest.json").is_file()


def delete_run(root: Path, reference: str, force: bool = False) -> RunEntry:
    """Remove the run that `reference` names, with everything in it, and say which it was.

    Raises:
        UsageError: no such run, or it is running and `force` is not given.
        SpdError: the folder cannot be removed.
    """
    run = resolve_run(root, reference)
    holder = lock_holder(run.directory)
    if not force and (run.status == "running" or holder is not None):
        raise UsageError(
            f"the run {run.run_id} is running ({holder or run.reason}).", "Stop it first, or use --force."
        )
    if not force and (harvester := harvest_holder(run.directory)):
        raise UsageError(
            f"the run {run.run_id} is being harvested ({harvester}).", "Stop that first, or use --force."
        )
    path = run.directory.path.resolve()
    # Under a name no reader looks at, so that a removal cut short leaves no half run in the list.
    aside = path.with_name(f".{path.name}.deleted")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise SpdError(f"cannot remove {path}: {error.strerror or error}.", "Remove it by hand.") from error
    return run


def find_resumable(root: Path, settings_digest: str, seed: int | None = None) -> RunEntry | None:
    """The newest unfinished run of these settings (and this seed) that nobody works on; else None."""
    for run in list_runs(root):
        unfinished = run.status in ("interrupted", "failed")
        if unfinished and _is_of(run, settings_digest, seed) and lock_holder(run.directory) is None:
            return run
    return None


def find_running(root: Path, settings_digest: str, seed: int | None = None) -> RunEntry | None:
    """The newest run of these settings (and this seed) that a process works on now; else None."""
    for run in list_runs(root):
        if run.status == "running" and _is_of(run, settings_digest, seed):
            return run
    return None


def find_run_of_this_process(root: Path) -> RunEntry | None:
    """The newest run under `root` that this process works on or last worked on; else None."""
    ours = this_process()
    for run in list_runs(root):
        if all(getattr(run.manifest, name) == value for name, value in ours.items()):
            return run
    return None


def _is_of(run: RunEntry, settings_digest: str, seed: int | None) -> bool:
    return run.manifest.settings_digest == settings_digest and seed in (None, run.manifest.seed)


def _scan(root: Path) -> tuple[list[RunEntry], dict[str, str]]:
    folder = runs_folder(root)
    if not folder.is_dir():
        return [], {}
    try:
        places = sorted(
            entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}.") from error
    readable: list[RunEntry] = []
    unreadable: dict[str, str] = {}
    for place in places:
        try:
            readable.append(open_run(place))
        except UsageError as error:
            if place.is_dir():  # else it was deleted since the folder was listed
                unreadable[place.name] = str(error)
    readable.sort(key=lambda run: (run.manifest.created, run.run_id), reverse=True)
    return readable, unreadable
