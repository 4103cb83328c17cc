"""What each of Supabase's roles can do, tried as that role."""

import pytest
from psycopg import errors

from local.supabase.postgres.database import migrate


def test_service_role_reads_tables_and_views(hangar):
    """Reading over PostgREST as service_role works without any automatic grant."""
    hangar.user("pro")
    for name in (
        "user_fly_apps", "user_fly_app_events", "fly_plans", "fly_overrides", "fly_orphans", "fly_cost_intervals",
        "fly_fleet_summary", "fly_health_summary", "fly_recent_events", "fly_failures",
    ):  # fmt: skip
        hangar.service.execute(f"select * from public.{name}")
    assert hangar.service.execute("select count(*) from public.user_fly_apps").fetchone() == (1,)


API_ROLES = "anon, authenticated, service_role"


@pytest.mark.parametrize(
    "write",
    [
        "update user_fly_apps set status = 'active'",
        "delete from user_fly_apps",
        "insert into user_fly_app_events (event_type, status) values ('action', 'succeeded')",
        "delete from user_fly_app_events",
        "update hangar.settings set paused = false",
        "insert into fly_overrides (user_id, override, actor) values (gen_random_uuid(), 'deny', 'x')",
    ],
)
def test_service_role_writes_through_procedures_only(common, write):
    """Lease, generation, brake and audit cannot be bypassed."""
    with pytest.raises(errors.InsufficientPrivilege):
        common.service.execute(write)


def test_service_role_edits_plans(hangar):
    """Plans are plain data: the guard and the time of change hold for service_role too."""
    hangar.service.execute("update fly_plans set cpu_count = 4, memory_mb = 1024 where tier = 'elite'")
    hangar.service.execute("insert into fly_plans (tier, dedicated) values ('team', true)")
    with pytest.raises(errors.InvalidParameterValue):
        hangar.service.execute("update fly_plans set memory_mb = 256 where tier = 'elite'")


def test_a_user_sees_the_own_row_alone(hangar):
    """Row level security by auth.uid(), on the app and on its log."""
    mine, other = hangar.user("pro"), hangar.user("pro")
    session = hangar.connect(hangar.url, "authenticated", {"sub": str(mine)})
    assert session.execute("select user_id from user_fly_apps").fetchall() == [(mine,)]
    assert {row[0] for row in session.execute("select user_id from user_fly_app_events")} == {mine}
    assert hangar.row(other) is not None


def test_a_user_does_not_see_what_operators_decided(hangar):
    """A user does not see why or by whom an app was denied."""
    user = hangar.user("pro")
    hangar.rpc("fly_set_override", user=user, override="deny", plan=None, actor="an operator", reason="a suspicion")
    session = hangar.connect(hangar.url, "authenticated", {"sub": str(user)})
    seen = session.execute("select event_type, metadata::text from user_fly_app_events").fetchall()
    assert {kind for kind, _ in seen} == {"provision_requested", "deprovision_requested"}
    assert "suspicion" not in str(seen)


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "attempt",
    [
        "select fly_claim(gen_random_uuid())",
        "select fly_user_status(gen_random_uuid())",
        "select hangar.now()",
        "select * from hangar.settings",
        "select * from fly_plans",
        "select * from fly_failures",
        "update user_fly_apps set tier = 'pro'",
        "delete from user_fly_app_events",
    ],
)
def test_everything_else_is_refused(common, role, attempt):
    """No procedure, no other table, no write."""
    session = common.connect(common.url, role, {"sub": "00000000-0000-0000-0000-000000000001"})
    with pytest.raises(errors.InsufficientPrivilege):
        session.execute(attempt)


def test_anon_sees_no_app(common):
    """A visitor is refused, not shown an empty table."""
    session = common.connect(common.url, "anon")
    for table in ("user_fly_apps", "user_fly_app_events"):
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute(f"select * from {table}")


def test_the_host_admin_changes_a_tier_as_authenticated(hangar):
    """The original's only writer of `tier` is an admin's browser: the triggers work with that role's few rights."""
    admin, user = hangar.user(), hangar.user()
    hangar.sql("update user_profiles set is_admin = true where id = %s", admin)
    session = hangar.connect(hangar.url, "authenticated", {"sub": str(admin)})
    session.execute("update user_subscriptions set tier = 'pro' where user_id = %s", (user,))
    hangar.follow()
    assert hangar.live_row(user)["desired_state"] == "present"


@pytest.mark.slow
def test_automatic_grants_of_older_projects_are_taken_back(bare_database, connect):
    """Before May 2026 Supabase granted everything new in public to the API's roles; our objects end closed there too."""
    admin = connect(bare_database)
    for kind in ("tables", "functions", "sequences"):
        admin.execute(f"alter default privileges for role postgres in schema public grant all on {kind} to {API_ROLES}")
    migrate(bare_database)
    tables = """select c.relname, r from pg_class c, unnest(array['anon', 'authenticated']) r
                 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'S')
                   and (c.relname like 'fly\\_%' or c.relname like 'user\\_fly\\_app%')
                   and (has_table_privilege(r, c.oid, 'insert, update, delete, truncate')
                        or r = 'anon' and has_table_privilege(r, c.oid, 'select')
                        or c.relkind = 'S' and has_sequence_privilege(r, c.oid, 'usage, update'))"""
    functions = """select p.proname, r from pg_proc p, unnest(array['anon', 'authenticated']) r
                    where p.pronamespace = 'public'::regnamespace and p.proname like 'fly\\_%'
                      and has_function_privilege(r, p.oid, 'execute')"""
    writes = """select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
                   and (c.relname like 'fly\\_%' or c.relname like 'user\\_fly\\_app%') and c.relname <> 'fly_plans'
                   and has_table_privilege('service_role', c.oid, 'insert, update, delete, truncate')"""
    assert [admin.execute(query).fetchall() for query in (tables, functions, writes)] == [[], [], []]
