"""Who may use the dashboard, and how: sessions, cookies, forms, headers, and the responses to everybody else."""

import re
import time
import uuid

import pytest

from functions.admin.auth.session import MOST_COOKIE_CHARS, SESSION_COOKIE
from local.supabase.auth.users import hash_password
from tests.http.admin_visitor import PAGES, USER


@pytest.fixture
def stranger(sql, visitor):
    """A signed-in user of the project who is not an operator."""
    user, email = str(uuid.uuid4()), f"{uuid.uuid4().hex}@example.test"
    sql(
        "insert into auth.users (id, email, encrypted_password) values (%s, %s, %s)",
        user,
        email,
        hash_password("horse"),
    )
    assert visitor.sign_in(email, "horse").status_code == 303
    return visitor


@pytest.mark.parametrize("page", PAGES)
def test_without_a_session_every_page_leads_to_the_sign_in_and_back(visitor, page):
    answer = visitor.get(page)
    assert answer.status_code == 303
    form = visitor.follow(answer)
    assert form.status_code == 200
    assert re.search(r'name="next" value="([^"]*)"', form.text)[1].replace("&amp;", "&") in (page, "")


@pytest.mark.parametrize("page", PAGES)
def test_a_user_who_is_not_an_operator_sees_nothing(stranger, page):
    """The response shows no page name, no figure and no user, only that access is denied."""
    answer = stranger.get(page)
    assert answer.status_code == 403
    assert "not an operator" in answer.text
    for word in ("Fleet", "Costs", "vyx-user", "example.test</a>", USER):
        assert word not in answer.text
    assert len(answer.text) < 2500


def test_a_removed_operator_is_out_at_the_next_click(operator, sql):
    assert operator.get("").status_code == 200
    sql("delete from hangar.operators where user_id = %s", operator.session["user_id"])
    try:
        assert operator.get("").status_code == 403
        paused = operator.send("POST", "actions/pause", data={"proof": "0", "reason": "x"})
        assert paused.status_code == 403
    finally:
        sql("insert into hangar.operators (user_id, added_by) values (%s, 'test')", operator.session["user_id"])
    assert sql("select paused from hangar.settings") == [(False,)]


def test_the_session_cookie_is_sealed_and_hidden_from_scripts_and_other_sites(admin_cloud, visitor):
    known = admin_cloud.addresses["admin"]
    answer = visitor.sign_in(known["email"], known["password"])
    assert answer.status_code == 303
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-hangar=")
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"}
    assert len(cookie) < MOST_COOKIE_CHARS
    assert "eyJ" not in cookie
    assert known["email"] not in cookie


@pytest.mark.parametrize(
    ("email", "password"),
    [("admin@example.test", "wrong"), ("nobody@example.test", "x"), ("", ""), ("a@example.test", "x\0y")],
)
def test_a_wrong_password_gets_a_message_and_no_session(visitor, email, password):
    answer = visitor.sign_in(email, password)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert SESSION_COOKIE not in visitor.cookies


def test_a_tampered_cookie_is_signed_out(operator):
    sealed = operator.cookies[SESSION_COOKIE]
    for broken in (sealed[:-4] + "AAAA", "x", "", sealed[::-1], "é"):
        operator.cookies[SESSION_COOKIE] = broken
        assert operator.send("GET", "", headers={"Cookie": f"{SESSION_COOKIE}={broken}".encode()}).status_code == 303


def test_a_cookie_sealed_for_another_purpose_is_not_a_session(operator):
    operator.cookies[SESSION_COOKIE] = operator.sealer.seal("flow", operator.session)
    assert operator.get("").status_code == 303


def test_a_session_that_supabase_has_ended_leads_to_the_sign_in_with_a_message(operator):
    operator.change_session(expires_at=time.time() - 5, refresh_token="gone")
    answer = operator.get(f"users/{USER}")
    assert (answer.status_code, SESSION_COOKIE in operator.cookies) == (303, False)
    form = operator.follow(answer)
    assert "Your session has ended" in form.text
    assert f'value="users/{USER}"' in form.text


def test_an_action_with_an_ended_session_does_nothing_and_gets_a_message(operator, sql):
    page = operator.get("actions/pause")
    proof = re.findall(r'name="proof" value="(\w+)"', page.text)[-1]
    operator.change_session(expires_at=time.time() - 5, refresh_token="gone")
    answer = operator.send("POST", "actions/pause", data={"proof": proof, "reason": "x"})
    assert answer.status_code == 401
    assert "nothing was done" in answer.text
    assert 'value="actions/pause"' in answer.text
    assert sql("select paused from hangar.settings") == [(False,)]


def test_a_live_refresh_with_an_ended_session_gets_401_and_no_redirect(operator):
    operator.cookies.clear()
    assert operator.get("", X_Hangar_Live="1").status_code == 401


@pytest.mark.parametrize("proof", ["", "0" * 64, "é"])
def test_a_form_without_its_proof_does_nothing(operator, sql, proof):
    answer = operator.send("POST", "actions/pause", data={"proof": proof, "reason": "x"})
    assert answer.status_code == 403
    assert sql("select paused from hangar.settings") == [(False,)]


def test_the_form_proof_of_another_session_is_refused(admin_cloud, operator, http):
    theirs = re.search(r'name="proof" value="(\w+)"', operator.get("").text)[1]
    operator.change_session(session_id="another")
    assert operator.send("POST", "actions/sweep", data={"proof": theirs}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://[evil"},
    ],
)
@pytest.mark.parametrize("path", ["actions/pause", "sign-in", "sign-out"])
def test_a_form_from_another_site_is_refused(operator, sql, headers, path):
    proof = re.search(r'name="proof" value="(\w+)"', operator.get("").text)[1]
    answer = operator.send("POST", path, data={"proof": proof, "reason": "x"}, headers=headers)
    assert answer.status_code == 403
    assert SESSION_COOKIE in operator.cookies
    assert sql("select paused from hangar.settings") == [(False,)]


def test_a_link_from_another_site_reloads_once_on_ours(visitor):
    """For the link the browser does not send the strict cookie. For the reload it does."""
    answer = visitor.get("events", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    assert "sign-in" not in answer.text


def test_signing_out_deletes_the_session(operator):
    proof = re.search(r'name="proof" value="(\w+)"', operator.get("").text)[1]
    answer = operator.send("POST", "sign-out", data={"proof": proof})
    assert answer.status_code == 303
    assert SESSION_COOKIE not in operator.cookies
    assert operator.get("").status_code == 303


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "javascript:alert(1)",
        "../../x",
        "users/..",
        "\r\nX: y",
        "x" * 9000,
    ],
)
def test_a_sign_in_never_leads_to_another_site(admin_cloud, visitor, after):
    known = admin_cloud.addresses["admin"]
    answer = visitor.sign_in(known["email"], known["password"], after)
    assert answer.status_code == 303
    assert re.fullmatch(r"\./[a-z./]*|\./x+", answer.headers["location"])
    assert ".." not in answer.headers["location"]


def test_a_sign_in_leads_to_the_page_that_was_requested(admin_cloud, visitor):
    known = admin_cloud.addresses["admin"]
    wanted = f"users/{USER}?type=action"
    assert visitor.sign_in(known["email"], known["password"], wanted).headers["location"] == f"./{wanted}"
