"""What `spd decompose` is told to work on: a recipe, a settings file or an earlier run, with changes."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UsageError, nearest_names

if TYPE_CHECKING:
    from core.decomposition.settings import DecompositionSettings
    from core.runs.directory import RunDirectory


@dataclass(frozen=True)
class Source:
    """What the user named: settings, and the run they are of when it was one."""

    name: str
    """As it was typed."""
    settings: "DecompositionSettings"
    """With all changes."""
    run: str | None = None
    """Path of the run."""


def find_source(name: str, changes: list[str], root: Path) -> Source:
    """What `name` names, with `changes` (`key.path=value`) made to its settings.

    Raises:
        UsageError: nothing has that name, its settings cannot be read, or a change is wrong.
    """
    from core.recipes.registry import build_recipe, recipe_names
    from core.runs.catalogue import is_run_path, resolve_run

    recipes = [recipe.name for recipe in recipe_names()]
    file = Path(name)
    if name in recipes:
        return Source(name, _changed(build_recipe(name), changes, name))
    if file.suffix in (".yaml", ".yml") or file.is_file():
        return Source(name, _changed(_read(file), changes, name))
    if is_run_path(name) or name == "latest" or name.startswith(("s-", "wandb:")):
        run = resolve_run(root, name).directory
        return Source(name, _changed(_read(run.settings), changes, name), str(run.path))
    raise UsageError(
        f"{name!r} is neither a recipe nor a settings file nor a run.", nearest_names(name, recipes)
    )


def run_reference(run: "RunDirectory", root: Path) -> str:
    """What names a run in a command: its id, or its path where it does not lie under `root`."""
    from core.runs.directory import runs_folder

    return run.run_id if run.path.parent == runs_folder(root) else str(run.path)


def command_to_resume(source: Source, root: Path, flags: Mapping[str, object]) -> str | None:
    """The command that goes on with the run this process was working on; None when it had none yet.

    `flags` are those the first command was given; None and `auto` are left out.
    """
    from core.runs.catalogue import find_run_of_this_process

    stopped = find_run_of_this_process(root)
    name = stopped.run_id if stopped else source.run
    if name is None:
        return None
    given = [
        text for flag, value in flags.items() if value not in (None, "auto") for text in (flag, str(value))
    ]
    return shlex.join(["spd", "decompose", name, "--resume", *given])


def _read(path: Path) -> "DecompositionSettings":
    from core.decomposition.settings import settings_from
    from core.settings import read_yaml

    return settings_from(read_yaml(path), str(path))


def _changed(settings: "DecompositionSettings", changes: list[str], source: str) -> "DecompositionSettings":
    from core.decomposition.settings import settings_from
    from core.settings import apply_overrides, to_plain

    if not changes:
        return settings
    return settings_from(apply_overrides(to_plain(settings), changes), f"{source} with --set")
