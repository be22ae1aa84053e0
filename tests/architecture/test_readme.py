"""What the README and CONTRIBUTING tell people to type works."""

import ast
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from core.decomposition import api
from core.recipes.registry import recipe_names
from spd_cli.app import app

PAGES = ("README.md", "CONTRIBUTING.md")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The command lines of a page's shell blocks, each pipeline's first part, as words."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines() if line.strip()]
    return [re.split(r"\s[|>]\s", " ".join(shlex.split(line, comments=True)))[0].split() for line in lines]


def found_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words` (after `spd`) end up at, and the words that are left for it."""
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"spd has no command {' '.join(words)}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_spd_commands_exist_with_their_options(root: Path) -> None:
    shown = [words[1:] for words in commands(root / "README.md") if words[0] == "spd"]
    assert len(shown) > 8
    for words in shown:
        command, rest = found_command(words)
        known = {name for parameter in command.params for name in parameter.opts}
        wrong = [word for word in rest if word.startswith("--") and word not in known]
        assert not wrong, f"spd {' '.join(words)}: no option {wrong}"


def test_recipes_of_the_result_table_exist(root: Path) -> None:
    rows = re.findall(r"^\| `(\S+)` \|", (root / "README.md").read_text(), re.MULTILINE)
    # What needs a GPU and a download has no results from this machine; `--list` shows it.
    assert rows == [recipe.name for recipe in recipe_names() if recipe.minutes is not None]


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(root: Path, page: str) -> None:
    named = set(re.findall(r"^make (\w+)|`make (\w+)`", (root / page).read_text(), re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (root / "Makefile").read_text(), re.MULTILINE))
    wanted = {one or other for one, other in named}
    assert wanted and wanted <= targets, f"{page} names {sorted(wanted - targets)}"


def test_the_python_example_is_that_of_the_api(root: Path) -> None:
    (shown,) = blocks(root / "README.md", "python")
    found = re.search(r"^ *import torch\n.*^ *print\([^\n]*$", api.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert found, "core/decomposition/api.py documents no example from `import torch` to `print(...)`"
    example = textwrap.dedent(found[0])
    # The formatter breaks the README's lines, but not those of a docstring.
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(example))
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
