"""`hangar install` on the tables of the original system: upgraded in place without loss, and nothing acts on their apps."""

import json
import re
from datetime import UTC, datetime

import psycopg
import pytest

from tests.postgres import installer
from tests.postgres.conftest import Hangar
from tests.postgres.installer import FILES, install
from tests.support import original_system
from tests.support.original_system import add_app, add_user

STATUSES = ("provisioning", "active", "error", "deprovisioning", "deleted")
COLUMNS = (
    "id, user_id, fly_app_name, fly_org_slug, region, docker_image, deployed_at, last_health_check, health_status, error_message,"
    " monthly_cost_estimate_usd, cpu_count, memory_mb, created_at, updated_at, plan_note"
)
EVENTS = "id, fly_app_id, user_id, event_type, status, error_details, created_at"


@pytest.fixture
def original(bare_database, connect):
    """A database with the original system's tables and nothing of Hangar, and its owner's session."""
    original_system.create_schema(connect(bare_database, "postgres"))
    return connect(bare_database)


@pytest.fixture
def url(original, bare_database):
    return bare_database


@pytest.fixture
def apps(original):
    """An app in each status, one that is active and marked as deleted, one without a machine; all their users pay."""
    found = {status: add_app(original, add_user(original), status, machine_id=f"m-{status}") for status in STATUSES}
    found["half deleted"] = add_app(original, add_user(original), "active", deleted_at=original_system.MOMENT)
    found["odd"] = add_app(
        original, add_user(original), "error", retry_count=None, error_message="422 taken", plan_note=None
    )
    original.execute("insert into public.signals (fly_app_id) values (%s)", (found["active"].row_id,))
    return found


def upgrade(url, connect):
    install(url)
    hangar = Hangar(url, connect)
    hangar.sql("insert into public.fly_plans (tier, dedicated) values ('free', false), ('pro', true), ('elite', true)")
    return hangar


@pytest.fixture
def upgraded(url, apps, connect):
    return upgrade(url, connect)


def read(session, columns, table):
    return session.execute(f"select {columns} from public.{table} order by id").fetchall()


def catalogue(session):
    """Columns, constraints and indexes of the two tables, without the column that the host has added.

    A rule that old entries of the log break holds for the numbers after theirs; apart from that it is the same rule.
    """
    wanted = "('public.user_fly_apps'::regclass, 'public.user_fly_app_events'::regclass)"
    columns = session.execute(
        "select a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,"
        " pg_get_expr(d.adbin, d.adrelid)"
        " from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
        f" where a.attrelid in {wanted} and a.attnum > 0 and not a.attisdropped and a.attname <> 'plan_note' order by 1, 2"
    ).fetchall()
    constraints = session.execute(
        "select conrelid::regclass::text, conname, convalidated,"
        r" regexp_replace(pg_get_constraintdef(oid), '^CHECK \(\((.*) OR \(seq <= \d+\)\)\)$', 'CHECK (\1)') from pg_constraint"
        f" where conrelid in {wanted} and contype in ('c', 'u', 'f', 'p') and conname !~ 'plan_note' order by 1, 2"
    ).fetchall()
    indexes = session.execute(
        f"select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index where indrelid in {wanted}"
        " and indexrelid::regclass::text !~ 'plan_note' order by 1"
    ).fetchall()
    tables = session.execute(
        "select relname, reloptions, relrowsecurity, obj_description(oid, 'pg_class') from pg_class"
        f" where oid in {wanted} order by 1"
    ).fetchall()
    policies = session.execute(
        "select tablename, policyname, permissive, roles::text, cmd, qual, with_check from pg_policies"
        " where tablename in ('user_fly_apps', 'user_fly_app_events') order by 1, 2"
    ).fetchall()
    return columns, constraints, indexes, tables, policies


