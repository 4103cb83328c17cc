"""Embedded resources, counts, ranges, CSV and text search through an unmodified Supabase client, as on a hosted project."""

from collections.abc import Iterator

import psycopg
import pytest
from postgrest import CountMethod
from postgrest.exceptions import APIError

from local.supabase.gateway import Gateway
from local.supabase.postgres.database import drop_database, fresh_database
from tests.http.conftest import OWNER, Project

_SCHEMA = """
set role postgres;
create table public.makers (id integer primary key, name text not null, boss_id integer references public.makers (id));
create table public.boats (
  id integer primary key, name text not null, length_m numeric(5, 2) not null, about text,
  maker_id integer references public.makers (id), owner uuid
);
create table public.papers (boat_id integer primary key references public.boats (id), number text not null);
create table public.ports (id integer primary key, name text not null);
create table public.visits (
  boat_id integer references public.boats (id), port_id integer references public.ports (id), primary key (boat_id, port_id)
);
create table public.trips (
  id integer primary key,
  from_port integer constraint trips_from_fkey references public.ports (id),
  to_port integer constraint trips_to_fkey references public.ports (id)
);
insert into public.makers values (1, 'North', null), (2, 'South', 1), (3, 'Idle', 1);
insert into public.boats values
  (1, 'Ada', 9.50, 'a fast red boat', 1, '11111111-1111-4111-8111-111111111111'),
  (2, 'Bo', 7.25, 'slow and blue', 1, null), (3, 'Cy', 12.00, 'red as well', 2, null), (4, 'Di', 5.00, null, null, null);
insert into public.papers values (1, 'A-1'), (3, 'C-3');
insert into public.ports values (1, 'Kiel'), (2, 'Oslo'), (3, 'Riga');
insert into public.visits values (1, 1), (1, 2), (2, 2);
insert into public.trips values (1, 1, 2);
create function public.long_boats() returns setof public.boats language sql stable set search_path = '' as
  'select * from public.boats where length_m > 9';
alter table public.boats enable row level security;
create policy own_boats on public.boats to authenticated using (owner = (select auth.uid()));
grant all on all tables in schema public to service_role;
grant select on all tables in schema public to authenticated;
grant execute on function public.long_boats to service_role;
analyze;
"""


@pytest.fixture(scope="module")
def harbour(_postgres_servers, keys, http) -> Iterator[Project]:
    """Tables that refer to one another in every way; the tests that write put back what they change."""
    url = fresh_database(_postgres_servers("default"), migrations=False, seed=False, host_tables=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_SCHEMA.encode())
    auth_login = url.replace("supabase_admin@", "supabase_auth_admin@")
    with Gateway(url.replace("supabase_admin@", "authenticator@"), keys, auth_database_url=auth_login) as gateway:
        yield Project(gateway.url, keys, url, http)
    drop_database(url)


@pytest.fixture
def ask(harbour):
    """The rows of a table for a select."""

    def select(table: str, columns: str, apply=lambda query: query, **options):
        return apply(harbour.rest().from_(table).select(columns, **options)).execute().data

    return select


def test_a_to_one_resource_is_an_object_or_null(ask):
    """The row that a foreign key leads to, by the table's name, the key's column or the constraint's name."""
    assert ask("boats", "name,makers(name)", lambda q: q.in_("id", [1, 4]).order("id")) == [
        {"name": "Ada", "makers": {"name": "North"}},
        {"name": "Di", "makers": None},
    ]
    for target in ("maker_id", "boats_maker_id_fkey", "makers!maker_id", "makers!boats_maker_id_fkey"):
        row = ask("boats", f"by:{target}(*)", lambda q: q.eq("id", 1))[0]
        assert row == {"by": {"id": 1, "name": "North", "boss_id": None}}, target


def test_a_to_many_resource_is_a_list(ask):
    """Rows that refer to this one; none is an empty list. A unique foreign key makes it one object."""
    rows = ask("makers", "name,boats(name)", lambda q: q.order("id").order("id", foreign_table="boats"))
    assert rows == [
        {"name": "North", "boats": [{"name": "Ada"}, {"name": "Bo"}]},
        {"name": "South", "boats": [{"name": "Cy"}]},
        {"name": "Idle", "boats": []},
    ]
    assert ask("boats", "papers(number)", lambda q: q.order("id").limit(2)) == [
        {"papers": {"number": "A-1"}},
        {"papers": None},
    ]


