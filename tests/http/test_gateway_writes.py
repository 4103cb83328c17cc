"""Writing tables with an unmodified PostgREST client: insert, upsert, update, delete."""

import pytest
from postgrest import ReturnMethod
from postgrest.exceptions import APIError


@pytest.fixture
def items(project):
    """A function that addresses `items` with the secret key."""
    return lambda: project.rest().from_("items")


@pytest.fixture
def pairs(project):
    """A function that addresses `pairs`, whose primary key has two columns."""
    return lambda: project.rest().from_("pairs")


def refusal(builder) -> str | None:
    with pytest.raises(APIError) as refused:
        builder.execute()
    return refused.value.code


@pytest.mark.every_postgres
def test_insert_returns_the_row_with_its_defaults(project):
    """`return=representation` returns the row as the database stored it."""
    made = project.rest().from_("items").insert({"name": "dog", "price": 2}).execute().data
    assert [(row["name"], row["price"], row["stock"]) for row in made] == [("dog", 2.00, 7)]
    assert project.sql("select stock from public.items where name = 'dog'") == [(7,)]


def test_insert_of_every_kind_of_value(project, items):
    """Arrays, JSON, null, text with quotes and Unicode arrive as they were sent."""
    sent = {"name": "o'\"\\é%$1", "tags": ["a,b", 'c"d'], "meta": {"deep": [1, {"x": None}]}, "price": None}
    row = items().insert(sent).execute().data[0]
    assert {name: row[name] for name in sent} == sent


def test_insert_minimal_has_no_body(project, items):
    """`return=minimal` is 201 without a body."""
    assert items().insert({"name": "dog"}, returning=ReturnMethod.minimal).execute().data == []
    answer = project.send("POST", "/rest/v1/items", json={"name": "eel"})
    assert (answer.status_code, answer.text) == (201, "")


def test_insert_chosen_columns_come_back(project, items):
    """`select` on an insert picks the returned columns."""
    assert items().insert({"name": "dog"}).select("name").execute().data == [{"name": "dog"}]


def test_bulk_insert_fills_missing_keys(items):
    """The rows of a list may have different keys. A missing key becomes null."""
    made = items().insert([{"name": "dog", "stock": 1}, {"name": "eel", "price": 3, "stock": 2}]).execute().data
    assert [(row["name"], row["stock"], row["price"]) for row in made] == [("dog", 1, None), ("eel", 2, 3)]
    assert refusal(items().insert([{"name": "fly", "stock": 1}, {"name": "gnu"}])) == "23502"


def test_columns_named_like_anything(project):
    """Names that the gateway's own SQL uses, reserved words and capitals are valid columns."""
    row = {"item": 1, "key": 2, "_hangar_body": 3, "_hangar_page": 4, "select": 5, "Upper": 6, "_hangar_source": 7}
    columns = ", ".join(f'"{name}" integer default 9' for name in row)
    project.sql(f'create table public."Odd" ({columns}, primary key (item)); grant all on public."Odd" to service_role')
    odd = project.rest().from_("Odd")
    assert odd.insert(row).execute().data == [row]
    assert odd.insert([{"item": 2, "key": 3}, {"item": 3}]).select("key").execute().data == [{"key": 3}, {"key": None}]
    assert odd.upsert({**row, "key": 8}).execute().data == [{**row, "key": 8}]
    assert odd.update({"_hangar_body": 0}).eq("_hangar_page", 4).execute().data == [
        {**row, "key": 8, "_hangar_body": 0}
    ]
    assert odd.select("select", "Upper").order("_hangar_source").limit(1).execute().data == [{"select": 5, "Upper": 6}]
    assert odd.delete().eq("Upper", 6).execute().data == [{**row, "key": 8, "_hangar_body": 0}]


def test_insert_of_nothing(project, items):
    """An empty list inserts no row. An empty object inserts a row of defaults."""
    assert items().insert([]).execute().data == []
    project.sql("create table public.marks (id integer generated always as identity, at date default '2026-11-22')")
    project.sql("grant all on public.marks to service_role")
    assert project.rest().from_("marks").insert({}).execute().data == [{"id": 1, "at": "2026-11-22"}]


def test_insert_refusals(items):
    """Constraint, type, key and body errors each have their code. Of a failed list no row is stored."""
    assert refusal(items().insert({"name": "ant"})) == "23505"
    assert refusal(items().insert({"name": "dog", "price": "much"})) == "22P02"
    assert refusal(items().insert({"name": "dog", "colour": "red"})) == "PGRST204"
    assert refusal(items().insert([{"name": "dog"}, {"name": "ant"}])) == "23505"
    assert items().select("id").eq("name", "dog").execute().data == []


def test_bodies_that_are_not_rows(reading_project):
    """Invalid JSON, a list without objects, or objects with different keys and no `columns`: PGRST102."""
    for body in ("", "{", "[" * 100_000, "[1]", '[{"name":"x"},{"id":1}]', "\xff"):
        answer = reading_project.send(
            "POST", "/rest/v1/items", content=body.encode("latin-1"), headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "PGRST102"), body


