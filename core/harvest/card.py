"""One component as people read it: numbers, typical tokens, partners and examples, all texts decoded."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from core.errors import UsageError, nearest_names
from core.harvest.artifact import Harvest
from core.harvest.catalogue import naming_damage

if TYPE_CHECKING:
    import polars as pl

    from core.harvest.queries import Partner

MEASURE = "log_likelihood_ratio"
"""Measure by which associates are ordered unless another one is asked for."""

_NAMED = re.compile(r"(.*?):(\d+)")


@dataclass(frozen=True)
class Associate:
    """What goes with a component ("this"): another component, an input or an output token ("other")."""

    id: int
    """Component number or token id."""
    text: str
    """Key of the component, or the token as it is displayed."""
    note: str
    """Of a component, its top input token; otherwise empty."""
    both: float
    """Positions with both; of output tokens, probability mass at the firings of this."""
    this: float
    """Firings of this."""
    other: float
    """Positions with the other; of output tokens, their mass at all positions as far as it was kept."""
    measures: dict[str, float]
    """Every measure by its name; NaN where it is not defined."""
    intervals: dict[str, tuple[float, float]]
    """95% intervals of `other_given_this`, `this_given_other` and `pmi`."""


@dataclass(frozen=True)
class ExampleToken:
    """One position of an example."""

    id: int
    text: str
    """The token as it is displayed; of toys, the strongest active feature."""
    importance: float
    """Causal importance of the component here."""
    activation: float
    """Component activation here."""
    fires: bool


@dataclass(frozen=True)
class Example:
    """A firing and what stands around it."""

    sequence: int
    """Number of its sequence in the stream."""
    position: int
    """Its place in the sequence."""
    mark: int
    """Its place among `tokens`."""
    tokens: tuple[ExampleToken, ...]
    features: tuple[tuple[int, float], ...] | None
    """Of toys: the features active in the sample, and their values."""


@dataclass(frozen=True)
class Histogram:
    """Firings by causal importance."""

    edges: tuple[float, ...]
    """Lower edge of every bin."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ComponentCard:
    """Everything a person asks of one component."""

    component: int
    """Number through all layers."""
    key: str
    """Layer and number in it, as `h.0.mlp.c_fc:17`."""
    layer: str
    index: int
    kind: str
    """What the model reads: `text`, `tokens` or `features`."""
    positions: int
    """Positions the statistics are over."""
    numbers: dict[str, float | int | None]
    """Its row of the table of components: firings, density, means, top tokens."""
    histogram: Histogram
    measure: str
    """What the associates are ordered by."""
    inputs_top: tuple[Associate, ...]
    inputs_bottom: tuple[Associate, ...]
    outputs_top: tuple[Associate, ...]
    outputs_bottom: tuple[Associate, ...]
    partners_top: tuple[Associate, ...]
    partners_bottom: tuple[Associate, ...]
    strongest: bool
    """Whether the examples are the strongest firings, else a uniform sample of all."""
    examples: tuple[Example, ...]

    @property
    def fires(self) -> bool:
        """Whether it fired at all."""
        return bool(self.numbers["firings"])


def component_card(
    harvest: Harvest,
    component: int,
    *,
    measure: str = MEASURE,
    partners: int = 20,
    examples: int = 20,
    strongest: bool = False,
) -> ComponentCard:
    """The card of a component: `partners` associates at each end of each list, and `examples` firings.

    Raises:
        UsageError: there is no such component or measure.
        SpdError: a file of the harvest is missing or damaged.
    """
    import polars as pl

    layer, index = harvest.name(component)
    with naming_damage(harvest):
        row = harvest.scan("components").filter(pl.col("component") == component).collect().to_dicts()[0]
        ends = {kind: _ends(harvest, component, kind, measure, partners) for kind in _PARTNERS}
        shown = _examples(harvest, component, examples, strongest)
    counts = tuple(row.pop("importance_histogram"))
    edges = tuple(harvest.manifest["importance_histogram_edges"])
    return ComponentCard(
        component=component,
        key=f"{layer}:{index}",
        layer=layer,
        index=index,
        kind=str(harvest.manifest.get("kind", "tokens")),
        positions=harvest.positions,
        numbers={name: value for name, value in row.items() if name not in ("component", "layer", "index")},
        histogram=Histogram(edges, counts),
        measure=measure,
        inputs_top=ends["input"][0],
        inputs_bottom=ends["input"][1],
        outputs_top=ends["output"][0],
        outputs_bottom=ends["output"][1],
        partners_top=ends["component"][0],
        partners_bottom=ends["component"][1],
        strongest=strongest,
        examples=shown,
    )


def plain(card: ComponentCard) -> dict[str, Any]:
    """The card as plain data for JSON; what is not a finite number is None."""
    return _finite(asdict(card))


