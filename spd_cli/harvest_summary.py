"""The last words of `spd harvest`: how often components fire; and the list of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from core.blocks import heights
from core.numerals import align_decimal, aligned, grouped, three_digits
from spd_cli import report

if TYPE_CHECKING:
    import polars as pl

    from core.harvest.artifact import Harvest
    from core.harvest.base_rates import BaseRates
    from core.harvest.unfinished import UnfinishedHarvest


def print_base_rates(harvest: "Harvest") -> None:
    """How many components never or hardly fired, how often the others do, and L0."""
    from core.harvest.base_rates import RARE, base_rates

    rates = base_rates(harvest.firings().to_numpy(), harvest.positions, harvest.layers)
    positions = "samples" if harvest.manifest.get("kind") == "features" else "tokens"
    report.result(
        f"counted      {grouped(harvest.positions)} {positions}{_pace(harvest.manifest, positions)}"
    )
    report.result(
        f"components   {grouped(rates.components)}: {grouped(rates.fired)} fired, "
        f"{grouped(rates.never_fired)} never; {grouped(rates.fired_rarely)} fired fewer than {RARE} times"
    )
    report.result(f"L0           {three_digits(rates.mean_active)} fire at a {positions[:-1]}")
    if rates.density_quantiles:
        quantiles = ", ".join(
            f"{name} {three_digits(100 * at)} %" for name, at in rates.density_quantiles.items()
        )
        report.result(f"density      {quantiles}")
        report.result(f"             {density_histogram(rates)}")


def density_histogram(rates: "BaseRates") -> str:
    """Components by density on one line, over a logarithmic axis."""
    from core.harvest.base_rates import DENSITY_DECADES

    low, high = DENSITY_DECADES
    blocks = "".join(2 * block for block in heights(rates.density_histogram))
    highest = max(rates.density_histogram)
    return f"1e{low} |{blocks}| {10**high}   (components by density; {grouped(highest)} in the highest)"


def print_list(rows: "pl.DataFrame", matching: int, total: int, harvest: str) -> None:
    """Components as a table, one a line; then how many there are, in the harvest of that name."""
    if len(rows):
        _print_rows(rows)
    if len(rows) < matching:
        shown = f"{grouped(len(rows))} of {grouped(matching)} are shown ({grouped(total)} in all)"
        report.talk(f"{shown}; --limit shows more. Harvest {harvest}.")
    else:
        report.talk(f"{grouped(matching)} of {grouped(total)} components. Harvest {harvest}.")


def _print_rows(rows: "pl.DataFrame") -> None:
    named = {
        "density %": aligned([100 * value for value in rows["density"]]),
        "mean CI": aligned(rows["mean_importance"].to_list()),
        "at firings": aligned(rows["mean_importance_at_firings"].to_list()),
    }
    tops = [
        [_top(text, share) for text, share in zip(rows[f"{side}_text"], rows[f"{side}_share"], strict=True)]
        for side in ("top_input", "top_output")
    ]
    columns = ("component", *named, "top in", "top out")
    cells = list(zip(rows["key"], *named.values(), *tops, strict=True))
    report.result_table(columns, cells, dispensable=("at firings", "top out", "mean CI"))


def _top(text: str | None, share: float | None) -> str:
    return "" if text is None else f"{text} {three_digits(100 * (share or 0))} %"


def _pace(manifest: dict[str, Any], positions: str) -> str:
    seconds, rate = manifest.get("seconds"), manifest.get("positions_per_second")
    took = f" in {report.duration(seconds)} with loading" if seconds else ""
    return took + (f", {grouped(rate)} {positions}/s while counting" if rate else "")


def print_unfinished(harvests: "Sequence[UnfinishedHarvest]", command: Callable[[str], str]) -> None:
    """What is unfinished and how far, then the command that goes on with the newest nobody works on."""
    counted = _aligned_counts([harvest.counted for harvest in harvests])
    positions = _aligned_counts([harvest.positions for harvest in harvests])
    rows = [
        (
            harvest.name,
            harvest.share,
            done,
            of,
            harvest.begun and harvest.begun.astimezone().strftime("%Y-%m-%d %H:%M"),
            harvest.worked_on_by or "nobody",
        )
        for harvest, done, of in zip(harvests, counted, positions, strict=True)
    ]
    columns = ("harvest", "saved", "positions", "of", "begun", "worked on by")
    report.result_table(columns, rows, dispensable=("begun", "positions", "of"))
    for harvest in harvests:
        if harvest.problem is not None:
            report.talk(harvest.problem)
    waiting = [one.name for one in harvests if one.waiting]
    if waiting:
        report.result(f"next         {command(waiting[0])}")


def _aligned_counts(counts: "Sequence[int | None]") -> list[str]:
    return align_decimal(["" if count is None else grouped(count) for count in counts])
