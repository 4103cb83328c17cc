"""The end of a sweep looks at each failing app once, however many alerts are open."""

import pytest

from functions.admin.views.alerts import TITLES

APPS = 300


@pytest.fixture
def failing(hangar):
    """Users whose apps fail, each for a reason of its own and with an alert of its own."""
    hangar.sql("insert into auth.users (email) select n || '@example.test' from generate_series(1, %s) n", APPS)
    hangar.sql("update user_subscriptions set tier = 'pro'")
    hangar.follow()
    fail(hangar, "code-' || id || '", "true")
    hangar.sql("select hangar.raise_alert('provision_failed', id::text, 'It fails') from user_fly_apps")
    hangar.sql("analyze user_fly_apps, hangar.alerts")
    return hangar


def fail(hangar, code, which):
    hangar.sql(
        f"update user_fly_apps set status = 'error', error_code = '{code}', error_message = 'It fails',"
        f" next_attempt_at = hangar.now() + interval '1 hour' where {which}"
    )


def open_keys(hangar):
    rows = hangar.sql("select key from hangar.alerts where resolved_at is null and kind like '%%provision_failed'")
    return {row["key"] for row in rows}


def test_each_failing_app_is_looked_at_once(failing):
    """300 apps fail and 150 recover: the cause of each failure is looked up twice, before and after the lock, not 300 times."""
    recovered = "id in (select id from user_fly_apps order by id limit 150)"
    failing.sql(f"update user_fly_apps set status = 'active', error_code = null where {recovered}")
    with failing.admin.transaction():
        failing.sql("set local track_functions = 'pl'")
        failing.sql("select hangar.resolve_failure_alerts()")
        calls = failing.one("select calls from pg_stat_xact_user_functions where funcname = 'alert_cause'")
    assert calls <= 6 * APPS
    left = failing.sql("select id from user_fly_apps where status = 'error'")
    assert open_keys(failing) == {str(row["id"]) for row in left}
    assert len(left) == APPS - 150


def test_an_alert_is_open_as_long_as_an_app_belongs_to_it(hangar):
    """Whether an app belongs to an alert is the same question for one alert and for all of them."""
    users = [hangar.user("pro") for _ in range(6)]
    fail(hangar, "boom", "true")
    for user, code in zip(users[1:4], ("auth", "image", "transient"), strict=True):
        fail(hangar, code, f"user_id = '{user}'")
    hangar.sql("update user_fly_apps set status = 'active', error_code = null where user_id = %s", users[4])
    own = str(hangar.live_row(users[0])["id"])
    keys = [own, "boom", "auth", "fly_unavailable", "image/none", "gone", str(hangar.live_row(users[4])["id"])]
    for key in keys:
        hangar.sql("select hangar.raise_alert('provision_failed', %s, 'It fails', '{\"cause\": \"x\"}')", key)
    belonging = {key for key in keys if hangar.one("select exists (select 1 from hangar.list_failing(%s))", key)}
    assert belonging == {own, "boom", "auth", "fly_unavailable"}
    hangar.sql("select hangar.resolve_failure_alerts()")
    assert open_keys(hangar) == belonging
    fail(hangar, "other", f"user_id = '{users[5]}'")
    hangar.sql("select hangar.resolve_failure_alerts()")
    assert open_keys(hangar) == belonging - {"boom"}


def test_an_alert_about_the_installation_is_not_hidden_by_many_about_single_apps(hangar):
    """Every list of alerts begins with it, although it is the oldest of 300; the frame counts those that it does not list."""
    operator = hangar.one("insert into auth.users (email) values ('ops@example.test') returning id")
    hangar.sql("insert into hangar.operators (user_id, added_by) values (%s, 'test')", operator)
    hangar.sql(
        "insert into hangar.alerts (kind, key, message, opened_at)"
        " values ('host_loss', 'fleet', '40 users', hangar.now() - interval '1 day'),"
        " ('release_failed', '7', 'x', hangar.now() - interval '2 days')"
    )
    hangar.sql(
        "insert into hangar.alerts (kind, key, message, opened_at)"
        " select 'crash_loop', n::text, 'crashes', hangar.now() from generate_series(1, %s) n",
        APPS,
    )
    frame = hangar.rpc("fly_admin_frame", user=operator)
    lists = {"frame": frame, "overview": hangar.rpc("fly_overview"), "list": hangar.rpc("fly_list_alerts")}
    shown = {name: [alert["kind"] for alert in answer["alerts"]] for name, answer in lists.items()}
    first = ["host_loss", "release_failed", "crash_loop"]
    assert {name: kinds[:3] for name, kinds in shown.items()} == dict.fromkeys(lists, first)
    assert {name: len(kinds) for name, kinds in shown.items()} == {"frame": 20, "overview": 100, "list": 100}
    assert frame["alert_kinds"] == {"host_loss": 1, "release_failed": 1, "crash_loop": APPS}


def test_database_and_pages_order_the_kinds_of_alerts_alike(hangar):
    """Each kind that has a title has its rank, in the same order."""
    ranks = [hangar.one("select hangar.alert_rank(%s)", kind) for kind in ("brake", *TITLES, "made_up")]
    assert ranks == [*range(1, len(TITLES) + 2), 1000]
