"""The doctor page: runs on request, wrong first, without secrets, and names what is out of reach."""

import re
import threading
import time
from contextlib import contextmanager

import pytest

from functions.admin.pages.doctor import PATIENCE_S
from functions.admin.views.doctor import LEFT_OUT
from local.supabase.auth.users import hash_password
from shared.doctor.checks import DATABASE, OUTSIDE
from tests.http.admin_visitor import Visitor, text_of

ROW = re.compile(r'<tr id="check-(\w+)">.*?</span>(ok|warning|wrong)</span>(.*?)</tr>', re.DOTALL)


def run(operator):
    """The page with the results, and each check by name: state and text."""
    page = operator.submit("doctor")
    assert page.status_code == 200, page.text
    return page, {name: (state, rest) for name, state, rest in ROW.findall(page.text)}


@contextmanager
def no_database(sql):
    """Nobody but the superuser of the tests can reach the database."""
    sql("alter role authenticator nologin")
    sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'")
    try:
        yield
    finally:
        sql("alter role authenticator login")


def test_opening_the_page_checks_nothing(operator):
    """It is fast even while Fly hangs, links from the navigation lead to it, and it names what it leaves out."""
    page = operator.get("doctor")
    assert ROW.findall(page.text) == []
    assert "Check now" in page.text
    assert "data-live-every" not in page.text
    assert all(f"<dt>{name}</dt>" in page.text for name in LEFT_OUT)
    assert 'href="./doctor"' in operator.get("controls").text


def test_every_check_of_the_command_is_made_except_those_that_are_named(operator, admin_cloud, sql):
    """A mistake is wrong, comes first, and has the command that ends it. No secret is shown."""
    sql("update cron.job set active = false where jobname = 'hangar-drain'")
    try:
        page, found = run(operator)
    finally:
        sql("update cron.job set active = true where jobname = 'hangar-drain'")
    assert set(found) == {*OUTSIDE, *DATABASE} - set(LEFT_OUT)
    order = [("wrong", "warning", "ok").index(state) for state, _ in found.values()]
    assert order == sorted(order)
    assert found["cron_drain"][0] == "wrong"
    assert "<code>select cron." in found["cron_drain"][1]
    for name in ("database", "fly_token", "function_health", "publishable_key", "webhook_secret", "clocks"):
        assert found[name][0] == "ok", (name, found[name])
    known = admin_cloud.addresses
    for secret in ("secret_key", "fly_api_token", "webhook_secret", "static_secret", "alerts_url"):
        assert known[secret] not in page.text, secret
    assert "hangar doctor` again" not in page.text


@pytest.mark.slow
def test_fly_out_of_reach_is_said_and_everything_else_is_still_checked(operator, faults):
    """Also while Fly hangs, the page comes within its limit."""
    faults({"method": "*", "path": "/v1/*", "delay_s": 60, "status": 503},
           {"method": "*", "path": "/v1/*/*", "delay_s": 60, "status": 503})  # fmt: skip
    began = time.monotonic()
    page, found = run(operator)
    assert time.monotonic() - began < 2 * PATIENCE_S + 5
    assert "Fly is out of reach" in text_of(page)
    assert "The database is out of reach" not in text_of(page)
    assert found["fly_token"][0] == found["fly_regions"][0] == "warning"
    assert "not checked" in found["fly_regions"][1]
    assert found["database"][0] == found["function_health"][0] == "ok"


def test_the_database_out_of_reach_is_said_to_who_was_an_operator_a_moment_ago(operator, sql):
    """Every other page is 503 and leads there. Somebody whom the database has not confirmed gets no check."""
    assert operator.get("doctor").status_code == 200
    with no_database(sql):
        refused = operator.get("controls")
        assert refused.status_code == 503
        assert "The database does not answer" in text_of(refused)
        assert 'href="./doctor"' in refused.text
        page, found = run(operator)
    assert "The database is out of reach" in text_of(page)
    assert next(iter(found)) == "database"
    assert found["database"][0] == "wrong"
    assert found["fly_token"][0] == "ok"
    assert "not checked" in found["operators"][1]


@pytest.mark.slow
def test_somebody_else_gets_nothing_while_the_database_is_out_of_reach(sql, make_operator):
    """A former operator: the database has said so before it went away."""
    person = make_operator()
    assert person.get("doctor").status_code == 200
    sql("delete from hangar.operators where user_id = %s", person.session["user_id"])
    assert person.get("doctor").status_code == 403
    with no_database(sql):
        answer = person.get("doctor")
    assert answer.status_code == 503
    assert "Check now" not in answer.text


@pytest.mark.slow
def test_the_checks_run_once_at_a_time_and_not_by_another_site(operator, faults):
    """A second request meanwhile is told to wait. A form without the session's proof does nothing."""
    assert operator.send("POST", "doctor").status_code == 403
    assert operator.send("POST", "doctor", data={"proof": "x"}).status_code == 403
    faults({"method": "*", "path": "/v1/*/*", "delay_s": 4})
    first = []
    waiting = threading.Thread(target=lambda: first.append(operator.submit("doctor").status_code))
    form = operator.get("doctor").text
    proof = re.search(r'action="\./doctor".*?name="proof" value="([^"]+)"', form, re.DOTALL)[1]
    waiting.start()
    time.sleep(1.5)
    assert operator.send("POST", "doctor", data={"proof": proof}).status_code == 429
    waiting.join()
    assert first == [200]


@pytest.fixture
def make_operator(admin_cloud, http, sql, make_user):
    """Another operator, signed in."""

    def make():
        user = make_user()
        sql(
            "update auth.users set encrypted_password = %s, email_confirmed_at = now() where id = %s",
            hash_password("a long password"),
            user,
        )
        sql("insert into hangar.operators (user_id, added_by) values (%s, 'test')", user)
        known = admin_cloud.addresses
        visitor = Visitor(known["functions"]["admin"], http, known["secret_key"])
        assert visitor.sign_in(f"{user[:8]}@example.test", "a long password").status_code == 303
        return visitor

    return make
