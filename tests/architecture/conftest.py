"""The project as a set of files, and a fresh interpreter to import it in."""

import os
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project folder."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def files(root: Path) -> tuple[Path, ...]:
    """Every file of the project that git does not ignore, relative to `root`, committed or not."""
    listed = _listed_by_git(root)
    found = _walked(root) if listed is None else listed
    return tuple(sorted(path for path in found if (root / path).is_file()))


@pytest.fixture(scope="session")
def sources(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The Python files that are installed, relative to `root`."""
    installed = ("core", "spd_cli", "spd_tui")
    return tuple(path for path in files if path.suffix == ".py" and path.parts[0] in installed)


@pytest.fixture(scope="session")
def modules(sources: tuple[Path, ...]) -> tuple[str, ...]:
    """The dotted names of `sources`; `__main__` files, which run when imported, are left out."""
    names = [path.with_suffix("").parts for path in sources if path.name != "__main__.py"]
    return tuple(".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in names)


@pytest.fixture(scope="session")
def python() -> Python:
    """Runs a script in a fresh interpreter and fails with its output unless it ends well."""

    def run(script: str, **options: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=options.get("cwd"),
            env=environment | {name: str(value) for name, value in options.items() if name.isupper()},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    return run


def _listed_by_git(root: Path) -> list[Path] | None:
    # A checkout may belong to another user (a container's bind mount): git is told to read it all the same.
    command = ["git", "-c", f"safe.directory={root}", "ls-files", "-z", "--cached", "--others"]
    try:
        done = subprocess.run(
            [*command, "--exclude-standard"], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    if done.returncode or not (root / ".git").exists():
        return None
    return [Path(name) for name in done.stdout.split("\0") if name]


def _walked(root: Path) -> list[Path]:
    """The same for a folder without git; .gitignore here holds only names, `name/` and `folder/pattern`."""
    lines = (root / ".gitignore").read_text().splitlines()
    patterns = [line.rstrip("/") for line in lines if line and not line.startswith("#")]

    def ignored(path: Path) -> bool:
        steps = [Path(*path.parts[: n + 1]) for n in range(len(path.parts))]
        return any(
            fnmatch(step.name, p) or fnmatch(str(step), p) for step in steps for p in (".git", *patterns)
        )

    return [path for path in (p.relative_to(root) for p in root.rglob("*")) if not ignored(path)]
