"""`spd harvest`: count what the components of a run do, and look at what was counted."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from core.errors import Interrupted, UsageError
from spd_cli import options, report
from spd_cli.sources import run_reference

if TYPE_CHECKING:
    from core.harvest.artifact import Harvest
    from core.harvest.run import HarvestRequest, HarvestResult
    from core.runs.directory import RunDirectory

LISTED = 50
"""Rows of --list unless a limit is given."""

ASSOCIATES = 10
"""Tokens and components in each list of --show."""

SHOWN = 10
"""Examples of --show."""

TokensOption = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        metavar="N",
        min=1,
        help="Tokens to count (of toys: samples), in whole sequences.  [default: a million; toys 100 000]",
    ),
]
BatchesOption = Annotated[
    int | None, typer.Option("--batches", metavar="N", min=1, help="Batches to count, in place of --tokens.")
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", min=1, help="Sequences of a batch.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Processes to share the work; what they count is the same."
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with an unfinished harvest: the newest nobody works on, or --harvest NAME."
    ),
]
UnfinishedOption = Annotated[
    bool, typer.Option("--unfinished", help="List the unfinished harvests and how far each is.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", metavar="CI", help="A component fires above this.  [default: 0]"),
]
ExamplesOption = Annotated[
    int | None,
    typer.Option(
        "--examples",
        metavar="N",
        min=0,
        help="Examples per component, drawn uniformly from its firings (with --show: to print).",
    ),
]
StrongestOption = Annotated[
    int | None,
    typer.Option(
        "--strongest",
        metavar="N",
        min=0,
        help="Examples per component that fire most strongly (with --show: print these).",
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option("--context", metavar="N", min=0, help="Tokens shown on either side of a firing."),
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        "--output-share",
        metavar="P",
        help="Share of each position's output probability to count, the most probable tokens first; "
        "0 counts none.  [default: 0.99]",
    ),
]
ExactOption = Annotated[
    bool, typer.Option("--exact-output", help="Count all of the output probability: --output-share 1.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of the examples drawn.  [default: 0]")
]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16"] | None,
    typer.Option("--precision", help="Of the model; auto measures which is faster.  [default: fp32]"),
]
ListOption = Annotated[bool, typer.Option("--list", help="List the components that --query asks for.")]
QueryOption = Annotated[
    str | None,
    typer.Option(
        "--query",
        metavar="TEXT",
        help="For --list, e.g. 'layer:mlp token:\" she\" density>1% is:fired sort:mean_importance'.",
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=0, help=f"Rows of --list.  [default: {LISTED}]")
]
ShowOption = Annotated[
    str | None,
    typer.Option(
        "--show", metavar="COMPONENT", help="Print the card of a component: LAYER:NUMBER, e.g. mlp.c_fc:17."
    ),
]
MeasureOption = Annotated[
    str | None,
    typer.Option("--measure", metavar="NAME", help="What --show orders by.  [default: log_likelihood_ratio]"),
]
HarvestOption = Annotated[
    str | None,
    typer.Option(
        "--harvest",
        metavar="NAME",
        help="Which harvest to look at or to go on with.  [default: the newest]",
    ),
]


def harvest(
    run: options.RunArgument,
    tokens: TokensOption = None,
    batches: BatchesOption = None,
    batch_size: BatchSizeOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    unfinished: UnfinishedOption = False,
    threshold: ThresholdOption = None,
    examples: ExamplesOption = None,
    strongest: StrongestOption = None,
    context: ContextOption = None,
    output_share: ShareOption = None,
    exact_output: ExactOption = False,
    seed: SeedOption = None,
    device: options.DeviceOption = "auto",
    precision: PrecisionOption = None,
    list_components: ListOption = False,
    query: QueryOption = None,
    limit: LimitOption = None,
    show: ShowOption = None,
    measure: MeasureOption = None,
    name: HarvestOption = None,
    out: options.OutOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Stream data through a run and count what its components do; or look at what was counted."""
    from core.runs.catalogue import resolve_run
    from core.runs.directory import output_root

    counting = {
        "--tokens": tokens,
        "--batches": batches,
        "--batch-size": batch_size,
        "--workers": workers,
        "--threshold": threshold,
        "--context": context,
        "--output-share": output_share,
        "--exact-output": exact_output or None,
        "--seed": seed,
        "--device": None if device == "auto" else device,
        "--precision": precision,
    }
    samples = {"--examples": examples, "--strongest": strongest}
    reading = {"--list": list_components or None, "--query": query, "--limit": limit}
    showing = {"--show": show, "--measure": measure}
    _check_options(counting | {"--resume": resume or None}, samples, reading, showing, name, unfinished)
    root = output_root(out)
    found = resolve_run(root, run).directory
    if unfinished:
        _list_unfinished(found, run_reference(found, root), out, as_json, quiet)
    elif show is not None:
        _show(_opened(found, name), show, measure, samples, as_json)
    elif any(value is not None for value in reading.values()):
        _list(_opened(found, name), query or "", limit, as_json)
    else:
        with report.working("loading", quiet):
            request = _request(found, root, counting | samples, resume, name)
        result = _run(request, counting | samples, out, quiet)
        _print_result(result, run_reference(found, root), out, as_json)


