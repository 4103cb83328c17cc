"""Calling functions with an unmodified PostgREST client: arguments, results, modes, overloads."""

import pytest
from postgrest.exceptions import APIError


@pytest.fixture
def call(project):
    """`call(name, arguments, ...)` calls a function with the secret key and returns its data."""
    return lambda name, arguments=None, **options: project.rest().rpc(name, arguments or {}, **options).execute().data


def define(project, head: str, body: str = "", *, language: str = "sql") -> None:
    project.sql(f"create function public.{head} language {language} as $f$ {body} $f$")


def refusal(call, *arguments, **options) -> str | None:
    with pytest.raises(APIError) as refused:
        call(*arguments, **options)
    return refused.value.code


@pytest.mark.every_postgres
def test_rpc_returns_the_jsonb_a_function_returns(project):
    """Arguments are passed by name with their own types, and one jsonb value comes back unchanged."""
    define(
        project,
        "echo(p_user uuid, p_many integer[], p_doc jsonb, p_note text default 'none') returns jsonb volatile",
        "select jsonb_build_object('user', p_user, 'many', p_many, 'doc', p_doc, 'note', p_note)",
    )
    user = "11111111-1111-4111-8111-111111111111"
    sent = {"p_user": user, "p_many": [1, 2], "p_doc": {"a": [None, 1.5]}}
    found = project.rest().rpc("echo", sent).execute().data
    assert found == {"user": user, "many": [1, 2], "doc": {"a": [None, 1.5]}, "note": "none"}


def test_values_go_and_come_back(project, call):
    """Every type of argument and result makes the round trip unchanged."""
    values = [
        ("text", "o'\"\\é%$1 }{"),
        ("integer", -5),
        ("bigint", 9007199254740993),
        ("numeric", 1.5),
        ("boolean", True),
        ("uuid", "11111111-1111-4111-8111-111111111111"),
        ("timestamptz", "2026-11-22T20:56:12.94+00:00"),
        ("text[]", ["a,b", 'c"d', "{}", None]),
        ("integer[]", [1, 2]),
        ("uuid[]", ["11111111-1111-4111-8111-111111111111"]),
        ("json", {"a": [1, None, "x"]}),
        ("jsonb", [1, {"b": None}]),
        ("jsonb[]", [{"a": 1}, {"a": 2}]),
        ("text", None),
    ]
    for at, (kind, _) in enumerate(values):
        define(project, f"same_{at}(p_value {kind}) returns {kind} immutable", "select p_value")
    assert [call(f"same_{at}", {"p_value": value}) for at, (_, value) in enumerate(values)] == [v for _, v in values]


def test_money_as_text_is_not_touched(project, call):
    """Text in a jsonb document stays text and does not become a number."""
    define(project, "bill() returns jsonb stable", """select '{"usd": "6.00", "n": 6.00}'::jsonb""")
    assert call("bill") == {"usd": "6.00", "n": 6.0}
    assert project.send("POST", "/rest/v1/rpc/bill", json={}).text == '{"n": 6.00, "usd": "6.00"}'


def test_void_gives_no_content(project, call):
    """A void function returns 204, which the client turns into []."""
    define(project, "touch() returns void volatile", "update public.items set stock = 0 where id = 1")
    assert call("touch") == []
    assert project.send("POST", "/rest/v1/rpc/touch").status_code == 204
    assert project.sql("select stock from public.items where id = 1") == [(0,)]


def test_plain_values(project, call):
    """Plain values and null come back unchanged. The row limit does not cut one jsonb value."""
    define(project, "one() returns integer stable", "select 1")
    define(project, "nothing() returns text stable", "select null::text")
    define(project, "whole() returns jsonb stable", "select jsonb_agg(g) from generate_series(1, 1500) g")
    assert (call("one"), call("nothing"), len(call("whole"))) == (1, None, 1500)


def test_stable_functions_cannot_write(project, call):
    """A STABLE function runs in a read-only transaction. A write is 25006, HTTP 405."""
    write = "begin insert into public.items (name) values ('dog'); return 1; end"
    define(project, "writes() returns integer volatile", write, language="plpgsql")
    define(project, "claims_stable() returns integer stable", write, language="plpgsql")
    assert project.send("POST", "/rest/v1/rpc/claims_stable").status_code in (400, 405)
    assert call("writes") == 1


def test_unknown_function_or_arguments(project, call):
    """If no function has this name, or none takes these arguments: 404 PGRST202, with the arguments listed."""
    define(project, "add(a integer, b integer) returns integer stable", "select a + b")
    assert refusal(call, "nowhere") == "PGRST202"
    assert refusal(call, "add", {"a": 1}) == "PGRST202"
    answer = project.send("POST", "/rest/v1/rpc/add", json={"b": 1, "c": 2})
    assert answer.status_code == 404
    assert answer.json()["message"] == "Could not find the function public.add(b, c) in the schema cache"
    assert call("add", {"a": 1, "b": 2}) == 3


def test_an_overload_is_chosen_by_the_names_of_its_arguments(call, project):
    """Overloads with different arguments are told apart."""
    define(project, "twice(a integer) returns integer stable", "select 1")
    define(project, "twice(a integer, b integer) returns integer stable", "select 3")
    assert (call("twice", {"a": 1}), call("twice", {"a": 1, "b": 2})) == (1, 3)


def test_bad_values_are_400(project, call):
    """A value of another type than the argument's: 22P02, HTTP 400."""
    define(project, "same(p_value uuid) returns uuid immutable", "select p_value")
    assert refusal(call, "same", {"p_value": "nobody"}) == "22P02"
    assert project.send("POST", "/rest/v1/rpc/same", json={"p_value": "nobody"}).status_code == 400


def test_execute_must_be_granted(project):
    """A function revoked from all but service_role is 42501 for the others: 401 anonymous, 403 signed in."""
    define(project, "secret() returns integer stable", "select 1")
    project.sql("revoke execute on function public.secret from public; grant execute on function public.secret"
                " to service_role")  # fmt: skip
    statuses = [
        project.send("POST", "/rest/v1/rpc/secret", key=key, token=token).status_code
        for key, token in (
            (project.keys.secret_key, None),
            (project.keys.publishable_key, None),
            (None, project.user_token()),
        )
    ]
    assert statuses == [200, 401, 403]


def test_trigger_functions_are_not_callable(project, call):
    """Functions that return a trigger cannot be called."""
    define(project, "on_change() returns trigger", "begin return new; end", language="plpgsql")
    assert refusal(call, "on_change") == "PGRST202"


def test_new_functions_are_found_at_once(project, call):
    """If a name is not found, the catalog is read again. In a hosted project the DDL watcher reloads it after a change."""
    assert refusal(call, "late") == "PGRST202"
    define(project, "late() returns integer stable", "select 1")
    assert call("late") == 1
