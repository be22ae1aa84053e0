"""Queries on the table of components, against going through the rows one by one."""

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.harvest.filters import Bound, Query, TokenMatch, parse_query, select
from core.harvest.listing import COLUMNS

TEXTS = ["·she", "·She", "·her", "↵", "漢字", "<0xE2>", "a·b", "", None]
NUMBERS = ["firings", "density", "mean_importance", "index", "component", "top_input_share"]
OPERATORS = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
}

share = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
row = st.fixed_dictionaries(
    {
        "layer": st.sampled_from(["h.0.mlp.c_fc", "h.0.mlp.down_proj", "h.1.attn.q_proj"]),
        "index": st.integers(0, 3),
        "firings": st.integers(0, 3),
        "density": st.sampled_from([0.0, 0.001, 0.01, 0.5]),
        "mean_importance": st.sampled_from([0.0, 0.01, 0.9, math.nan]),
        "mean_importance_at_firings": share,
        "top_input_text": st.sampled_from(TEXTS),
        "top_input_share": share,
        "top_output_text": st.sampled_from(TEXTS),
        "top_output_share": share,
    }
)


def as_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    full = [
        {
            **row,
            "component": number,
            "key": f"{row['layer']}:{row['index']}",
            "top_input": None,
            "top_output": None,
        }
        for number, row in enumerate(rows)
    ]
    kinds = {"layer": pl.String, "key": pl.String, "top_input_text": pl.String, "top_output_text": pl.String}
    kinds |= {"top_input": pl.UInt32, "top_output": pl.UInt32}
    kinds |= {"component": pl.UInt64, "index": pl.UInt64, "firings": pl.UInt64}
    schema = {name: kinds.get(name, pl.Float64) for name in COLUMNS}
    return pl.DataFrame(full, schema=schema)


def has(text: str | None, part: str) -> bool:
    return text is not None and part.lower() in text.lower()


def fits(row: dict[str, Any], query: Query) -> bool:
    tops = {"any": ("input", "output"), "in": ("input",), "out": ("output",)}
    for match in query.token:
        found = [row[f"top_{side}_text"] for side in tops[match.side]]
        if not any(text == match.text if match.exact else has(text, match.text) for text in found):
            return False
    words = [row[name] for name in ("layer", "key", "top_input_text", "top_output_text")]
    return (
        (not query.layer or any(has(row["layer"], part) for part in query.layer))
        and all(any(has(text, word) for text in words) for word in query.text)
        and all(has(row[name], part) for name, part in query.contains)
        and all(
            row[bound.column] is not None and OPERATORS[bound.operator](row[bound.column], bound.value)
            for bound in query.bounds
            if not isinstance(row[bound.column], float) or not math.isnan(row[bound.column])
        )
        and (not query.fired_only or row["firings"] > 0)
    )


def in_order(rows: list[dict[str, Any]], query: Query) -> list[int]:
    def value(row: dict[str, Any]) -> Any:
        found = row[query.sort or "component"]
        return None if isinstance(found, float) and math.isnan(found) else found

    known = [row for row in rows if value(row) is not None]
    unknown = [row for row in rows if value(row) is None]
    if query.sort is not None:
        known.sort(key=value, reverse=query.descending)
    ordered = (
        [row["component"] for row in [*known, *unknown]] if query.sort else [r["component"] for r in rows]
    )
    return ordered if query.limit is None else ordered[: query.limit]


queries = st.builds(
    Query,
    layer=st.lists(st.sampled_from(["mlp", "MLP.c", "attn", "x"]), max_size=2).map(tuple),
    token=st.lists(
        st.builds(
            TokenMatch,
            st.sampled_from(["·she", "She", "字", "E2", "·"]),
            st.booleans(),
            st.sampled_from(["any", "in", "out"]),
        ),
        max_size=1,
    ).map(tuple),
    text=st.lists(st.sampled_from(["c_fc:1", "she", "proj", "字"]), max_size=2).map(tuple),
    contains=st.lists(st.sampled_from([("key", ":2"), ("top_input_text", "·")]), max_size=1).map(tuple),
    bounds=st.lists(
        # NaN is neither above nor below anything, so it is left to the test below.
        st.builds(
            Bound,
            st.sampled_from([name for name in NUMBERS if name != "mean_importance"]),
            st.sampled_from(list(OPERATORS)),
            st.sampled_from([0.0, 0.001, 0.25, 1.0, 2.0]),
        ),
        max_size=2,
    ).map(tuple),
    fired_only=st.booleans(),
    sort=st.one_of(st.none(), st.sampled_from([*NUMBERS, "layer", "top_input_text"])),
    descending=st.booleans(),
    limit=st.one_of(st.none(), st.integers(0, 5)),
)


@given(st.lists(row, max_size=12), queries)
def test_select_is_going_through_the_rows(rows: list[dict[str, Any]], query: Query) -> None:
    table = as_table(rows)
    expected = in_order([each for each in table.to_dicts() if fits(each, query)], query)
    found = select(table, query)
    assert found["component"].to_list() == expected
    assert found.columns == list(COLUMNS)


