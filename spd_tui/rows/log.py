"""The end of a run's log, as a person reads it: pure, from its manifest, status and last records."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from core.numerals import grouped, three_digits
from spd_tui.rows.runs import plain_line

_TELLING = (
    "loss/total",
    "eval/cross_entropy/kl/ci",
    "eval/target_solution_error/total",
    "eval/l0_total",
    "lr",
)


def log_lines(
    records: Sequence[Mapping[str, Any]],
    problems: Sequence[str],
    status: str,
    reason: str,
    error: str | None,
    width: int,
) -> list[str]:
    """The last records, one to a line of at most `width`, then what is wrong and how the run stands."""
    lines = [record_line(record, width) for record in records]
    if not lines:
        lines.append("nothing logged yet")
    lines.append("")
    lines.extend(f"! {plain_line(problem)}" for problem in problems)
    if error:
        lines.extend(["! it failed with:", *(f"    {plain_line(line)}" for line in error.splitlines())])
    lines.append(f"{status}: {plain_line(reason.splitlines()[0] if reason else '')}".rstrip(": "))
    return lines


def record_line(record: Mapping[str, Any], width: int) -> str:
    """One record: step, kind and as many of its numbers as fit, the most telling first."""
    step = record.get("step")
    start = grouped(int(step)) if isinstance(step, int | float) and math.isfinite(step) else "?"
    evaluated = record.get("kind") == "eval"
    numbers = {name: value for name, value in record.items() if name not in ("step", "kind", "seconds")}
    names = [name for name in _TELLING if name in numbers]
    names += [name for name in numbers if "loss/" in name and name not in names]
    names += [name for name in numbers if name not in names]
    line = f"{start:>9}  {'eval ' if evaluated else 'train'}"
    for place, name in enumerate(names):
        entry = f"  {_short(name)} {_value(numbers[name])}"
        more = f"  and {len(names) - place} more"
        last = place == len(names) - 1
        if place and len(line) + len(entry) + (0 if last else len(more)) > width:
            return line + more
        line += entry
    return line


def _short(name: str) -> str:
    return plain_line(name.removeprefix("eval/").removeprefix("loss/"))


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain_line(str(value))
    return three_digits(float(value) if abs(value) < 1e300 else math.inf)
