"""The actions of the dashboard: done once on Fly and in the database, answered, and logged with the operator's e-mail."""

import re
import time
from html import unescape

import httpx
import pytest

from functions.admin.actions.function_client import format_response
from local.dev.database import ADMIN
from tests.http.admin_visitor import notice, shown_state

PATIENCE_S = 60


@pytest.fixture
def world(admin_cloud, http):
    """The names of the apps that exist on Fly, and their machines' states."""

    def look():
        state = http.get(f"{admin_cloud.addresses['fly_api_url']}/_sim/world").json()
        return {app["name"]: [machine["state"] for machine in app["machines"]] for app in state["apps"]}

    return look


@pytest.fixture
def faults(admin_cloud, http):
    """Make Fly fail. The faults are removed after the test."""
    url = f"{admin_cloud.addresses['fly_api_url']}/_sim/faults"
    yield lambda *given: http.put(url, json=list(given)).raise_for_status()
    http.put(url, json=[])


@pytest.fixture
def row(sql):
    """The user's newest row: name, status."""

    def row(user):
        found = sql(
            "select fly_app_name, status from public.user_fly_apps where user_id = %s order by name_seq desc", user
        )
        return found[0] if found else (None, None)

    return row


@pytest.fixture
def logged(sql):
    """Actor and reason of a user's (or the fleet's) events of one type, the oldest first."""

    def logged(user, event_type):
        return [
            (actor, reason)
            for actor, reason in sql(
                "select metadata ->> 'actor', metadata ->> 'reason' from public.user_fly_app_events"
                " where user_id is not distinct from %s and event_type = %s order by seq",
                user, event_type,
            )
        ]  # fmt: skip

    return logged


