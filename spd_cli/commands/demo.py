"""`spd demo`: runs to look at, made here in moments."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import Interrupted
from core.numerals import grouped
from spd_cli import options, report

if TYPE_CHECKING:
    from core.runs.directory import RunDirectory

ComponentsOption = Annotated[
    int | None,
    typer.Option(
        "--components",
        metavar="N",
        min=1,
        help="Also make a synthetic run of N components, e.g. 40000, the size of a published one.",
    ),
]


def demo(
    components: ComponentsOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the synthetic run.")] = 0,
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Make a small real run, harvested (tms_5-2), so that there is something to look at."""
    from core.runs.directory import output_root

    root = output_root(out)
    try:
        with report.Report(quiet) as observer:
            made = _made(root, components, seed, observer)
    except Interrupted as stopped:
        raise Interrupted(stopped.message, "The same command goes on.") from stopped
    rows: list[dict[str, Any]] = [
        {"run_id": run.run_id, "what": what, "path": str(run.path)} for what, run in made.items()
    ]
    if as_json:
        report.result_json(rows)
        return
    for row in rows:
        report.result(f"{row['what']:10} {row['run_id']}")
        report.result(f"{'open it':10} {options.command('spd', 'tui', row['run_id'], out=out)}")


def _made(
    root: Path, components: int | None, seed: int, observer: report.Report
) -> "dict[str, RunDirectory]":
    observer.message("making a run of tms_5-2 and harvesting it")
    from core.demo.real import make_demo

    made = {"tms_5-2": make_demo(root, observer)}
    if components is not None:
        observer.message(f"making a synthetic run of {grouped(components)} components")
        from core.demo.synthetic import make_synthetic

        made["synthetic"] = make_synthetic(root, components, seed, observer)
    return made
