"""Errors of Postgres or of its connection, and the response that the caller gets."""

import threading
import time

import httpx
import psycopg
import pytest
from postgrest.exceptions import APIError

from local.supabase.gateway import Gateway
from local.supabase.postgres.database import prepare
from local.supabase.postgres.server import Postgres

_RAISING = """
create function public.fail(p_state text, p_message text default 'told', p_detail text default 'because')
returns integer language plpgsql volatile as $$
begin
  insert into public.items (name) values ('left behind');
  raise exception using errcode = p_state, message = p_message, detail = p_detail, hint = 'try again';
end $$;
"""


def wait_for(condition, *, within_s: float = 30):
    """Call `condition` until it returns a true value, and return that. AssertionError if this takes too long."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found


@pytest.mark.every_postgres
def test_sqlstates_become_statuses(project):
    """The table of PostgREST's Error.hs. The body holds Postgres's error, and the transaction is rolled back."""
    project.sql(_RAISING)
    expected = {
        "P0001": 400, "P0002": 500, "23503": 409, "23505": 409, "23514": 400, "22023": 400, "42501": 403,
        "42883": 404, "42P01": 404, "42P17": 500, "25006": 405, "40001": 500, "40P01": 500, "55P03": 500,
        "57014": 500, "53300": 503, "53400": 500, "57P01": 503, "08006": 503, "XX000": 500, "54001": 500,
        "0L000": 403, "28000": 403, "PT402": 402, "PT409": 409, "21000": 500, "ZZ123": 400,
    }  # fmt: skip
    found = {}
    for state in expected:
        answer = project.send("POST", "/rest/v1/rpc/fail", json={"p_state": state})
        found[state] = answer.status_code
        assert answer.json() == {"code": state, "message": "told", "details": "because", "hint": "try again"}
        assert answer.headers["Proxy-Status"] == f"PostgREST; error={state}"
        assert ("Retry-After" in answer.headers) == (answer.status_code == 503)
    assert found == expected
    assert project.sql("select count(*) from public.items") == [(3,)]


def test_a_client_sees_code_message_details_and_hint(project):
    """The unmodified client's APIError has all four."""
    project.sql(_RAISING)
    with pytest.raises(APIError) as refused:
        project.rest().rpc("fail", {"p_state": "P0001"}).execute()
    error = refused.value
    assert (error.code, error.message, error.details, error.hint) == ("P0001", "told", "because", "try again")


@pytest.mark.slow
def test_statement_timeout(project):
    """A statement that takes longer than the login role may is cancelled: 57014, HTTP 500, nothing kept."""
    project.sql("""create function public.dawdle() returns void language plpgsql volatile as
        $$ begin insert into public.items (name) values ('x'); perform pg_sleep(30); end $$""")
    answer = project.send("POST", "/rest/v1/rpc/dawdle")
    assert (answer.status_code, answer.json()["code"]) == (500, "57014")
    assert project.sql("select count(*) from public.items") == [(3,)]


def test_deferred_constraints_fail_at_commit(project):
    """A constraint checked at commit refuses the request, although the statement succeeded."""
    project.sql("""create table public.parts (item integer references public.items deferrable initially deferred);
        grant all on public.parts to service_role""")
    answer = project.send("POST", "/rest/v1/parts", json={"item": 99})
    assert (answer.status_code, answer.json()["code"]) == (409, "23503")
    assert project.send("GET", "/rest/v1/parts").json() == []


def test_head_errors_carry_the_code_in_a_header(project):
    """HEAD has no body; the client reads the code from Proxy-Status."""
    with pytest.raises(APIError) as refused:
        project.rest().from_("items").select("*", head=True).execute()
    assert refused.value.code == "HANGAR_UNSUPPORTED"


def test_values_cannot_become_sql(project):
    """Names and values with quotes, comments, braces, percent signs and NULs are names and values."""
    vicious = "x'; drop table items; --\"){}%s$1\\"
    project.sql("""create table public."we""ird %s {}" ("co""l;--" text); """)
    project.sql("""grant all on public."we""ird %s {}" to service_role""")
    weird = project.rest().from_('we"ird %s {}')
    assert weird.insert({'co"l;--': vicious}).execute().data == [{'co"l;--': vicious}]
    assert weird.select("*").execute().data == [{'co"l;--': vicious}]
    assert project.rest().from_("items").select("*").in_("name", [vicious]).execute().data == []
    for query in (
        {"name": f"eq.{vicious}"},
        {"select": f'"{vicious.replace(chr(34), "")}"'},
        {"order": '"id;drop table items"'},
        {"or": f'(name.eq."{vicious}")'},
        {"meta->>a'b": "eq.1"},
        {"name": "eq.a\x00b"},
        {"select": "name::text)--"},
        {"select": "name::int; drop table items"},
        {"offset": "0; drop table items"},
    ):
        assert project.send("GET", "/rest/v1/items", params=query).status_code in (200, 400), query
    body = {"name": vicious, "no\"pe'": 1}
    assert project.send("POST", "/rest/v1/items", json=body).json()["code"] == "PGRST204"
    assert project.sql("select count(*) from public.items") == [(3,)]


