"""The card of a component as lines of text, with what the cursor can rest on in them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from core.blocks import height, heights
from core.numerals import grouped, three_digits
from spd_tui.rows.associates import (
    MEASURE_MEANINGS,
    MEASURE_TITLES,
    Kind,
    associate_lines,
)
from spd_tui.rows.rank_plot import rank_plot_lines
from spd_tui.rows.tokens import (
    Tone,
    View,
    background_style,
    harmless,
    largest_activation,
    shade_style,
    window_lines,
)

if TYPE_CHECKING:
    from core.harvest.card import Associate, ComponentCard, Example
    from spd_tui.rows.components import Ranks

Section = Literal["examples", "tokens", "related", "rank"]
SECTIONS: tuple[Section, ...] = ("examples", "tokens", "related", "rank")

_BOLD, _MUTED = Style(bold=True), Style(dim=True)
_GUTTER = 8
_LEAST_WITH_GUTTER = 50
RANK_TITLES = {"mean_importance": "mean CI", "density": "density"}


@dataclass(frozen=True)
class Item:
    """Something in a card that the cursor can rest on."""

    says: str
    """What the status line says of it."""
    copies: str
    """What is copied from it."""
    component: int | None = None
    """The component it leads to."""


@dataclass(frozen=True)
class CardLine:
    """One line of a card; lines that follow each other with one item belong to it."""

    text: Text
    item: Item | None = None


@dataclass(frozen=True)
class CardView:
    """How a card is shown."""

    section: Section
    width: int
    view: View
    layers: Mapping[str, str]
    """Short layer names."""
    unit: str = "tokens"
    ranks: "Ranks | None" = None
    plot_rows: int = 12


def card_lines(card: "ComponentCard", shown: CardView) -> list[CardLine]:
    """The lines of one section of a card."""
    if shown.section == "rank":
        return _rank_lines(card, shown)
    if not card.fires:
        first = shown.unit.removesuffix("s")
        return _plain(f"It fires on no {first} of {grouped(card.positions)}.", shown.width)
    return {"examples": _example_lines, "tokens": _token_lines, "related": _related_lines}[shown.section](
        card, shown
    )


def head_lines(card: "ComponentCard", shown: CardView) -> list[Text]:
    """What a person should see first of a component, in two lines, and which section follows."""
    numbers = card.numbers
    density = three_digits(100 * _number(numbers["density"]))
    name = f"{shown.layers.get(card.layer, card.layer)}:{card.index}"
    first = Text.assemble((name, _BOLD), f"  fires on {density} % of {shown.unit}", no_wrap=True, end="")
    mean = f"mean CI {three_digits(_number(numbers['mean_importance']))}"
    if card.fires:
        mean += f", {three_digits(_number(numbers['mean_importance_at_firings']))} when firing"
    firings = f" · {grouped(int(_number(numbers['firings'])))} firings"
    second = Text(mean, no_wrap=True, end="")
    (first if first.cell_len + len(firings) <= shown.width else second).append(firings)
    octaves = heights(_octaves(card.histogram.counts))
    if card.fires and second.cell_len + len(octaves) + 27 <= shown.width:
        second.append(" · firings by CI, log: 0 ")
        second.append(octaves, shade_style(1.0, 0, shown.view.tone))
        second.append(" 1")
    lines = [first, second, _tabs(card, shown)]
    for line in lines:
        line.truncate(shown.width, overflow="ellipsis")
    return lines


def _tabs(card: "ComponentCard", shown: CardView) -> Text:
    tabs = Text(no_wrap=True, end="")
    for section in SECTIONS:
        here = section == shown.section
        name = "features" if section == "tokens" and card.kind == "features" else section
        tabs.append(f"[{name}]" if here else f" {name} ", _BOLD if here else _MUTED)
    says = {
        "examples": f"{'strongest' if card.strongest else 'uniform sample'} · {_shading(card, shown)}",
        "rank": "every component by rank, log axis",
    }.get(shown.section, f"by {MEASURE_TITLES[card.measure]}")
    if tabs.cell_len + len(says) + 3 <= shown.width:
        tabs.append(" " * (shown.width - tabs.cell_len - len(says)) + says, _MUTED)
    return tabs


def _shading(card: "ComponentCard", shown: CardView) -> str:
    if card.kind == "features":
        return "values of active inputs"
    scale = three_digits(shown.view.scale)
    return {
        "importance": "CI, █ 1",
        "activation": f"activation, █ ±{scale}",
        "both": f"CI, activation █ ±{scale}",
    }[shown.view.shading]


def _octaves(counts: Sequence[int]) -> list[float]:
    """The two bins of an octave together: sixteen blocks fit beside the other numbers."""
    return [float(sum(counts[place : place + 2])) for place in range(0, len(counts), 2)]


def activation_scale(card: "ComponentCard") -> float:
    """The magnitude of activation that is a full block in a card's examples."""
    return largest_activation(example.tokens for example in card.examples)


