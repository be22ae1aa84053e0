"""What the project's text points at is there, and inside the project."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)

# Built from pieces, so that this file does not name what it forbids.
ELSEWHERE = re.compile(
    "|".join(
        (
            r"\.\./" + "shared",
            r"(?<![\w.~-])/" + r"(?:work|root|farm)/",
            r"(?<![\w.~-])/" + r"home/\w+/",
            r"(?<![\w.~-])/tmp/" + r"(?:w|venv)\b",
        )
    )
)
TEXT = (".md", ".py", ".pyi", ".rs", ".toml", ".yaml", ".yml", ".json", ".jsonl", ".txt", ".cfg", "")


def relative_links(text: str) -> list[str]:
    """The files that a Markdown text links to, as written, without the anchor."""
    found = [markdown or html for markdown, html in LINK.findall(CODE.sub("", text))]
    parts = [urlsplit(link) for link in found]
    return [unquote(part.path) for part in parts if not part.scheme and not part.netloc and part.path]


def test_links_in_markdown_lead_somewhere(root: Path, files: tuple[Path, ...]) -> None:
    pages = [path for path in files if path.suffix == ".md"]
    assert Path("README.md") in pages
    known = {place for path in files for place in (path, *path.parents)}
    broken = []
    for page in pages:
        for link in relative_links((root / page).read_text()):
            target = (root / page.parent / link).resolve()
            if not target.is_relative_to(root) or target.relative_to(root) not in known:
                broken.append(f"{page}: {link}")
    assert not broken, "these links lead nowhere: " + ", ".join(broken)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("See [a](b.md) and ![c](d/e.png).", ["b.md", "d/e.png"]),
        ("[a](b.md#part) [c](#here) [d](https://x.org/y)", ["b.md"]),
        ('<img src="f.png" width="300"> `[a](no.md)`', ["f.png"]),
        ("```\n[a](no.md)\n```\n[g](h%20i.md)", ["h i.md"]),
    ],
)
def test_links_are_found(text: str, links: list[str]) -> None:
    assert relative_links(text) == links


def test_text_names_no_place_outside_the_project(root: Path, files: tuple[Path, ...]) -> None:
    found = []
    for path in files:
        if path.suffix in TEXT:
            for number, line in enumerate((root / path).read_text(errors="replace").splitlines(), 1):
                if ELSEWHERE.search(line):
                    found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("cp " + "../" + "shared/x .", True),
        ("open('" + "/ro" + "ot/x')", True),
        ("/wo" + "rk/main", True),
        ("https://x.org/" + "work/y", False),
        ("frame/" + "work/", False),
        ("net/" + "work/", False),
    ],
)
def test_outside_places_are_recognised(text: str, hit: bool) -> None:
    assert bool(ELSEWHERE.search(text)) is hit
