"""The evaluation of a run in words and in tables: pure, from its summary or its last evaluation record."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.numerals import align_decimal, grouped, three_digits
from core.runs.overview import describe_verdict

MASKS = {
    "target": "the target itself",
    "unmasked": "all on, no weight delta",
    "ci": "by importance (CI)",
    "stochastic": "stochastic",
    "rounded": "rounded importance",
    "random": "random",
    "zero": "all off",
}
"""What the rows of the table of masks are called."""

_BUDGET = re.compile(r"([^/]+)/loss/(\d+)_steps_of_([^_]+)_from_([^_]+)_on_(.+)")
_TABLED = (
    "loss/",
    "l0/",
    "live/",
    "mmcs/",
    "ml2r/",
    "identity_ci_error/",
    "dense_ci_error/",
    "cross_entropy/",
)

Values = dict[str, float | None]


@dataclass(frozen=True)
class Adversary:
    """What one adversary reached."""

    loss: float | None
    steps: int
    step_size: float
    start: str
    on: str

    def words(self, measure: str) -> str:
        """One phrase, the budget in it: without it the number means nothing."""
        return (
            f"PGD {measure} {three_digits(self.loss)} at {self.steps} steps of {self.step_size:g} "
            f"({self.start} start, {self.on})"
        )


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one evaluation, whichever file they came from."""

    step: int | None = None
    finished: bool = False
    headline: str = ""
    found: str = ""
    """How much of a known answer was found, such as `5 of 5 features recovered`."""
    sentences: Mapping[str, str] = field(default_factory=dict)
    """What the run itself says about each module."""
    modules: Mapping[str, Values] = field(default_factory=dict)
    """Of each module `live`, `C`, `L0`, `error`, `MMCS` and `ML2R`, as far as known."""
    total_l0: float | None = None
    masks: Mapping[str, Values] = field(default_factory=dict)
    """Of each way of masking `CE`, `KL`, `CE recovered` and `same top token`."""
    adversaries: tuple[Adversary, ...] = ()
    losses: Values = field(default_factory=dict)
    other: Values = field(default_factory=dict)
    """Numbers of further metrics by their names."""


@dataclass(frozen=True)
class Section:
    """A titled block of lines."""

    title: str
    lines: tuple[str, ...]


