"""Alerts raised by a save or at a sweep's end: an app in a crash loop, stalled apps."""

import pytest
from psycopg import errors

pytestmark = pytest.mark.every_postgres

HOUR = 3600


def open_alerts(hangar):
    rows = hangar.sql(
        "select kind, key from hangar.alerts where resolved_at is null and kind <> 'nudges' order by 1, 2"
    )
    return [(row["kind"], row["key"]) for row in rows]


def repair(hangar, act, user, status="succeeded", purpose="repair"):
    """One repair of the app, by a worker of its own."""
    row = hangar.lease(user)
    intent = act.intent("start_machine", purpose=purpose)
    hangar.save(row, events=[intent])
    ended = act.event("action", status, action="start_machine", purpose=purpose, intent_id=intent["id"])
    return hangar.save(row, release=True, events=[ended], status="active", converged=True)


def finish(hangar, *, complete=True):
    token = hangar.rpc("fly_sweep_claim")["token"]
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=token, report={}, complete=complete) == {"ok": True}


def test_the_save_of_the_third_repair_raises_the_alert(hangar, act):
    """In the same transaction: there is no moment in which a crash could lose it. It is the database's, so it is handed out."""
    user = hangar.user("pro")
    app = str(hangar.converge(user)["id"])
    for status in ("succeeded", "failed", "unknown", "succeeded"):
        repair(hangar, act, user, status)
    assert open_alerts(hangar) == []
    repair(hangar, act, user, purpose="replace")
    assert open_alerts(hangar) == [("crash_loop", app)]
    repair(hangar, act, user)
    taken = [alert for alert in hangar.rpc("fly_take_alerts")["alerts"] if alert["kind"] == "crash_loop"]
    assert [(alert["key"], alert["metadata"]["repairs"]) for alert in taken] == [(app, 4)]
    assert hangar.one("select count(*) from user_fly_app_events where metadata ->> 'kind' = 'crash_loop'") == 1


def test_a_save_that_fails_raises_nothing(hangar, act):
    user = hangar.user("pro")
    hangar.converge(user)
    for _ in range(2):
        repair(hangar, act, user)
    row = hangar.lease(user)
    third = act.event("action", "succeeded", action="start_machine", purpose="repair", intent_id=str(row["id"]))
    with pytest.raises(errors.CheckViolation):
        hangar.save(row, events=[third], status="nonsense")
    assert open_alerts(hangar) == []


def test_only_a_whole_sweep_says_that_an_app_is_steady(hangar, act):
    user = hangar.user("pro")
    app = str(hangar.converge(user)["id"])
    for _ in range(3):
        repair(hangar, act, user)
    hangar.shift_clock(HOUR - 60)
    finish(hangar)
    assert open_alerts(hangar) == [("crash_loop", app)]
    hangar.shift_clock(HOUR + 60)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == [("crash_loop", app)]
    finish(hangar)
    assert open_alerts(hangar) == []


def test_every_sweep_that_ends_reports_stalled_apps(hangar):
    """Also one that had no time for the whole fleet: it is then that rows starve."""
    user = hangar.user("pro")
    hangar.shift_clock(HOUR - 60)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == []
    hangar.shift_clock(HOUR + 60)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == [("provisioning_slow", "fleet")]
    [alert] = [each for each in hangar.rpc("fly_take_alerts")["alerts"] if each["kind"] == "provisioning_slow"]
    assert hangar.live_row(user)["fly_app_name"] in alert["message"]
    hangar.converge(user)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == []


def test_an_alert_about_crashes_says_that_nothing_is_done_and_when_it_ends(hangar):
    """An app that is well at each look and fails between them: the operator reads what to look at, too."""
    user = hangar.user("pro")
    app = hangar.converge(user)
    hangar.sql(
        "insert into hangar.app_health (fly_app_id, symptom, detail, since, samples)"
        " values (%s, 'crashes', 'its program has failed 5 times within a day', hangar.now(), 3)",
        app["id"],
    )
    finish(hangar)
    [message] = [row["message"] for row in hangar.sql("select message from hangar.alerts where kind = 'unhealthy'")]
    assert "so Hangar changes nothing. The alert ends when it has not failed for six hours." in message
    assert f"`hangar logs {user}`" in message
