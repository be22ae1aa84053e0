"""Imports go one way: the contracts of pyproject.toml hold, and each of them can be broken."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Checks the contracts of the project in `folder`; `-c` puts it before every other place of modules."""
    return subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_hold(root: Path) -> None:
    done = check(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.fixture
def copy(root: Path, sources: tuple[Path, ...], tmp_path: Path) -> Path:
    """The Python sources and their contracts, free to be spoilt."""
    for path in (Path("pyproject.toml"), *sources):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("core/helpers.py", "", "Each part of core"),
        ("core/losses/union.py", "import core.decomposition.step", "Each part of core"),
        ("core/stats/matching.py", "import core.runs.files", "Each part of core"),
        ("core/settings.py", "import typer", "core prints nothing"),
        ("core/runs/files.py", "import torch", "Run folders and finished harvests"),
        ("core/runs/files.py", "import core.devices", "Run folders and finished harvests"),
        ("core/harvest/artifact.py", "import core.harvest.kernel", "Run folders and finished harvests"),
        ("spd_tui/app.py", "import core.devices", "Run folders and finished harvests"),
        ("core/decomposition/loop.py", "import spd_cli.report", "The command line and the browser"),
        ("spd_tui/app.py", "import spd_cli.report", "The command line and the browser"),
    ],
)
def test_a_planted_violation_is_caught(copy: Path, module: str, line: str, broken: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = check(copy)
    verdicts = [text for text in done.stdout.splitlines() if text.endswith("BROKEN") or " BROKEN " in text]
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(text.startswith(broken) for text in verdicts), done.stdout


def imported(tree: ast.AST) -> set[str]:
    """The dotted names that a file imports anywhere, `from a import b` as `a.b`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_one_door_to_the_compiled_kernels(root: Path, sources: tuple[Path, ...]) -> None:
    # The contracts read Python files only and do not see the binary.
    doors = [
        str(path)
        for path in sources
        if any(name.startswith("core._harvest") for name in imported(ast.parse((root / path).read_text())))
    ]
    assert doors == ["core/native.py"]


def test_the_product_imports_neither_its_tests_nor_the_crate(root: Path, sources: tuple[Path, ...]) -> None:
    # An editable install makes every folder of the project importable.
    wrong = {
        (str(path), name)
        for path in sources
        for name in imported(ast.parse((root / path).read_text()))
        if name.split(".")[0] in ("tests", "benchmarks", "harvest_rs", "conftest")
    }
    assert not wrong


def test_one_door_to_the_browser(root: Path, sources: tuple[Path, ...]) -> None:
    # The browser brings a terminal library along, which no other command should wait for.
    doors = [
        str(path)
        for path in sources
        if path.parts[0] != "spd_tui"
        and any(name.startswith("spd_tui") for name in imported(ast.parse((root / path).read_text())))
    ]
    assert doors == ["spd_cli/commands/tui.py"]


def test_package_files_hold_a_docstring_only(root: Path, sources: tuple[Path, ...]) -> None:
    # Importing core.runs.directory runs core/runs/__init__.py; core/__init__.py offers the one API function.
    for path in sources:
        if path.name == "__init__.py" and path != Path("core/__init__.py"):
            tree = ast.parse((root / path).read_text())
            assert ast.get_docstring(tree) and len(tree.body) == 1, f"{path} holds more than a docstring"
