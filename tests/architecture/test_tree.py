"""The tree is the table of contents: the README shows it as it is, names are subjects, sizes are honest."""

import ast
import re
from pathlib import Path

import pytest

FILE_LINES = 400
FUNCTION_LINES = 60
# Longer than the limit on purpose, each with its reason: a path, or `path:function`.
EXCEPTIONS: dict[str, str] = {}

# A thing without a subject has not been understood yet.
NO_SUBJECT = {"utils", "util", "common", "helpers", "helper", "misc", "stuff", "tools"}

ENTRY = re.compile(r"^((?:  )*)(\S+)(?:\s{2,}(\S.*))?$")


def readme_tree(text: str) -> list[Path]:
    """The paths of the README's code block headed by `The tree`: two blanks a level, then a phrase."""
    block = re.search(r"^## The tree\n.*?^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "README.md has no code block under `## The tree`"
    found: list[Path] = []
    parents: list[str] = []
    for line in block[1].splitlines():
        match = ENTRY.match(line)
        assert match, f"this line of the tree is not a path and a phrase: {line!r}"
        depth, name = len(match[1]) // 2, match[2]
        assert depth <= len(parents), f"{line!r} is indented further than what it could stand in"
        parents = [*parents[:depth], name.rstrip("/")]
        assert match[3], f"{name} stands in the tree without a word on what it is"
        found.append(Path(*parents))
    return found


def test_readme_tree_reads_what_is_written() -> None:
    text = "## The tree\n\nWords.\n\n```\ncore/   all of it\n  a/  one\n    b.py  two\nx.md  three\n```\n"
    assert [str(path) for path in readme_tree(text)] == ["core", "core/a", "core/a/b.py", "x.md"]


def test_every_path_of_the_readme_tree_exists(root: Path, files: tuple[Path, ...]) -> None:
    known = {place for path in files for place in (path, *path.parents)}
    missing = [str(path) for path in readme_tree((root / "README.md").read_text()) if path not in known]
    assert not missing, f"the README's tree names what is not there: {', '.join(missing)}"


def test_every_folder_that_matters_is_in_the_readme_tree(root: Path, files: tuple[Path, ...]) -> None:
    shown = set(readme_tree((root / "README.md").read_text()))
    top = {Path(path.parts[0]) for path in files if len(path.parts) > 1}
    packages = {path.parent for path in files if path.name == "__init__.py"}
    missing = sorted(str(path) for path in (top | packages) - shown)
    assert not missing, f"not in the README's tree: {', '.join(missing)}"


def test_names_say_a_subject(files: tuple[Path, ...]) -> None:
    wrong = [
        str(path)
        for path in files
        if path.suffix in (".py", ".rs") and NO_SUBJECT & {part.split(".")[0] for part in path.parts}
    ]
    assert not wrong, f"name these after what they are about: {', '.join(wrong)}"


def long_parts(path: Path, text: str) -> dict[str, int]:
    """What is longer than the limits, in lines; a docstring tells and does not count as length."""
    lines = len(text.splitlines())
    found = {str(path): lines} if lines > FILE_LINES else {}
    if path.suffix != ".py":
        return found
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            told = ast.get_docstring(node) is not None and (first.end_lineno or 0) - first.lineno + 1
            length = (node.end_lineno or 0) - node.lineno + 1 - told
            if length > FUNCTION_LINES:
                found[f"{path}:{node.name}"] = length
    return found


def test_files_and_functions_are_short(root: Path, files: tuple[Path, ...]) -> None:
    found: dict[str, int] = {}
    for path in files:
        if path.suffix in (".py", ".rs", ".pyi"):
            found |= long_parts(path, (root / path).read_text())
    too_long = {name: lines for name, lines in found.items() if name not in EXCEPTIONS}
    assert not too_long, f"over {FILE_LINES} lines a file or {FUNCTION_LINES} a function: {too_long}"
    assert not set(EXCEPTIONS) - set(found), "these are short enough by now: take them off the list"
    assert all(len(reason) > 20 for reason in EXCEPTIONS.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n" * 400, {}),
        ("x = 1\n" * 401, {"a.py": 401}),
        ("def f():\n" + "    x = 1\n" * 59, {}),
        ("def f():\n" + "    x = 1\n" * 60, {"a.py:f": 61}),
        ('def f():\n    """One\n\n    Two.\n    """\n' + "    x = 1\n" * 59, {}),
    ],
)
def test_length_is_measured(text: str, found: dict[str, int]) -> None:
    assert long_parts(Path("a.py"), text) == found