@pytest.mark.slow
def test_every_row_id_time_cost_and_column_of_the_host_is_kept(url, original, apps, connect):
    before, log = read(original, COLUMNS, "user_fly_apps"), read(original, EVENTS, "user_fly_app_events")
    printed = install(url)
    assert read(connect(url), COLUMNS, "user_fly_apps") == before
    kept = {entry[0] for entry in log}
    assert [entry for entry in read(connect(url), EVENTS, "user_fly_app_events") if entry[0] in kept] == log
    assert f"with its {len(apps)} rows. {len(apps) - 1} of them are legacy apps" in printed
    # What refers to the tables still does.
    assert original.execute("select fly_app_id from public.signals").fetchone() == (apps["active"].row_id,)
    assert original.execute("select count(*) from public.user_fly_apps_with_profiles").fetchone() == (len(apps) - 1,)


@pytest.mark.slow
def test_the_values_that_do_not_fit_are_kept_beside_the_row(upgraded, apps):
    """Active and deleted at once counts as live, because its app may run; what the row was is on record."""
    [row] = upgraded.sql("select * from public.user_fly_apps where id = %s", apps["half deleted"].row_id)
    assert (row["status"], row["deleted_at"], row["desired_state"]) == ("active", None, "legacy")
    original = upgraded.one("select original from hangar.original_apps where row_id = %s", row["id"])
    assert datetime.fromisoformat(original["deleted_at"]) == datetime(2025, 11, 15, 10, tzinfo=UTC)
    closed = upgraded.one("select deleted_at from public.user_fly_apps where id = %s", apps["deleted"].row_id)
    assert closed == datetime(2025, 11, 17, 12, tzinfo=UTC)


@pytest.mark.slow
def test_an_upgraded_database_has_the_same_tables_as_a_new_one(upgraded, url, connect, common):
    assert catalogue(connect(url)) == catalogue(connect(common.url))