def test_many_to_many_goes_through_the_junction(ask):
    """A table whose primary key is two foreign keys joins what they lead to, without being named."""
    rows = ask("boats", "name,ports(name)", lambda q: q.order("id").limit(2).order("name", foreign_table="ports"))
    assert rows == [
        {"name": "Ada", "ports": [{"name": "Kiel"}, {"name": "Oslo"}]},
        {"name": "Bo", "ports": [{"name": "Oslo"}]},
    ]


def test_resources_nest(ask):
    """A resource embeds resources of its own, each with its own filters, order and limit."""
    rows = ask(
        "makers",
        "name,boats(name,papers(number),visits(ports(name)))",
        lambda q: (
            q.eq("id", 1)
            .order("length_m", desc=True, foreign_table="boats")
            .limit(1, foreign_table="boats")
            .eq("boats.visits.port_id", 2)
        ),
    )
    boat = {"name": "Ada", "papers": {"number": "A-1"}, "visits": [{"ports": {"name": "Oslo"}}]}
    assert rows == [{"name": "North", "boats": [boat]}]


def test_inner_keeps_only_rows_that_have_any(ask, harbour):
    """`!inner` and `not.is.null` filter the rows around; a plain filter on a resource only empties it. Counts follow."""
    inner = ask("makers", "name,boats!inner(name)", lambda q: q.gt("boats.length_m", 10))
    assert inner == [{"name": "South", "boats": [{"name": "Cy"}]}]
    left = ask("makers", "name,boats(name)", lambda q: q.gt("boats.length_m", 10).order("id"))
    assert [len(row["boats"]) for row in left] == [0, 1, 0]
    with_any = ask("makers", "name,boats()", lambda q: q.not_.is_("boats", "null").order("id"))
    assert with_any == [{"name": "North"}, {"name": "South"}]
    without = ask("makers", "name,boats()", lambda q: q.is_("boats", "null"))
    assert without == [{"name": "Idle"}]
    counted = harbour.rest().from_("makers").select("boats!inner(id)", count=CountMethod.exact, head=True).execute()
    assert counted.count == 2


def test_spread_puts_the_columns_beside_the_others(ask):
    """`...resource(columns)` of a to-one resource."""
    rows = ask("boats", "name,...makers(maker:name)", lambda q: q.in_("id", [3, 4]).order("id"))
    assert rows == [{"name": "Cy", "maker": "South"}, {"name": "Di", "maker": None}]


