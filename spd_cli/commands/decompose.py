"""`spd decompose`: from a recipe, a settings file or an earlier run to a finished run."""

import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import Interrupted, UsageError
from spd_cli import options, ranks, report
from spd_cli.sources import Source, command_to_resume, find_source
from spd_cli.summary import print_summary

if TYPE_CHECKING:
    from core.decomposition.start import RunRequest

SourceArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE|FILE.yaml|RUN]", help="What to decompose; --list shows the recipes."),
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on with RUN, or with the newest unfinished run of the same settings."),
]
WarmStartOption = Annotated[
    str | None, typer.Option("--warm-start", metavar="RUN", help="Begin with the components of that run.")
]
WandbOption = Annotated[
    str | None, typer.Option("--wandb", metavar="PROJECT", help="Mirror the run to Weights & Biases.")
]


def decompose(
    source: SourceArgument = None,
    list_recipes: options.ListOption = False,
    print_settings: options.PrintOption = False,
    overrides: options.SetOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    dp: options.DpOption = None,
    out: options.OutOption = None,
    resume: ResumeOption = False,
    warm_start: WarmStartOption = None,
    wandb: WandbOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Take a network apart: train or fetch the target, decompose it, evaluate, write a run."""
    if list_recipes:
        _list_recipes(as_json)
        return
    if source is None:
        raise UsageError("nothing to decompose was named.", "`spd decompose --list` shows the recipes.")
    ranks.spread(dp)
    from core.runs.directory import output_root

    quiet = quiet or ranks.is_follower(dp)
    root = output_root(out)
    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    with report.working("loading", quiet):
        chosen = find_source(source, changes, root)
    if print_settings:
        from core.settings import to_yaml

        report.result(to_yaml(chosen.settings).rstrip())
        return
    if resume:
        _check_resumable(chosen, changes, warm_start)
    from core.decomposition.start import RunRequest
    from core.parallel import joined_ranks

    request = RunRequest(
        settings=chosen.settings,
        root=root,
        device=device,
        precision=precision,
        resume=resume and chosen.run is None,
        resume_run=chosen.run if resume else None,
        warm_start=warm_start,
        wandb_project=wandb,
        command=("spd", *sys.argv[1:]),
    )
    flags = {"--device": device, "--precision": precision, "--dp": dp, "--out": out, "--wandb": wandb}
    with joined_ranks(device, dp) as group:
        summary = _run(replace(request, ranks=group), chosen, flags, quiet)
    if ranks.is_follower(dp):
        return
    if as_json:
        report.result_json(summary)
    else:
        print_summary(summary)


def _check_resumable(source: Source, changes: list[str], warm_start: str | None) -> None:
    if source.run and changes:
        raise UsageError(
            f"run {Path(source.run).name} goes on with its own settings; --set and --seed cannot change it.",
            "Leave them out, or leave --resume out to start a new run.",
        )
    if warm_start:
        raise UsageError(
            f"--warm-start {warm_start} begins a new run, --resume goes on with an old one.",
            "Give one of them.",
        )


def _run(request: "RunRequest", source: Source, flags: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """Do the work; when the user stops it, the message ends with the command that goes on."""
    from core.decomposition.start import start_run

    try:
        with report.Report(quiet) as observer:
            return start_run(request, observer).summary
    except (Interrupted, KeyboardInterrupt) as stopped:
        command = command_to_resume(source, request.root, flags)
        if isinstance(stopped, Interrupted):
            message = stopped.message
        elif command:
            message = "stopped at once; what was done since the last checkpoint is lost."
        else:
            message = "stopped before the run began. The same command begins again."
        raise Interrupted(message, f"Go on with: {command}" if command else None) from stopped


def _list_recipes(as_json: bool) -> None:
    from core.recipes.registry import recipe_names

    recipes = recipe_names()
    if as_json:
        fields = ("name", "family", "summary", "minutes")
        report.result_json([{field: getattr(recipe, field) for field in fields} for recipe in recipes])
        return
    for family, members in groupby(recipes, key=lambda recipe: recipe.family):
        # Those without a time need a GPU, as the heading says: a column for it would only take room.
        rows = [
            (r.name, *([report.duration(60 * r.minutes)] if r.minutes else []), r.summary) for r in members
        ]
        columns = ("recipe", "time on 2 cores", "what it is")
        report.result_table(columns if len(rows[0]) == 3 else columns[::2], rows, title=family)
