"""What the dashboard's pages show: the state of the database, escaped, filtered, paged and current."""

import re
import uuid
from html import unescape

import pytest

from local.dev.database import FREE_USERS
from tests.http.admin_visitor import text_of

USER = FREE_USERS[0].id
HOSTILE = """"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}`${1}`"""


def test_markup_in_user_data_is_shown_as_text_on_every_page(operator, make_app, sql):
    """E-mail, app name, error, metadata, reason: no page runs or interprets what is in the database."""
    user = make_app(
        f"x{HOSTILE}@example.test", fly_app_name=f"vyx{HOSTILE}", status="error", error_code="image", error_message=HOSTILE,
        docker_image=f"i{HOSTILE}", region="sin", machine_id=HOSTILE,
    )  # fmt: skip
    [(app,)] = sql("select id from public.user_fly_apps where user_id = %s", user)
    sql("update public.fly_overrides set reason = %s, actor = %s where user_id = %s", HOSTILE, HOSTILE, user)
    sql(
        "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata, error_details)"
        " values (%s, %s, 'action', 'failed', jsonb_build_object(%s::text, %s::text, 'action', %s::text), %s)",
        app, user, HOSTILE, HOSTILE, HOSTILE, HOSTILE,
    )  # fmt: skip
    sql("select public.fly_raise_alert('incident', 'xss', %s)", HOSTILE)
    sql("insert into public.fly_orphans (app, network) values (%s, 'n')", HOSTILE)
    try:
        for path in ("", f"?q={user}", f"users/{user}", "events", f"events?user={user}", "failures", "costs", "controls",
                     f"search?q=x{HOSTILE[:9]}", f"actions/deprovision?user={user}", f"?q={HOSTILE}", f"search?q={HOSTILE}",
                     f"events?user={HOSTILE}", f"costs?users={HOSTILE}", f"sign-in?next={HOSTILE}"):  # fmt: skip
            page = operator.get(path)
            assert page.status_code in (200, 303), path
            assert "<script>alert" not in page.text, path
            assert "<img src=x" not in page.text, path
        assert "&lt;script&gt;alert(1)" in operator.get(f"users/{user}").text
    finally:
        sql("select public.fly_resolve_alert('incident', 'xss')")
        sql("delete from public.fly_orphans where app = %s", HOSTILE)
        sql("update public.user_fly_apps set status = 'active', error_code = null where user_id = %s", user)


@pytest.mark.parametrize("page", ["nowhere", "actions/none"])
def test_an_unknown_address_keeps_the_navigation(operator, page):
    answer = operator.get(page)
    assert answer.status_code == 404
    assert '<nav aria-label="Pages">' in answer.text


def test_a_deleted_app_has_no_monthly_cost(operator, make_app, sql):
    user = make_app()
    assert "$6.00 a month as estimated" in text_of(operator.get(f"users/{user}"))
    sql("update public.user_fly_apps set status = 'deleted', deleted_at = hangar.now() where user_id = %s", user)
    assert "a month as estimated" not in text_of(operator.get(f"users/{user}"))


def test_the_last_day_of_the_calendar_is_400(operator):
    assert operator.get("events?day=9999-12-31").status_code == 400
    assert operator.get("events?day=9999-12-30").status_code == 200


def test_a_user_without_an_app_is_found_by_e_mail_and_id(operator, make_user):
    mark = uuid.uuid4().hex
    user = make_user(email=f"{mark}@example.test")
    for query in (mark[:12], mark.upper()[:12], user, f"{mark}@example.test"):
        assert operator.get(f"search?q={query}").headers["location"] == f"./users/{user}"
    page = operator.get(f"users/{user}")
    assert "This user has never had an app" in page.text
    assert f"actions/provision?user={user}" in page.text


def test_several_matches_are_listed_and_no_match_is_stated(operator, make_user):
    mark = uuid.uuid4().hex
    users = [make_user(email=f"{mark}-{number}@example.test") for number in range(2)]
    page = operator.get(f"search?q={mark}")
    assert all(user in page.text for user in users)
    assert "No user was found" in operator.get(f"search?q={mark}-3").text
    assert all(user in operator.get(f"search?q={mark[3:20]}").text for user in users)


