"""What installing does, and does not do, and what the tables hold to."""

from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from local.supabase.postgres.database import migrate
from shared.domain.cost import estimate_monthly_usd, explain_refused_size
from shared.domain.naming import app_name, network_name

pytestmark = pytest.mark.every_postgres

_SUPABASE = Path(__file__).parents[2] / "supabase"
ORIGINAL_QUERIES = [
    """SELECT COUNT(*) as active_apps, SUM(monthly_cost_estimate_usd) as total_monthly_cost FROM user_fly_apps
        WHERE status = 'active' AND deleted_at IS NULL""",
    "SELECT health_status, COUNT(*) FROM user_fly_apps WHERE deleted_at IS NULL GROUP BY health_status",
    """SELECT event_type, status, COUNT(*), MAX(created_at) FROM user_fly_app_events
        WHERE created_at > NOW() - INTERVAL '24 hours' GROUP BY event_type, status""",
    """SELECT u.email, f.fly_app_name, f.error_message, f.retry_count, f.created_at FROM user_fly_apps f
         JOIN user_profiles u ON u.id = f.user_id WHERE f.status = 'error' ORDER BY f.created_at DESC""",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        "drop table public.user_subscriptions cascade",
        "alter table public.user_subscriptions drop column expires_at, add column ends_on date",
        "alter table public.user_subscriptions drop column tier",
        """alter table public.user_subscriptions drop constraint user_subscriptions_user_id_fkey;
           drop policy user_subscriptions_select on public.user_subscriptions;
           alter table public.user_subscriptions alter user_id type integer using 1""",
    ],
    ids=["no table", "no expires_at", "no tier", "numbers as users"],
)
def test_installs_unbound_beside_other_tables(bare_database, connect, harm):
    """Where the host's tables are not the original system's, Hangar installs, changes no user, and says that nothing is bound."""
    admin = connect(bare_database)
    admin.execute("insert into auth.users (email) values ('user-1@example.test')")
    admin.execute(harm)
    migrate(bare_database)
    admin.execute("update hangar.settings set live = true")
    [(overview,)] = admin.execute("select public.fly_overview()").fetchall()
    assert overview["binding"] is None
    [(synced,)] = admin.execute("select public.fly_sync_entitlements()").fetchall()
    assert (synced["inserted"], synced["changed"]) == (0, 0)
    assert admin.execute("select count(*) from public.user_fly_apps").fetchone() == (0,)


@pytest.mark.slow
def test_an_email_column_is_not_needed(bare_database, connect):
    """Without user_profiles.email, the table is bound all the same, and e-mail addresses come from auth.users."""
    admin = connect(bare_database)
    admin.execute("alter table public.user_profiles drop column email cascade")
    migrate(bare_database)
    [(binding,)] = admin.execute("select public.fly_overview() -> 'binding'").fetchall()
    assert binding["source"] == "public.user_subscriptions"


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["net", "vault", "cron"])
def test_installs_without_an_extension(bare_database, connect, missing):
    """pg_net, Vault and pg_cron may each be absent: the migrations run and a change becomes desired state."""
    admin = connect(bare_database)
    admin.execute(f"drop schema {missing} cascade")
    migrate(bare_database)
    admin.execute("insert into public.fly_plans (tier, dedicated) values ('free', false), ('pro', true)")
    admin.execute("update hangar.settings set live = true")
    admin.execute("insert into auth.users (email) values ('user-1@example.test')")
    admin.execute("update public.user_subscriptions set tier = 'pro'")
    admin.execute("select public.fly_apply_marks()")
    assert admin.execute("select status from public.user_fly_apps").fetchall() == [("provisioning",)]
    assert admin.execute("select hangar.call_health(true)").fetchone() == (None,)
    assert admin.execute("select count(*) from hangar.alerts where kind = 'nudges'").fetchone() == (1,)


def test_last_migration_and_seed_run_again(hangar):
    """The schedule is written over, never doubled, and the seed keeps a plan that was edited."""
    hangar.sql("update fly_plans set grace_s = 60 where tier = 'pro'")
    owner = hangar.connect(hangar.url, "postgres")
    schedule = next((_SUPABASE / "migrations").glob("*_cron.sql")).read_text()
    owner.execute(schedule[schedule.index("do $$") :])
    owner.execute((_SUPABASE / "seed.sql").read_text())
    jobs = {row["jobname"]: row["schedule"] for row in hangar.sql("select jobname, schedule from cron.job")}
    assert jobs == {"check-fly-apps-health": "*/5 * * * *", "hangar-drain": "* * * * *"}
    assert hangar.one("select grace_s from fly_plans where tier = 'pro'") == 60


def test_installing_does_not_change_any_user(installed):
    """Until the operator goes live, neither trigger, sync nor a claim gives a user an app."""
    users = [installed.user("pro"), installed.user("elite")]
    assert installed.rpc("fly_sync_entitlements")["inserted"] == 0
    assert [installed.claim(user)["outcome"] for user in users] == ["none", "none"]
    assert installed.one("select count(*) from user_fly_apps") == 0


