"""Narrowing and sorting a table of components by a short text, such as

    layer:mlp token:" she" density>0.01 sort:mean_importance limit:20

layer:mlp             the layer's name contains this; layer:up,down either of them
token:" she"          the top token, in or out, is exactly this; without quotes it contains this
in:she out:her        the same of the top input or output token alone
density>1%            a number's bound: > >= < <= = on any column of numbers; % is a hundredth
is:fired is:silent    fired at least once, or never
column:word           a column of text contains this
sort:density          largest first, text from A; sort:+density smallest first, sort:-layer from Z
limit:20              no more rows than this
word                  the component's name or one of its texts contains this

Capitals and small letters are the same everywhere but in an exact token. All terms must hold.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from core.errors import UsageError, nearest_names
from core.harvest.listing import COLUMNS
from core.text.display import display

if TYPE_CHECKING:
    import polars as pl

Operator = Literal[">", ">=", "<", "<=", "="]
Side = Literal["any", "in", "out"]

ALIASES: Mapping[str, str] = {
    "ci": "mean_importance",
    "mean_ci": "mean_importance",
    "ci_at_firings": "mean_importance_at_firings",
    "in_share": "top_input_share",
    "out_share": "top_output_share",
}
"""Short names of columns."""

TEXT_COLUMNS = ("layer", "key", "top_input_text", "top_output_text", "label")
"""Columns of text as far as a table has them; all others are numbers."""

_BOUND = re.compile(r"([A-Za-z_]\w*)(>=|<=|>|<|=)(.*)", re.S)
_FIELD = re.compile(r"([A-Za-z_]\w*):(.*)", re.S)
_TERM = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|[^\s"])+', re.S)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)("?)', re.S)
_NAMES = ("layer", "token", "in", "out", "is", "sort", "limit")


@dataclass(frozen=True)
class TokenMatch:
    """A condition on the top tokens."""

    text: str
    """As tokens are displayed (`·` for a space)."""
    exact: bool = False
    """The whole token, else a part of it, capitals or not."""
    side: Side = "any"


@dataclass(frozen=True)
class Bound:
    """A bound of a column of numbers."""

    column: str
    operator: Operator
    value: float


@dataclass(frozen=True)
class Query:
    """Which components to list, and in which order; empty: all, by number."""

    layer: tuple[str, ...] = ()
    """Parts of layer names, of which one must occur."""
    token: tuple[TokenMatch, ...] = ()
    text: tuple[str, ...] = ()
    """Words that must occur in the component's name or in one of its texts."""
    contains: tuple[tuple[str, str], ...] = ()
    """Column of text, and what it must contain."""
    bounds: tuple[Bound, ...] = ()
    fired_only: bool = False
    sort: str | None = None
    """Column; rows that are equal in it stay in the order of numbers, those without a value come last."""
    descending: bool = True
    limit: int | None = None


def parse_query(text: str, columns: Sequence[str] = COLUMNS, *, being_typed: bool = False) -> Query:
    """The query that `text` stands for (see the module), over a table with these columns.

    The last quote of a text that is still `being_typed` may be open: it closes at the end.

    Raises:
        UsageError: an unknown column (with the nearest names), a value that is no number, or an open quote.
    """
    query = Query()
    for term in _TERM.findall(text):
        if not being_typed:
            _check_closed(term)
        query = _with_term(query, term, columns)
    return query


def select(table: "pl.DataFrame", query: Query) -> "pl.DataFrame":
    """The rows of `table` that the query asks for, in its order.

    Raises:
        UsageError: the table has no such column.
    """
    import polars as pl

    for name in [*(bound.column for bound in query.bounds), *(name for name, _ in query.contains)]:
        _check_column(name, table.columns)
    conditions = list(_conditions(query, table))
    frame = table.filter(conditions) if conditions else table
    if query.sort is not None:
        _check_column(query.sort, table.columns)
        key = pl.col(query.sort)
        if table.schema[query.sort].is_float():
            key = key.fill_nan(None)
        frame = frame.sort(key, descending=query.descending, nulls_last=True, maintain_order=True)
    return frame if query.limit is None else frame.head(query.limit)


def _conditions(query: Query, table: "pl.DataFrame") -> "Iterator[pl.Expr]":
    import polars as pl

    if query.layer:
        yield pl.any_horizontal([_contains("layer", part) for part in query.layer])
    for match in query.token:
        yield _token_condition(match)
    texts = [name for name in TEXT_COLUMNS if name in table.columns]
    for word in query.text:
        yield pl.any_horizontal([_contains(name, word) for name in texts])
    for name, part in query.contains:
        yield _contains(name, part)
    for bound in query.bounds:
        yield _bound_condition(bound)
    if query.fired_only:
        yield pl.col("firings") > 0