def _example_lines(card: "ComponentCard", shown: CardView) -> list[CardLine]:
    gutter = _GUTTER if shown.width >= _LEAST_WITH_GUTTER else 0
    lines: list[CardLine] = []
    for example in card.examples:
        token = example.tokens[example.mark]
        if example.features is None:
            window = window_lines(example.tokens, example.mark, shown.width - gutter, shown.view)
        else:
            window = _feature_lines(card, example, shown.width - gutter, shown.view.tone)
        importance, activation = three_digits(token.importance), _signed(token.activation)
        text = harmless(token.text)
        item = Item(
            says=f"{text}  CI {importance}  activation {activation}  sequence {example.sequence} "
            f"position {example.position}",
            copies="".join(harmless(each.text) for each in example.tokens),
        )
        notes = {
            "importance": (importance,),
            "activation": (importance, activation),
            "both": ("", importance, activation),
        }[shown.view.shading]
        for place, line in enumerate(window):
            note = notes[place] if gutter and place < len(notes) else ""
            margin = note.rjust(gutter - 1).ljust(gutter)[:gutter]
            full = Text.assemble((margin, _MUTED), no_wrap=True, end="")
            full.append_text(line)
            lines.append(CardLine(full, item))
    return lines


def _largest_value(card: "ComponentCard") -> float:
    """Magnitude of the largest input value in any of the examples; 1 if there is none."""
    values = (abs(value) for example in card.examples for _, value in example.features or ())
    return max(values, default=0.0) or 1.0


def _feature_lines(card: "ComponentCard", example: "Example", width: int, tone: Tone) -> list[Text]:
    """Active input features of a toy, the largest first, and their values as blocks under them."""
    assert example.features is not None
    top = _largest_value(card)
    names = {token.id: token.text for token in example.tokens}
    known = {associate.id: associate.text for associate in (*card.inputs_top, *card.inputs_bottom)}
    lines = [Text(no_wrap=True, end=""), Text(no_wrap=True, end="")]
    rows = [lines]
    for feature, value in sorted(example.features, key=lambda pair: -abs(pair[1])):
        name = harmless(names.get(feature) or known.get(feature) or str(feature))
        chip = f"{name} = {_signed(value)}"
        if cell_len(chip) + 2 > width - lines[0].cell_len and lines[0].cell_len:
            lines = [Text(no_wrap=True, end=""), Text(no_wrap=True, end="")]
            rows.append(lines)
        sign, strength = (1 if value >= 0 else -1), abs(value) / top
        lines[0].append(chip, background_style(strength, sign, tone))
        lines[0].append("  ")
        block = "+-"[sign < 0] + height(strength) * (cell_len(chip) - 1)
        lines[1].append(block, shade_style(strength, sign, tone))
        lines[1].append("  ")
    flat = [line for pair in rows for line in pair]
    for line in flat:
        line.truncate(width)
    return flat


def _token_lines(card: "ComponentCard", shown: CardView) -> list[CardLine]:
    reads: Kind = "feature" if card.kind == "features" else "input"
    what = "input features" if reads == "feature" else "input tokens"
    inputs = _parts(card, what, reads, card.inputs_top, card.inputs_bottom)
    outputs = _parts(card, "output tokens by predicted mass", "output", card.outputs_top, card.outputs_bottom)
    lines = _associate_parts(card, inputs + outputs, shown)
    if not card.outputs_top:
        lines += [CardLine(Text("")), *_plain("No output was counted in this harvest.", shown.width)]
    return lines


def _related_lines(card: "ComponentCard", shown: CardView) -> list[CardLine]:
    if not card.partners_top:
        return _plain("No other component fires with it.", shown.width)
    parts = _parts(card, "components", "component", card.partners_top, card.partners_bottom)
    return _associate_parts(card, parts, shown)


def _parts(
    card: "ComponentCard",
    what: str,
    kind: Kind,
    top: "Sequence[Associate]",
    bottom: "Sequence[Associate]",
) -> "list[tuple[str, Kind, Sequence[Associate]]]":
    """Measures of dependence tell what goes with a component from what avoids it; the others only order."""
    if card.measure not in ("log_likelihood_ratio", "pmi", "lift"):
        return [(f"{what}, largest {MEASURE_TITLES[card.measure]} first", kind, top)]
    rarer = {id(each) for each in (*top, *bottom) if each.measures["lift"] < 1}
    return [
        (f"{what}, more often than by chance", kind, [each for each in top if id(each) not in rarer]),
        (f"{what}, less often than by chance", kind, [each for each in bottom if id(each) in rarer]),
    ]