def test_an_address_that_was_typed_whole_leads_to_its_user(operator, make_user):
    """Although other addresses contain it."""
    mark = uuid.uuid4().hex[:10]
    mine, other = make_user(email=f"{mark}@example.test"), make_user(email=f"x{mark}@example.test")
    assert operator.get(f"search?q={mark.upper()}@example.test").headers["location"] == f"./users/{mine}"
    assert other in operator.get(f"search?q={mark}@example").text
    assert "several users match this text" in operator.get(f"events?user={mark}").text
    assert "several users match" not in operator.get(f"events?user={mark}@example.test").text


def test_search_takes_its_text_literally(operator, make_user):
    """`%` and `_` are not wildcards, and quotes and backslashes do no harm."""
    mark = uuid.uuid4().hex
    make_user(email=f"{mark}@example.test")
    for query in ("%25", "_", "%27", "%5C", "%22", "%5C%25", "%5C_"):
        page = operator.get(f"search?q={mark[:3]}{query}{mark[4:9]}")
        assert page.status_code == 200, query
        assert "No user was found" in page.text
    assert "Find a user" in operator.get("search?q=%00").text


def test_the_timeline_is_filtered_and_paged(operator, make_app, sql):
    user = make_app()
    sql(
        "insert into public.user_fly_app_events (user_id, event_type, status, metadata)"
        " select %s, case n %% 2 when 0 then 'action' else 'error_occurred' end, 'failed', jsonb_build_object('n', n)"
        " from generate_series(1, 60) n",
        user,
    )
    path, seen = f"users/{user}?type=error_occurred", 0
    while path:
        page = operator.get(path)
        seen += len(re.findall(r'<tr data-live="event-', page.text))
        next_link = re.search(r'rel="next" href="\.\./([^"]+)"', page.text)
        path = unescape(next_link[1]) if next_link else None
    assert seen == 30


def test_events_are_found_by_user_type_result_and_time(operator, make_app, sql):
    user = make_app("log@example.test")
    sql(
        "insert into public.user_fly_app_events (user_id, event_type, status, created_at) values"
        " (%s, 'error_occurred', 'failed', now() - interval '3 days'), (%s, 'recovery_attempted', 'info', now())",
        user, user,
    )  # fmt: skip

    def count(query):
        return len(re.findall(r'<tr data-live="event-', operator.get(f"events?user=log@example.test{query}").text))

    assert count("") == 2
    assert count("&type=error_occurred") == 1
    assert count("&status=info") == 1
    assert count("&span=24h") == 1
    assert count("&span=7d") == 2
    assert "no user matches this text" in operator.get("events?user=nobody-at-all").text


def test_failures_come_with_advice_that_names_a_button(operator, make_app):
    user = make_app(
        "stuck@example.test", status="error", error_code="image", error_message="manifest unknown", retry_count=1
    )
    page = text_of(operator.get("failures"))
    assert "push the image, or correct its name" in page
    assert "then press Retry now" in page
    assert f"users/{user}" in operator.get("failures").text


def test_costs_say_what_a_tier_brings(operator, make_app, sql):
    """Two users have the plan, one of them by a grant. The other pays less than both machines cost, 5.57 USD each."""
    sql("insert into public.fly_plans (tier, dedicated) values ('margins', true)")
    pays, _ = make_app("pays@example.test", tier="margins"), make_app("granted@example.test", tier="margins")
    sql("delete from public.fly_overrides where user_id = %s", pays)
    sql("update public.fly_plans set price_usd = 10 where tier = 'margins'")
    assert "margins $10.00 1 $10.00 $11.14 -$1.14" in text_of(operator.get("costs"))
    sql("update public.fly_plans set price_usd = null where tier = 'margins'")
    assert "margins not set 1 - $11.14 -" in text_of(operator.get("costs"))


