"""`hangar uninstall`: the host's database is as it was before, and nothing goes while an app may exist."""

import json
from pathlib import Path

import pytest

from local.supabase.postgres.database import migrate
from tests.postgres.installer import (
    ALLOW_PLANS,
    FILES,
    REFUSE_PLANS,
    as_owner,
    dump,
    install,
    kill,
    read_ledger,
    run,
    run_json,
    start,
    uninstall,
    wait_for,
)

ROOT = Path(__file__).resolve().parents[2]
USER = "11111111-1111-4111-8111-111111111111"
STRIPE = """
create schema stripe;
create table stripe.customers (id text primary key, email text, metadata jsonb);
create table stripe.subscriptions (
  id text primary key, customer text references stripe.customers (id), status text, current_period_end bigint, items jsonb);
insert into stripe.customers values ('cus_1', 'user-1@example.test', '{"user_id": "11111111-1111-4111-8111-111111111111"}');
insert into stripe.subscriptions values ('sub_1', 'cus_1', 'active', 1893456000, '{"data": [{"price": "price_pro"}]}');
create function public.fly_my_kite() returns integer language sql as 'select 1';
create view public.paying as select customer from stripe.subscriptions where status = 'active';
"""


@pytest.fixture
def host(bare_database, connect):
    """A host with forty migrations in the CLI's history, a Stripe-shaped schema, data, a job and secrets of its own."""
    connect(bare_database).execute("insert into auth.users (id, email) values (%s, 'user-1@example.test')", (USER,))
    session = connect(bare_database, "postgres")
    session.execute("create schema supabase_migrations")
    session.execute(
        "create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text)"
    )
    session.execute(STRIPE)
    for number in range(40):
        session.execute(f"create table public.host_{number} (id integer primary key, owner uuid)")
        session.execute(f"insert into public.host_{number} values (1, %s)", (USER,))
        session.execute(
            "insert into supabase_migrations.schema_migrations values (%s, '{select 1}', %s)",
            (f"202501010000{number:02}", f"host_{number}"),
        )
    session.execute("alter default privileges in schema public grant select on tables to anon")
    session.execute("select cron.schedule('host-job', '* * * * *', 'select 1')")
    session.execute("select vault.create_secret('theirs', 'host_secret')")
    return bare_database


def use(connect, url):
    """Plans, a sweep's worth of rows that ended, Vault entries and a run of the schedule: an installation that was used."""
    session = connect(url, "postgres")
    session.execute((ROOT / "supabase" / "seed.sql").read_text())
    session.execute("update hangar.settings set live = true, removal_hold_s = 0")
    session.execute("select vault.create_secret('https://f.example.test', 'hangar_functions_url')")
    session.execute("select vault.create_secret('whsec_' || repeat('a', 32), 'hangar_webhook_secret')")
    connect(url).execute(
        "insert into cron.job_run_details (runid, jobid, command) values (1, 1, 'select hangar.call_health(true)')"
    )
    session.execute("update public.user_subscriptions set tier = 'pro' where user_id = %s", (USER,))
    session.execute("select public.fly_apply_marks()")


def end_apps(connect, url):
    session = connect(url)
    session.execute("update public.user_subscriptions set tier = 'free' where user_id = %s", (USER,))
    session.execute("set session_replication_role = replica")
    session.execute("update public.user_fly_apps set status = 'deleted', deleted_at = now()")


def host_dump(postgres, url):
    return dump(postgres, url, "--exclude-table-data=net.*", "--exclude-table-data=public.user_subscriptions")


@pytest.mark.every_postgres
@pytest.mark.parametrize("way", ["install", "into", "push"])
@pytest.mark.slow
def test_it_leaves_the_same_dump_as_before(host, connect, postgres, tmp_path, way):
    before = host_dump(postgres, host)
    if way == "install":
        install(host)
    elif way == "push":
        migrate(host)
    else:
        (tmp_path / "migrations").mkdir()
        run("install", "--into", str(tmp_path / "migrations"))
        migrate(host, folder=tmp_path)
    use(connect, host)
    end_apps(connect, host)
    printed = uninstall(host, "--yes")
    assert "Hangar is removed" in printed
    assert ("delete Hangar's files from your migrations folder" in printed) == (way != "install")
    assert host_dump(postgres, host) == before


@pytest.mark.slow
def test_it_can_be_installed_again(host):
    install(host)
    uninstall(host, "--yes")
    assert "Installed" in install(host)
    assert "public.user_subscriptions" in str(run_json("install", "--database-url", as_owner(host))["binding"])


@pytest.mark.slow
def test_procedures_without_their_comments_go_too(host, connect, postgres):
    """`pg_restore --no-comments` leaves none. The host's own function of such a name stays."""
    before = dump(postgres, host)
    install(host)
    connect(host).execute(
        "do $$ declare f regprocedure; begin for f in select oid from pg_proc where pronamespace = 'public'::regnamespace"
        " and proname like 'fly\\_%' loop execute format('comment on function %s is null', f); end loop; end $$"
    )
    uninstall(host, "--yes")
    assert dump(postgres, host) == before


@pytest.mark.slow
def test_a_stripe_binding_leaves_nothing_on_the_hosts_tables(host, connect, postgres):
    before = host_dump(postgres, host)
    install(host)
    connect(host, "postgres").execute(
        "select hangar.bind_subscriptions('stripe.subscriptions', "
        """'{"user_id": "customer", "tier": {"value": "pro"}, "ends_at": "current_period_end"}')"""
    )
    uninstall(host, "--yes")
    assert host_dump(postgres, host) == before