def _associate_parts(
    card: "ComponentCard", parts: "Sequence[tuple[str, Kind, Sequence[Associate]]]", shown: CardView
) -> list[CardLine]:
    legend = f"{MEASURE_TITLES[card.measure]}: {MEASURE_MEANINGS[card.measure]}"
    lines = [*_plain(legend, shown.width, _MUTED)]
    for title, kind, associates in parts:
        if not associates:
            continue
        names = [_name(associate, kind, shown.layers) for associate in associates]
        table = associate_lines(associates, names, kind, card.measure, shown.width)
        if len(lines) > 1:
            lines.append(CardLine(Text("")))
        lines += _plain(title, shown.width, _BOLD)
        lines.append(CardLine(_cut(table.head, shown.width)))
        for name, associate, row in zip(names, associates, table.rows, strict=True):
            lines.append(CardLine(row, _associate_item(card, name, associate, kind)))
        if table.legend is not None:
            lines.append(CardLine(_cut(table.legend, shown.width)))
    return lines


def _name(associate: "Associate", kind: Kind, layers: Mapping[str, str]) -> str:
    if kind != "component":
        return harmless(associate.text)
    layer, _, index = associate.text.rpartition(":")
    return f"{layers.get(layer, layer)}:{index}"


def _associate_item(card: "ComponentCard", name: str, associate: "Associate", kind: Kind) -> Item:
    value = f"{MEASURE_TITLES[card.measure]} {three_digits(associate.measures[card.measure])}"
    low, high = associate.intervals["other_given_this"]
    conditions = {"component": "other|this", "feature": "feature|fires"}.get(kind, "token|fires")
    interval = f"95 % of P({conditions}): "
    interval += f"{three_digits(low)} to {three_digits(high)}"
    if kind == "component":
        note = f" ({harmless(associate.note)})" if associate.note else ""
        together = f"{grouped(round(associate.both))} of {grouped(round(associate.this))} firings together"
        return Item(f"{name}{note}  {together}  {value}  {interval}", associate.text, associate.id)
    amount = three_digits(associate.both) if kind == "output" else grouped(round(associate.both))
    what = "mass over" if kind == "output" else "at"
    counted = f"{amount} {what} {grouped(round(associate.this))} firings"
    return Item(f"{name} (id {associate.id})  {counted}  {value}  {interval}", harmless(associate.text))


def _rank_lines(card: "ComponentCard", shown: CardView) -> list[CardLine]:
    if shown.ranks is None:
        return _plain("ranks are not there yet", shown.width)
    ranks = shown.ranks
    rank = int(ranks.places[card.component])
    title = f"{RANK_TITLES.get(ranks.column, ranks.column)} against rank"
    lines = rank_plot_lines(ranks.values, rank, shown.width, shown.plot_rows, title)
    rows = [CardLine(line) for line in lines]
    first = max(0, min(rank - 5, len(ranks.order) - 11))
    rows.append(CardLine(Text("")))
    rows += _plain("its neighbours by rank", shown.width, _BOLD)
    return rows + [
        _neighbour(ranks, place, rank, shown) for place in range(first, min(first + 11, len(ranks.order)))
    ]


def _neighbour(ranks: "Ranks", place: int, rank: int, shown: CardView) -> CardLine:
    component = int(ranks.order[place])
    name = component_name(component, shown.layers, ranks.widths)
    value = three_digits(float(ranks.values[place]))
    text = Text(f"{'▸' if place == rank else ' '}{grouped(place + 1):>8}  ", no_wrap=True, end="")
    text.append(f"{name:<24} {value}", _BOLD if place == rank else Style.null())
    title = RANK_TITLES.get(ranks.column, ranks.column)
    says = f"{name}  rank {grouped(place + 1)}  {title} {value}"
    return CardLine(_cut(text, shown.width), Item(says, name, component))


def component_name(component: int, layers: Mapping[str, str], widths: Sequence[tuple[str, int]]) -> str:
    """A component's short name from its number through all layers."""
    for layer, width in widths:
        if component < width:
            return f"{layers.get(layer, layer)}:{component}"
        component -= width
    return str(component)


def _plain(text: str, width: int, style: Style | None = None) -> list[CardLine]:
    line = Text(text, style or Style.null(), no_wrap=True, end="")
    return [CardLine(_cut(line, width))]


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text


def _signed(value: float) -> str:
    return three_digits(value) if value < 0 else f"+{three_digits(value)}"


def _number(value: float | int | str | None) -> float:
    return math.nan if value is None else float(value)
