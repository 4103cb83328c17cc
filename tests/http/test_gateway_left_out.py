"""Forms of PostgREST that the local gateway leaves out: each is refused with its name, and nothing is changed."""

import pytest


def refused(answer) -> str:
    """The name of the refused form, in PostgREST's error shape."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, "HANGAR_UNSUPPORTED"), answer.text
    assert set(body) == {"code", "message", "details", "hint"}
    return body["message"].removeprefix("The local gateway does not support ")


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ("select=name,owners(*)", "embedded resources and aggregates ('owners(*)' in select)"),
        ("select=name,owners(id,email)", "embedded resources and aggregates ('owners(id' in select)"),
        ("select=name,owners!inner(*)", "embedded resources and aggregates ('owners!inner(*)' in select)"),
        ("select=name,...owners(email)", "embedded resources and aggregates ('...owners(email)' in select)"),
        ("select=price.sum()", "embedded resources and aggregates ('price.sum()' in select)"),
        ("owners.email=eq.x", "embedded resources ('owners.email' in a filter)"),
        ("owners.order=email", "embedded resources ('owners.order' in a filter)"),
        ("order=owners(email)", "embedded resources and aggregates ('owners(email)' in order)"),
        ("select=called:name", "aliases ('called:name' in select)"),
        ("select=price::text", "casts ('price::text' in select)"),
        ("select=meta->legs", "JSON paths ('meta->legs' in select)"),
        ("meta->>legs=eq.6", "JSON paths ('meta->>legs' in a filter)"),
        ("order=meta->>legs.desc", "JSON paths ('meta->>legs' in order)"),
        ('select="name"', "quoted names ('\"name\"' in select)"),
        ("name=fts.ant", "the operator fts"),
        ("name=wfts(english).ant", "the operator wfts"),
        ("name=match.^a", "the operator match"),
        ("tags=cs.{small}", "the operator cs"),
        ("and=(name.eq.ant,id.eq.1)", "groups of conditions (the parameter and)"),
        ("or=(name.eq.ant,and(id.eq.1))", "groups of conditions but plain ones (or=(name.eq.ant,and(id.eq.1)))"),
        ('or=(name.eq."a,b")', 'groups of conditions but plain ones (or=(name.eq."a,b"))'),
        ("or=name.eq.ant", "groups of conditions but plain ones (or=name.eq.ant)"),
        ("not.and=(name.eq.ant,id.eq.1)", "groups of conditions (the parameter not.and)"),
        ("name=like(any).{a*,b*}", "any and all behind the operator like"),
    ],
)
def test_a_query_that_is_left_out_is_refused_by_name(reading_project, query, form):
    """The message names the form. No unsupported query returns the rows of another one."""
    assert refused(reading_project.send("GET", f"/rest/v1/items?{query}")) == form


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/csv"},
        {"Accept": "application/geo+json"},
        {"Accept": "application/vnd.pgrst.array+json;nulls=stripped"},
        {"Accept": "image/png"},
        {"Prefer": "count=exact"},
        {"Prefer": "count=planned"},
        {"Prefer": "count=estimated"},
        {"Prefer": "timezone=Europe/Berlin"},
        {"Prefer": "handling=strict"},
        {"Prefer": "missing=default"},
        {"Prefer": "return=headers-only"},
    ],
)
def test_a_header_that_is_left_out_is_refused_by_name(reading_project, headers):
    """Media types and preferences that would change the answer are refused, with the header and its value."""
    [(name, value)] = headers.items()
    assert refused(reading_project.send("GET", "/rest/v1/items", headers=headers)) == f"{name}: {value}"


def test_a_range_header_is_refused(reading_project):
    """`limit` and `offset` are the supported way to read a part of the rows."""
    answer = reading_project.send("GET", "/rest/v1/items", headers={"Range": "0-1"})
    assert refused(answer) == "the header Range (use limit and offset)"


@pytest.mark.parametrize(
    ("method", "path", "body", "form"),
    [
        ("PUT", "items?id=eq.1", {"id": 1, "name": "x"}, "PUT of a table"),
        ("PATCH", "items?id=eq.1&limit=1", {"stock": 1}, "order or limit on update"),
        ("DELETE", "items?id=gt.0&order=id", None, "order or limit on delete"),
        ("PATCH", "items?id=eq.1", [{"stock": 1}], "a list as the body of an update"),
        ("POST", "items?id=eq.1", {"name": "x"}, "filters, order or limit on an insert"),
        ("POST", "items?select=called:name", {"name": "x"}, "aliases ('called:name' in select)"),
        ("GET", "", None, "the OpenAPI description at the root"),
    ],
)
def test_a_write_that_is_left_out_changes_nothing(project, method, path, body, form):
    """The refusal comes before anything is written."""
    assert refused(project.send(method, f"/rest/v1/{path}", json=body)) == form
    assert project.sql("select count(*), count(*) filter (where stock = 7) from public.items") == [(3, 3)]


def test_a_body_that_is_not_json_changes_nothing(project):
    """Forms, CSV and others are refused as bodies."""
    for kind in ("application/x-www-form-urlencoded", "text/csv", "image/png"):
        answer = project.send("POST", "/rest/v1/items", content=b"name=x", headers={"Content-Type": kind})
        assert refused(answer) == f"Content-Type: {kind}"
    assert project.sql("select count(*) from public.items") == [(3,)]


_FUNCTIONS = """
create function public.one(a integer default 1) returns integer volatile language sql as
  $$ insert into public.items (name) values ('dog'); select a $$;