@pytest.mark.slow
def test_it_shows_what_goes_and_a_dry_run_changes_nothing(host, connect, postgres):
    install(host)
    use(connect, host)
    before = dump(postgres, host)
    printed = uninstall(host, "--dry-run")
    for line in (
        "schema hangar with",
        "table public.user_fly_apps (1 rows)",
        "view public.fly_failures",
        "cron job hangar-drain",
        "cron job check-fly-apps-health",
        "Vault secret hangar_webhook_secret",
        "on user_subscriptions",
        "procedures public.fly_*",
        "It would be refused: 1 apps of users may exist on Fly",
    ):
        assert line in printed
    assert "host" not in printed.partition("What is removed:")[2]
    assert "fly_my_kite" not in json.dumps(run_json("uninstall", "--database-url", as_owner(host), "--dry-run"))
    assert dump(postgres, host) == before


@pytest.mark.slow
@pytest.mark.parametrize("what", ["app", "orphan"])
def test_it_refuses_while_an_app_may_exist(host, connect, postgres, what):
    install(host)
    if what == "app":
        use(connect, host)
    else:
        connect(host).execute("insert into public.fly_orphans (app, network) values ('vyx-user-12345678', 'n')")
    before = dump(postgres, host)
    printed = uninstall(host, "--yes", exits=3)
    assert {"app": "1 apps of users", "orphan": "1 orphans"}[what] in printed
    assert "Remove the apps" in printed
    assert dump(postgres, host) == before


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("create view public.mine as select * from public.user_fly_apps", "view mine"),
        (
            "alter table public.signals add foreign key (fly_app_id) references public.user_fly_apps (id)",
            "table signals",
        ),
        ("create table public.mine (spec hangar.machine_spec)", "table mine"),
        ("create table public.mine (row public.fly_plans)", "table mine"),
        ("create table public.mine (at timestamptz default hangar.now())", "table mine"),
        ("create policy mine on public.signals using (hangar.user_email(user_id) is not null)", "policy mine"),
        (
            "create trigger mine after insert on public.user_fly_apps for each row execute function public.touch_updated_at()",
            "trigger mine",
        ),
    ],
    ids=["view", "foreign key", "type", "row type", "default", "policy", "trigger"],
)
@pytest.mark.slow
def test_what_hangs_on_hangar_is_named_and_nothing_goes(host, connect, postgres, made, said):
    install(host)
    connect(host, "postgres").execute(made)
    before = dump(postgres, host)
    printed = uninstall(host, "--yes", exits=3)
    assert said in printed
    assert dump(postgres, host) == before


@pytest.mark.parametrize("typed", ["", "no\n", "y\n"])
@pytest.mark.slow
def test_without_the_word_yes_nothing_goes(host, typed):
    install(host)
    assert "not confirmed" in uninstall(host, exits=3, typed=typed)
    assert len(read_ledger(host)) == len(FILES)


@pytest.mark.slow
def test_the_word_yes_confirms(host, connect):
    install(host)
    uninstall(host, typed="yes\n")
    assert connect(host).execute("select to_regnamespace('hangar')").fetchone() == (None,)


@pytest.mark.slow
def test_an_installation_that_stopped_halfway_is_removed_and_the_hosts_tables_of_the_same_name_stay(
    host, connect, postgres
):
    before = host_dump(postgres, host)
    session = connect(host)
    session.execute(REFUSE_PLANS.encode())
    install(host, exits=1)
    assert 0 < len(read_ledger(host)) < len(FILES)
    session.execute(ALLOW_PLANS.encode())
    connect(host, "postgres").execute("create table public.fly_plans (mine integer)")
    uninstall(host, "--yes")
    session.execute("drop table public.fly_plans")
    assert host_dump(postgres, host) == before


@pytest.mark.slow
def test_a_database_without_hangar_is_left_alone(host, postgres):
    before = dump(postgres, host)
    assert "not installed" in uninstall(host, "--yes")
    assert dump(postgres, host) == before


@pytest.mark.slow
def test_killed_in_the_middle_it_has_removed_everything_or_nothing(host, connect, postgres):
    """The host's own transaction makes it wait at the last table, when most is dropped already."""
    before = host_dump(postgres, host)
    install(host)
    installed = dump(postgres, host)
    holder = connect(host)
    holder.execute("begin")
    holder.execute("lock table public.user_subscriptions in access share mode")
    process = start("uninstall", "--yes", "--database-url", as_owner(host))
    waiting = connect(host)
    wait_for(lambda: waiting.execute("select 1 from pg_locks where not granted").fetchone())
    kill(process)
    holder.execute("rollback")
    waiting.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name = 'hangar install' and datname = current_database()"
    )
    assert dump(postgres, host) == installed or host_dump(postgres, host) == before
    uninstall(host, "--yes")
    assert host_dump(postgres, host) == before


@pytest.mark.slow
def test_two_at_the_same_time_remove_it_once(host, connect):
    install(host)
    both = [start("uninstall", "--yes", "--database-url", as_owner(host)) for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert connect(host).execute("select to_regnamespace('hangar')").fetchone() == (None,)
