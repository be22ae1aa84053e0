"""Tables of what goes with a component: every number says what it conditions on, every row shows the two
sets of positions as one bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from core.blocks import bar
from core.numerals import align_decimal, three_digits
from spd_tui.rows.bars import SET_MARKS, SET_STYLES, overlap_bar
from spd_tui.rows.tokens import ELLIPSIS, harmless

Kind = Literal["component", "input", "feature", "output"]
"""What the others are; `feature` is the input of a toy."""

MEASURE_TITLES = {
    "log_likelihood_ratio": "G²",
    "pmi": "PMI nats",
    "lift": "lift",
    "jaccard": "Jaccard",
    "other_given_this": "P(other|this)",
    "this_given_other": "P(this|other)",
}
"""Measures in the order in which a key goes through them, with what heads their column."""

MEASURE_MEANINGS = {
    "log_likelihood_ratio": "evidence of dependence, negative when rarer than by chance",
    "pmi": "logarithm of how many times more often together than if independent",
    "lift": "how many times more often together than if independent",
    "jaccard": "positions with both among those with either",
    "other_given_this": "share of this component's firings that have the other",
    "this_given_other": "share of the other's positions at which this component fires",
}

_HEADS: dict[Kind, tuple[str, str, str]] = {
    "component": ("component", "P(other|this)", "P(this|other)"),
    "input": ("token", "P(token|fires)", "P(fires|token)"),
    "feature": ("feature", "P(feature|fires)", "P(fires|feature)"),
    "output": ("token", "P(token|fires)", "P(fires|token)"),
}
_OTHER: dict[Kind, str] = {"component": "other", "input": "token", "feature": "feature", "output": "token"}

_BOLD, _MUTED = Style(bold=True), Style(dim=True)
_LEAST_OVERLAP, _MOST_OVERLAP = 12, 40


class AssociateLike(Protocol):
    """Something that occurs at a component's firings."""

    @property
    def both(self) -> float:
        """Positions (or mass) with both."""
        ...

    @property
    def this(self) -> float:
        """Positions at which the component fires."""
        ...

    @property
    def other(self) -> float:
        """Positions (or mass) with the other."""
        ...

    @property
    def measures(self) -> Mapping[str, float]:
        """Every measure by its name."""
        ...


@dataclass(frozen=True)
class AssociateTable:
    """A table ready to be shown."""

    head: Text
    rows: list[Text]
    legend: Text | None
    """What the overlap bar's shades stand for; None where there is no room for the bar."""


@dataclass(frozen=True)
class _Widths:
    name: int
    bar: int
    overlap: int
    measure: bool


def associate_lines(
    associates: Sequence[AssociateLike], names: Sequence[str], kind: Kind, measure: str, width: int
) -> AssociateTable:
    """A heading and one line for each associate, which is called by its name; at most `width` cells wide.

    What does not fit is left out from the right: bars first, then the measure; the two conditional
    probabilities stay.
    """
    chosen = measure not in ("other_given_this", "this_given_other")
    names = [harmless(name) or "∅" for name in names]
    given_this = _column([associate.measures["other_given_this"] for associate in associates])
    given_other = _column([associate.measures["this_given_other"] for associate in associates])
    values = _column([associate.measures[measure] for associate in associates])
    values_width = max(len(MEASURE_TITLES[measure]), *(len(value) for value in values), 0)
    widths = _widths(names, kind, width, values_width + 2 if chosen else 0)
    head = _head(kind, measure, widths, values_width)
    lines = []
    for place, (name, associate) in enumerate(zip(names, associates, strict=True)):
        line = Text(_fitted_name(name, widths.name, kind), no_wrap=True, end="")
        for number, column in (("other_given_this", given_this), ("this_given_other", given_other)):
            line.append("  ")
            line.append(column[place].ljust(_number_width(kind, widths)))
            if widths.bar:
                line.append(bar(associate.measures[number], widths.bar), Style(color="cyan"))
        if widths.measure:
            line.append("  " + values[place].rjust(values_width))
        if widths.overlap:
            line.append("  ")
            line.append_text(overlap_bar(associate.this, associate.both, associate.other, widths.overlap))
        line.truncate(width)
        lines.append(line)
    return AssociateTable(head, lines, _overlap_legend(kind) if widths.overlap else None)


def _overlap_legend(kind: Kind) -> Text:
    """What the shades of the overlap bar stand for."""
    legend = Text.assemble(("positions with ", _MUTED), no_wrap=True, end="")
    meanings = ("only this", "both", f"only the {_OTHER[kind]}")
    for mark, style, meaning in zip(SET_MARKS, SET_STYLES, meanings, strict=True):
        legend.append(mark * 2, style)
        legend.append(f" {meaning}  ", _MUTED)
    legend.rstrip()
    return legend


def _head(kind: Kind, measure: str, widths: _Widths, values_width: int) -> Text:
    first, given_this, given_other = _HEADS[kind]
    head = Text(_fitted(first, widths.name), _BOLD, no_wrap=True, end="")
    column = _number_width(kind, widths) + widths.bar
    head.append("  " + given_this.ljust(column) + "  " + given_other.ljust(column))
    if widths.measure:
        head.append("  " + MEASURE_TITLES[measure].rjust(values_width))
    if widths.overlap:
        title = f"this | both | {_OTHER[kind]}"
        head.append("  " + _fitted(title if len(title) <= widths.overlap else "overlap", widths.overlap))
    return head


def _number_width(kind: Kind, widths: _Widths) -> int:
    return 8 if widths.bar else len(_HEADS[kind][1])


def _widths(names: Sequence[str], kind: Kind, width: int, measure: int) -> _Widths:
    """Room for each part of a line; `measure` is what the measure needs, 0 where it is shown already."""
    first, given, _ = _HEADS[kind]
    widest = max([len(first), *(cell_len(name) for name in names)])
    numbers = 2 * (len(given) + 2)
    room = width - numbers
    spare = next(
        (spare for spare in (measure + 2 + _LEAST_OVERLAP, 2 + _LEAST_OVERLAP, 0) if room - spare >= 14), 0
    )
    name = max(8, min(widest, 28, room - spare))
    room -= name
    measured = bool(measure) and room >= measure + 2 + _LEAST_OVERLAP
    room -= measure if measured else 0
    overlap = min(room - 2, _MOST_OVERLAP) if room >= 2 + _LEAST_OVERLAP else 0
    wider = max(0, min(6, (room - 2 - overlap) // 2)) if overlap else 0
    return _Widths(name, len(given) - 8 + wider if room >= 0 else 0, overlap, measured)


def _column(values: Sequence[float]) -> list[str]:
    return align_decimal([three_digits(value) for value in values], whole=1)


def _fitted_name(name: str, width: int, kind: Kind) -> str:
    """A component's number stays readable where its layer is cut."""
    layer, colon, index = name.rpartition(":")
    if kind != "component" or not colon or cell_len(name) <= width or len(index) + 3 > width:
        return _fitted(name, width)
    return _fitted(layer, width - len(index) - 1) + colon + index


def _fitted(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(width - 1, 0)) + ELLIPSIS
