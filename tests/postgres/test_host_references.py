"""A host may refer to Hangar's rows: its open transaction blocks no procedure, and none blocks the host."""

import pytest


@pytest.fixture
def referring(hangar):
    """A user's row, and an open transaction of the host that has just inserted a reference to it."""
    user = hangar.user("pro")
    hangar.sql("create table public.host_notes (app uuid references public.user_fly_apps (id), name text)")
    hangar.sql("create table public.host_names (name text references public.user_fly_apps (fly_app_name))")
    hangar.sql("grant all on public.host_notes, public.host_names to postgres")
    host = hangar.host()
    host.execute("begin")
    row = hangar.live_row(user)
    host.execute("insert into public.host_notes values (%s, 'note')", (row["id"],))
    host.execute("insert into public.host_names values (%s)", (row["fly_app_name"],))
    for session in (hangar.admin, hangar.service):
        session.execute("set lock_timeout = '2s'")
    yield hangar, user
    host.execute("rollback")


def test_a_worker_claims_and_saves_meanwhile(referring):
    """B4: claim and save change no key column, so they do not wait for the host."""
    hangar, user = referring
    row = hangar.lease(user)
    saved = hangar.save(row, machine_state="started", status="active", converged=True)
    assert saved["row"]["status"] == "active"


def test_desired_state_and_health_follow_meanwhile(referring):
    hangar, user = referring
    hangar.subscribe(user, tier="free")
    assert hangar.live_row(user)["desired_state"] == "absent"
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 0
    assert hangar.rpc("fly_retry", user=user, actor="test")["row"]["desired_state"] == "absent"
