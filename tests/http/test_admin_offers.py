"""Which actions are offered, and what a form says that is out of date: shown again by Back, or overtaken by somebody else."""

import re
import uuid

import pytest

from local.dev.database import ADMIN
from tests.http.admin_visitor import Forms, notice, text_of


def offered(operator, user):
    found = re.search(
        r'<div class="actions" data-live="actions".*?</div>', operator.get(f"users/{user}").text, re.DOTALL
    )
    return re.findall(r"actions/([a-z-]+)\?", found[0])


@pytest.fixture
def paused(sql):
    sql("update hangar.settings set paused = true")
    yield
    sql("update hangar.settings set paused = false")


@pytest.mark.usefixtures("paused")
def test_while_hangar_is_paused_no_restart_and_no_retry_is_offered(operator, make_app):
    """Both need Fly. A form that was opened before says why nothing happens."""
    running = make_app()
    failing = make_app(status="error", error_code="image", machine_state="stopped")
    assert offered(operator, running) == ["check", "deprovision", "remove-override"]
    assert offered(operator, failing) == ["check", "deprovision", "remove-override"]
    for user, name in ((running, "restart"), (failing, "retry")):
        page = operator.follow(operator.get(f"actions/{name}?user={user}"))
        assert (
            notice(page)
            == f"Nothing was done: Hangar is paused. Resume it on the Controls page before you {name} an app."
        )
    page = operator.follow(operator.get("actions/retry-cause?cause=image"))
    assert "Hangar is paused, so nothing can be retried" in notice(page)
    assert "actions/retry" not in page.text


def test_a_form_that_the_back_button_shows_again_says_that_it_is_over(operator, make_app, make_user, sql):
    user = make_app()
    assert offered(operator, user) == ["check", "restart", "deprovision", "remove-override"]
    assert "already has the app vyx-user-" in notice(operator.follow(operator.get(f"actions/provision?user={user}")))
    assert "is kept already" in notice(operator.follow(operator.get(f"actions/keep?user={user}")))
    sql("delete from public.fly_overrides where user_id = %s", user)
    assert "no override any more" in notice(operator.follow(operator.get(f"actions/remove-override?user={user}")))
    sql("update public.user_fly_apps set machine_state = 'stopped' where user_id = %s", user)
    assert "the machine is stopped" in notice(operator.follow(operator.get(f"actions/restart?user={user}")))
    assert "no app to restart" in notice(operator.follow(operator.get(f"actions/restart?user={make_user()}")))


@pytest.fixture
def failing(make_app, sql):
    """Three apps with a cause of their own, of which two wait for an operator."""
    cause = f"cause_{uuid.uuid4().hex[:6]}"
    users = [
        make_app(
            f"{cause}-{number}@x.test",
            status="error",
            error_code=cause,
            error_message=f"broken {number}",
            machine_state="stopped",
        )
        for number in range(3)
    ]
    sql("update public.user_fly_apps set next_attempt_at = now() - interval '1 s' where user_id = %s", users[2])
    yield cause, users
    sql(
        "update public.user_fly_apps set status = 'deleted', deleted_at = now() where user_id = any (%s::uuid[])", users
    )


def retry_form(operator, cause, **values):
    page = operator.get(f"actions/retry-cause?cause={cause}")
    assert page.status_code == 200, page.text
    return page, Forms(page.text).forms[-1]["fields"] | values


def test_a_form_that_would_replace_another_operators_decision_is_shown_again(operator, make_user, sql):
    """Somebody denies an app to a fraudster while the form for a grant is open. Nobody overrules that without reading it."""
    user = make_user()
    path = f"actions/provision?user={user}"
    form = Forms(operator.get(path).text).forms[-1]["fields"] | {"plan": "pro", "reason": "welcome"}
    sql("select public.fly_set_override(%s, 'deny', null, 'other@example.test', 'fraud')", user)
    again = operator.send("POST", path, data=form)
    assert again.status_code == 409
    assert "other@example.test has denied this user an app since you opened the form (“fraud”)" in text_of(again)
    decided = "select override, actor from public.fly_overrides where user_id = %s"
    assert sql(decided, user) == [("deny", "other@example.test")]
    shown = Forms(again.text).forms[-1]["fields"]
    assert shown["reason"] == "welcome"
    assert operator.send("POST", path, data=shown | {"plan": "pro"}).status_code == 303
    assert sql(decided, user) == [("grant", ADMIN.email)]


def test_a_form_about_an_override_that_is_gone_is_shown_again(operator, make_app, sql):
    """The form for a denial was opened while a grant kept the app. Somebody else has ended the grant, and the app goes anyway."""
    user = make_app()
    path = f"actions/deprovision?user={user}"
    page = operator.get(path)
    [name] = re.findall(r"Type <strong class=\"id\">([\w-]+)</strong>", page.text)
    form = Forms(page.text).forms[-1]["fields"] | {"reason": "moved", "typed": name}
    sql("select public.fly_set_override(%s, null, null, 'other@example.test', 'the trial is over')", user)
    again = operator.send("POST", path, data=form)
    assert again.status_code == 409
    assert "the override was removed since you opened the form" in text_of(again)
    assert sql("select 1 from public.fly_overrides where user_id = %s", user) == []