def test_numbers_that_are_none_fit_no_bound() -> None:
    rows = [{"mean_importance": value} for value in (math.nan, 0.5)]
    full = {
        "layer": "a",
        "index": 0,
        "firings": 1,
        "density": 0.1,
        "mean_importance_at_firings": None,
        "top_input_text": None,
        "top_input_share": None,
        "top_output_text": None,
        "top_output_share": None,
    }
    table = as_table([{**full, **row} for row in rows])
    for operator in OPERATORS:
        query = parse_query(f"mean_importance{operator}0.5")
        assert 0 not in select(table, query)["component"]
        assert select(table, parse_query(f"top_input_share{operator}0")).is_empty()
    assert select(table, parse_query("sort:mean_importance"))["component"].to_list() == [1, 0]
    assert select(table, parse_query("sort:+mean_importance"))["component"].to_list() == [1, 0]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        ("  ", Query()),
        ("layer:mlp", Query(layer=("mlp",))),
        ("layer:up,down", Query(layer=("up", "down"))),
        ('token:" she"', Query(token=(TokenMatch("·she", exact=True),))),
        ('token:"·she"', Query(token=(TokenMatch("·she", exact=True),))),
        ('token:"\n"', Query(token=(TokenMatch("↵", exact=True),))),
        (r'token:"\""', Query(token=(TokenMatch('"', exact=True),))),
        ("token:she", Query(token=(TokenMatch("she"),))),
        ('in:"she" out:her', Query(token=(TokenMatch("she", True, "in"), TokenMatch("her", False, "out")))),
        ("token:", Query()),
        ("density>0.01", Query(bounds=(Bound("density", ">", 0.01),))),
        ("density>=1%", Query(bounds=(Bound("density", ">=", 0.01),))),
        ("ci<1e-3", Query(bounds=(Bound("mean_importance", "<", 1e-3),))),
        ("firings=0", Query(bounds=(Bound("firings", "=", 0.0),))),
        ("index:17", Query(bounds=(Bound("index", "=", 17.0),))),
        ("is:fired", Query(fired_only=True)),
        ("is:silent", Query(bounds=(Bound("firings", "=", 0.0),))),
        ("sort:density", Query(sort="density")),
        ("sort:+density", Query(sort="density", descending=False)),
        ("sort:layer", Query(sort="layer", descending=False)),
        ("sort:-layer", Query(sort="layer")),
        ("sort:mean_ci limit:5", Query(sort="mean_importance", limit=5)),
        ("c_fc:17", Query(text=("c_fc:17",))),
        ("h.0.mlp.c_fc:17", Query(text=("h.0.mlp.c_fc:17",))),
        ('mlp " she"', Query(text=("mlp", " she"))),
        ('"two\\\nlines"', Query(text=("two\nlines",))),
        ("top_input_text:she", Query(contains=(("top_input_text", "she"),))),
    ],
)
def test_parse(text: str, query: Query) -> None:
    assert parse_query(text) == query


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("densty>1", "Did you mean density"),
        ("sort:densty", "Did you mean density"),
        ("lyer:mlp", "Did you mean layer"),
        ("density>x", "'x' is not a number"),
        ("density>", "'' is not a number"),
        ("density>nan", "is not a number"),
        ("layer>1", "components have no 'layer'"),
        ("limit:1.5", "not a number of rows"),
        ("limit:-1", "not a number of rows"),
        ("limit:inf", "not a number of rows"),
        ("is:red", "is:fired and is:silent"),
        ('is:fired token:"have sort:density', """'token:"have sort:density' in the query opens a quote"""),
        ('"she" "', """^'"' in the query opens a quote that is never closed"""),
        ('"she\\"', "opens a quote that is never closed"),
        ('5"', """'5"' in the query opens a quote"""),
    ],
)
def test_what_is_not_understood_is_said(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_query(text)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ('"unfinished word', Query(text=("unfinished word",))),
        ('is:fired token:"', Query(fired_only=True)),
        ('token:" ha', Query(token=(TokenMatch("·ha", exact=True),))),
    ],
)
def test_a_quote_may_be_open_while_it_is_typed(text: str, query: Query) -> None:
    assert parse_query(text, being_typed=True) == query


@given(st.text(alphabet='alyer:density>=<".1%, \\\n字-+', max_size=30))
def test_every_text_is_a_query_or_an_error(text: str) -> None:
    try:
        query = parse_query(text)
    except UsageError:
        return
    select(as_table([]), query)


def test_later_columns_can_be_asked_for() -> None:
    table = as_table([]).with_columns(label=pl.lit("x"), score=pl.lit(0.5))
    query = parse_query("label:pronoun score>0.5 sort:label", table.columns)
    assert query.contains == (("label", "pronoun"),) and query.sort == "label" and not query.descending
    assert select(table, query).is_empty()
    with pytest.raises(UsageError, match="'score'"):
        select(as_table([]), query)
