"""Reading tables with an unmodified PostgREST client: columns, filters, order, windows, counts."""

import pytest
from postgrest.exceptions import APIError


def names(builder) -> list[str]:
    return [row["name"] for row in builder.order("id").execute().data]


@pytest.fixture
def items(reading_project):
    """A function that begins a query of `items` with the secret key."""
    return lambda *columns, **options: reading_project.rest().from_("items").select(*(columns or ("*",)), **options)


@pytest.mark.every_postgres
def test_select_gives_json_types(project):
    """Numbers stay numbers, timestamps are ISO 8601 with T and offset, arrays and json stay arrays and json."""
    row = project.rest().from_("items").select("*").eq("name", "ant").execute().data[0]
    assert row == {
        "id": 1,
        "name": "ant",
        "price": 1.50,
        "stock": 7,
        "tags": ["small", "black"],
        "meta": {"legs": 6, "queen": {"name": "a"}},
        "owner": "11111111-1111-4111-8111-111111111111",
        "seen_at": "2026-11-22T20:56:12.94+00:00",
    }


def test_numeric_keeps_its_scale_on_the_wire(reading_project):
    """`numeric(10,2)` is sent as the JSON number 1.50, not as text and not as 1.5."""
    body = reading_project.send("GET", "/rest/v1/items?select=price&id=eq.1").text
    assert body == '[{"price":1.50}]'


def test_select_picks_columns(items):
    """A column list picks columns; `*` may be one of several."""
    assert items("id", "name").eq("id", 1).execute().data == [{"id": 1, "name": "ant"}]
    assert items("*", "name").eq("id", 1).execute().data[0]["stock"] == 7


@pytest.mark.parametrize(
    ("apply", "found"),
    [
        (lambda q: q.eq("name", "bee"), ["bee"]),
        (lambda q: q.neq("name", "bee"), ["ant", "cat"]),
        (lambda q: q.gt("id", 2), ["cat"]),
        (lambda q: q.gte("id", 2), ["bee", "cat"]),
        (lambda q: q.lt("price", 50.5), ["ant"]),
        (lambda q: q.lte("id", 1), ["ant"]),
        (lambda q: q.like("name", "*e*"), ["bee"]),
        (lambda q: q.ilike("name", "%A%"), ["ant", "cat"]),
        (lambda q: q.is_("price", None), ["cat"]),
        (lambda q: q.not_.is_("price", "null"), ["ant", "bee"]),
        (lambda q: q.in_("name", ["ant", "cat", "dog"]), ["ant", "cat"]),
        (lambda q: q.in_("name", ["a,b", 'quo"te', "bee"]), ["bee"]),
        (lambda q: q.in_("id", []), []),
        (lambda q: q.not_.in_("id", [1, 2]), ["cat"]),
        (lambda q: q.eq("owner", "11111111-1111-4111-8111-111111111111").gt("id", 1), ["cat"]),
        (lambda q: q.gte("seen_at", "2026-11-22T21:56:12.94+01:00"), ["ant", "bee", "cat"]),
        (lambda q: q.or_("name.eq.ant,price.is.null"), ["ant", "cat"]),
        (lambda q: q.or_("id.eq.1,id.eq.2").gt("id", 1), ["bee"]),
        (lambda q: q.match({"name": "ant", "stock": 7}), ["ant"]),
    ],
)  # fmt: skip
def test_filters(items, apply, found):
    """Each filter finds the same rows as its SQL."""
    assert names(apply(items("name"))) == found


def test_order_with_nulls(items):
    """Direction and position of nulls are as requested. Without a request Postgres's defaults apply."""
    assert [row["name"] for row in items("name").order("price", desc=True).execute().data] == ["cat", "bee", "ant"]
    last = items("name").order("price", desc=True, nullsfirst=False).order("id").execute().data
    assert [row["name"] for row in last] == ["bee", "ant", "cat"]


def test_limit_offset_and_range(items):
    """limit() and range() restrict the result. With both the range applies, because its limit is sent last."""
    assert names(items("name").limit(1).offset(1)) == ["bee"]
    assert names(items("name").limit(1).range(1, 2)) == ["bee", "cat"]
    assert names(items("name").limit(0)) == []


def test_the_content_range_names_the_rows(reading_project):
    """The range is that of the rows in the answer; their number is not counted."""
    for query, span in (("limit=2&offset=1", "1-2/*"), ("", "0-2/*"), ("id=eq.0", "*/*"), ("offset=9", "*/*")):
        answer = reading_project.send("GET", f"/rest/v1/items?{query}")
        assert (answer.status_code, answer.headers["Content-Range"]) == (200, span), query


def test_single_wants_exactly_one_row(items):
    """One row is an object; none or two are 406 PGRST116 with the number of rows."""
    assert items("name").eq("id", 2).single().execute().data == {"name": "bee"}
    for found, query in ((0, items().eq("id", 0)), (3, items())):
        with pytest.raises(APIError) as refused:
            query.single().execute()
        assert refused.value.code == "PGRST116"
        assert refused.value.details == f"The result contains {found} rows"
    assert items("name").eq("id", 0).maybe_single().execute() is None


def test_max_rows_cuts_tables_and_their_windows(project):
    """db-max-rows truncates silently, even with a larger limit."""
    items = project.rest().from_("items").select
    project.sql("insert into public.items (name) select 'n' || g from generate_series(1, 1500) g")
    assert len(items("id").execute().data) == 1000
    assert len(items("id").limit(5000).execute().data) == 1000


def test_views_are_read_like_tables(reading_project):
    """Columns, filters and order work on a view."""
    assert names(reading_project.rest().from_("item_names").select("id", "name").lt("id", 3)) == ["ant", "bee"]


def test_unknown_names_have_their_own_codes(reading_project, items):
    """PGRST205 for a table, Postgres's 42703 for a column, PGRST106 for a schema that is not exposed."""
    for code, query in (
        ("PGRST205", reading_project.rest().from_("nowhere").select("*")),
        ("42703", items("nothing")),
        ("42703", items().eq("nothing", 1)),
        ("PGRST106", reading_project.rest(schema="auth").from_("users").select("*")),
    ):
        with pytest.raises(APIError) as refused:
            query.execute()
        assert refused.value.code == code


@pytest.mark.parametrize(
    "query",
    [
        "limit=1_0",
        "offset=x",
        "name=nothing",
        "name=xx.1",
        "order=id.sideways",
        "limit=many",
        "select=id)",
        "in=in.(1",
    ],
)
def test_text_outside_the_grammar_is_unparsable(reading_project, query):
    """Text outside the grammar is PGRST100."""
    answer = reading_project.send("GET", f"/rest/v1/items?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST100")
