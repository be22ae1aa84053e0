"""`spd tui`: the browser in the terminal."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.errors import UsageError
from spd_cli import options, report
from spd_cli.sources import run_reference

RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Run to open at once: its id, path, `latest`, or a recipe."),
]
DemoOption = Annotated[
    bool, typer.Option("--demo", help="Open a small real run, which is made first where there is none.")
]
ScreenshotOption = Annotated[
    tuple[str, Path] | None,
    typer.Option(
        "--screenshot",
        metavar="SCREEN[/TEXT] FILE.svg",
        help="Write a picture of a screen, narrowed by TEXT, instead of opening it.",
    ),
]
SizeOption = Annotated[
    str, typer.Option("--size", metavar="COLSxROWS", help="Size of the picture.", show_default=True)
]


def tui(
    run: RunArgument = None,
    demo: DemoOption = False,
    screenshot: ScreenshotOption = None,
    size: SizeOption = "100x30",
    out: options.OutOption = None,
) -> None:
    """Look at runs and their components in the terminal."""
    if demo and run is not None:
        raise UsageError(f"--demo opens a run of its own, not {run!r}.", "Give one of them.")
    cells = _size(size)
    if screenshot is None:
        _check_terminal()
    from core.runs.directory import output_root

    root = output_root(out)
    chosen = _demo(root) if demo else None if run is None else _resolved(root, run)
    if screenshot is not None:
        from spd_tui.screenshot import take_screenshot

        screen, file = screenshot
        take_screenshot(root, chosen, screen, file, cells)
        report.result(str(file))
        return
    from spd_tui.app import SpdApp

    app = SpdApp(root, chosen)
    app.run()
    if app.exit_message:
        report.talk(app.exit_message)
    raise typer.Exit(app.return_code or 0)


def _resolved(root: Path, run: str) -> str:
    # Imported here: it is slow, and the first paint of the list of runs does without.
    from core.runs.catalogue import resolve_run

    return run_reference(resolve_run(root, run).directory, root)


def _check_terminal() -> None:
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if stream is None or not stream.isatty():
            raise UsageError(
                f"the browser needs a terminal, and standard {name} is none.",
                "`spd runs list --json` and `spd harvest RUN --list --json` tell the same.",
            )


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})[xX](\d{1,4})", text)
    if match is None or not (int(match[1]) >= 20 and int(match[2]) >= 5):
        raise UsageError(f"--size {text!r} is no size.", "Columns and rows, at least 20x5, as 100x30.")
    return int(match[1]), int(match[2])


def _demo(root: Path) -> str:
    with report.Report() as observer:
        from core.demo.real import make_demo

        return make_demo(root, observer).run_id
