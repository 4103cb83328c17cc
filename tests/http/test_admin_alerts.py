"""Alerts on the dashboard: acknowledged, snoozed and woken by an operator, shown as such, and hidden only as long as snoozed."""

import re
import uuid
from html import unescape

import pytest

from local.dev.database import ADMIN
from tests.http.admin_visitor import notice, text_of

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def alert(sql):
    """An open alert of a kind and a message of its own: id and key."""
    key = uuid.uuid4().hex[:8]
    sql("select public.fly_raise_alert('nudges', %s, %s)", key, f"Nothing arrives at {key}")
    [(found,)] = sql("select id from hangar.alerts where kind = 'nudges' and key = %s", key)
    yield found, key
    sql("select public.fly_resolve_alert('nudges', %s)", key)


def handling(sql, alert):
    return sql("select state, actor, reason from hangar.alert_handling where alert_id = %s", alert)


def banners(page):
    return re.search(r'<section class="banners".*?</section>', page.text, re.DOTALL)[0]


def list_of(page, caption):
    """The text of the list with this caption. Empty if there is none."""
    found = re.search(rf'<caption class="hidden">{caption}</caption>.*?</table>', page.text, re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))) if found else ""


def act(operator, name, alert, **values):
    return operator.follow(operator.submit(f"actions/{name}-alert?alert={alert}", **values))


def test_an_acknowledged_alert_says_who_takes_care_of_it(operator, sql, alert, logged):
    """On the list and in the banner. It can be woken again."""
    found, key = alert
    page = act(operator, "acknowledge", found, reason=f"mine {HOSTILE}")
    assert "is acknowledged" in notice(page)
    assert handling(sql, found) == [("acknowledged", ADMIN.email, f"mine {HOSTILE}")]
    shown = list_of(page, "Open alerts")
    assert f"Acknowledged by {ADMIN.email}: “mine {HOSTILE}”" in shown
    assert f"Acknowledged by {ADMIN.email}" in unescape(banners(page))
    assert HOSTILE not in page.text
    assert "1 acknowledged" in text_of(page)
    assert logged(None, "alert_handled")[-1] == (ADMIN.email, f"mine {HOSTILE}")
    page = act(operator, "wake", found)
    assert "is open as before" in notice(page)
    assert handling(sql, found) == []
    assert f"Nothing arrives at {key}" in list_of(page, "Open alerts")


def test_a_snoozed_alert_is_hidden_counted_and_comes_back(operator, sql, alert):
    """It is in a list of its own with the time, not in the banners, and the banners say how many are snoozed."""
    found, key = alert
    page = act(operator, "snooze", found, span="4h")
    assert re.search(r"is snoozed until \d{4}-\d\d-\d\d \d\d:\d\d UTC", notice(page))
    query = "select extract(epoch from until - handled_at) / 3600 from hangar.alert_handling where alert_id = %s"
    [(hours,)] = sql(query, found)
    assert 3.9 < hours <= 4.1
    assert key not in list_of(page, "Open alerts")
    assert re.search(
        rf"Snoozed until \d{{4}}-\d\d-\d\d \d\d:\d\d UTC by {ADMIN.email}", list_of(page, "Snoozed alerts")
    )
    assert key not in banners(page)
    assert "An alert is snoozed" in banners(page)
    assert "1 snoozed" in text_of(page)
    sql("update hangar.alert_handling set until = hangar.now() - interval '1 second' where alert_id = %s", found)
    page = operator.get("controls")
    assert key in list_of(page, "Open alerts")
    assert key in banners(page)
    assert "snoozed" not in banners(page)


