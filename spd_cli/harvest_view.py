"""One component's card on paper: what `spd harvest RUN --show COMPONENT` prints.

Everything can be read without colour: strength is also the height of a block, and the firing an example
stands for is also between » and «.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from core.blocks import bar, height, heights
from core.numerals import aligned, grouped, three_digits

if TYPE_CHECKING:
    from core.harvest.card import Associate, ComponentCard, Example, ExampleToken

TITLE = Style(bold=True)
QUIET = Style(dim=True)
BAR_WIDTH = 12
NARROWEST = 40

MEASURE_NAMES = {
    "other_given_this": "P(other|this)",
    "this_given_other": "P(this|other)",
    "jaccard": "Jaccard",
    "lift": "lift",
    "pmi": "PMI",
    "log_likelihood_ratio": "LLR",
}
"""What measures are called at the head of a column."""


def card_lines(card: "ComponentCard", width: int) -> Iterator[Text]:
    """The card, line by line, none wider than `width` cells (at least `NARROWEST`)."""
    width = max(width, NARROWEST)
    yield from (_cut(line, width) for line in _lines(card, width))


def _lines(card: "ComponentCard", width: int) -> Iterator[Text]:
    yield from _header(card)
    if not card.fires:
        return
    yield Text()
    yield from _histogram(card)
    one = "feature" if card.kind == "features" else "token"
    of_inputs = (f"input {one}s it fires at", f"P({one}|fires)", f"P(fires|{one})")
    yield from _associates(card, of_inputs, card.inputs_top, width)
    of_outputs = ("tokens predicted where it fires", "mean probability", "share of its mass")
    yield from _associates(card, of_outputs, card.outputs_top, width)
    of_partners = ("components that fire with it", "P(other|this)", "P(this|other)")
    yield from _associates(card, of_partners, card.partners_top, width)
    if card.partners_top:
        yield Text()
        for said in (
            "P(other|this): of the positions where this fires, the share where the other does",
            "P(this|other): of the positions where the other fires, the share where this does",
        ):
            yield from _prose(said, width, QUIET)
    yield from _examples(card, width)


def _header(card: "ComponentCard") -> Iterator[Text]:
    yield Text.assemble((card.key, TITLE), f"  component {card.component}")
    numbers, positions = card.numbers, "samples" if card.kind == "features" else "tokens"
    if not card.fires:
        yield Text(f"never fired on {grouped(card.positions)} {positions}")
        return
    density = three_digits(100 * float(numbers["density"] or 0))
    firings = grouped(float(numbers["firings"] or 0))
    yield Text(f"fires on {density} % of {grouped(card.positions)} {positions} ({firings} firings)")
    mean, at_firings = numbers["mean_importance"], numbers["mean_importance_at_firings"]
    yield Text(
        f"mean CI {three_digits(mean)}, {three_digits(at_firings)} "
        f"at firings; mean activation there {float(numbers['mean_activation_at_firings'] or 0):+.3g}"
    )


def _histogram(card: "ComponentCard") -> Iterator[Text]:
    counts, edges = card.histogram.counts, card.histogram.edges
    first = next((place for place, count in enumerate(counts) if count), 0)
    # Two columns a bin: blocks of one column are hard to tell apart.
    blocks = "".join(2 * block for block in heights(counts[first:]))
    yield Text(f"CI at firings (the highest column: {grouped(max(counts))})", TITLE)
    yield Text(f"|{blocks}|")
    left = three_digits(edges[first])
    yield Text(f" {left}{'1'.rjust(max(1, len(blocks) - len(left)))}", QUIET)


def _associates(
    card: "ComponentCard", titles: tuple[str, str, str], rows: "Sequence[Associate]", width: int
) -> Iterator[Text]:
    """A table: name, P(other|this) with a bar, P(this|other), and the measure they are ordered by."""
    if not rows:
        return
    title, first, second = titles
    measure = MEASURE_NAMES[card.measure]
    other = [row.measures["other_given_this"] for row in rows]
    this = [row.measures["this_given_other"] for row in rows]
    columns = [(first, aligned(other)), (second, aligned(this))]
    if card.measure not in ("other_given_this", "this_given_other"):
        columns.append((measure, aligned([row.measures[card.measure] for row in rows])))
    widths = [max(len(head), len(cells[0])) for head, cells in columns]
    bars = BAR_WIDTH if width >= 80 else 0
    names = [f"{row.text}  {row.note}" if row.note else row.text for row in rows]
    room = width - sum(widths) - 2 * len(widths) - bars
    name_width = max(12, min(max(map(cell_len, names)), room))
    heads = [head.rjust(size) for (head, _), size in zip(columns, widths, strict=True)]
    heads[0] += " " * bars
    yield Text()
    yield from _prose(f"{title}{_order(card.measure)}", width, TITLE)
    yield Text("  ".join([" " * name_width, *heads]), QUIET)
    most = max((value for value in other if value == value), default=0.0)
    for place, name in enumerate(names):
        cells = [cells[place].rjust(size) for (_, cells), size in zip(columns, widths, strict=True)]
        cells[0] += (" " + bar(other[place] / most if most else 0.0, bars - 1)) if bars else ""
        yield Text("  ".join([set_cell_size(_shortened(name, name_width), name_width), *cells]).rstrip())


def _order(measure: str) -> str:
    if measure == "log_likelihood_ratio":
        return " (by log-likelihood ratio, LLR)"
    return f" (by {MEASURE_NAMES[measure]})"


def _examples(card: "ComponentCard", width: int) -> Iterator[Text]:
    if not card.examples:
        return
    what = "strongest firings" if card.strongest else "firings drawn uniformly"
    yield Text()
    yield from _prose(f"examples: {what} (▁ to █: CI; » « marks the firing)", width, TITLE)
    for example in card.examples:
        if example.features is not None:
            yield _features_line(example, example.features)
            continue
        yield from example_lines(example, width)


def _features_line(example: "Example", features: Sequence[tuple[int, float]]) -> Text:
    token = example.tokens[example.mark]
    strongest_first = sorted(features, key=lambda feature: -abs(feature[1]))
    values = "  ".join(f"x{number} = {value:+.2f}" for number, value in strongest_first)
    line = Text.assemble((height(token.importance), _shade(token)), f" CI {token.importance:.2f}  {values}")
    return line


def example_lines(example: "Example", width: int) -> tuple[Text, Text]:
    """An example as two lines: tokens, cut to `width` with the firing in the middle, and their CI below."""
    before, middle, after = Text(), Text(), Text()
    below = [Text(), Text(), Text()]
    for place, token in enumerate(example.tokens):
        part = 0 if place < example.mark else 1 if place == example.mark else 2
        shown = token.text or "∅"
        mark = part == 1
        style = _shade(token) + Style(bold=mark, underline=mark)
        (before, middle, after)[part].append_text(
            Text.assemble("»" if mark else "", (shown, style), "«" if mark else "")
        )
        blocks = height(token.importance) * cell_len(shown)
        below[part].append(f" {blocks} " if mark else blocks)
    half = (width - middle.cell_len) // 2
    left = max(0, half)
    tokens = Text.assemble(_last_cells(before, left), middle, after)
    return tokens, Text.assemble(_last_cells(below[0], left), below[1], below[2])


def _last_cells(text: Text, width: int) -> Text:
    """The end of a text in exactly `width` cells: cut off or filled up on the left."""
    size = text.cell_len
    if size <= width:
        return Text(" " * (width - size)).append_text(text)
    plain, place = text.plain, len(text.plain)
    used = 0
    while place > 0 and used + cell_len(plain[place - 1]) <= width:
        place -= 1
        used += cell_len(plain[place])
    # A wide character that the edge would split leaves one cell empty.
    while place < len(plain) and cell_len(plain[place]) == 0:
        place += 1
    return Text(" " * (width - used)).append_text(text[place:]) if place < len(plain) else Text(" " * width)


def _prose(text: str, width: int, style: Style) -> Iterator[Text]:
    for line in textwrap.wrap(text, width):
        yield Text(line, style)


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="crop")
    text.rstrip()
    return text


def _shortened(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _shade(token: "ExampleToken") -> Style:
    if not token.fires:
        return Style()
    strength = min(max(token.importance, 0.0), 1.0)
    # From a pale to a full blue, with black or white letters, whichever stands out.
    level = 1 - strength
    background = f"rgb({int(40 + 190 * level)},{int(90 + 145 * level)},{int(200 + 50 * level)})"
    return Style.parse(f"{'white' if strength > 0.6 else 'black'} on {background}")