def test_admitted_users_are_served_before_going_live(installed):
    """A chosen user gets a row; from then on the trigger serves that user, also after leaving and coming back."""
    chosen, other, free = installed.user("pro"), installed.user("pro"), installed.user()
    answer = installed.rpc("fly_admit", users=[chosen, free], actor="test")
    assert answer["users"] == {str(chosen): "inserted", str(free): "none"}
    installed.subscribe(chosen, tier="free")
    assert installed.live_row(chosen)["status"] == "deprovisioning"
    installed.save(installed.lease(chosen), deleted=True)
    installed.subscribe(chosen, tier="elite")
    assert installed.live_row(chosen)["tier"] == "elite"
    installed.subscribe(other, tier="elite")
    assert installed.row(other) is None


def test_seeded_plans(hangar):
    """Free buys no app; pro and elite buy a small always-on machine, without grace."""
    plans = hangar.sql(
        "select tier, dedicated, cpu_kind, cpu_count, memory_mb, power, grace_s from fly_plans order by tier"
    )
    assert [tuple(plan.values()) for plan in plans] == [
        ("elite", True, "shared", 2, 512, "always_on", 0),
        ("free", False, "shared", 2, 512, "always_on", 0),
        ("pro", True, "shared", 2, 512, "always_on", 0),
    ]


def test_money_and_sizes_are_those_of_the_python_side(hangar):
    """Both sides of the contract compute the same cents and refuse the same sizes in the same words."""
    sizes = [
        (kind, cpus, memory)
        for kind in ("shared", "performance", "gpu")
        for cpus in (0, 1, 2, 3, 4, 8, 10, 16)
        for memory in (0, 256, 300, 512, 768, 1024, 2048, 4096, 20480, 131072, 262144)
    ]
    for kind, cpus, memory in sizes:
        estimate = hangar.one("select hangar.monthly_cost_estimate_usd(%s, %s)", cpus, memory)
        assert estimate == estimate_monthly_usd(cpus, memory), (cpus, memory)
        refused = hangar.one("select hangar.explain_refused_size(%s, %s, %s)", kind, cpus, memory)
        assert refused == explain_refused_size(kind, cpus, memory), (kind, cpus, memory)
    assert hangar.one("select hangar.monthly_cost_estimate_usd(2, 512)") == Decimal("6.00")


def test_names_are_those_of_the_python_side(hangar):
    """The row carries the name and the proof that shared/domain/naming.py would make."""
    user = hangar.user("pro")
    row = hangar.live_row(user)
    installation = hangar.one("select installation_id from hangar.settings")
    assert row["fly_app_name"] == app_name("vyx-user", user, 0)
    assert row["network"] == network_name(installation, row["id"])


@pytest.mark.parametrize(
    ("kind", "cpus", "memory", "said"),
    [
        ("shared", 2, 256, "2 shared vCPU with 256 MB is refused by Fly: 2 shared vCPU need at least 512 MB"),
        ("shared", 3, 1024, "3 shared vCPU does not exist on Fly"),
        ("shared", 1, 4096, "2048 MB is the most"),
        ("shared", 2, 600, "steps of 256 MB"),
        ("performance", 1, 1024, "at least 2048 MB"),
        ("gpu", 1, 1024, "does not exist on Fly"),
    ],
)
def test_plan_fly_would_refuse_is_refused_on_saving(hangar, kind, cpus, memory, said):
    """The size is named when the plan is saved, not when the first machine fails."""
    with pytest.raises(errors.InvalidParameterValue, match=said):
        hangar.service.execute(
            "insert into fly_plans (tier, dedicated, cpu_kind, cpu_count, memory_mb) values ('big', true, %s, %s, %s)",
            (kind, cpus, memory),
        )


def test_events_are_append_only(hangar):
    """Not even the owner changes the log."""
    hangar.user("pro")
    for attack in (
        "update user_fly_app_events set status = 'info'",
        "delete from user_fly_app_events",
        "truncate user_fly_app_events",
    ):
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            hangar.sql(attack)


def test_one_live_row_each_and_names_for_ever(hangar):
    """A second live row, or a name once used, is refused by the schema itself."""
    user = hangar.user("pro")
    row = hangar.live_row(user)
    copy = (
        "insert into user_fly_apps (user_id, fly_app_name, fly_org_slug, region, docker_image, network)"
        " values (%s, %s, 'o', 'sin', 'i', 'n')"
    )
    with pytest.raises(errors.UniqueViolation, match="one_live"):
        hangar.sql(copy, user, "another-name")
    hangar.subscribe(user, tier="free")
    hangar.save(hangar.lease(user), deleted=True)
    with pytest.raises(errors.UniqueViolation, match="fly_app_name"):
        hangar.sql(copy, user, row["fly_app_name"])
    with pytest.raises(errors.CheckViolation):
        hangar.sql("update user_fly_apps set status = 'active' where id = %s", row["id"])


