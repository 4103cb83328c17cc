"""`hangar uninstall` where the original system's tables were upgraded: they stay with every row, as they were before."""

import pytest

from tests.postgres.conftest import Hangar
from tests.postgres.installer import dump, install, uninstall
from tests.support import original_system
from tests.support.original_system import add_app, add_user


@pytest.fixture
def original(bare_database, connect):
    """A database with the original system's tables and apps in three states, and nothing of Hangar."""
    original_system.create_schema(connect(bare_database, "postgres"))
    session = connect(bare_database)
    for status in ("active", "error", "deleted"):
        add_app(session, add_user(session), status, machine_id=f"m-{status}")
    return session


@pytest.fixture
def url(original, bare_database):
    return bare_database


def schema_of(postgres, url):
    """The schema alone, each line on its own: the order of columns' default and such is pg_dump's."""
    return dump(postgres, url, "--schema-only", "--schema=public", "--schema=auth")


def rows_of(session):
    columns = (
        "id, user_id, fly_app_name, status, monthly_cost_estimate_usd, created_at, updated_at, deleted_at, plan_note"
    )
    return session.execute(f"select {columns} from public.user_fly_apps order by id").fetchall()


@pytest.mark.slow
def test_the_schema_and_every_row_are_as_before(url, original, postgres):
    before, rows = schema_of(postgres, url), rows_of(original)
    install(url)
    printed = uninstall(url, "--yes")
    assert "public.user_fly_apps stays with its rows" in printed
    assert schema_of(postgres, url) == before
    assert rows_of(original) == rows
    assert original.execute(
        "select count(*) from public.user_fly_app_events where fly_app_id is not null"
    ).fetchone() == (6,)


@pytest.mark.slow
def test_it_can_be_installed_again(url, original, connect):
    install(url)
    uninstall(url, "--yes")
    assert "with its 3 rows. 2 of them are legacy apps" in install(url)


@pytest.mark.slow
def test_legacy_apps_do_not_keep_hangar_installed_and_adopted_ones_do(url, original, connect):
    """An app that Hangar never managed is not Hangar's to remove; one that it manages is."""
    install(url)
    hangar = Hangar(url, connect)
    [row] = hangar.sql("select id, user_id from public.user_fly_apps where status = 'active'")
    settings = hangar.rpc("fly_overview")["settings"]
    facts = {
        "installation_id": settings["installation_id"], "org_slug": settings["fly_org_slug"], "app_id": "app1",
        "machine_id": "m-active", "machine_state": "started",
    }  # fmt: skip
    who = {"actor": "test", "reason": "test"}
    assert (
        hangar.rpc("fly_finish_adoption", row=row["id"], decision="adopt", facts=facts, **who)["outcome"] == "adopted"
    )
    assert "1 apps of users" in uninstall(url, "--yes", exits=3)
    assert hangar.one("select count(*) from public.user_fly_apps") == 3


@pytest.mark.slow
def test_what_hangars_rows_do_not_allow_is_named_and_no_row_is_lost(url, original, connect):
    """A user who has a closed row of each system: the rule of one row per user cannot come back."""
    install(url)
    hangar = Hangar(url, connect)
    hangar.sql("insert into public.fly_plans (tier, dedicated) values ('pro', true)")
    hangar.sql("update hangar.settings set live = true")
    hangar.sql("insert into hangar.marks (user_id) select user_id from public.user_fly_apps where status = 'deleted'")
    hangar.follow()
    hangar.sql("update public.user_fly_apps set status = 'deleted', deleted_at = now() where generation > 0")
    printed = uninstall(url, "--yes")
    assert "one_app_per_user of public.user_fly_apps was not restored" in printed
    assert "user_fly_app_events_event_type_check of public.user_fly_app_events holds for new rows only" in printed
    assert original.execute("select count(*) from public.user_fly_apps").fetchone() == (4,)


@pytest.mark.slow
def test_what_the_host_has_added_since_stays(url, original):
    install(url)
    original.execute(
        "alter table public.user_fly_apps add column later text, add constraint later_is_short check (length(later) < 9)"
    )
    original.execute("create index host_later on public.user_fly_apps (later, status)")
    uninstall(url, "--yes")
    found = original.execute(
        "select conname from pg_constraint where conname = 'later_is_short' union all"
        " select indexname from pg_indexes where indexname = 'host_later'"
    ).fetchall()
    assert len(found) == 2