def _check_options(
    counting: dict[str, Any],
    samples: dict[str, Any],
    reading: dict[str, Any],
    showing: dict[str, Any],
    name: str | None,
    unfinished: bool,
) -> None:
    """Refuse options that do not go together."""
    if unfinished:
        _check_alone("--unfinished", {**counting, **samples, **reading, **showing, "--harvest": name})
    given = [flag for flag, value in counting.items() if value is not None]
    lists = [flag for flag, value in reading.items() if value is not None]
    shows = [flag for flag, value in showing.items() if value is not None]
    if lists and shows:
        raise UsageError(f"{lists[0]} and {shows[0]} ask for two different things.", "Give one of them.")
    if shows and "--show" not in shows:
        raise UsageError(f"{shows[0]} goes with --show COMPONENT.")
    if (lists or shows) and given:
        raise UsageError(
            f"{given[0]} is for counting, {(lists or shows)[0]} looks at what was counted.",
            "Give one of them.",
        )
    sampled = [flag for flag, value in samples.items() if value is not None]
    if lists and sampled:
        raise UsageError(f"{sampled[0]} says nothing to {lists[0]}.", "Leave it out.")
    if shows and len(sampled) == 2:
        raise UsageError("--show prints uniform examples or the strongest.", "Give one of them.")
    if name is not None and not (lists or shows or counting["--resume"]):
        raise UsageError(f"--harvest {name} goes with --list, --show or --resume.")
    if counting["--exact-output"] and counting["--output-share"] is not None:
        raise UsageError("--exact-output is --output-share 1; another share was given too.", "Give one.")
    if counting["--tokens"] is not None and counting["--batches"] is not None:
        raise UsageError("--tokens and --batches both say how much to count.", "Give one of them.")


def _check_alone(flag: str, others: dict[str, Any]) -> None:
    """Refuse options that say nothing to `flag`."""
    given = [other for other, value in others.items() if value is not None]
    if given:
        raise UsageError(f"{given[0]} says nothing to {flag}.", "Leave it out.")