def test_clash_of_names_takes_the_next_one(hangar):
    """Eight hex digits can meet: the second user gets the next number instead of an error."""
    user = hangar.user()
    taken = app_name("vyx-user", user, 0)
    hangar.sql(
        "insert into user_fly_apps (user_id, fly_app_name, fly_org_slug, region, docker_image, network)"
        " values (gen_random_uuid(), %s, 'o', 'sin', 'i', 'n')",
        taken,
    )
    hangar.subscribe(user, tier="pro")
    row = hangar.live_row(user)
    assert (row["fly_app_name"], row["name_seq"]) == (app_name("vyx-user", user, 1), 1)


def test_updated_at_is_kept(hangar):
    """The original never touched it."""
    user = hangar.user("pro")
    before = hangar.live_row(user)
    hangar.sql("update user_fly_apps set machine_region = 'sin' where id = %s", before["id"])
    assert hangar.live_row(user)["updated_at"] > before["updated_at"]


def test_deleting_a_user_keeps_row_and_log(hangar):
    """The host deletes the user. The row stays until Fly confirms, the log for ever."""
    user = hangar.user("pro")
    hangar.sql("delete from auth.users where id = %s", user)
    hangar.follow()
    row = hangar.live_row(user)
    assert (row["desired_state"], row["status"], row["delete_after"]) == ("absent", "deprovisioning", None)
    assert ("provision_requested", "info") in hangar.events(user)


def test_original_queries_run_and_tell_the_truth(hangar, act):
    """The monitoring queries of the system that this replaces run unchanged."""
    good, failed = hangar.user("pro"), hangar.user("pro")
    hangar.converge(good)
    hangar.save(
        hangar.lease(failed),
        release=True,
        events=[act.event("provision_failed", "failed")],
        status="error",
        error_message="no capacity",
        retry_count=3,
        next_attempt_in_s=300,
    )
    active, health, events, broken = (hangar.sql(query.replace("%", "%%")) for query in ORIGINAL_QUERIES)
    assert active == [{"active_apps": 1, "total_monthly_cost": Decimal("6.00")}]
    assert sum(row["count"] for row in health) == 2
    assert {row["event_type"] for row in events} >= {"provision_requested", "provision_failed"}
    assert [(row["error_message"], row["retry_count"]) for row in broken] == [("no capacity", 3)]


def test_monitoring_views(hangar):
    """The four views show the same truth, to service_role."""
    good, failed = hangar.user("pro"), hangar.user("elite")
    hangar.converge(good)
    hangar.save(hangar.lease(failed), release=True, status="error", error_code="quota", next_attempt_in_s=None)
    read = hangar.service.execute
    fleet = read(
        "select status, apps, monthly_cost_estimate_usd, monthly_list_price_usd from fly_fleet_summary order by 1"
    ).fetchall()
    assert fleet == [("active", 1, Decimal("6.00"), Decimal("5.18")), ("error", 1, Decimal("6.00"), Decimal(0))]
    assert read("select health_status, apps from fly_health_summary").fetchall() == [("unknown", 2)]
    assert read("select events from fly_recent_events where event_type = 'provision_requested'").fetchall() == [(2,)]
    assert read("select user_id, error_code, next_attempt_at from fly_failures").fetchall() == [(failed, "quota", None)]


def test_settings_change_leaves_a_trail(hangar):
    """By procedure or by plain SQL: who, what, from, to."""
    answer = hangar.rpc(
        "fly_set_settings", changes={"brake_floor": 50, "live": True}, actor="operator-1", reason="migration"
    )
    assert answer["changed"] == ["brake_floor"]
    hangar.sql("update hangar.settings set default_region = 'fra'")
    trail = [
        row["metadata"]
        for row in hangar.sql(
            "select metadata from user_fly_app_events where event_type = 'settings_changed' order by seq"
        )
    ]
    assert trail[-2] == {
        "actor": "operator-1",
        "reason": "migration",
        "changes": {"brake_floor": {"from": 20, "to": 50}},
    }
    assert trail[-1]["changes"] == {"default_region": {"from": "sin", "to": "fra"}}
    with pytest.raises(errors.InvalidParameterValue, match="installation_id"):
        hangar.rpc("fly_set_settings", changes={"installation_id": None}, actor="operator-1")
    with pytest.raises(psycopg.Error):
        hangar.rpc("fly_set_settings", changes={"retry_base_s": -1}, actor="operator-1")


def test_pause_is_recorded_once(hangar):
    """The kill switch says whether it moved."""
    assert hangar.rpc("fly_set_paused", paused=True, actor="operator-1") == {
        "paused": True,
        "changed": True,
        "unrecorded": None,
    }
    assert hangar.rpc("fly_set_paused", paused=True, actor="operator-1") == {
        "paused": True,
        "changed": False,
        "unrecorded": None,
    }