def wait_until(check, page=lambda: None):
    """Wait until `check` is true. The dashboard answers "accepted" to what takes longer than its time-out."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.1)
    raise AssertionError(page())


@pytest.fixture
def provisioned(operator, make_user, row):
    user = make_user()
    operator.act("provision", user, plan="pro", reason="test")
    wait_until(lambda: row(user)[1] == "active")
    return user


def test_an_operator_provisions_restarts_and_deprovisions_an_app(operator, make_user, world, row, logged):
    """Provision, restart, a wrong name, deprovision: Fly, database, log and page agree at each step."""
    user = make_user()
    page = operator.act("provision", user, plan="pro", reason="a good customer")
    wait_until(lambda: row(user)[1] == "active")
    name, _ = row(user)
    assert world()[name] == ["started"]
    assert notice(page)
    page = operator.get(f"users/{user}")
    assert "active" in shown_state(page)
    assert f"An app is granted on plan pro by {ADMIN.email}" in shown_state(page)
    assert "“a good customer”" in page.text
    assert logged(user, "override_set") == [(ADMIN.email, "a good customer")]

    assert "restarted" in notice(operator.act("restart", user))
    assert world()[name] == ["started"]

    refused = operator.submit(f"actions/deprovision?user={user}", reason="moved", typed=name[:-1])
    assert refused.status_code == 400
    assert f"type the app&#39;s name exactly: {name}" in refused.text
    assert row(user) == (name, "active")

    operator.act("deprovision", user, reason="moved", typed=name)
    wait_until(lambda: row(user)[1] == "deleted")
    assert name not in world()
    page = operator.get(f"users/{user}")
    assert "deleted" in shown_state(page)
    assert "An app is denied" in shown_state(page)
    assert logged(user, "override_set")[-1] == (ADMIN.email, "moved")


def test_an_action_sent_twice_is_done_once(operator, provisioned, world, row, logged):
    """The same form sent again, as by a double click or a reload: one override, one app, one restart."""
    user = provisioned
    operator.act("provision", user, plan="pro", reason="again")
    assert len(logged(user, "override_set")) == 1
    assert len([name for name in world() if name == row(user)[0]]) == 1
    operator.act("restart", user)
    assert "less than a minute ago" in notice(operator.act("restart", user))


def test_a_confirmation_alone_does_nothing(operator, provisioned, world, row):
    for name in ("deprovision", "restart", "retry", "check", "remove-override"):
        assert operator.get(f"actions/{name}?user={provisioned}").status_code == 200
    assert row(provisioned)[1] == "active"
    assert world()[row(provisioned)[0]] == ["started"]


def test_an_action_that_needs_a_reason_is_not_done_without(operator, make_user, row, sql):
    user = make_user()
    answer = operator.submit(f"actions/provision?user={user}", plan="pro", reason="  ")
    assert answer.status_code == 400
    assert "Give a reason" in answer.text
    assert row(user) == (None, None)
    assert operator.submit("actions/pause", reason="").status_code == 400
    assert sql("select paused from hangar.settings") == [(False,)]


@pytest.mark.parametrize("ends_on", ["2001-01-01", "tomorrow", "2999-13-45"])
def test_an_end_that_is_not_a_future_day_is_refused(operator, make_user, row, ends_on):
    user = make_user()
    answer = operator.submit(f"actions/provision?user={user}", plan="pro", reason="x", ends_on=ends_on)
    assert answer.status_code == 400
    assert "a future day" in answer.text
    assert row(user) == (None, None)


def test_an_end_is_kept_and_shown(operator, make_user, sql):
    user = make_user()
    page = operator.act("provision", user, plan="pro", reason="a trial", ends_on="2999-01-31")
    assert "until 2999-01-31" in shown_state(page)
    [(ends_at,)] = sql("select ends_at::text from public.fly_overrides where user_id = %s", user)
    assert ends_at.startswith("2999-01-31 23:59:59")


def test_an_unknown_plan_is_refused(operator, make_user, row):
    user = make_user()
    assert operator.submit(f"actions/provision?user={user}", plan="made up", reason="x").status_code == 400
    assert row(user) == (None, None)


def test_the_refusal_of_an_unknown_plan_lists_the_plans(operator, make_user):
    answer = operator.submit(f"actions/provision?user={make_user()}", plan="made up", reason="x")
    assert "There is no plan made up with an app of its own. Choose one of: " in unescape(answer.text)


def test_the_users_own_plan_is_suggested_and_else_the_smallest(operator, make_user, sql):
    sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    try:
        assert "<option selected>pro</option>" in operator.get(f"actions/provision?user={make_user()}").text
        assert "<option selected>elite</option>" in operator.get(f"actions/provision?user={make_user('elite')}").text
    finally:
        sql("update public.fly_plans set memory_mb = 512 where tier = 'elite'")


def test_keeping_an_app_that_is_gone_does_not_create_a_new_one(operator, provisioned, row, sql):
    """The page was opened while the app still existed."""
    name, _ = row(provisioned)
    operator.act("deprovision", provisioned, reason="moved", typed=name)
    wait_until(lambda: row(provisioned)[1] == "deleted")
    before = sql("select override from public.fly_overrides where user_id = %s", provisioned)
    proof = re.search(r'name="proof" value="(\w+)"', operator.get("").text)[1]
    answer = operator.send("POST", f"actions/keep?user={provisioned}", data={"proof": proof, "reason": "late"})
    page = operator.follow(answer)
    assert "no longer exists" in notice(page)
    assert "actions/provision" in page.text
    assert row(provisioned) == (name, "deleted")
    assert sql("select override from public.fly_overrides where user_id = %s", provisioned) == before


def test_cancelling_a_deprovision_of_a_paying_user_leaves_no_override(operator, make_user, row, sql, faults):
    """Deny, then keep: the subscription entitles the user again, so no grant is needed."""
    user = make_user("pro")
    operator.act("check", user)
    wait_until(lambda: row(user)[1] == "active")
    name, _ = row(user)
    operator.act("pause", reason="hold")
    try:
        operator.act("deprovision", user, reason="mistake", typed=name)
        assert row(user)[1] == "deprovisioning"
        assert "Cancel deprovision" in operator.get(f"users/{user}").text
        operator.act("keep", user, reason="it was one")
    finally:
        operator.act("resume")
    assert sql("select * from public.fly_overrides where user_id = %s", user) == []
    operator.act("check", user)
    wait_until(lambda: row(user) == (name, "active"))


def test_keeping_an_app_that_nobody_pays_for_records_a_grant(operator, make_user, row, sql):
    user = make_user("pro")
    operator.act("check", user)
    wait_until(lambda: row(user)[1] == "active")
    operator.act("pause", reason="hold")
    try:
        sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
        assert row(user)[1] == "deprovisioning"
        operator.act("keep", user, reason="they will be back")
    finally:
        operator.act("resume")
    assert sql("select override, plan from public.fly_overrides where user_id = %s", user) in (
        [("grant", "pro")],
        [("grant", "elite")],
    )
    operator.act("check", user)
    wait_until(lambda: row(user)[1] == "active")


def test_without_its_override_the_subscription_decides(operator, provisioned, world, row):
    name, _ = row(provisioned)
    page = operator.get(f"actions/remove-override?user={provisioned}")
    assert '<section class="confirm bad">' in page.text
    assert f"the app {name} and all its data are destroyed" in page.text
    assert re.search(
        r'class="button bad" href="[^"]*actions/remove-override', operator.get(f"users/{provisioned}").text
    )
    refused = operator.submit(f"actions/remove-override?user={provisioned}", reason="over", typed=name[:-1])
    assert refused.status_code == 400
    assert row(provisioned) == (name, "active")
    operator.act("remove-override", provisioned, reason="over", typed=name)
    wait_until(lambda: row(provisioned)[1] == "deleted")
    assert name not in world()


def test_a_failure_is_shown_and_a_retry_repairs_it(operator, make_user, row, faults, logged):
    """Fly has no such image; then it has."""
    faults({"method": "POST", "path": "/v1/apps/*/machines", "when": "before", "status": 422,
            "body": {"error": "could not find image: manifest unknown"}})  # fmt: skip
    user = make_user()
    operator.act("provision", user, plan="pro", reason="test")
    wait_until(lambda: row(user)[1] == "error")
    page = operator.get(f"users/{user}")
    assert "manifest unknown" in shown_state(page)
    assert "Hangar waits for an operator" in shown_state(page)
    assert f"users/{user}" in operator.get("failures").text
    assert f'actions/retry?user={user}"' in page.text
    faults()
    operator.act("retry", user)
    wait_until(lambda: row(user)[1] == "active")
    assert (ADMIN.email, None) in logged(user, "recovery_attempted")


def test_a_refused_fly_token_is_shown_and_a_retry_repairs_it(operator, make_user, row, faults):
    faults({"method": "POST", "path": "/v1/apps", "when": "before", "status": 401, "body": {"error": "unauthorized"}})
    user = make_user()
    page = operator.act("provision", user, plan="pro", reason="test")
    assert notice(page)
    wait_until(lambda: row(user)[1] == "error")
    assert "FLY_API_TOKEN" in operator.get("failures").text
    faults()
    operator.act("retry", user)
    wait_until(lambda: row(user)[1] == "active")


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


def test_a_sweep_by_hand(operator, sql):
    assert notice(operator.act("sweep"))
    wait_until(lambda: sql("select 1 from hangar.sweeps where completed_at is not null"))


def test_a_notice_is_shown_once(operator, make_user):
    user = make_user()
    assert notice(operator.act("check", user))
    assert notice(operator.get(f"users/{user}")) is None


@pytest.mark.parametrize("path", ["actions/none", "actions/provision", "actions/provision?user=x", "actions/approve-orphan",
                                  "actions/check?user=99999999-9999-4999-8999-999999999999"])  # fmt: skip
def test_an_action_about_an_unknown_user_is_404(operator, path):
    assert operator.get(path).status_code == 404


def test_two_operators_see_each_others_actions(admin_cloud, operator, http, make_user, sql):
    """One operator provisions. The page of the other shows it and offers the next actions."""
    user = make_user()
    operator.act("provision", user, plan="pro", reason="mine")
    second = type(operator)(operator.url, http, operator.secret_key)
    known = admin_cloud.addresses["admin"]
    second.sign_in(known["email"], known["password"])
    assert "“mine”" in second.get(f"users/{user}").text
    assert re.search(rf'actions/deprovision\?user={user}"', second.get(f"users/{user}").text)


@pytest.mark.parametrize(
    ("status", "body", "tone", "words"),
    [
        (200, {"detail": "the app is active"}, "good", "The app is active."),
        (202, {"detail": "waiting", "code": "waiting"}, "busy", "Accepted, not finished yet: waiting."),
        (202, {"detail": "any sentence", "code": "leased"}, "busy", "In progress: a worker is already working on"),
        (409, {"detail": "Still entitled", "code": "still_entitled"}, "bad", "Still entitled."),
        (503, {"detail": "Fly does not answer"}, "busy", "Fly does not answer. Nothing is lost"),
        (503, {"code": "not_restarted", "detail": "The machine was not restarted"}, "bad", "was not restarted."),
        (401, {}, "bad", "did not accept your sign-in"),
        (500, {}, "bad", "answered 500"),
    ],
)
def test_every_answer_of_a_function_has_its_words(status, body, tone, words):
    """Status and code decide, never the sentence."""
    outcome = format_response("provision", httpx.Response(status, json=body))
    assert outcome.tone == tone
    assert words in outcome.text


def test_an_answer_that_already_promises_another_try_gets_no_second_promise():
    body = {"code": "out_of_reach", "detail": "Fly does not answer. Hangar tries again"}
    assert format_response("provision", httpx.Response(503, json=body)).text == f"{body['detail']}."
