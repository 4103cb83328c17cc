"""Logs and checks of one app: read from Fly when the page is opened, hostile text shown as text, errors in plain words."""

import re
import time

import pytest

from functions.admin.views.machine import MOST_CHARS
from tests.http.admin_visitor import text_of

HOSTILE = """</td><script>alert(1)</script><img src=x onerror=alert(2)>"""
CONTROLS = "\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07 a\u202eb\u2028c\r\nd \x00nul"


@pytest.fixture(scope="module")
def machine(admin_cloud, sql, http):
    """A user with a real app on Fly, and the way to add lines to its log."""
    secret = {"X-Hangar-Secret": admin_cloud.addresses["static_secret"]}
    user = "5d000000-0000-4000-8000-000000000001"
    sql("insert into auth.users (id, email) values (%s, 'logs@example.test') on conflict do nothing", user)
    sql("insert into public.fly_overrides (user_id, override, plan, actor) values (%s, 'grant', 'pro', 'test')", user)
    url = admin_cloud.addresses["functions"]["provision"]
    deadline = time.monotonic() + 60
    while not (found := sql(
        "select fly_app_name, machine_id from public.user_fly_apps where user_id = %s and status = 'active'", user
    )):  # fmt: skip
        assert time.monotonic() < deadline
        http.post(url, json={"user_id": user}, headers=secret)
        time.sleep(0.2)
    app, machine_id = found[0]
    sim = f"{admin_cloud.addresses['fly_api_url']}/_sim/machines/{machine_id}/logs"

    def say(*lines, level="info"):
        http.post(sim, json={"lines": list(lines), "level": level}).raise_for_status()

    return user, app, machine_id, say


def lines_of(page):
    """Level and message of each line."""
    rows = re.findall(
        r'<td data-label="Level">(.*?)</td>.*?<td data-label="Message"[^>]*>(.*?)</td>', page.text, re.DOTALL
    )
    return [(re.sub(r"<[^>]+>", "", level), message) for level, message in rows]


def test_the_newest_lines_with_their_levels_and_the_checks(operator, machine):
    user, app, machine_id, say = machine
    say(*(f"line {number}" for number in range(60)))
    say("out of cheese", level="error")
    page = operator.get(f"users/{user}/machine?lines=20")
    assert page.status_code == 200
    found = lines_of(page)
    assert len(found) == 20
    assert found[-1] == ("error", "out of cheese")
    assert found[0] == ("info", "line 41")
    assert len(lines_of(operator.get(f"users/{user}/machine"))) == 50
    assert app in page.text
    assert machine_id in page.text
    checks = re.search(r'aria-labelledby="checks".*?</section>', page.text, re.DOTALL)[0]
    assert re.search(r'</span>(passing|no result)</span>.*?data-label="Check" class="id">ready<', checks, re.DOTALL)
    assert f'href="../users/{user}/machine"' in operator.get(f"users/{user}").text
    say("a later line")
    assert lines_of(operator.get(f"users/{user}/machine"))[-1][1] == "a later line"


def test_a_log_line_is_a_text_and_never_long(operator, admin_cloud, machine):
    """Markup, terminal codes, characters that reorder text, 100 kB, and a secret that a program has printed."""
    user, _, _, say = machine
    secret = admin_cloud.addresses["secret_key"]
    say(HOSTILE, CONTROLS, "y" * 100_000, f"key {secret}", "z" * (MOST_CHARS - 10) + secret, "", level="warn")
    page = operator.get(f"users/{user}/machine?lines=20")
    assert "<script>alert" not in page.text
    assert "<img src=x" not in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", page.text.replace("\n", ""))
    found = lines_of(page)[-6:]
    assert found[0][1].startswith("&lt;/td&gt;&lt;script&gt;")
    assert found[1][1].startswith("red bell")
    assert "98,000 more characters are not shown" in text_of(page)
    assert secret not in page.text
    assert secret[:20] not in page.text
    assert len(page.text) < 60_000


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"status": 503}, "Fly does not answer now"),
        ({"status": 401, "body": {"error": "invalid token"}}, "does not accept the token"),
        ({"status": 404, "body": {"error": "app not found"}}, "Fly does not know the app"),
        ({"status": 200, "body": {"data": "no list"}}, "Fly does not answer now"),
        ({"status": 200, "body": {"data": [], "meta": {}}}, "no lines of this app"),
        ({"status": 200, "body": {"data": [7, {"attributes": {"message": 3}}], "meta": 1}}, "2 lines"),
    ],
    ids=["down", "token", "gone", "unreadable", "quiet", "odd"],
)
def test_what_fly_does_not_give_is_said_in_words(operator, machine, faults, rule, says):
    """The page still comes, with the checks, and the user's own page does not notice."""
    user = machine[0]
    faults({"method": "GET", "path": "/api/v1/apps/*/logs", **rule})
    page = operator.get(f"users/{user}/machine")
    assert page.status_code == 200
    assert says in text_of(page)
    assert ">ready<" in page.text
    assert operator.get(f"users/{user}").status_code == 200


def test_a_machine_that_fly_does_not_know_leaves_the_log_readable(operator, machine, faults):
    user, _, machine_id, say = machine
    say("still here")
    faults({"method": "GET", "path": "/v1/apps/*/machines/*", "status": 404, "body": {"error": "machine not found"}})
    page = operator.get(f"users/{user}/machine")
    assert f"Fly does not know the machine {machine_id}" in text_of(page)
    assert lines_of(page)[-1][1] == "still here"


def test_an_app_without_a_machine_and_a_user_without_an_app(operator, make_app, make_user, sql):
    """Also an app whose name could not be part of an address: Fly is not asked for it."""
    user = make_app(machine_id=None, machine_state=None)
    assert "has no machine now" in text_of(operator.get(f"users/{user}/machine"))
    nobody = make_user()
    assert "This user has no app" in text_of(operator.get(f"users/{nobody}/machine"))
    gone = make_app()
    sql("update public.user_fly_apps set status = 'deleted', deleted_at = hangar.now() where user_id = %s", gone)
    assert "The app was deleted" in text_of(operator.get(f"users/{gone}/machine"))
    odd = make_app(fly_app_name="../x<b>", machine_id="<b>")
    page = operator.get(f"users/{odd}/machine")
    assert page.status_code == 200
    assert "&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert operator.get("users/5d000000-0000-4000-8000-0000000000ff/machine").status_code == 404


@pytest.mark.parametrize("query", ["lines=7", "lines=1000", "colour=red", "lines=20&lines=50"])
def test_an_unknown_number_of_lines_is_refused_and_fly_is_not_asked(operator, machine, query):
    answer = operator.get(f"users/{machine[0]}/machine?{query}")
    assert answer.status_code == 400
    assert lines_of(answer) == []


def test_nothing_of_the_log_is_stored(operator, machine, sql):
    user, _, _, say = machine
    say("a private sentence")
    before = sql("select count(*) from public.user_fly_app_events")
    assert "a private sentence" in operator.get(f"users/{user}/machine").text
    assert sql("select count(*) from public.user_fly_app_events") == before