def test_costs_project_the_typed_number_of_users_and_refuse_other_text(operator):
    assert "1,234" in operator.get("costs?users=1234").text
    for wrong in ("0", "-1", "abc", "99999999999", "١٢"):
        assert "Enter a whole number" in operator.get(f"costs?users={wrong}").text


def alert(kind, key="fleet"):
    return f"select fly_raise_alert('{kind}', '{key}', 'x')", f"select fly_resolve_alert('{kind}', '{key}')"


def setting(name, value):
    return f"update hangar.settings set {name} = {value}", f"update hangar.settings set {name} = not {value}"


@pytest.mark.parametrize(
    ("problem", "title"),
    [
        (setting("paused", "true"), "Paused."),
        (setting("deletes_paused", "true"), "Deletions are paused."),
        (setting("live", "false"), "Not live."),
        (alert("brake"), "The brake was on."),
        (alert("nudges", "test"), "Webhook calls are not arriving."),
        (alert("fly_unreachable"), "Fly cannot be reached."),
        (alert("installation"), "Installation mismatch."),
        (alert("incident"), "Many apps are unhealthy at once."),
    ],
)
def test_a_problem_is_shown_above_every_page(operator, sql, problem, title):
    change, back = problem
    sql(change)
    try:
        for path in ("", "costs", "controls"):
            assert f"<strong>{title}</strong>" in operator.get(path).text, path
    finally:
        sql(back)
    assert f"<strong>{title}</strong>" not in operator.get("").text


def test_a_page_that_has_not_changed_is_not_sent_again(operator, make_app, sql):
    """Ticking ages do not count as a change."""
    user = make_app(machine_state="stopped")
    first = operator.get(f"users/{user}", X_Hangar_Live="1")
    again = operator.get(f"users/{user}", X_Hangar_Live="1", If_None_Match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    sql("update public.user_fly_apps set health_status = 'unhealthy' where user_id = %s", user)
    assert operator.get(f"users/{user}", X_Hangar_Live="1", If_None_Match=first.headers["etag"]).status_code == 200


@pytest.mark.slow
def test_every_link_of_every_page_works(operator, make_app):
    """Links are relative, so that the dashboard works behind any path prefix."""
    user = make_app()
    seen = set()
    for path in (
        "",
        "search?q=a",
        f"users/{user}",
        "events",
        "failures",
        "costs",
        "controls",
        "releases",
        "actions/create-release",
        f"actions/check?user={user}",
    ):
        page = operator.get(path)
        assert not re.search(r'(?:href|action|src)="/', page.text), path
        for link in re.findall(r'(?:href|action|src)="(\.[^"#]*)', page.text):
            target = str(page.url.join(unescape(link))).removeprefix(f"{operator.url}/")
            if target not in seen and not target.startswith("sign-out"):
                seen.add(target)
                assert operator.get(target).status_code in (200, 303), (path, link)
    assert len(seen) > 25


def test_an_unhealthy_app_says_what_is_wrong_and_offers_another_try(operator, make_app, sql):
    """Its own page says what is known, what was tried and what to do, without a command; the fleet's list says what is wrong."""
    user = make_app(f"sick-{uuid.uuid4().hex[:6]}@example.test", health_status="unhealthy")
    sql(
        "insert into hangar.app_health (fly_app_id, symptom, detail, since, samples, step_samples, restarted_at, replaced_at)"
        " select id, 'check_critical', 'the check fails: <b>500</b>', hangar.now(), 9, 3, hangar.now(), hangar.now()"
        " from public.user_fly_apps where user_id = %s",
        user,
    )
    try:
        page = operator.get(f"users/{user}")
        text = text_of(page)
        for words in (
            "check critical",
            "the check fails: <b>500</b>",
            "Hangar replaced the machine at",
            "a person has to look",
        ):
            assert words in text
        assert "<b>500</b>" not in page.text
        assert "up to date" not in text.lower()
        assert f"actions/retry?user={user}" in page.text
        assert "`" not in text[text.index("Next:") : text.index("Desired")]
        assert "the check fails: <b>500</b>" in text_of(operator.get(f"?q={user}"))
    finally:
        sql("delete from hangar.app_health where true")
