"""The actions of the dashboard: done once on Fly and in the database, answered, and logged with the operator's e-mail."""

import re
from html import unescape

import pytest

from functions.admin.app import FLASH_COOKIE
from local.dev.database import ADMIN
from tests.http.admin_visitor import notice, shown_state, wait_until


@pytest.fixture
def provisioned(operator, make_user, row):
    user = make_user()
    operator.act("provision", user, plan="pro", reason="test")
    wait_until(lambda: row(user)[1] == "active")
    return user


@pytest.mark.slow
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
    proof = re.search(r'name="proof" value="(\w+)"', operator.get("").text)[1]
    again = operator.send(
        "POST", f"actions/provision?user={user}", data={"proof": proof, "plan": "pro", "reason": "again"}
    )
    assert "already has the app" in notice(operator.follow(again))
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_keeping_an_app_that_nobody_pays_for_records_a_grant(operator, make_user, row, sql):
    user = make_user("pro")
    operator.act("check", user)
    wait_until(lambda: row(user)[1] == "active")
    operator.act("pause", reason="hold")
    try:
        sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
        operator.act("check", user)  # nothing calls the functions for this project
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


@pytest.mark.slow
def test_a_failure_is_shown_and_a_retry_repairs_it(operator, make_user, row, faults, logged):
    """Fly does not have the image at first, and has it for the retry."""
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


@pytest.mark.slow
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


def test_a_notice_is_shown_once(operator, make_user):
    user = make_user()
    assert notice(operator.act("check", user))
    assert notice(operator.get(f"users/{user}")) is None


def test_a_notice_travels_in_a_cookie_of_its_own(operator, make_user):
    """A notice does not rewrite the cookie with the tokens, so two tabs cannot overwrite each other's tokens."""
    answer = operator.submit(f"actions/check?user={make_user()}")
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith(f"{FLASH_COOKIE}=")
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"}
    operator.follow(answer)
    assert FLASH_COOKIE not in operator.cookies


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