def test_rows_are_ordered_by_a_to_one_resource(ask, harbour):
    """`order=resource(column)`; of a to-many resource there is no one column to order by."""
    rows = ask("boats", "name,makers(name)", lambda q: q.order("makers(name)", desc=True, nullsfirst=False).order("id"))
    assert [row["name"] for row in rows] == ["Cy", "Ada", "Bo", "Di"]
    answer = harbour.send("GET", "/rest/v1/makers?select=name,boats(name)&order=boats(name)")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST118")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("boats?select=name,crew(*)", 400, "PGRST200"),
        ("boats?select=name,makers!no_such(*)", 400, "PGRST200"),
        ("trips?select=ports(*)", 300, "PGRST201"),
        ("makers?select=makers(*)", 300, "PGRST201"),
        ("boats?select=name&makers.name=eq.x", 400, "PGRST108"),
        ("boats?select=name&makers.order=name", 400, "PGRST108"),
        ("boats?select=name&order=makers(name)", 400, "PGRST108"),
        ("boats?select=name,makers(name", 400, "PGRST100"),
        ("boats?select=name,makers(nothing)", 400, "42703"),
        ("makers?select=boats(count())", 400, "PGRST123"),
        ("makers?select=...boats(name)", 400, "HANGAR_UNSUPPORTED"),
    ],
)
def test_what_cannot_be_embedded_says_why(harbour, path, status, code):
    """Unknown, ambiguous, not selected, malformed: each with PostgREST's code."""
    answer = harbour.send("GET", f"/rest/v1/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_an_ambiguous_resource_is_told_by_its_constraint(ask):
    """Two foreign keys to one table: the hint names which."""
    rows = ask("trips", "start:ports!trips_from_fkey(name),end:ports!to_port(name)")
    assert rows == [{"start": {"name": "Kiel"}, "end": {"name": "Oslo"}}]
    assert ask("makers", "boss:boss_id(name)", lambda q: q.eq("id", 2)) == [{"boss": {"name": "North"}}]


def test_the_old_count_of_a_resource(ask):
    """`resource(count)` counts, as it does on hosted projects although aggregates are off."""
    assert ask("makers", "boats(count)", lambda q: q.order("id")) == [
        {"boats": [{"count": 2}]},
        {"boats": [{"count": 1}]},
        {"boats": [{"count": 0}]},
    ]


def test_row_level_security_holds_inside_resources(harbour):
    """A user sees of an embedded table what they see of the table."""
    rest = harbour.rest(token=harbour.user_token(OWNER))
    rows = rest.from_("makers").select("name,boats(name)").order("id").execute().data
    assert [row["boats"] for row in rows] == [[{"name": "Ada"}], [], []]


def test_writes_answer_with_resources(harbour):
    """What is inserted, changed or deleted comes back with what belongs to it, though its key is not selected."""
    rest = harbour.rest()
    sent = {"id": 9, "name": "Eve", "length_m": 4, "maker_id": 2}
    added = harbour.send(
        "POST", "/rest/v1/boats?select=name,makers(name)", json=sent, headers={"Prefer": "return=representation"}
    )
    assert added.json() == [{"name": "Eve", "makers": {"name": "South"}}]
    gone = harbour.send(
        "DELETE", "/rest/v1/boats?id=eq.9&select=makers(name)", headers={"Prefer": "return=representation"}
    )
    assert gone.json() == [{"makers": {"name": "South"}}]
    assert rest.from_("boats").select("id").eq("id", 9).execute().data == []


def test_functions_that_return_rows_of_a_table_embed(harbour):
    """The rows of `returns setof boats` have the relations of boats."""
    answer = harbour.send("POST", "/rest/v1/rpc/long_boats?select=name,makers(name)&order=id", json={})
    assert answer.json() == [{"name": "Ada", "makers": {"name": "North"}}, {"name": "Cy", "makers": {"name": "South"}}]


def test_counts_planned_and_estimated(harbour):
    """`planned` is the planner's word, `estimated` an exact count as long as a page could hold it."""
    select = harbour.rest().from_("boats").select
    assert select("id", count=CountMethod.estimated).execute().count == 4
    assert select("id", count=CountMethod.planned).limit(1).execute().count == 4
    wide = harbour.send(
        "GET", "/rest/v1/boats?select=name&maker_id=eq.1", headers={"Prefer": "count=planned", "Range": "0-0"}
    )
    assert wide.headers["content-range"].startswith("0-0/")
    assert (wide.status_code, len(wide.json())) == (206, 1)


def test_a_range_header_is_a_window(harbour):
    """`Range: 1-2` is offset 1, limit 2, and never more than limit and offset allow; nonsense is ignored."""

    def names(path: str, header: str) -> list[str]:
        answer = harbour.send("GET", f"/rest/v1/boats?select=name&order=id{path}", headers={"Range": header})
        return [row["name"] for row in answer.json()]

    assert names("", "1-2") == ["Bo", "Cy"]
    assert names("", "2-") == ["Cy", "Di"]
    assert names("&limit=1", "0-9") == ["Ada"]
    assert names("&offset=3", "0-1") == []
    assert len(names("", "kilometres")) == 4


def test_csv(harbour):
    """`.csv()` of the client: a line of names, then a line for each row."""
    text = harbour.rest().from_("boats").select("id,name,length_m").lte("id", 2).order("id").csv().execute().data
    assert text == "id,name,length_m\n1,Ada,9.50\n2,Bo,7.25"
    assert harbour.rest().from_("boats").select("id").eq("id", 77).csv().execute().data.strip() == ""


@pytest.mark.parametrize(
    ("apply", "found"),
    [
        (lambda q: q.text_search("about", "red"), [1, 3]),
        (lambda q: q.text_search("about", "'red' & 'fast'", options={"config": "english"}), [1]),
        (lambda q: q.plfts("about", "red boat"), [1]),
        (lambda q: q.wfts("about", "red -boat"), [3]),
        (lambda q: q.phfts("about", "red boat"), [1]),
        (lambda q: q.not_.fts("about", "red"), [2]),
    ],
)
def test_text_search(ask, apply, found):
    """The four operators, with and without a language."""
    assert [row["id"] for row in ask("boats", "id", lambda q: apply(q).order("id"))] == found


def test_a_plan_is_refused_as_hosted_projects_refuse_it(harbour):
    """`explain()` needs db-plan-enabled, which is off."""
    with pytest.raises(APIError) as refused:
        harbour.rest().from_("boats").select("id").explain().execute()
    assert refused.value.code == "PGRST107"


def test_an_empty_select_gives_empty_rows(harbour):
    """`select=` picks no column."""
    assert harbour.send("GET", "/rest/v1/ports?select=").json() == [{}, {}, {}]
