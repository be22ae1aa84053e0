"""`spd pretrain`: from a recipe or a settings file to a language model that can be decomposed."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import Interrupted, UsageError, nearest_names
from core.numerals import grouped
from spd_cli import options, ranks, report

if TYPE_CHECKING:
    from core.pretraining.pretrain import PretrainResult
    from core.pretraining.settings import PretrainSettings

SourceArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE|FILE.yaml]", help="What to train; --list shows the recipes."),
]
RestartOption = Annotated[
    bool,
    typer.Option("--restart", help="Train from the beginning, whatever of these settings is there already."),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", metavar="N", min=0, help="Texts that the finished model writes.")
]


def pretrain(
    source: SourceArgument = None,
    list_recipes: options.ListOption = False,
    print_settings: options.PrintOption = False,
    overrides: options.SetOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    dp: options.DpOption = None,
    out: options.OutOption = None,
    restart: RestartOption = False,
    samples: SamplesOption = 1,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Train a language model on text; one that was begun goes on, one that is done is shown at once."""
    if list_recipes:
        _list_recipes(as_json)
        return
    if source is None:
        raise UsageError("nothing to train was named.", "`spd pretrain --list` shows the recipes.")
    if not print_settings:
        ranks.spread(dp)
    from core.runs.directory import output_root

    quiet = quiet or ranks.is_follower(dp)
    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    with report.working("loading", quiet):
        settings = _find_settings(source, changes)
    if print_settings:
        from core.settings import to_yaml

        report.result(to_yaml(settings).rstrip())
        return
    flags = {"--device": device, "--precision": precision, "--dp": dp, "--out": out}
    again = _command(source, overrides or [], seed, flags)
    result = _run(settings, output_root(out), flags, restart, quiet, again)
    if ranks.is_follower(dp):
        return
    written = _samples(result.folder, samples)
    if as_json:
        summary = {**result.summary, "cached": result.cached}
        texts = [{"prompt": prompt, "text": text} for prompt, text in written]
        report.result_json({**summary, "samples": texts})
    else:
        _print_summary(result.summary, result.cached)
        _print_samples(written)
        _print_next(source, result.folder, out)


def _find_settings(source: str, changes: list[str]) -> "PretrainSettings":
    from core.pretraining.settings import PretrainSettings
    from core.recipes.pretraining import build_pretrain_recipe, pretrain_recipes
    from core.settings import apply_overrides, parse_settings, read_yaml, to_plain

    recipes = [recipe.name for recipe in pretrain_recipes()]
    file = Path(source)
    if source in recipes:
        settings = build_pretrain_recipe(source)
    elif file.suffix in (".yaml", ".yml") or file.is_file():
        settings = parse_settings(PretrainSettings, read_yaml(file), source)
    else:
        raise UsageError(
            f"{source!r} is neither a pretraining recipe nor a settings file.", nearest_names(source, recipes)
        )
    if not changes:
        return settings
    changed = apply_overrides(to_plain(settings), changes)
    return parse_settings(PretrainSettings, changed, f"{source} with --set")


def _run(
    settings: "PretrainSettings",
    root: Path,
    flags: dict[str, Any],
    restart: bool,
    quiet: bool,
    again: str,
) -> "PretrainResult":
    """Do the work; when the user stops it, the message ends with the command that goes on."""
    from core.parallel import joined_ranks
    from core.pretraining.pretrain import pretrain

    device, precision = flags["--device"], flags["--precision"]
    try:
        with report.Report(quiet) as observer, joined_ranks(device, flags["--dp"]) as group:
            return pretrain(
                settings, root, observer, device=device, precision=precision, ranks=group, restart=restart
            )
    except (Interrupted, KeyboardInterrupt) as stopped:
        at_once = "stopped at once; what was done since the last checkpoint is lost."
        message = stopped.message if isinstance(stopped, Interrupted) else at_once
        raise Interrupted(message, f"Go on with: {again}") from stopped


def _command(source: str, overrides: list[str], seed: int | None, flags: dict[str, Any]) -> str:
    """The command that goes on with this training."""
    changes = [word for item in overrides for word in ("--set", item)]
    given = {**({} if seed is None else {"--seed": seed}), **flags}
    words = [
        text for flag, value in given.items() if value not in (None, "auto") for text in (flag, str(value))
    ]
    return shlex.join(["spd", "pretrain", source, *changes, *words])


def _samples(folder: Path, count: int) -> list[tuple[str, str]]:
    """Prompts and what the finished model writes after them; the same ones every time."""
    if count == 0:
        return []
    from core.pretraining.published import restore_pretrained
    from core.pretraining.samples import draw_samples

    target = restore_pretrained(folder)
    settings, context = target.settings.samples, target.settings.text.window - 1
    found: list[tuple[str, str]] = []
    number = target.settings.training.steps  # the first ones are those that ended the training
    while len(found) < count:
        found += draw_samples(target.model, target.tokenizer, settings, context, target.settings.seed, number)
        number += 1
    return found[:count]


def _print_summary(summary: dict[str, Any], cached: bool) -> None:
    loss, entropy = summary["validation_loss"], summary["unigram_entropy"]
    below = f"{entropy - loss:.3f} below" if loss < entropy else f"{loss - entropy:.3f} above"
    if cached:
        report.result("trained already")
    report.result(f"validation loss  {loss:.4f} nats per token ({below} the unigram entropy)")
    report.result(
        f"unigram entropy  {entropy:.4f} nats per token, the cost of knowing token frequencies only"
    )
    report.result(f"perplexity       {summary['perplexity']:.1f} of {summary['vocabulary']} tokens")
    report.result(
        f"model            {grouped(summary['parameters'])} parameters, context {summary['context']}"
    )
    rate = summary["tokens_per_second"]
    report.result(
        f"training         {summary['steps']} steps, {grouped(summary['tokens_seen'])} tokens in "
        f"{report.duration(summary['seconds'])}"
        + (f", {grouped(rate)} tokens/s" if rate else "")
        + f" ({summary['precision']} on {summary['device']})"
    )


def _print_samples(written: list[tuple[str, str]]) -> None:
    for prompt, text in written:
        report.result(f"it writes        {visible(f'[{prompt}]{text}' if prompt else text)}")


def _print_next(source: str, folder: Path, out: Path | None) -> None:
    from core.recipes.registry import recipe_names

    report.result(f"target           {folder}")
    if source in [recipe.name for recipe in recipe_names()]:
        place = [] if out is None else ["--out", str(out)]
        report.result(f"next             {shlex.join(['spd', 'decompose', source, *place])}")


def visible(text: str) -> str:
    """Text of a model on one line: what could disturb a terminal is shown by its code, a new line by ↵."""
    return "".join(
        "↵" if char == "\n" else char if char.isprintable() else f"<U+{ord(char):04X}>" for char in text
    )


def _list_recipes(as_json: bool) -> None:
    from core.recipes.pretraining import pretrain_recipes

    recipes = pretrain_recipes()
    if as_json:
        report.result_json([{"name": r.name, "summary": r.summary, "minutes": r.minutes} for r in recipes])
        return
    rows = [(r.name, report.duration(60 * r.minutes), r.summary) for r in recipes]
    report.result_table(("recipe", "time on 2 cores", "what it is"), rows)