def read_evaluation(summary: Mapping[str, Any] | None, record: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation of a run from summary.json, else from its last evaluation record (names without
    `eval/`); None before the first. What is missing or of the wrong type is left out."""
    if summary:
        return _from_summary(summary)
    if not any(isinstance(value, int | float) for name, value in record.items() if name != "step"):
        return None
    return _from_record(record)


def words(evaluation: Evaluation | None) -> list[str]:
    """The evaluation in a few phrases, the most telling first."""
    if evaluation is None:
        return ["no evaluation yet"]
    modules = evaluation.modules.values()
    phrases = [evaluation.found] if evaluation.found else []
    closest = _known(module.get("MMCS") for module in modules)
    if closest:
        phrases.append(f"MMCS {min(closest):.3f}")
    ratios = _known(module.get("ML2R") for module in modules)
    if ratios:
        phrases.append(f"ML2R {max(ratios, key=lambda ratio: abs(ratio - 1)):.2f}")
    errors = _known(module.get("error") for module in modules)
    if errors:
        phrases.append(f"{sum(errors):.0f} wrong entries against the known answer")
    phrases.extend(_recovered(evaluation.masks, "ci", "CI masks"))
    phrases.extend(_recovered(evaluation.masks, "stochastic", "stochastic masks"))
    phrases.extend(adversary.words(_measure(evaluation)) for adversary in evaluation.adversaries)
    live, counts = _known(m.get("live") for m in modules), _known(m.get("C") for m in modules)
    if live:
        whole = f" of {grouped(int(sum(counts)))}" if counts else ""
        phrases.append(f"{grouped(int(sum(live)))}{whole} subcomponents live")
    if evaluation.total_l0 is not None:
        phrases.append(f"L0 {three_digits(evaluation.total_l0)}")
    return phrases or [evaluation.headline or "nothing was measured"]


def _recovered(masks: Mapping[str, Values], name: str, title: str) -> list[str]:
    mask = masks.get(name, {})
    recovered, divergence = mask.get("CE recovered"), mask.get("KL")
    distance = f"KL {three_digits(divergence)}" if divergence is not None else ""
    if recovered is None:
        return [f"{distance} with {title}"] if distance else []
    return [
        f"{title} recover {100 * recovered:.1f} % of the cross-entropy"
        + (f" ({distance})" if distance else "")
    ]


def sheet(evaluation: Evaluation | None) -> list[Section]:
    """Everything that was measured, in tables."""
    if evaluation is None:
        return [Section("Evaluation", ("no evaluation yet",))]
    when = "at the end" if evaluation.finished else f"at step {grouped(evaluation.step or 0)}"
    said = [f"{name}: {text}" for name, text in evaluation.sentences.items()]
    # Of a language model the headline says what the phrases say, in fewer numbers.
    head = [evaluation.headline] if evaluation.headline and not evaluation.masks else []
    sections = [Section(f"Evaluation {when}", (*head, "; ".join(words(evaluation)) + "."))]
    if evaluation.modules:
        totals = {"L0": evaluation.total_l0}
        for column in ("live", "C"):
            known = _known(module.get(column) for module in evaluation.modules.values())
            totals[column] = sum(known) if known else None
        rows = {**evaluation.modules, "all": totals} if len(evaluation.modules) > 1 else evaluation.modules
        sections.append(Section("Modules", tuple(table("module", rows))))
    if said and not evaluation.masks:
        sections.append(Section("Module by module", tuple(said)))
    if evaluation.masks:
        titled = {MASKS.get(name, name): values for name, values in evaluation.masks.items()}
        sections.append(Section("Masks", tuple(table("masks", titled))))
    if evaluation.adversaries:
        measure = _measure(evaluation)
        sections.append(Section("Adversaries", tuple(one.words(measure) for one in evaluation.adversaries)))
    for title, values in (("Losses", evaluation.losses), ("Other metrics", evaluation.other)):
        if values:
            rows = {name: {"value": value} for name, value in values.items()}
            sections.append(Section(title, tuple(table("name", rows))))
    return sections


def table(corner: str, rows: Mapping[str, Values]) -> list[str]:
    """Aligned lines: a header, then one for each row; columns that are empty everywhere are left out."""
    columns = list(dict.fromkeys(name for values in rows.values() for name in values))
    columns = [c for c in columns if any(values.get(c) is not None for values in rows.values())]
    parts = [[corner, *rows]]
    for column in columns:
        shown = [_shown(column, values.get(column)) for values in rows.values()]
        parts.append([column, *align_decimal(shown)])
    widths = [max(map(len, part)) for part in parts]
    lines: list[str] = []
    for place in range(len(rows) + 1):
        name, *cells = (part[place] for part in parts)
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    return lines


def _shown(column: str, value: float | None) -> str:
    if value is not None and column in ("live", "C", "error") and value == int(value):
        return grouped(int(value))
    return three_digits(value)


def _measure(evaluation: Evaluation) -> str:
    """What the adversary maximises: a divergence of predictions where there are any."""
    return "KL" if evaluation.masks else "loss"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def _mapping(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = source.get(name)
    return value if isinstance(value, Mapping) else {}


def _values(source: Mapping[str, Any]) -> Values:
    return {str(name): _number(value) for name, value in source.items() if not isinstance(value, str | bool)}


def _under(record: Mapping[str, Any], prefix: str) -> Values:
    return _values({name[len(prefix) :]: item for name, item in record.items() if name.startswith(prefix)})


def _modules(columns: Mapping[str, Values], names: Sequence[str]) -> dict[str, Values]:
    return {name: {column: values.get(name) for column, values in columns.items()} for name in names}


def _masks(entropy: Mapping[str, Any]) -> dict[str, Values]:
    columns = {"CE": "ce", "KL": "kl", "CE recovered": "ce_recovered", "same top token": "top1"}
    found = {
        mask: {title: _number(entropy.get(f"{name}/{mask}")) for title, name in columns.items()}
        for mask in MASKS
    }
    return {mask: values for mask, values in found.items() if any(v is not None for v in values.values())}


def _from_summary(summary: Mapping[str, Any]) -> Evaluation:
    verdict = _mapping(summary, "verdict")
    errors = {**_mapping(summary, "identity_ci_error"), **_mapping(summary, "dense_ci_error")}
    columns = {
        "live": _values(_mapping(summary, "live_components")),
        "C": _values(_mapping(summary, "components")),
        "L0": _values(_mapping(summary, "l0")),
        "error": _values(errors),
        "MMCS": _values(_mapping(summary, "mmcs")),
        "ML2R": _values(_mapping(summary, "ml2r")),
    }
    names = list(columns["live"]) or list(columns["C"])
    listed = summary.get("adversaries")
    adversaries = [
        Adversary(
            _number(each.get("loss")),
            int(_number(each.get("steps")) or 0),
            _number(each.get("step_size")) or 0.0,
            str(each.get("init", "?")),
            str(each.get("on", "?")),
        )
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, Mapping)
    ]
    metrics = _mapping(summary, "metrics")
    other = {
        f"{metric}/{name}": value
        for metric in metrics
        for name, value in _values(_mapping(metrics, metric)).items()
        if not _BUDGET.fullmatch(f"{metric}/{name}") and not _is_of_masks(name)
    }
    return Evaluation(
        step=int(_number(summary.get("steps")) or 0),
        finished=True,
        headline=str(verdict.get("headline", "")),
        found=_found(summary),
        sentences={str(n): str(text) for n, text in verdict.items() if n != "headline"},
        modules=_modules(columns, names),
        total_l0=_number(summary.get("l0_total")),
        masks=_masks(_mapping(summary, "cross_entropy")),
        adversaries=tuple(adversaries),
        losses=_values(_mapping(summary, "losses")),
        other=other,
    )


def _from_record(record: Mapping[str, Any]) -> Evaluation:
    live = _under(record, "live/")
    l0 = _under(record, "l0/")
    columns = {
        "live": live,
        "L0": l0,
        "error": {**_under(record, "identity_ci_error/"), **_under(record, "dense_ci_error/")},
        "MMCS": _under(record, "mmcs/"),
        "ML2R": _under(record, "ml2r/"),
    }
    budgets = [(match, value) for name, value in record.items() if (match := _BUDGET.fullmatch(name))]
    total = _number(record.get("l0_total"))
    known = _known(l0.get(name) for name in live)
    rest = {
        name: value
        for name, value in _values(record).items()
        if name not in ("step", "l0_total") and not name.startswith(_TABLED) and not _BUDGET.fullmatch(name)
    }
    return Evaluation(
        step=int(_number(record.get("step")) or 0),
        modules=_modules(columns, list(live) or list(l0)),
        total_l0=total if total is not None else (sum(known) if known else None),
        masks=_masks(_under(record, "cross_entropy/")),
        adversaries=tuple(
            Adversary(_number(value), int(m[2]), _size(m[3]), m[4], m[5].replace("_", " "))
            for m, value in budgets
        ),
        losses=_under(record, "loss/"),
        other=rest,
    )


def _is_of_masks(name: str) -> bool:
    return name.startswith(("ce/", "kl/", "top1/", "ce_"))


def _size(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _found(summary: Mapping[str, Any]) -> str:
    short = describe_verdict(summary) or ""
    match = re.fullmatch(r"(\d+)/(\d+) (.+)", short)
    return f"{match[1]} of {match[2]} {match[3]} recovered" if match else ""
