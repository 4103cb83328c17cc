"""`hangar user erase` for a person of the original system, whose rows are older than Hangar's rules."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.postgres.conftest import Hangar
from tests.postgres.installer import install
from tests.support import original_system
from tests.support.original_system import add_app, add_user

pytestmark = pytest.mark.every_postgres

ACTOR = "cli:test"
TABLES = ("public.user_fly_apps", "public.user_fly_app_events", "hangar.original_apps", "hangar.original_objects")


@pytest.fixture
def original(bare_database, connect):
    """A database with the original system's tables and nothing of Hangar, and its owner's session."""
    original_system.create_schema(connect(bare_database, "postgres"))
    return connect(bare_database)


@pytest.fixture
def upgrade(original, bare_database, connect):
    """Install Hangar there, as the test has prepared it."""

    def run():
        install(bare_database)
        hangar = Hangar(bare_database, connect)
        hangar.sql("insert into public.fly_plans (tier, dedicated) values ('free', false)")
        return hangar

    return run


def erase(hangar, user, **more):
    return hangar.rpc("fly_erase_user", user=user, actor=ACTOR, reason="a request by mail", apply=True, **more)


def address(session, user):
    return session.execute("select email from auth.users where id = %s", (user,)).fetchone()[0]


def naming(hangar, user, email):
    """The tables with a row that names the user."""
    query = "select count(*) from {} t where t::text ilike %s or t::text ilike %s"
    return [name for name in TABLES if hangar.one(query.format(name), f"%{user}%", f"%{email}%")]


@pytest.mark.slow
def test_a_person_from_before_hangar_can_be_erased(original, upgrade):
    """The log has words of the original system as status and type, lists as metadata; the row as it was has the address."""
    user = add_user(original, "free")
    email = address(original, user)
    app = add_app(original, user, "deleted", machine_id="m1", error_message=f"no answer to {email}")
    original.execute("alter table public.user_fly_app_events drop constraint user_fly_app_events_event_type_check")
    for metadata in ([1, email], email, 7, {"reason": "Anna asked", "n": 1}):
        original.execute(
            "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)"
            " values (%s, %s, 'scaled', 'weird', %s)",
            (app.row_id, user, Jsonb(metadata)),
        )
    hangar = upgrade()
    assert naming(hangar, user, email) == list(TABLES[:3])
    log = "select seq, id, fly_app_id, event_type, status, created_at from public.user_fly_app_events order by seq"
    course = hangar.sql(log)
    shown = hangar.rpc("fly_erase_user", user=user, actor=ACTOR, reason="x")
    assert shown["refusals"] == []
    assert erase(hangar, user)["changes"] == shown["changes"]
    assert naming(hangar, user, email) == []
    assert hangar.sql(log)[:-1] == course
    found = hangar.sql("select metadata from public.user_fly_app_events where event_type = 'scaled' order by seq")
    assert [row["metadata"] for row in found] == [[1, "(erased)"], "(erased)", 7, {"reason": "(erased)", "n": 1}]


@pytest.mark.slow
def test_columns_that_the_host_has_added_lose_the_person_too(original, upgrade):
    """Every kind of text, in both tables; numbers and other persons stay."""
    user, other = add_user(original, "free"), add_user(original, "free")
    email = address(original, user)
    added = {
        "contact": ("varchar(200)", email, "(erased)"),
        "short": ("varchar(30)", f"<{email}>", "<(erased)>"),
        "code": ("char(40)", email, "(erased)"),
        "extra": ("json", f'{{"mail":  "a\\n{email}", "n": 1.50}}', {"mail": "a\n(erased)", "n": 1.5}),
        "names": ("varchar(60)[]", f"{{{email},x}}", ["(erased)", "x"]),
        "seats": ("integer", "7", 7),
        "asked_by": ("uuid", str(user), None),
    }
    for table in ("user_fly_apps", "user_fly_app_events"):
        for column, (kind, _, _) in added.items():
            original.execute(f"alter table public.{table} add column {column} {kind}")
        original.execute(f"alter table public.{table} add column made_by uuid references auth.users (id)")
    app = add_app(original, user, "deleted", made_by=user, **{column: value for column, (_, value, _) in added.items()})
    note = add_app(original, other, "deleted")
    original.execute(
        f"update public.user_fly_app_events set ({', '.join(added)}, made_by) = (select {', '.join(added)}, made_by"
        " from public.user_fly_apps where id = %s) where fly_app_id = any (%s)",
        (app.row_id, [app.row_id, note.row_id]),
    )
    hangar = upgrade()
    found = hangar.rpc("fly_search_log", user=user)
    assert len(found["mentions"]) == 2
    done = erase(hangar, user, mentions=found["mentions"], read_to=100000)
    assert naming(hangar, user, email) == []
    wanted = {column: value for column, (_, _, value) in added.items()} | {"asked_by": done["pseudonym"]}
    rows = [
        *hangar.sql("select * from public.user_fly_apps where id = %s", app.row_id),
        *hangar.sql("select * from public.user_fly_app_events where fly_app_id = %s", note.row_id),
    ]
    for row in rows:
        assert row["made_by"] is None  # a foreign key would refuse the pseudonym
        assert {column: row[column] for column in added} | {
            "code": row["code"].rstrip(),
            "asked_by": str(row["asked_by"]),
        } == wanted
    assert str(other) in {str(row["user_id"]) for row in rows}
    assert erase(hangar, user, mentions=found["mentions"])["changes"] == []


STAYS = "create table public.people (mail text primary key); create type public.reviewer as enum ('{email}', 'nobody')"


def reads_xml(session):
    """Whether this Postgres was built with XML."""
    try:
        session.execute("select xmlparse(content '<a/>')")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


@pytest.mark.slow
def test_columns_of_further_types_lose_the_person_and_what_cannot_is_named(original, upgrade):
    """XML and domains are changed. An enum and a key that must not be null stay, and the answer names them before and after."""
    user = add_user(original, "free")
    email = address(original, user)
    original.execute(STAYS.format(email=email))
    original.execute("insert into public.people values (%s), ('x@y.test')", (email,))
    original.execute("create domain public.person as uuid; create domain public.note as text")
    add_app(original, user, "deleted", machine_id="m1")
    original.execute(
        "alter table public.user_fly_apps add owner text not null default 'x@y.test' references public.people,"
        " add reviewed_by public.reviewer, add papers xml, add person public.person, add note public.note;"
        " alter table public.user_fly_app_events add seen_by public.reviewer"
    )
    original.execute(
        "update public.user_fly_apps set owner = %s, reviewed_by = %s::text::public.reviewer, person = %s, note = %s",
        (email, email, user, f"ask {email}"),
    )
    has_xml = reads_xml(original)
    if has_xml:
        original.execute(
            "update public.user_fly_apps set papers = xmlparse(content %s)", (f"<a to='{email}'>{user}</a>",)
        )
    original.execute("update public.user_fly_app_events set seen_by = %s::text::public.reviewer", (email,))
    hangar = upgrade()
    stays = {
        ("public.user_fly_app_events", "seen_by", 2),
        ("public.user_fly_apps", "owner", 1),
        ("public.user_fly_apps", "reviewed_by", 1),
    }
    shown = hangar.rpc("fly_erase_user", user=user, actor=ACTOR, reason=None)
    assert {(each["table"], each["column"], each["rows"]) for each in shown["remains"]} == stays
    done = erase(hangar, user)
    assert done["applied"]
    assert {(each["table"], each["column"], each["rows"]) for each in done["remains"]} == stays
    [row] = hangar.sql("select owner, reviewed_by::text, papers::text, person::text, note from public.user_fly_apps")
    assert row == {
        "owner": email,
        "reviewed_by": email,
        "papers": f"<a to='(erased)'>{done['pseudonym']}</a>" if has_xml else None,
        "person": done["pseudonym"],
        "note": "ask (erased)",
    }
    hangar.sql("update public.user_fly_apps set owner = 'x@y.test', reviewed_by = 'nobody'")
    hangar.sql("set session_replication_role = replica")
    hangar.sql("update public.user_fly_app_events set seen_by = null")
    hangar.sql("set session_replication_role = origin")
    assert erase(hangar, user)["remains"] == []
    assert naming(hangar, user, email) == []


@pytest.mark.slow
def test_hstore_loses_the_person(original, upgrade):
    user = add_user(original, "free")
    email = address(original, user)
    if original.execute("select 1 from pg_available_extensions where name = 'hstore'").fetchone() is None:
        pytest.skip("this Postgres has no hstore")
    original.execute("create extension hstore schema public")
    add_app(original, user, "deleted", machine_id="m1")
    original.execute("alter table public.user_fly_apps add facts public.hstore")
    original.execute("update public.user_fly_apps set facts = public.hstore(array['mail', %s, 'n', '1'])", (email,))
    hangar = upgrade()
    assert erase(hangar, user)["remains"] == []
    assert hangar.one("select facts::text from public.user_fly_apps") == '"n"=>"1", "mail"=>"(erased)"'


@pytest.mark.parametrize("rule", ["unique (mail)", "check (mail like '%@%')"])
@pytest.mark.slow
def test_a_rule_of_the_host_that_refuses_the_pseudonym_erases_nothing_and_is_named(original, upgrade, rule):
    """Not half: the pins are there still. After the value is cleared the same call erases everything."""
    user, other = add_user(original, "free"), add_user(original, "free")
    email = address(original, user)
    for each in (user, other):
        add_app(original, each, "deleted", machine_id="m1")
    original.execute(f"alter table public.user_fly_apps add mail text, add constraint mail_rule {rule}")
    original.execute("update public.user_fly_apps set mail = %s where user_id = %s", (email, user))
    hangar = upgrade()
    if "unique" in rule:
        hangar.sql("update public.user_fly_apps set mail = '(erased)' where user_id = %s", other)
    hangar.sql("insert into public.fly_overrides (user_id, override, actor) values (%s, 'deny', 'x')", user)
    shown = hangar.rpc("fly_erase_user", user=user, actor=ACTOR, reason=None)
    [refusal] = shown["refusals"]
    assert refusal["code"] == "column"
    assert "mail_rule" in refusal["message"]
    assert email not in refusal["message"]
    with pytest.raises(Exception, match="mail_rule"):
        erase(hangar, user)
    assert hangar.one("select count(*) from public.fly_overrides") == 1
    hangar.sql("update public.user_fly_apps set mail = null where user_id = %s", user)
    assert erase(hangar, user)["applied"]
    assert naming(hangar, user, email) == []