def test_more_than_a_hundred_alerts_can_be_shown(operator, sql):
    """The page begins with the most urgent ones, says how many there are, and leads to the others."""
    sql(
        "insert into hangar.alerts (kind, key, message, opened_at)"
        " select 'nudges', 'many-' || n, 'call ' || n || ' was lost', hangar.now() from generate_series(1, 120) n"
    )
    try:
        page = operator.get("controls")
        assert "the 100 most urgent are shown. Show up to 1,000" in text_of(page)
        assert len(set(re.findall(r"(\d+) was lost", list_of(page, "Open alerts")))) <= 100
        whole = operator.get("controls?alerts=all")
        assert "most urgent are shown" not in text_of(whole)
        assert set(re.findall(r"(\d+) was lost", list_of(whole, "Open alerts"))) == {str(n) for n in range(1, 121)}
        assert operator.get("controls?alerts=some").status_code == 400
    finally:
        sql(
            "delete from hangar.alert_deliveries where alert_id in (select id from hangar.alerts where key like 'many-%%')"
        )
        sql("delete from hangar.alerts where key like 'many-%%'")


def test_a_form_that_is_out_of_date_changes_nothing(operator, sql, alert):
    """Somebody else has handled the alert meanwhile, it has ended, or it was never there."""
    found, key = alert
    form = operator.get(f"actions/snooze-alert?alert={found}").text.rpartition("<form ")[2]
    proof, seen = (re.search(rf'name="{name}" value="([^"]*)"', form)[1] for name in ("proof", "seen"))
    sql("select public.fly_acknowledge_alert(%s, 'cli:somebody', 'I look')", found)
    answer = operator.follow(
        operator.send("POST", f"actions/snooze-alert?alert={found}", data={"proof": proof, "seen": seen, "span": "1h"})
    )
    assert "meanwhile somebody has handled this alert. Acknowledged by cli:somebody" in notice(answer)
    assert handling(sql, found) == [("acknowledged", "cli:somebody", "I look")]
    assert "Nothing was done" in notice(operator.follow(operator.get(f"actions/acknowledge-alert?alert={found}")))
    sql("select public.fly_resolve_alert('nudges', %s)", key)
    for name in ("acknowledge", "snooze", "wake"):
        answer = operator.follow(operator.get(f"actions/{name}-alert?alert={found}"))
        assert "is not among the 1,000 most urgent open alerts" in notice(answer)
    for bad in ("", "x", f"{found}x"):
        assert operator.get(f"actions/wake-alert?alert={bad}").status_code == 404


@pytest.mark.parametrize("span", ["", "31d", "-1h", "9999999d"])
def test_an_unknown_span_is_refused_with_the_spans(operator, sql, alert, span):
    answer = operator.submit(f"actions/snooze-alert?alert={alert[0]}", span=span)
    assert answer.status_code == 400
    assert "30 days" in text_of(answer)
    assert handling(sql, alert[0]) == []


def test_the_longest_span_is_allowed_by_the_database(operator, sql, alert):
    act(operator, "snooze", alert[0], span="30d", reason="until the move")
    assert handling(sql, alert[0]) == [("snoozed", ADMIN.email, "until the move")]


def test_an_alert_that_is_neither_cannot_be_woken(operator, alert):
    assert "neither acknowledged nor snoozed" in notice(
        operator.follow(operator.get(f"actions/wake-alert?alert={alert[0]}"))
    )


def test_an_open_alert_that_others_have_pushed_off_the_page_can_still_be_handled(operator, sql):
    """Between the page and the button, a hundred more can be raised. Nothing says that the alert is gone, because it is open."""
    sql(
        "insert into hangar.alerts (kind, key, message, opened_at)"
        " select 'crash_loop', 'crowd-' || n, 'crashes', hangar.now() - n * interval '1 second' from generate_series(1, 120) n"
    )
    try:
        [(last,)] = sql("select id from hangar.alerts where key = 'crowd-120'")
        assert f"alert={last}" not in operator.get("controls").text
        page = act(operator, "acknowledge", last, reason="mine")
        assert "is acknowledged" in notice(page)
        assert [state for state, _, _ in handling(sql, last)] == ["acknowledged"]
    finally:
        sql("select public.fly_resolve_alert(kind, key) from hangar.alerts where key like 'crowd-%%'")