def _contains(column: str, part: str) -> "pl.Expr":
    import polars as pl

    # Cast: a column of labels may be categorical.
    lower = pl.col(column).cast(pl.String).str.to_lowercase()
    return lower.str.contains(part.lower(), literal=True).fill_null(False)


def _token_condition(match: TokenMatch) -> "pl.Expr":
    import polars as pl

    names = {"any": ("top_input_text", "top_output_text"), "in": ("top_input_text",)}
    columns = names.get(match.side, ("top_output_text",))
    if not match.exact:
        return pl.any_horizontal([_contains(name, match.text) for name in columns])
    return pl.any_horizontal([(pl.col(name) == match.text).fill_null(False) for name in columns])


def _bound_condition(bound: Bound) -> "pl.Expr":
    import polars as pl

    column = pl.col(bound.column).cast(pl.Float64)
    made = {
        ">": column > bound.value,
        ">=": column >= bound.value,
        "<": column < bound.value,
        "<=": column <= bound.value,
        "=": column == bound.value,
    }[bound.operator]
    # For polars NaN is above every number; here it is none.
    return (made & column.is_not_nan()).fill_null(False)


def _with_term(query: Query, term: str, columns: Sequence[str]) -> Query:
    if term.startswith('"'):
        return replace(query, text=(*query.text, _unquoted(term)))
    if bound := _BOUND.fullmatch(term):
        return _with_bound(query, bound[1], bound[2], bound[3], columns)
    field = _FIELD.fullmatch(term)
    if field is None or (field[2].isdigit() and _column(field[1]) not in (*_NAMES, *columns)):
        return replace(query, text=(*query.text, _unquoted(term)))  # `c_fc:17` is a component's name
    return _with_field(query, field[1], field[2], columns)


def _check_closed(term: str) -> None:
    for quoted in _QUOTED.finditer(term):
        if not quoted[2]:
            raise UsageError(
                f"{term!r} in the query opens a quote that is never closed.",
                'Close it; `"` itself is written `"\\""`.',
            )


def _with_bound(query: Query, name: str, operator: str, value: str, columns: Sequence[str]) -> Query:
    column = _column(name)
    _check_column(column, [each for each in columns if each not in TEXT_COLUMNS])
    bound = Bound(column, operator, _number(name, value))  # pyright: ignore[reportArgumentType] # by the pattern
    return replace(query, bounds=(*query.bounds, bound))


def _with_field(query: Query, name: str, value: str, columns: Sequence[str]) -> Query:
    text = _unquoted(value)
    if name == "layer":
        return replace(query, layer=(*query.layer, *(part for part in text.split(",") if part)))
    if name in ("token", "in", "out"):
        match = TokenMatch(
            text=_as_displayed(text),
            exact=value.startswith('"'),
            side="any" if name == "token" else name,  # pyright: ignore[reportArgumentType] # one of the names above
        )
        return replace(query, token=(*query.token, match)) if text else query
    if name == "is":
        return _with_state(query, text)
    if name == "sort":
        return _with_sort(query, text, columns)
    if name == "limit":
        limit = _number(name, text)
        if limit < 0 or not limit.is_integer():
            raise UsageError(f"limit:{text} is not a number of rows.")
        return replace(query, limit=int(limit))
    column = _column(name)
    texts = [each for each in columns if each in TEXT_COLUMNS]
    if column in columns and column not in texts:
        return _with_bound(query, name, "=", text, columns)
    _check_column(column, [*texts, *_NAMES])
    return replace(query, contains=(*query.contains, (column, text)))


def _with_state(query: Query, state: str) -> Query:
    if state == "fired":
        return replace(query, fired_only=True)
    if state == "silent":
        return replace(query, bounds=(*query.bounds, Bound("firings", "=", 0.0)))
    raise UsageError(f"is:{state} says nothing.", "Allowed: is:fired and is:silent.")


def _with_sort(query: Query, text: str, columns: Sequence[str]) -> Query:
    sign, name = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    column = _column(name)
    _check_column(column, columns)
    down = sign == "-" if sign else column not in (*TEXT_COLUMNS, "component", "index")
    return replace(query, sort=column, descending=down)


def _column(name: str) -> str:
    return ALIASES.get(name, name)


def _check_column(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UsageError(f"components have no {name!r} to list by.", nearest_names(name, known))


def _number(name: str, text: str) -> float:
    share = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = float("nan")
    if value != value:
        raise UsageError(f"{name}: {text!r} is not a number.", "Examples: density>0.01, density>1%.")
    return value / 100 if share else value


def _unquoted(text: str) -> str:
    return _QUOTED.sub(lambda match: re.sub(r"\\(.)", r"\1", match[1], flags=re.S), text)


def _as_displayed(text: str) -> str:
    # Typed as it is read off the screen or as it is in the text: both mean the token.
    return text if any(sign in text for sign in "·↵⇥<") else display(text.encode())
