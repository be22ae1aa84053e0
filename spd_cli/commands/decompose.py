"""`spd decompose`: from a recipe, a settings file or an earlier run to a finished run."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import Interrupted, UsageError, nearest_names
from spd_cli import options, report

if TYPE_CHECKING:
    from core.decomposition.settings import DecompositionSettings

SourceArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE|FILE.yaml|RUN]", help="What to decompose; --list shows the recipes."),
]
ListOption = Annotated[bool, typer.Option("--list", help="List the recipes with the time they take.")]
PrintOption = Annotated[
    bool, typer.Option("--print-settings", help="Print the whole settings as YAML, and stop.")
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
    list_recipes: ListOption = False,
    print_settings: PrintOption = False,
    overrides: options.SetOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
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
    from core.runs.directory import output_root

    root = output_root(out)
    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    with report.working("loading", quiet):
        chosen = _choose(source, changes, root)
    if print_settings:
        from core.settings import to_yaml

        report.result(to_yaml(chosen.settings).rstrip())
        return
    if resume and chosen.run and changes:
        raise UsageError(
            f"run {chosen.run} is resumed with its own settings; --set and --seed cannot change them.",
            "Leave them out, or leave --resume out to start a new run.",
        )
    with report.Report(quiet) as observer:
        from core.decomposition.start import RunRequest, start_run

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
        try:
            summary = start_run(request, observer).summary
        except Interrupted as stopped:
            given = {"--device": device, "--precision": precision, "--out": out, "--wandb": wandb}
            command = _resume_command(chosen, root, given)
            raise Interrupted(stopped.message, f"Go on with: {command}") from stopped
    if as_json:
        report.result_json(summary)
    else:
        _print_summary(summary)


@dataclass(frozen=True)
class _Chosen:
    """What the user named: settings, and the run they are of when it was one."""

    source: str
    settings: "DecompositionSettings"
    run: str | None = None


def _choose(source: str, changes: list[str], root: Path) -> _Chosen:
    from core.recipes.registry import build_recipe, recipe_names
    from core.runs.catalogue import is_run_path, list_runs, resolve_run

    recipes = [recipe.name for recipe in recipe_names()]
    file = Path(source)
    if source in recipes:
        return _Chosen(source, _changed(build_recipe(source), changes, source))
    if file.suffix in (".yaml", ".yml") or file.is_file():
        return _Chosen(source, _changed(_read(file), changes, source))
    if is_run_path(source) or source == "latest" or source.startswith(("s-", "wandb:")):
        run = resolve_run(root, source).directory
        return _Chosen(source, _changed(_read(run.settings), changes, source), str(run.path))
    known = [*recipes, *(entry.run_id for entry in list_runs(root))]
    raise UsageError(
        f"{source!r} is neither a recipe nor a settings file nor a run.", nearest_names(source, known)
    )


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


def _list_recipes(as_json: bool) -> None:
    from core.recipes.registry import recipe_names

    recipes = recipe_names()
    if as_json:
        report.result_json([{"name": r.name, "summary": r.summary, "minutes": r.minutes} for r in recipes])
        return
    rows = [(r.name, report.duration(60 * r.minutes), r.summary) for r in recipes]
    report.result_table(("recipe", "time on 2 cores", "what it is"), rows)


def _print_summary(summary: dict[str, Any]) -> None:
    columns = {
        "live": summary["live_components"],
        "identity error": summary["identity_ci_error"],
        "MMCS": summary["mmcs"],
        "ML2R": summary["ml2r"],
    }
    shown = {title: values for title, values in columns.items() if values}
    rows = [
        (module, *(values.get(module) for values in shown.values())) for module in summary["live_components"]
    ]
    verdict = summary.get("verdict") or {}
    report.result_table(("module", *shown), rows, title=verdict.get("headline"))
    for name, sentence in verdict.items():
        if name != "headline":
            report.result(f"{name}: {sentence}")
    took = report.duration(summary["seconds"])
    report.result(f"run {summary['run_id']}, {summary['steps']} steps in {took}: {summary.get('path', '')}")


def _resume_command(chosen: _Chosen, root: Path, given: dict[str, Any]) -> str:
    """The command that goes on with the run that was stopped just now."""
    from core.runs.catalogue import find_resumable

    stopped = find_resumable(root, chosen.settings.digest(), chosen.settings.seed)
    name = stopped.run_id if stopped else chosen.source
    flags = [
        text for flag, value in given.items() if value not in (None, "auto") for text in (flag, str(value))
    ]
    return shlex.join(["spd", "decompose", name, "--resume", *flags])