@pytest.mark.slow
def test_the_log_keeps_entries_that_hangars_rules_would_refuse(url, original, connect):
    """A free text as status, a type of a later version, metadata that is null or a list. New entries obey the rules."""
    app = add_app(original, add_user(original))
    original.execute("alter table public.user_fly_app_events drop constraint user_fly_app_events_event_type_check")
    for event_type, status, metadata in (
        ("scaled", "weird", "[1]"), ("error_occurred", "ok", None), ("error_occurred", "ok", "null"),
    ):  # fmt: skip
        original.execute(
            "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)"
            " values (%s, %s, %s, %s, %s)",
            (app.row_id, app.user_id, event_type, status, metadata),
        )
    hangar = upgrade(url, connect)
    assert (
        hangar.one("select count(*) from public.user_fly_app_events where event_type = 'scaled' and status = 'weird'")
        == 1
    )
    for event_type, status, metadata in (
        ("scaled", "info", "{}"),
        ("action", "weird", "{}"),
        ("action", "info", "[1]"),
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            hangar.sql(
                "insert into public.user_fly_app_events (event_type, status, metadata) values (%s, %s, %s)",
                event_type,
                status,
                metadata,
            )
    assert hangar.rpc("fly_user_status", user=app.user_id)["events"]


def act_everywhere(hangar):
    """Everything that could act on an app: marks, a sync, the drain, a sweep's end, a release, renewals, watchdogs."""
    hangar.sql("update hangar.settings set live = true")
    hangar.sql("insert into hangar.marks (user_id) select user_id from public.user_fly_apps")
    hangar.follow()
    hangar.rpc("fly_sync_entitlements")
    hangar.rpc("fly_end_outage")
    hangar.rpc("fly_start_drift_repairs")
    sweep = hangar.rpc("fly_sweep_claim", name="fleet", holder="test")
    hangar.rpc("fly_sweep_finish", name="fleet", token=sweep["token"], report={}, complete=True)
    return hangar.rpc("fly_claim_due", limit=100)["claimed"]


@pytest.mark.slow
def test_nothing_acts_on_a_legacy_app(upgraded, apps):
    """Not for users who pay, not for those who stopped, not after hours, not when somebody asks."""
    before = upgraded.sql("select * from public.user_fly_apps where desired_state = 'legacy' order by id")
    for change in ({}, {"tier": "free"}, {"tier": "elite"}, {"status": "cancelled"}):
        for app in apps.values():
            if change and app is not apps["deleted"]:
                upgraded.subscribe(app.user_id, **change)
        claimed = act_everywhere(upgraded)
        assert {each["row"]["user_id"] for each in claimed} <= {str(apps["deleted"].user_id)}
        upgraded.shift_clock(86400)
    for app in apps.values():
        if app is apps["deleted"]:
            continue
        for force in (False, True):
            assert upgraded.claim(app.user_id, force=force)["outcome"] == "legacy"
        assert upgraded.rpc("fly_admit", users=[app.user_id], actor="test")["users"] == {str(app.user_id): "legacy"}
        with pytest.raises(psycopg.Error, match="hangar adopt"):
            upgraded.rpc("fly_retry", user=app.user_id, actor="test")
        upgraded.rpc("fly_set_override", user=app.user_id, override="deny", plan=None, actor="test", reason=None)
    act_everywhere(upgraded)
    assert upgraded.sql("select * from public.user_fly_apps where desired_state = 'legacy' order by id") == before
    assert (
        upgraded.one("select count(*) from public.user_fly_apps where user_id <> %s", apps["deleted"].user_id)
        == len(apps) - 1
    )


@pytest.mark.slow
def test_a_legacy_app_cannot_be_leased_or_scheduled_by_any_statement(upgraded):
    for change in (
        "lease_token = gen_random_uuid(), lease_expires_at = now()",
        "next_attempt_at = now()",
        "machine_id = 'm'",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            upgraded.sql(f"update public.user_fly_apps set {change} where desired_state = 'legacy'")


@pytest.mark.slow
def test_a_user_who_pays_gets_no_second_app_and_one_whose_app_was_closed_gets_none_before_hangar_is_live(
    upgraded, apps
):
    upgraded.sql("update hangar.settings set live = false")
    upgraded.sql("insert into hangar.marks (user_id) select user_id from public.user_fly_apps")
    upgraded.follow()
    upgraded.rpc("fly_sync_entitlements")
    assert upgraded.one("select count(*) from public.user_fly_apps") == len(apps)
    upgraded.sql("update hangar.settings set live = true")
    upgraded.rpc("fly_sync_entitlements")
    [new] = upgraded.sql("select * from public.user_fly_apps where generation > 0")
    assert new["user_id"] == apps["deleted"].user_id
    assert new["fly_app_name"] != apps["deleted"].name


@pytest.mark.slow
def test_one_alert_names_the_apps_of_users_who_stopped_paying(upgraded, apps):
    """Once, not with every sweep, and no other alert comes from rows that are old, failed or stuck."""
    act_everywhere(upgraded)
    assert upgraded.sql("select kind from hangar.alerts where resolved_at is null and kind <> 'nudges'") == []
    for name in ("active", "error"):
        upgraded.subscribe(apps[name].user_id, tier="free")
    for _ in range(3):
        act_everywhere(upgraded)
        upgraded.shift_clock(7200)
    [alert] = upgraded.sql("select kind, message from hangar.alerts where resolved_at is null and kind <> 'nudges'")
    assert alert["kind"] == "legacy_unpaid"
    assert "2 app(s)" in alert["message"]
    assert "12.00 USD" in alert["message"]
    assert apps["active"].name in alert["message"]
    for name in ("active", "error"):
        upgraded.subscribe(apps[name].user_id, tier="pro")
    act_everywhere(upgraded)
    assert upgraded.sql("select kind from hangar.alerts where resolved_at is null and kind <> 'nudges'") == []


@pytest.mark.slow
def test_reports_show_legacy_apps_and_no_failures(upgraded, apps):
    overview = upgraded.rpc("fly_overview")
    assert overview["legacy"] == len(apps) - 1
    assert upgraded.sql("select * from public.fly_failures") == []
    fleet = upgraded.rpc("fly_admin_fleet", filter={"work": "legacy"})
    assert {row["fly_app_name"] for row in fleet["rows"]} == {app.name for app in apps.values()} - {
        apps["deleted"].name
    }
    assert upgraded.rpc("fly_fleet_page")["rows"] == []
    assert upgraded.rpc("fly_admin_failures")["causes"] == []


@pytest.mark.slow
def test_the_old_trigger_is_off_and_its_neighbours_still_fire(upgraded, apps):
    """The old functions would provision and delete apps beside Hangar. An upgrade of a tier no longer calls them."""
    upgraded.sql("truncate public.neighbour_calls")
    upgraded.subscribe(apps["deleted"].user_id, tier="elite")
    assert [each for each in upgraded.queued() if "user-fly-app" in each["url"]] == []
    assert upgraded.sql("select what from public.neighbour_calls") == [{"what": "on_subscription_change"}]


@pytest.mark.slow
def test_the_old_functions_and_administrators_cannot_write_or_read_around_hangar(upgraded, apps, connect, url):
    """service_role writes through procedures only; a user who made themselves administrator sees their own app alone."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        upgraded.service.execute("insert into public.user_fly_apps (user_id) values (gen_random_uuid())")
    user = apps["active"].user_id
    upgraded.sql("update public.user_profiles set is_admin = true where id = %s", user)
    session = connect(url)
    session.execute(
        "select set_config('request.jwt.claims', %s, false)", (json.dumps({"sub": str(user), "role": "authenticated"}),)
    )
    session.execute("set role authenticated")
    assert session.execute("select user_id from public.user_fly_apps").fetchall() == [(user,)]


@pytest.mark.slow
def test_deleting_a_user_keeps_the_row_and_the_log(upgraded, apps):
    """The original system lost both, while the app ran on."""
    app = apps["active"]
    upgraded.sql("delete from auth.users where id = %s", app.user_id)
    assert upgraded.row(app.user_id) is not None
    assert upgraded.events(app.user_id)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("alter table public.user_fly_apps drop column region cascade", "region is missing"),
        ("alter table public.user_fly_apps alter column retry_count type bigint", "retry_count has the type bigint"),
        ("alter table public.user_fly_apps add column seat text not null", "seat"),
        ("alter table public.user_fly_apps add column tier integer", "its own columns: tier."),
        ("alter table public.user_fly_apps add column network text default 'vpc', add desired_state text", "network"),
        ("alter table public.user_fly_app_events add column seq integer", "its own columns: seq."),
        ("alter table public.user_fly_app_events alter column status type varchar(20)", "status has the type"),
        ("alter table public.user_fly_apps drop constraint user_fly_apps_pkey cascade", "primary key"),
    ],
)
@pytest.mark.slow
def test_a_table_that_is_another_one_is_refused_in_words_and_left_as_it_is(
    url, original, connect, postgres, change, says
):
    original.execute("drop view public.user_fly_apps_with_profiles")
    original.execute(change)
    before = installer.dump(postgres, url)
    assert says in install(url, "--dry-run", exits=3)
    printed = install(url, exits=3)
    assert says in printed
    assert installer.dump(postgres, url) == before


@pytest.mark.slow
def test_every_column_that_hangar_adds_is_refused_as_a_column_of_the_host(url, original, connect, common):
    """The list in the refusal equals what a new installation has beside the original columns."""
    for table in ("user_fly_apps", "user_fly_app_events"):
        names = "select column_name from information_schema.columns where table_schema = 'public' and table_name = %s"
        first = {name for (name,) in original.execute(names, (table,))}
        added = {name for (name,) in connect(common.url).execute(names, (table,))} - first
        for name in added:
            original.execute(f"alter table public.{table} add column {name} text")
        printed = install(url, exits=3)
        [listed] = re.findall(r"its own columns: (.*?)\. Rename each column", printed)
        assert set(listed.split(", ")) == added
        for name in added:
            original.execute(f"alter table public.{table} drop column {name}")


DROP_KEY = "alter table public.user_fly_app_events drop constraint user_fly_app_events_fly_app_id_fkey;"
LOST_ENTRY = (
    "insert into public.user_fly_app_events (id, fly_app_id, user_id, event_type, status)"
    " select gen_random_uuid(), gen_random_uuid(), user_id, 'error_occurred', 'x' from public.user_fly_apps limit 1"
)
NO_STATUS = (
    "alter table public.user_fly_app_events alter column status drop not null;"
    " update public.user_fly_app_events set status = null"
)


def change_value(rule, change):
    return f"alter table public.user_fly_apps drop constraint user_fly_apps_{rule}; update public.user_fly_apps set {change}"


REFUSED_PARTS = [
    ("create table public.host_ref (app text references public.user_fly_apps (fly_app_name))", "host_ref"),
    ("create table public.host_ref (u uuid references public.user_fly_apps (user_id))", "host_ref"),
    ("create table public.child () inherits (public.user_fly_apps)", "no inherit"),
    (DROP_KEY + LOST_ENTRY, "belong to an app that has no row"),
    (NO_STATUS, "have no event_type, status or created_at"),
    (
        change_value("status_check", "status = 'sleeping'"),
        "a status that the original system did not know",
    ),
    (
        change_value("health_status_check", "health_status = 'fine'"),
        "a health_status that the original system did not know",
    ),
    (
        "alter table public.user_fly_apps alter column region drop not null; update public.user_fly_apps set region = null",
        "rows lack a value",
    ),
    (
        change_value("fly_app_name_key", "fly_app_name = 'same'"),
        "the name of an app that another row has too",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "says"), REFUSED_PARTS)
def test_what_would_stop_the_upgrade_is_named_before_anything_is_created(url, original, apps, postgres, change, says):
    """With up to three ids of the rows, and what to do."""
    original.execute(change)
    before = installer.dump(postgres, url, "--schema=public")
    printed = install(url, exits=3)
    assert says in printed
    assert installer.dump(postgres, url, "--schema=public") == before
    if "update" in change:
        table = "user_fly_app_events" if "event" in change else "user_fly_apps"
        ids = [str(each) for (each,) in original.execute(f"select id from public.{table} order by id limit 4")]
        assert ", ".join(ids[:3]) + " and more" in printed
        assert ids[3] not in printed


@pytest.mark.slow
def test_a_log_without_the_table_of_apps_is_refused_in_words(url, original, apps):
    original.execute("drop table public.user_fly_apps cascade")
    assert "belong to an app that has no row" in install(url, exits=3)
    original.execute("delete from public.user_fly_app_events")
    install(url)


@pytest.mark.slow
def test_an_entry_of_a_lost_app_is_named(url, original, apps):
    original.execute(DROP_KEY + LOST_ENTRY)
    [lost] = original.execute("select id from public.user_fly_app_events where status = 'x'").fetchone()
    assert str(lost) in install(url, exits=3)
    original.execute("delete from public.user_fly_app_events where id = %s", (lost,))
    install(url)


@pytest.mark.slow
def test_a_trigger_that_always_fires_changes_no_row_and_always_fires_afterwards(url, original, apps, connect):
    original.execute(
        "create function public.refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;"
        " create trigger refuse before update on public.user_fly_apps for each row execute function public.refuse();"
        " alter table public.user_fly_apps enable always trigger refuse"
    )
    install(url)
    enabled = "select tgenabled from pg_trigger where tgname = 'refuse'"
    assert connect(url).execute(enabled).fetchone() == ("A",)


@pytest.mark.slow
def test_roles_that_keep_a_right_to_write_are_named(url, original, apps):
    original.execute("create role host_admin nologin; create role host_clerk nologin; create role host_reader nologin")
    try:
        original.execute("grant all on public.user_fly_apps to host_admin")
        original.execute("grant update (status) on public.user_fly_app_events to host_clerk")
        original.execute("grant select on public.user_fly_apps to host_reader")
        [notice] = [line for line in install(url).splitlines() if "these roles keep a right to write" in line]
        assert "host_admin on user_fly_apps, host_clerk on user_fly_app_events." in notice
        assert "host_reader" not in notice
    finally:
        for role in ("host_admin", "host_clerk", "host_reader"):
            original.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.slow
def test_nobody_is_named_if_nobody_keeps_a_right_to_write(url, original, apps):
    assert "keep a right to write" not in install(url)


@pytest.mark.slow
def test_two_live_rows_of_some_users_are_named_and_nothing_is_changed(url, original, postgres):
    """By user, because somebody has to find out whose app is gone. A closed row beside a living one is no problem."""
    users = [add_user(original) for _ in range(5)]
    original.execute("alter table public.user_fly_apps drop constraint one_app_per_user")
    for user in users:
        add_app(original, user)
    for nr, user in enumerate(users[:4]):
        add_app(original, user, "error", name=f"vyx-user-second-{nr}")
    add_app(original, users[4], "deleted", name="vyx-user-closed")
    before = installer.dump(postgres, url)
    for options in (["--dry-run"], []):
        printed = install(url, *options, exits=3)
        assert "users have two rows that are not deleted" in printed
        assert ", ".join(sorted(map(str, users[:4]))[:3]) + " and more" in printed
        assert str(users[4]) not in printed
        assert installer.dump(postgres, url) == before
    original.execute("update public.user_fly_apps set status = 'deleted' where status = 'error'")
    install(url)


@pytest.mark.slow
def test_a_dry_run_announces_what_happens_to_the_tables_and_changes_nothing(url, original, apps, postgres):
    before = installer.dump(postgres, url)
    printed = install(url, "--dry-run")
    assert f"Would upgrade public.user_fly_apps of the original system in place: its {len(apps)} rows stay" in printed
    assert f"{len(apps) - 1} of them as legacy apps" in printed
    assert "1 are deleted and stay as history" in printed
    [(entries,)] = original.execute("select count(*) from public.user_fly_app_events").fetchall()
    assert f"Would upgrade public.user_fly_app_events of the original system in place: its {entries} entries" in printed
    policies = original.execute("select policyname from pg_policies where tablename = 'user_fly_apps'").fetchall()
    assert all(name in printed for (name,) in policies)
    triggers = original.execute("select tgname from pg_trigger where tgrelid = 'public.user_subscriptions'::regclass"
                                " and not tgisinternal").fetchall()  # fmt: skip
    assert triggers
    assert any(f"Would disable the trigger {name} on user_subscriptions" in printed for (name,) in triggers)
    assert installer.dump(postgres, url) == before
    document = installer.run_json("install", "--database-url", installer.as_owner(url), "--dry-run")
    assert [(each["table"], each["rows"], each["legacy"]) for each in document["original"]["tables"]] == [
        ("public.user_fly_apps", len(apps), len(apps) - 1),
        ("public.user_fly_app_events", entries, 0),
    ]
    install(url)
    assert "of the original system" not in install(url, "--dry-run")


@pytest.mark.slow
def test_a_dry_run_does_not_wait_for_the_host_or_hold_it_up(url, original, apps, connect):
    """It reads the tables beside a transaction that writes them."""
    writer = connect(url)
    writer.execute("begin")
    writer.execute("update public.user_fly_apps set error_message = 'busy'")
    assert "Would upgrade public.user_fly_apps" in install(url, "--dry-run")
    writer.execute("rollback")


@pytest.mark.slow
def test_an_install_that_was_interrupted_before_the_upgrade_is_judged_again(url, original, apps, connect):
    """The file that judges is applied already; what has changed since then is found all the same."""
    reader = connect(url)
    reader.execute("begin")
    reader.execute("select * from public.user_fly_apps limit 1")
    install(url, exits=1)
    reader.execute("rollback")
    done = installer.read_ledger(url)
    original.execute("alter table public.user_fly_apps drop constraint one_app_per_user")
    add_app(original, apps["active"].user_id, name="vyx-user-second")
    assert str(apps["active"].user_id) in install(url, exits=3)
    assert installer.read_ledger(url) == done


@pytest.mark.slow
def test_an_upgrade_that_waits_for_a_lock_changes_nothing_and_continues_later(url, original, apps, connect):
    before = read(original, COLUMNS, "user_fly_apps")
    reader = connect(url)
    reader.execute("begin")
    reader.execute("select * from public.user_fly_apps limit 1")
    assert "waited too long for a lock" in install(url, exits=1)
    assert read(reader, COLUMNS, "user_fly_apps") == before
    reader.execute("rollback")
    install(url)
    assert installer.read_ledger(url) == [file.file_name for file in FILES]
    assert read(connect(url), COLUMNS, "user_fly_apps") == before