def test_schema_reload_by_notify(project):
    """A changed column type is known after NOTIFY pgrst, as in PostgREST."""
    items = project.rest().from_("items")
    assert items.insert({"name": "a", "stock": 1}).execute().data[0]["stock"] == 1
    project.sql("alter table public.items alter stock type text using stock::text")
    project.sql("notify pgrst, 'reload schema'")

    def insert_text():
        answer = project.send("POST", "/rest/v1/items", json={"name": "b", "stock": "many"})
        return answer.status_code == 201 or (answer.json()["code"] != "22P02" and answer.text)

    assert wait_for(insert_text) is True  # 22P02 is the old type
    assert items.select("stock").eq("name", "b").execute().data == [{"stock": "many"}]


def test_new_columns_and_tables_are_found_at_once(project):
    """If a name is not found, the catalog is read again."""
    with pytest.raises(APIError):
        project.rest().from_("items").insert({"name": "x", "colour": "red"}).execute()
    project.sql("alter table public.items add colour text")
    assert project.rest().from_("items").insert({"name": "x", "colour": "red"}).execute().data[0]["colour"] == "red"
    project.sql("create table public.later as select 1 as n; grant all on public.later to service_role")
    assert project.rest().from_("later").select("*").execute().data == [{"n": 1}]


def test_all_connections_busy(bare_database, keys, http):
    """A request that waits too long for a connection gets 504 PGRST003. Later requests succeed."""
    with psycopg.connect(bare_database, autocommit=True) as session:
        session.execute("create function public.hold() returns integer language sql volatile as"
                        " $$ select 1 from pg_advisory_xact_lock(1) $$")  # fmt: skip
        session.execute("select pg_advisory_lock(1)")
        login = bare_database.replace("supabase_admin@", "authenticator@")
        headers = {"apikey": keys.secret_key}
        answers = []
        with Gateway(login, keys, pool_size=1, acquire_timeout_s=0.2) as gateway:
            call = f"{gateway.url}/rest/v1/rpc/hold"
            assert http.get(f"{gateway.url}/rest/v1/nowhere", headers=headers).status_code == 404
            first = threading.Thread(target=lambda: answers.append(httpx.post(call, headers=headers)))
            first.start()
            waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            wait_for(lambda: session.execute(waiting).fetchone() == (1,))
            second = http.post(call, headers=headers)
            session.execute("select pg_advisory_unlock(1)")
            first.join()
            assert (second.status_code, second.json()["code"]) == (504, "PGRST003")
            assert answers[0].json() == 1
            assert http.post(call, headers=headers).json() == 1


def test_a_killed_session_is_replaced(project):
    """After an idle backend was terminated, the next request succeeds."""
    project.send("GET", "/rest/v1/items")
    project.sql("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'authenticator'"
                " and datname = current_database()")  # fmt: skip
    assert project.send("GET", "/rest/v1/items").status_code == 200


def test_a_session_killed_during_a_request_is_503(project):
    """57P01 in the middle of a statement: HTTP 503, and the next request works."""
    project.sql("""create function public.end_itself() returns integer language plpgsql security definer volatile as
        $$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(10); return 1; end $$""")
    answer = project.send("POST", "/rest/v1/rpc/end_itself")
    assert answer.status_code == 503
    assert answer.json()["code"] in ("57P01", "PGRST001")
    assert answer.headers["Retry-After"] == "1"
    assert project.send("GET", "/rest/v1/items").status_code == 200


@pytest.mark.slow
def test_the_server_dies_and_comes_back(tmp_path, keys, http):
    """No database: 503 PGRST000. Once it is back, requests and the schema listener recover."""
    headers = {"apikey": keys.secret_key}
    with Postgres(tmp_path, fsync=False) as server:
        database = prepare(server, dbname="app", migrations=False, seed=False)
        with Gateway(server.url("app", "authenticator"), keys) as gateway:
            table = f"{gateway.url}/rest/v1/late"
            assert http.get(table, headers=headers).json()["code"] == "PGRST205"
            server.kill()
            wait_for(lambda: http.get(table, headers=headers).status_code == 503)  # its backends end later
            down = http.get(table, headers=headers)
            assert (down.status_code, down.json()["code"]) == (503, "PGRST000")
            server.start()
            with psycopg.connect(database, autocommit=True) as session:
                session.execute("create table public.late as select 1 as n; grant all on public.late to service_role")
                assert http.get(table, headers=headers).json() == [{"n": 1}]
                listening = "select count(*) from pg_stat_activity where query = 'listen pgrst'"
                wait_for(lambda: session.execute(listening).fetchone() == (1,))
