"""The actions on Hangar itself: pause, deletions, brake, orphans, sweep."""

import time
import uuid

import psycopg
import pytest

from local.dev.database import ADMIN
from shared.domain.errors import TransientError
from shared.http.problem import problem_from
from tests.http.admin_visitor import notice, shown_state, wait_until


def test_the_kill_switch_and_the_pause_of_deletions(operator, sql, logged):
    assert "now paused" in notice(operator.act("pause", reason="look first"))
    assert "already paused" in notice(operator.act("pause", reason="again"))
    assert sql("select paused from hangar.settings") == [(True,)]
    assert "Paused." in operator.get("events").text
    assert "now running" in notice(operator.act("resume"))
    assert "now paused" in notice(operator.act("pause-deletes", reason="look first"))
    assert "now allowed" in notice(operator.act("resume-deletes"))
    assert sql("select paused, deletes_paused from hangar.settings") == [(False, False)]
    changes = logged(None, "settings_changed")[-4:]
    assert [actor for actor, _ in changes] == [ADMIN.email] * 4
    assert changes[0][1] == "look first"


def test_a_pause_that_the_log_cannot_have_is_in_force_and_said_loudly(admin_cloud, operator, sql):
    """The audit log is locked by somebody: the brake works, and the operator reads what is missing."""
    with psycopg.connect(admin_cloud.addresses["database_url"]) as other:
        other.execute("lock table public.user_fly_app_events in share row exclusive mode")
        answer = operator.submit("actions/pause", reason="stop it")
        assert sql("select paused from hangar.settings") == [(True,)]
    page = operator.follow(answer)
    assert "now paused" in notice(page)
    assert "the audit log could not be written" in notice(page)
    assert "The audit log could not be written" in operator.get("controls").text
    operator.act("resume")
    sql("update hangar.alerts set resolved_at = hangar.now() where kind = 'log_unwritable'")


def test_a_notice_fits_into_its_cookie_however_long_the_error_is(operator, sql):
    """A browser drops a cookie of more than 4,096 bytes, and the operator would read nothing. The end of a long text is cut."""
    words = " ".join(uuid.uuid4().hex for _ in range(300))
    sql(
        "create function public.break_log() returns trigger language plpgsql as"
        f" $$ begin raise exception 'not today {words}'; end $$;"
        " create trigger break_log before insert on public.user_fly_app_events for each row execute function public.break_log()"
    )
    try:
        answer = operator.submit("actions/pause", reason="stop it")
        assert max(map(len, answer.headers.get_list("set-cookie"))) < 4096
    finally:
        sql("drop function public.break_log cascade")
    assert "now paused" in notice(operator.follow(answer))
    operator.act("resume")
    sql("update hangar.alerts set resolved_at = hangar.now() where kind = 'log_unwritable'")


@pytest.mark.slow
def test_an_action_during_a_pause_is_done_after_the_resume(operator, make_user, row, world):
    user = make_user()
    operator.act("pause", reason="test")
    try:
        page = operator.act("provision", user, plan="pro", reason="test")
        assert "paused" in notice(page).lower()
        assert row(user)[0] not in world()
        assert "Hangar is paused" in shown_state(page)
    finally:
        operator.act("resume")
    operator.act("check", user)
    wait_until(lambda: row(user)[1] == "active")


def test_the_brake_is_released_with_a_reason(operator, sql, logged):
    sql("select public.fly_raise_alert('brake', 'fleet', 'test')")
    assert "Release brake" in operator.get("controls").text
    assert "released" in notice(operator.act("release-brake", reason="it was meant"))
    assert sql("select 1 from hangar.alerts where kind = 'brake' and resolved_at is null") == []
    assert logged(None, "settings_changed")[-1] == (ADMIN.email, "it was meant")


def test_an_orphan_is_approved_by_its_name(operator, sql):
    sql("insert into public.fly_orphans (app, network) values ('vyx-user-orphan1', 'n')")
    path = "actions/approve-orphan?app=vyx-user-orphan1"
    assert operator.submit(path, typed="vyx-user-orphan2").status_code == 400
    assert sql("select approved_by from public.fly_orphans where app = 'vyx-user-orphan1'") == [(None,)]
    page = operator.follow(operator.submit(path, typed="vyx-user-orphan1"))
    assert "vyx-user-orphan1 is approved" in notice(page)
    assert sql("select approved_by from public.fly_orphans where app = 'vyx-user-orphan1'") == [(ADMIN.email,)]


@pytest.mark.slow
def test_a_sweep_by_hand(operator, sql):
    assert notice(operator.act("sweep"))
    wait_until(lambda: sql("select 1 from hangar.sweeps where completed_at is not null"))
    wait_until(lambda: sql("select 1 from hangar.sweeps where lease_expires_at > hangar.now()") == [])


@pytest.mark.slow
def test_a_sweep_while_fly_is_down_reports_within_seconds(operator, sql, faults):
    """The browser does not wait for Fly's time-outs. The pages then say that it is Fly that cannot be reached."""
    faults(
        *(
            {"method": "*", "path": path, "delay_s": 8, "status": 503}
            for path in ("/v1/*", "/v1/*/*", "/v1/*/*/*", "/v1/*/*/*/*")
        )
    )
    started = time.monotonic()
    said = notice(operator.act("sweep"))
    assert time.monotonic() - started < 6
    assert said
    faults()
    wait_until(lambda: sql("select 1 from hangar.sweeps where lease_expires_at > hangar.now()") == [])
    operator.act("sweep")  # ends the outage
    wait_until(lambda: sql("select 1 from hangar.alerts where kind = 'fly_unreachable' and resolved_at is null") == [])
    wait_until(lambda: sql("select 1 from hangar.sweeps where lease_expires_at > hangar.now()") == [])


def test_a_function_says_whether_fly_or_the_database_is_out_of_reach():
    fly = TransientError("GET /v1/apps: no answer from Fly", code="unreachable")
    database = TransientError("the database cannot be reached")
    database.source = "the database"
    wrapped = TransientError("the sweep stopped")
    wrapped.__cause__ = database
    cancelled = TransientError("the database could not run fly_sync_entitlements right now", code="57014")
    cancelled.source = "the database"
    assert problem_from(cancelled).detail.startswith("The database cancelled a statement that took too long. ")
    assert problem_from(fly).detail == "Fly cannot be reached now. Nothing is lost; Hangar tries again"
    assert (
        problem_from(database).detail
        == problem_from(wrapped).detail
        == "The database cannot be reached now. Nothing is lost; Hangar tries again"
    )