def find_component(harvest: Harvest, text: str) -> int:
    """The number of the component that `text` names.

    That is its number through all layers, or a layer and a number in it, `h.0.mlp.c_fc:17`; any part of the
    layer's name that no other layer has will do, as `0.mlp.c_fc:17`.

    Raises:
        UsageError: no or more than one component fits; nearest names are given.
    """
    text = text.strip()
    if text.isdecimal():
        harvest.name(int(text))
        return int(text)
    named = _NAMED.fullmatch(text)
    if named is None:
        first = harvest.layers[0][0] if harvest.layers else "layer"
        raise UsageError(
            f"{text!r} does not name a component.", f"Give a layer and a number, as {first}:0, or a number."
        )
    return harvest.number(_layer(named[1], [name for name, _ in harvest.layers]), int(named[2]))


_PARTNERS: "tuple[Partner, ...]" = ("input", "output", "component")


def _layer(part: str, layers: list[str]) -> str:
    """The layer that a part of a name means: the name itself, then whole pieces of it, then any part."""
    fits = [name for name in layers if name == part]
    fits = fits or [name for name in layers if part and f".{part}." in f".{name}."]
    fits = fits or [name for name in layers if part and part in name]
    if len(fits) == 1:
        return fits[0]
    if fits:
        shown = ", ".join(fits[:5]) + (", ..." if len(fits) > 5 else "")
        raise UsageError(f"{part!r} fits {len(fits)} layers: {shown}.", "Give more of the name.")
    pieces = part.count(".") + 1
    endings = {".".join(name.split(".")[-pieces:]) for name in layers}
    raise UsageError(f"the harvest has no layer {part}.", nearest_names(part, endings | set(layers)))


def _ends(
    harvest: Harvest, component: int, kind: "Partner", measure: str, count: int
) -> tuple[tuple[Associate, ...], tuple[Associate, ...]]:
    from core.harvest.queries import ranking

    found = ranking(harvest, component, kind, measure, count)
    return _associates(harvest, found.top, kind), _associates(harvest, found.bottom, kind)


def _associates(harvest: Harvest, rows: "pl.DataFrame", kind: "Partner") -> tuple[Associate, ...]:
    from core.stats.association import MEASURES, Counts, pmi_interval, proportion_interval

    ids = rows[rows.columns[0]].to_list()
    if kind == "component":
        texts = ["{}:{}".format(*harvest.name(other)) for other in ids]
        notes = _top_inputs(harvest, ids)
    else:
        texts, notes = _texts(harvest, ids), [""] * len(ids)
    both, this, other = (rows[name].to_numpy() for name in ("both", "this", "other_count"))
    counts = Counts.of(both, this, other, harvest.positions)
    bounds = {
        "other_given_this": proportion_interval(both, this),
        "this_given_other": proportion_interval(both, other),
        "pmi": pmi_interval(counts),
    }
    return tuple(
        Associate(
            id=row[rows.columns[0]],
            text=texts[place],
            note=notes[place],
            both=row["both"],
            this=row["this"],
            other=row["other_count"],
            measures={name: row[name] for name in MEASURES},
            intervals={name: (float(low[place]), float(high[place])) for name, (low, high) in bounds.items()},
        )
        for place, row in enumerate(rows.iter_rows(named=True))
    )


def _texts(harvest: Harvest, ids: Iterable[int]) -> list[str]:
    return harvest.tokens()["text"].gather(list(ids)).to_list()


def _top_inputs(harvest: Harvest, components: list[int]) -> list[str]:
    tokens = harvest.top_inputs().gather(components)
    return harvest.tokens()["text"].gather(tokens).fill_null("").to_list()


def _examples(harvest: Harvest, component: int, count: int, strongest: bool) -> tuple[Example, ...]:
    import polars as pl

    wanted = (pl.col("component") == component) & (pl.col("strongest") == strongest)
    rows = harvest.scan("examples").filter(wanted).head(count).collect()
    ids = sorted({token for window in rows["tokens"] for token in window})
    texts = dict(zip(ids, _texts(harvest, ids), strict=True))
    return tuple(_example(row, texts) for row in rows.iter_rows(named=True))


def _example(row: Mapping[str, Any], texts: Mapping[int, str]) -> Example:
    columns = (row["tokens"], row["importances"], row["activations"], row["fires"])
    features = row.get("features")
    return Example(
        sequence=row["sequence"],
        position=row["position"],
        mark=row["mark"],
        tokens=tuple(
            ExampleToken(token, texts[token], importance, activation, fires)
            for token, importance, activation, fires in zip(*columns, strict=True)
        ),
        features=(None if features is None else tuple(zip(features, row["feature_values"], strict=True))),
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
