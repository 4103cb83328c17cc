"""The grammar of the query string, tested without a server so that a thousand texts take little time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.supabase.rest.errors import RestError
from local.supabase.rest.query import parse_query
from local.supabase.rest.terms import Field, Filter, Group, Order

_TOKENS = st.sampled_from(
    [*'().,:!"\\*->{}$ ', "not", "and", "or", "in", "eq", "is", "null", "a", "b", "1", "::", "->>"]
)
_TEXT = st.one_of(st.text(max_size=30), st.lists(_TOKENS, max_size=15).map("".join))
_KEYS = st.one_of(st.sampled_from(["select", "order", "or", "not.and", "limit", "offset", "columns", "a"]), _TEXT)


@given(st.lists(st.tuples(_KEYS, _TEXT), max_size=3))
@pytest.mark.slow
def test_any_text_is_parsed_or_refused(pairs):
    """Any query string is parsed or refused with a RestError of 4xx."""
    status = 200
    try:
        parse_query(pairs)
    except RestError as error:
        status = error.status
    assert 200 <= status < 500


@given(st.text(min_size=1))
def test_a_quoted_name_may_hold_any_text(name):
    """Any text in double quotes is a column name when its quotes and backslashes are escaped."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    query = parse_query([("select", quoted), (quoted, "eq.1"), ("order", f"{quoted}.desc")])
    assert query.select == (name,)
    assert query.conditions == [Filter(Field(name), "eq", "1")]
    assert query.order == (Order(Field(name), descending=True),)


@given(st.text())
def test_a_filter_value_is_not_split(value):
    """Outside a group everything after the operator is the value."""
    assert parse_query([("a", f"eq.{value}")]).conditions == [Filter(Field("a"), "eq", value)]


@given(st.lists(st.text(), min_size=1).filter(lambda values: values != [""]))
def test_quoted_list_elements_are_not_split(values):
    """Commas, quotes and parentheses in quoted elements of in.() do not split it."""
    quoted = ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    assert parse_query([("a", f"in.({quoted})")]).conditions == [Filter(Field("a"), "in", tuple(values))]


def test_groups_nest():
    """and, or and not nest; commas inside quotes and braces do not end a value."""
    found = parse_query([("or", '(a.eq."x,y",not.and(b.not.is.null,c.like.{1,2}),d.in.(1,"(2)"))')]).conditions
    assert found == [
        Group(
            "or",
            (
                Filter(Field("a"), "eq", "x,y"),
                Group(
                    "and", (Filter(Field("b"), "is", "null", negated=True), Filter(Field("c"), "like", "{1,2}")), True
                ),
                Filter(Field("d"), "in", ("1", "(2)")),
            ),
        )
    ]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a", Field("a")),
        ("a->b->>c-d", Field("a", (("->", "b"), ("->>", "c-d")))),
        ("a->-1", Field("a", (("->", -1),))),
        ("a-b", Field("a-b")),
        (" a ", Field("a")),
    ],
)
def test_fields(text, field):
    """A filter names a column or a path inside its JSON."""
    assert parse_query([(text, "eq.1")]).conditions == [Filter(field, "eq", "1")]


def test_repeated_parameters():
    """The first `select` and the last `limit` count, as in PostgREST."""
    query = parse_query(
        [("select", "a"), ("limit", "1"), ("select", "b"), ("limit", "2"), ("a", "gt.1"), ("a", "lt.9")]
    )
    assert (query.select, query.limit, len(query.conditions)) == (("a",), 2, 2)
