"""The grammar of the query string by itself, where a thousand texts cost nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.supabase.rest.errors import RestError
from local.supabase.rest.query import parse_query
from local.supabase.rest.terms import Field, Filter, Group, Order, SelectItem

_PIECES = st.sampled_from(
    [*'().,:!"\\*->{}$ ', "not", "and", "or", "in", "eq", "is", "null", "a", "b", "1", "::", "->>"]
)
_TEXT = st.one_of(st.text(max_size=30), st.lists(_PIECES, max_size=15).map("".join))
_KEYS = st.one_of(st.sampled_from(["select", "order", "or", "not.and", "limit", "offset", "columns", "a"]), _TEXT)


@given(st.lists(st.tuples(_KEYS, _TEXT), max_size=3))
def test_any_text_is_read_or_refused(pairs):
    """Whatever stands in a query string, it is read or refused with a RestError of 4xx."""
    status = 200
    try:
        parse_query(pairs)
    except RestError as error:
        status = error.status
    assert 200 <= status < 500


@given(st.text(min_size=1))
def test_a_quoted_name_is_any_name(name):
    """Between double quotes every text is a column name, once quotes and backslashes are escaped."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    query = parse_query([("select", quoted), (quoted, "eq.1"), ("order", f"{quoted}.desc")])
    assert query.select == (SelectItem(Field(name)),)
    assert query.conditions == [Filter(Field(name), "eq", "1")]
    assert query.order == (Order(Field(name), descending=True),)


@given(st.text())
def test_a_filter_value_is_taken_whole(value):
    """Outside of groups everything after the operator is the value."""
    assert parse_query([("a", f"eq.{value}")]).conditions == [Filter(Field("a"), "eq", value)]


@given(st.lists(st.text(), min_size=1).filter(lambda values: values != [""]))
def test_quoted_list_elements_are_taken_whole(values):
    """Commas, quotes and parentheses in quoted elements of in.() do not split it."""
    quoted = ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    assert parse_query([("a", f"in.({quoted})")]).conditions == [Filter(Field("a"), "in", tuple(values))]


def test_groups_nest():
    """and, or and not nest; commas inside quotes and braces do not end a value."""
    found = parse_query([("or", '(a.eq."x,y",not.and(b.not.is.null,c.cs.{1,2}),d.in.(1,"(2)"))')]).conditions
    assert found == [
        Group(
            "or",
            (
                Filter(Field("a"), "eq", "x,y"),
                Group("and", (Filter(Field("b"), "is", "null", negated=True), Filter(Field("c"), "cs", "{1,2}")), True),
                Filter(Field("d"), "in", ("1", "(2)")),
            ),
        )
    ]


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("a", SelectItem(Field("a"))),
        ("x:a::int", SelectItem(Field("a"), "x", "int")),
        ("a::double precision", SelectItem(Field("a"), None, "double precision")),
        ("a->b->>c-d", SelectItem(Field("a", (("->", "b"), ("->>", "c-d"))))),
        ("a->-1", SelectItem(Field("a", (("->", -1),)))),
        ("a-b", SelectItem(Field("a-b"))),
        (" a ", SelectItem(Field("a"))),
    ],
)
def test_select_items(text, item):
    """Alias, JSON path and cast, in this order."""
    assert parse_query([("select", text)]).select == (item,)


def test_repeated_parameters():
    """Of several `select` the first counts, of several `limit` the last, as in PostgREST."""
    query = parse_query(
        [("select", "a"), ("limit", "1"), ("select", "b"), ("limit", "2"), ("a", "gt.1"), ("a", "lt.9")]
    )
    assert (query.select, query.limit, len(query.conditions)) == ((SelectItem(Field("a")),), 2, 2)


def test_arguments_of_get():
    """Where arguments are taken, only a value that begins with an operator is a filter."""
    query = parse_query(
        [("a", "1"), ("b", "eq.1"), ("c", "e.q"), ("d", "not.x"), ("e", "not.eq.1")], takes_arguments=True
    )
    assert query.arguments == {"a": "1", "c": "e.q", "d": "not.x"}
    assert [condition.field.name for condition in query.conditions] == ["b", "e"]
