"""Tables through an unmodified PostgREST client: reading, filtering, writing."""

import pytest
from postgrest.exceptions import APIError


def test_select_gives_json_types(project):
    """Numbers are numbers, timestamps ISO 8601 with T and offset, arrays and json are themselves."""
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


def test_insert_returns_the_row_with_its_defaults(project):
    """`return=representation` shows what the database made of the row."""
    made = project.rest().from_("items").insert({"name": "dog", "price": 2}).execute().data
    assert [(row["name"], row["price"], row["stock"]) for row in made] == [("dog", 2.00, 7)]
    assert project.sql("select stock from public.items where name = 'dog'") == [(7,)]


def test_anonymous_without_grant_is_refused(project):
    """A deliberate lack of a grant stays one: 42501."""
    with pytest.raises(APIError) as refused:
        project.rest(project.keys.publishable_key).from_("items").select("*").execute()
    assert refused.value.code == "42501"