create function public.many() returns setof integer volatile language sql as
  $$ insert into public.items (name) values ('dog'); select 1 $$;
create function public.rows_of() returns setof public.items volatile language sql as
  $$ insert into public.items (name) values ('dog') returning * $$;
create function public.listed() returns table (n integer) volatile language sql as
  $$ insert into public.items (name) values ('dog') returning id $$;
create function public.whole(jsonb) returns jsonb volatile language sql as
  $$ insert into public.items (name) values ('dog'); select $1 $$;
create function public.most(variadic many integer[]) returns integer volatile language sql as
  $$ insert into public.items (name) values ('dog'); select 1 $$;
create function public.twice(a integer) returns integer volatile language sql as
  $$ insert into public.items (name) values ('dog'); select 1 $$;
create function public.twice(a text) returns integer volatile language sql as
  $$ insert into public.items (name) values ('dog'); select 1 $$;
create function public.careful() returns integer volatile language sql set statement_timeout = '1s' as
  $$ insert into public.items (name) values ('dog'); select 1 $$;
create function public.teapot(setting text, value text) returns text volatile language plpgsql as
  $$ begin insert into public.items (name) values ('dog'); return set_config(setting, value, true); end $$;
create function public.raising() returns text volatile language plpgsql as $$ begin
  insert into public.items (name) values ('dog');
  raise sqlstate 'PGRST' using message = '{"code": "OWN", "message": "x"}', detail = '{"status": 402, "headers": {}}';
end $$;
"""


def test_a_function_call_that_is_left_out_changes_nothing(project):
    """Other methods, queries, lists, unnamed arguments and overloads; functions that return rows or change the transaction."""
    project.sql(_FUNCTIONS)
    expected = {
        ("GET", "one", None): "GET of a function",
        ("HEAD", "one", None): "",
        ("POST", "one?select=a", "{}"): "select, filters, order or a window on a function",
        ("POST", "one?limit=1", "{}"): "select, filters, order or a window on a function",
        ("POST", "one", "[{}]"): "a list as the arguments of a function",
        ("POST", "many", "{}"): "functions that return rows, as many",
        ("POST", "rows_of", "{}"): "functions that return rows, as rows_of",
        ("POST", "listed", "{}"): "functions that return rows, as listed",
        ("POST", "whole", '{"a": 1}'): "unnamed arguments, as those of the function whole",
        ("POST", "most", '{"many": [1]}'): "the variadic function most",
        ("POST", "twice", '{"a": 1}'): "overloads that take the same arguments, as those of the function twice",
        ("POST", "careful", "{}"): "functions that set a timeout or an isolation level, as careful",
        ("DELETE", "one", "{}"): "DELETE of a function",
        ("POST", "teapot", '{"setting": "response.status", "value": "418"}'): (
            "functions that set response.status or response.headers"
        ),
        ("POST", "teapot", '{"setting": "response.headers", "value": "[]"}'): (
            "functions that set response.status or response.headers"
        ),
        ("POST", "raising", "{}"): "a response raised with SQLSTATE PGRST",
    }
    for (method, path, body), form in expected.items():
        headers = {"Content-Type": "application/json"}
        answer = project.send(method, f"/rest/v1/rpc/{path}", content=body, headers=headers)
        if method == "HEAD":
            assert answer.headers["Proxy-Status"] == "PostgREST; error=HANGAR_UNSUPPORTED"
        else:
            assert refused(answer) == form, path
    assert project.sql("select count(*) from public.items") == [(3,)]
