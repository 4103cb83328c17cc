"""The grammar of the query string, tested without a server so that a thousand texts take little time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.supabase.rest.errors import RestError
from local.supabase.rest.query import Filter, Order, parse_query

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


@given(st.text())
def test_a_filter_value_is_not_split(value):
    """Everything after the operator is the value."""
    assert parse_query([("a", f"eq.{value}")]).conditions == [(Filter("a", "eq", value),)]


@given(st.lists(st.text(), min_size=1).filter(lambda values: values != [""]))
def test_quoted_list_elements_are_not_split(values):
    """Commas, quotes and parentheses in quoted elements of in.() do not split it."""
    quoted = ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    assert parse_query([("a", f"in.({quoted})")]).conditions == [(Filter("a", "in", tuple(values)),)]


@pytest.mark.parametrize(
    ("text", "elements"),
    [("()", ()), ("(a)", ("a",)), ("(a,b)", ("a", "b")), ("(,a,)", ("", "a", "")), ('("a,b",c)', ("a,b", "c"))],
)
def test_lists(text, elements):
    """Elements are separated by commas. An empty list has none."""
    assert parse_query([("a", f"not.in.{text}")]).conditions == [(Filter("a", "in", elements, negated=True),)]


@pytest.mark.parametrize("text", ["", "a", "(a", '("a"b)', "(a)b)", '("a)'])
def test_a_broken_list_is_refused(text):
    with pytest.raises(RestError, match="PGRST100"):
        parse_query([("a", f"in.{text}")])


def test_alternatives():
    """Of the comparisons in `or` one is enough."""
    found = parse_query([("or", "(a.is.null,b.not.gte.2026-11-28T10:00:00.5+00:00)"), ("c", "eq.1")]).conditions
    at = Filter("b", "gte", "2026-11-28T10:00:00.5+00:00", negated=True)
    assert found == [(Filter("a", "is", "null"), at), (Filter("c", "eq", "1"),)]


def test_order():
    """Direction and position of nulls are optional."""
    found = parse_query([("order", "a, b.desc,c.asc.nullslast"), ("order", "d e.nullsfirst")]).order
    assert found == (Order("a"), Order("b", " desc"), Order("c", " asc nulls last"), Order("d e", " nulls first"))


@pytest.mark.parametrize("text", ["a.up", "a.nullslast.desc", "a.desc.desc", ""])
def test_a_broken_order_is_refused(text):
    with pytest.raises(RestError):
        parse_query([("order", text)])


def test_repeated_parameters():
    """The first `select` and the last `limit` count, as in PostgREST."""
    query = parse_query(
        [("select", "a"), ("limit", "1"), ("select", "b"), ("limit", "2"), ("a", "gt.1"), ("a", "lt.9")]
    )
    assert (query.select, query.limit, len(query.conditions)) == (("a",), 2, 2)
