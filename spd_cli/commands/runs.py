"""`spd runs`: list, show, delete, pull and import runs."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from core.numerals import aligned, grouped, three_digits
from spd_cli import options, report
from spd_cli.summary import print_summary

if TYPE_CHECKING:
    from core.runs.catalogue import RunEntry
    from core.runs.overview import RunOverview

app = typer.Typer(
    no_args_is_help=True, help="List, show, pull, import and delete runs.", rich_markup_mode=None
)


@app.command("list")
def list_(out: options.OutOption = None, as_json: options.JsonOption = False) -> None:
    """All runs, newest first."""
    from core.runs.directory import output_root, runs_folder
    from core.runs.overview import plain, run_overviews, unreadable_runs

    root = output_root(out)
    runs = run_overviews(root)
    if as_json:
        report.result_json([plain(run) for run in runs])
    elif runs:
        columns = ("run", "recipe", "seed", "status", "step", "loss", "L0", "found", "has", "took", "started")
        narrow = ("took", "seed", "started", "has", "found")
        losses, sparsities = aligned([run.loss for run in runs]), aligned([run.sparsity for run in runs])
        rows = [_row(*cells) for cells in zip(runs, losses, sparsities, strict=True)]
        report.result_table(columns, rows, dispensable=narrow)
    else:
        report.talk(f"no runs in {runs_folder(root)}; `spd decompose tms_5-2` makes one.")
    for name, reason in unreadable_runs(root).items():
        report.talk(f"{name} cannot be read: {reason}")


@app.command()
def show(
    run: options.RunArgument, out: options.OutOption = None, as_json: options.JsonOption = False
) -> None:
    """What made one run, how it stands, and what it found."""
    from core.runs.catalogue import resolve_run
    from core.runs.directory import output_root
    from core.runs.overview import plain, run_details

    found = resolve_run(output_root(out), run)
    details = run_details(found)
    for problem in details.problems:
        report.talk(problem)
    if as_json:
        report.result_json(plain(details))
        return
    for name, value in _told(found, details.overview).items():
        if value not in (None, ""):
            report.result(f"{name:18} {value}")
    summary = details.summary
    if summary and summary.get("cross_entropy"):
        # The folder may have been moved since the summary was written.
        print_summary({**summary, "path": str(found.directory.path)})
        return
    for name, value in (summary or {}).items():
        if name in ("recovered", "live_components", "identity_ci_error", "mmcs", "ml2r", "losses"):
            report.result(f"{name.replace('_', ' '):18} {_text(value)}")
    if summary and summary.get("verdict"):
        report.result(f"{'verdict':18} {summary['verdict']['headline']}")


@app.command()
def delete(
    run: options.RunArgument,
    force: Annotated[bool, typer.Option("--force", help="Also when it is running.")] = False,
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Remove a run and everything in it."""
    from core.runs.catalogue import delete_run
    from core.runs.directory import output_root

    deleted = delete_run(output_root(out), run, force)
    if as_json:
        report.result_json({"deleted": deleted.run_id, "path": str(deleted.directory.path)})
    else:
        report.result(f"deleted {deleted.run_id}")


@app.command()
def pull(
    source: Annotated[str, typer.Argument(metavar="wandb:ENTITY/PROJECT/RUN_ID", help="The run to fetch.")],
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Fetch a run from Weights & Biases."""
    parts = source.removeprefix("wandb:").split("/")
    if not source.startswith("wandb:") or len(parts) != 3 or not all(parts):
        raise UsageError(
            f"{source!r} is not of the form wandb:entity/project/run_id.", "See `spd runs import`."
        )
    _import(source, out, as_json)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="PATH|wandb:...", help="Folder with final_config.yaml and model_STEP.pth."),
    ],
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Read a published decomposition into a run of our own."""
    if not source.startswith("wandb:") and not Path(source).expanduser().exists():
        raise UsageError(f"there is nothing at {source!r}.", "Give a folder, or wandb:entity/project/run_id.")
    _import(source, out, as_json)


def _import(source: str, out: Path | None, as_json: bool) -> None:
    from core.runs.directory import output_root

    with report.working(f"importing {source}"):
        from core.decomposition.imports import import_run

        path = import_run(source, output_root(out))
    if as_json:
        report.result_json({"run_id": path.name, "path": str(path)})
    else:
        report.result(f"imported as {path.name}: {path}")


def _told(run: "RunEntry", overview: "RunOverview") -> dict[str, str | None]:
    """What a person wants to know of a run; `--json` has everything."""
    manifest = run.manifest
    machine = (manifest.host, manifest.device, manifest.precision, f"threads {manifest.threads}")
    status = run.status if run.status in ("finished", "running") else f"{run.status}: {run.reason}"
    return {
        "run": run.run_id,
        "path": str(run.directory.path),
        "status": status,
        "go on with": f"spd decompose {run.run_id} --resume" if overview.resumable else None,
        "recipe": manifest.recipe,
        "seed": str(manifest.seed),
        "command": shlex.join(manifest.command),
        "imported from": manifest.imported_from,
        "warm start": manifest.warm_start,
        "started": _local(manifest.created),
        "resumed": ", ".join(map(_local, manifest.resumed)),
        "step": f"{grouped(overview.step)} of {grouped(overview.steps)}",
        "loss": three_digits(overview.loss) if overview.loss is not None else None,
        "L0": three_digits(overview.sparsity) if overview.sparsity is not None else None,
        "checkpoints": ", ".join(map(str, overview.checkpoints)) or None,
        "harvests": ", ".join(overview.harvests) or None,
        "unfinished harvests": ", ".join(overview.unfinished_harvests) or None,
        "attributions": ", ".join(overview.attributions) or None,
        "labels": ", ".join(overview.labels) or None,
        "took": report.duration(manifest.seconds),
        "computed on": ", ".join(machine),
        "versions": _text(manifest.versions),
        "commit": manifest.commit,
        "Weights & Biases": manifest.wandb_url or manifest.wandb_id,
    }


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _row(run: "RunOverview", loss: str, sparsity: str) -> tuple[Any, ...]:
    has = {"checkpoint": run.checkpoints, "harvest": run.harvests, "attributions": run.attributions}
    return (
        run.run_id,
        run.recipe or ("imported" if run.imported_from else ""),
        run.seed,
        run.status,
        f"{grouped(run.step)}/{grouped(run.steps)}",
        loss,
        sparsity,
        run.verdict or "",
        ", ".join(name for name, found in {**has, "labels": run.labels}.items() if found),
        report.duration(run.seconds),
        _local(run.created),
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