def test_failures_are_grouped_by_cause_and_lead_to_their_apps(operator, failing):
    cause, users = failing
    page = operator.get("failures")
    [card] = [
        card
        for card in re.findall(r'<li class="card">.*?</p>\n  </li>', page.text, re.DOTALL)
        if f"cause={cause}" in card
    ]
    assert "3 apps" in card
    assert "since <time" in card
    assert "broken 0" in card
    listed = operator.get(f"?cause={cause}")
    assert all(f"users/{user}" in listed.text for user in users)


def test_a_retry_of_a_cause_shows_what_it_hits_needs_a_reason_and_records_it(operator, failing, sql, logged):
    """Only the apps that are not due already, each with the reason in its own log."""
    cause, users = failing
    page, fields = retry_form(operator, cause)
    assert all(f"{cause}-{number}@x.test" in page.text for number in (0, 1))
    assert f"{cause}-2@x.test" not in page.text
    assert "1 app is due or at work already" in text_of(page)
    path = f"actions/retry-cause?cause={cause}"
    assert operator.send("POST", path, data=fields | {"reason": " "}).status_code == 400
    answer = operator.follow(operator.send("POST", path, data=fields | {"reason": "image pushed"}))
    assert "2 apps are due now" in notice(answer)
    for user, is_hit in zip(users, (True, True, False), strict=True):
        assert ((ADMIN.email, "image pushed") in logged(user, "recovery_attempted")) == is_hit


def test_a_retry_that_would_hit_more_than_it_showed_is_shown_again(operator, failing, sql, make_app, logged):
    cause, users = failing
    _, fields = retry_form(operator, cause, reason="image pushed")
    make_app(f"{cause}-3@x.test", status="error", error_code=cause, machine_state="stopped")
    again = operator.send("POST", f"actions/retry-cause?cause={cause}", data=fields)
    assert again.status_code == 409
    assert "meanwhile 3 apps would be retried" in text_of(again)
    assert f"{cause}-3@x.test" in again.text
    assert logged(users[0], "recovery_attempted") == []


def test_a_cause_that_is_over_says_so(operator):
    page = operator.follow(operator.get("actions/retry-cause?cause=no_such_cause"))
    assert notice(page) == "No app fails with the cause no such cause any more, so nothing was done."
    assert operator.get("actions/retry-cause").status_code == 404


def test_the_form_of_the_brake_lists_what_will_go(operator, make_app, sql):
    """By name; and it is shown again if that has changed before it was sent."""
    user = make_app(f"leaving-{uuid.uuid4().hex[:6]}@x.test", desired_state="absent", status="deprovisioning")
    sql("select public.fly_raise_alert('brake', 'fleet', 'test')")
    sql("insert into public.fly_orphans (app, network, lost) values ('vyx-user-lost1', 'n', true)")
    try:
        page = operator.get("actions/release-brake")
        assert f"users/{user}" in page.text
        assert "Apps of users who are no longer entitled" in page.text
        assert "vyx-user-lost1" in page.text
        fields = Forms(page.text).forms[-1]["fields"] | {"reason": "it was meant"}
        sql("insert into public.fly_orphans (app, network, lost) values ('vyx-user-lost2', 'n', true)")
        again = operator.send("POST", "actions/release-brake", data=fields)
        assert again.status_code == 409
        assert "has changed since you opened the form" in again.text
        assert "vyx-user-lost2" in again.text
        assert sql("select 1 from hangar.alerts where kind = 'brake' and resolved_at is null") != []
    finally:
        sql("delete from public.fly_orphans where app like 'vyx-user-lost%%'")
        sql("select public.fly_resolve_alert('brake', 'fleet')")
        sql("update public.user_fly_apps set status = 'deleted', deleted_at = now() where user_id = %s", user)
    if "The brake is off" in text_of(operator.get("controls")):
        assert "nothing to release" in notice(operator.follow(operator.get("actions/release-brake")))


def test_alerts_name_users_and_pages_and_no_commands(operator, make_app, sql):
    email = f"named-{uuid.uuid4().hex[:6]}@x.test"
    user = make_app(email)
    [(row, email)] = sql(
        "select a.id::text, u.email from public.user_fly_apps a join auth.users u on u.id = a.user_id where a.user_id = %s",
        user,
    )
    nobody = str(uuid.uuid4())
    sql(
        "select public.fly_raise_alert('crash_loop', %s, %s)",
        row, f"The app of user {user} and of {nobody} ends. "
        f"Run `hangar explain {user}` or `hangar orphans`. `fly logs -a x` has more",
    )  # fmt: skip
    try:
        for page in (operator.get("controls"), operator.get("")):
            text = text_of(page)
            assert "An app keeps crashing" in text
            assert f"The app of user {email} and of a user whom the host does not list ends." in text
            assert "Use the user's page or the orphans on the Controls page. fly logs -a x has more" in text
            assert f'href="./users/{user}"' in page.text
            assert "`" not in text
            assert nobody not in text
    finally:
        sql("select public.fly_resolve_alert('crash_loop', %s)", row)