def _request(
    run: "RunDirectory", root: Path, flags: dict[str, Any], resume: bool, name: str | None
) -> "HarvestRequest":
    from core.harvest.run import HarvestRequest
    from core.harvest.settings import HarvestSettings
    from core.harvest.unfinished import choose_unfinished
    from core.settings import parse_settings

    given = {
        "threshold": flags["--threshold"],
        "context": flags["--context"],
        "uniform_examples": flags["--examples"],
        "strongest_examples": flags["--strongest"],
        "output_share": 1.0 if flags["--exact-output"] else flags["--output-share"],
        "seed": flags["--seed"],
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return HarvestRequest(
        run=run,
        root=root,
        settings=parse_settings(HarvestSettings, chosen, "spd harvest"),
        positions=flags["--tokens"],
        batches=flags["--batches"],
        batch_size=flags["--batch-size"],
        workers=flags["--workers"],
        device=flags["--device"] or "auto",
        precision=flags["--precision"],
        resume=resume,
        harvest=choose_unfinished(run, name).name if resume else None,
        command=("spd", *sys.argv[1:]),
    )


def _run(request: "HarvestRequest", flags: dict[str, Any], out: Path | None, quiet: bool) -> "HarvestResult":
    """Do the work; when the user stops it, the message ends with the command that goes on."""
    from core.harvest.run import harvest_run
    from core.harvest.unfinished import unfinished_names

    before = unfinished_names(request.run)
    try:
        with report.Report(quiet) as observer:
            return harvest_run(request, observer)
    except (Interrupted, KeyboardInterrupt) as stopped:
        name = _stopped_harvest(request, before)
        message, again = "stopped before anything was counted.", "The same command begins again."
        if isinstance(stopped, Interrupted):
            message, again = stopped.message, stopped.remedy
        elif name is not None:
            message = "stopped at once; what was counted since the last state was saved is lost."
        if name is not None:
            run = run_reference(request.run, request.root)
            again = f"Go on with: {_command_to_resume(run, name, flags, out)}"
        raise Interrupted(message, again) from stopped


def _stopped_harvest(request: "HarvestRequest", before: list[str]) -> str | None:
    """The unfinished harvest this process has worked on; None before it had any, and when it is finished."""
    from core.harvest.unfinished import unfinished_names
    from core.runs.lock import harvest_holder

    unfinished = unfinished_names(request.run)
    if request.resume:
        return request.harvest if request.harvest in unfinished else None
    begun = [name for name in unfinished if name not in before]
    # Somebody else may have begun one meanwhile, and goes on with it.
    return next((name for name in begun if harvest_holder(request.run, name) is None), None)


def _command_to_resume(run: str, name: str, flags: dict[str, Any], out: Path | None) -> str:
    words = [
        word
        for flag, value in flags.items()
        if value not in (None, "auto")
        for word in ([flag] if value is True else [flag, str(value)])
    ]
    return options.command("spd", "harvest", run, "--resume", "--harvest", name, *words, out=out)


def _print_result(result: "HarvestResult", run: str, out: Path | None, as_json: bool) -> None:
    if as_json:
        report.result_json(result.summary)
        return
    from core.harvest.artifact import Harvest
    from spd_cli.harvest_summary import print_base_rates

    print_base_rates(Harvest(result.folder))
    report.result(f"harvest      {result.folder}")
    listing = ("spd", "harvest", run, "--list", "--query", "is:fired sort:density")
    report.result(f"next         {options.command(*listing, out=out)}")
    report.result(f"             {options.command('spd', 'tui', run, out=out)}")


def _list_unfinished(
    run: "RunDirectory", reference: str, out: Path | None, as_json: bool, quiet: bool
) -> None:
    from dataclasses import asdict

    from spd_cli.harvest_summary import print_unfinished

    with report.working("loading", quiet):
        from core.harvest.unfinished import unfinished_harvests

        found = unfinished_harvests(run)
    if as_json:
        report.result_json([{**asdict(harvest), "share": harvest.share} for harvest in found])
    elif found:
        words = ("spd", "harvest", reference, "--resume", "--harvest")
        print_unfinished(found, lambda name: options.command(*words, name, out=out))
    else:
        begin = options.command("spd", "harvest", reference, out=out)
        report.talk(f"run {run.run_id} has no unfinished harvest; `{begin}` begins one.")


def _opened(run: "RunDirectory", name: str | None) -> "Harvest":
    from core.harvest.catalogue import open_harvest

    return open_harvest(run, name)


def _list(harvest: "Harvest", query: str, limit: int | None, as_json: bool) -> None:
    from dataclasses import replace

    from core.harvest.filters import parse_query, select
    from core.harvest.listing import component_table
    from spd_cli.harvest_summary import print_list

    asked = parse_query(query)
    table = component_table(harvest)
    matching = select(table, replace(asked, limit=None))
    rows = matching.head(LISTED if limit is None and asked.limit is None else limit or asked.limit or 0)
    if as_json:
        counts = {"harvest": harvest.folder.name, "components": len(table), "matching": len(matching)}
        report.result_json({**counts, "rows": rows.to_dicts()})
    else:
        print_list(rows, len(matching), len(table), harvest.folder.name)


def _show(
    harvest: "Harvest", component: str, measure: str | None, samples: dict[str, Any], as_json: bool
) -> None:
    from core.harvest.card import MEASURE, component_card, find_component, plain

    strongest = samples["--strongest"] is not None
    count = samples["--strongest"] if strongest else samples["--examples"]
    card = component_card(
        harvest,
        find_component(harvest, component),
        measure=measure or MEASURE,
        partners=ASSOCIATES,
        examples=SHOWN if count is None else count,
        strongest=strongest,
    )
    if as_json:
        report.result_json({"harvest": harvest.folder.name, **plain(card)})
        return
    from spd_cli.harvest_view import card_lines

    report.result_lines(lambda width: card_lines(card, width))