def test_too_long_text_is_an_error_not_a_cut(pairs):
    """varchar(5) refuses six characters, as a plain INSERT does."""
    assert refusal(pairs().insert({"a": 1, "b": 1, "note": "sixsix"})) == "22001"


def test_upsert_merges_on_the_primary_key(project, pairs):
    """A known key is overwritten in the sent columns, a new one is inserted."""
    pairs().insert([{"a": 1, "b": 1, "note": "old"}, {"a": 1, "b": 2, "note": "keep"}]).execute()
    merged = pairs().upsert([{"a": 1, "b": 1, "note": "new"}, {"a": 2, "b": 2, "note": "made"}]).execute().data
    assert [row["note"] for row in merged] == ["new", "made"]
    assert project.sql("select note from public.pairs order by a, b") == [("new",), ("keep",), ("made",)]


def test_upsert_on_another_unique_column(items):
    """`on_conflict` names the columns that identify a row."""
    merged = items().upsert({"name": "ant", "price": 5}, on_conflict="name").execute().data
    assert [(row["id"], row["price"]) for row in merged] == [(1, 5)]
    assert refusal(items().upsert({"name": "ant"}, on_conflict="price")) == "42P10"


def test_upsert_ignoring_duplicates_returns_only_what_is_new(items):
    """ignore-duplicates: an empty list means that every row existed already."""
    rows = [{"name": "ant", "price": 5}, {"name": "dog", "price": 6}]
    made = items().upsert(rows, on_conflict="name", ignore_duplicates=True).execute().data
    assert [row["name"] for row in made] == ["dog"]
    assert items().upsert(rows, on_conflict="name", ignore_duplicates=True).execute().data == []
    assert items().select("price").eq("name", "ant").execute().data == [{"price": 1.5}]


def test_update_compares_and_sets(items):
    """Filters on an update are the condition of a compare-and-set. No row means that another writer was first."""
    won = items().update({"stock": 8}).eq("id", 1).eq("stock", 7).execute().data
    assert [row["stock"] for row in won] == [8]
    assert items().update({"stock": 9}).eq("id", 1).eq("stock", 7).execute().data == []


def test_update_sets_null(project, items):
    """An explicit null is a value. A minimal response is 204."""
    assert items().update({"price": None}).eq("id", 1).execute().data[0]["price"] is None
    answer = project.send("PATCH", "/rest/v1/items?id=lt.3", json={"stock": 1})
    assert (answer.status_code, answer.text) == (204, "")
    assert project.sql("select count(*) from public.items where stock = 1") == [(2,)]


def test_update_of_nothing_changes_nothing(items):
    """A body without keys changes no row."""
    assert items().update({}).eq("id", 1).execute().data == []


def test_delete_returns_the_deleted_rows(project, items):
    """A delete returns its rows, or 204."""
    assert [row["name"] for row in items().delete().eq("id", 1).execute().data] == ["ant"]
    assert project.send("DELETE", "/rest/v1/items?id=gt.0").status_code == 204
    assert project.sql("select count(*) from public.items") == [(0,)]


def test_a_change_of_everything_is_refused(project, items):
    """Hosted projects load pg-safeupdate for the API: no UPDATE or DELETE without a condition."""
    answer = project.send("DELETE", "/rest/v1/items")
    assert (answer.status_code, answer.json()["code"]) == (400, "21000")
    assert answer.json()["message"] == "DELETE requires a WHERE clause"
    assert refusal(items().update({"stock": 0})) == "21000"
    assert project.sql("select count(*) from public.items where stock = 7") == [(3,)]


def test_single_on_a_write_rolls_back(project):
    """A write that must touch one row and touches two is 406, and neither row is changed."""
    prefer = {"Accept": "application/vnd.pgrst.object+json", "Prefer": "return=representation"}
    answer = project.send("PATCH", "/rest/v1/items?id=lt.3", json={"stock": 0}, headers=prefer)
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST116")
    assert project.sql("select count(*) from public.items where stock = 0") == [(0,)]


def test_foreign_key_violation_is_a_conflict(project):
    """23503 is 409, like 23505."""
    project.sql("create table public.parts (item integer references public.items)")
    project.sql("grant all on public.parts to service_role")
    answer = project.send("POST", "/rest/v1/parts", json={"item": 99})
    assert (answer.status_code, answer.json()["code"]) == (409, "23503")
    assert "99" in answer.json()["details"]
    assert project.send("POST", "/rest/v1/items", json={"name": "ant"}).status_code == 409


def test_a_minimal_write_needs_no_right_to_read(project):
    """With return=minimal the role needs only INSERT. A representation needs SELECT on the columns it returns."""
    project.sql(
        "create table public.box (id integer, note text); grant insert, select (id) on public.box to service_role"
    )
    assert project.send("POST", "/rest/v1/box", json={"id": 1, "note": "x"}).status_code == 201
    box = project.rest().from_("box")
    assert box.insert({"id": 2, "note": "y"}).select("id").execute().data == [{"id": 2}]
    assert refusal(box.insert({"id": 3, "note": "z"})) == "42501"
    assert project.sql("select count(*) from public.box") == [(2,)]
