"""How a session of the dashboard starts, is renewed and ends, against the local Supabase Auth."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from functions.admin.auth.session import SESSION_COOKIE
from functions.admin.guard import REFRESH_BEFORE_S
from functions.admin.pages.sign_in import FLOW_COOKIE
from local.dev.database import ADMIN, FREE_USERS


def test_a_session_in_its_last_minute_is_renewed(operator):
    before = operator.session
    operator.change_session(expires_at=time.time() + REFRESH_BEFORE_S - 5)
    assert operator.get("").status_code == 200
    after = operator.session
    assert after["session_id"] == before["session_id"]
    assert after["expires_at"] > time.time() + REFRESH_BEFORE_S
    assert after["refresh_token"] != before["refresh_token"]
    assert operator.get("").status_code == 200
    assert operator.session == after


def test_two_tabs_that_refresh_at_once_both_stay_signed_in(operator):
    """Each tab sends the old cookie. The session is valid with either response that the browser keeps."""
    operator.change_session(expires_at=time.time() - 5)
    tabs = [replace(operator, cookies=dict(operator.cookies)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda tab: tab.get("controls").status_code, tabs))
    assert statuses == [200] * 4
    for tab in tabs:
        tab.change_session(expires_at=time.time() - 5)
        assert tab.get("").status_code == 200


@pytest.mark.slow
def test_a_form_stays_valid_when_its_session_was_renewed_meanwhile(operator):
    """The confirmation page was open while the access token expired."""
    page = operator.get("actions/sweep")
    proof = re.findall(r'name="proof" value="(\w+)"', page.text)[-1]
    operator.change_session(expires_at=time.time() - 5)
    assert operator.send("POST", "actions/sweep", data={"proof": proof}).status_code == 303


@pytest.mark.slow
def test_signing_out_ends_the_session_at_supabase_too(operator, http, admin_cloud):
    """A copied refresh token is refused afterwards."""
    kept = operator.session
    proof = re.search(r'name="proof" value="(\w+)"', operator.get("").text)[1]
    operator.send("POST", "sign-out", data={"proof": proof})
    known = admin_cloud.addresses
    answer = http.post(
        f"{known['supabase_url']}/auth/v1/token?grant_type=refresh_token",
        json={"refresh_token": kept["refresh_token"]},
        headers={"apikey": known["publishable_key"]},
    )
    assert answer.status_code == 400


def go_to_provider(visitor, after=""):
    """Follow the link from the sign-in form. Returns the address of the provider's page."""
    form = visitor.get(f"sign-in?next={after}")
    [link] = re.findall(r'href="\./(sign-in/github\?next=[^"]*)"', form.text)
    away = visitor.get(link)
    assert away.status_code == 303
    assert FLOW_COOKIE in visitor.cookies
    return away.headers["location"]


def come_back(visitor, http, authorize, email):
    """Sign in at the provider. Returns the address to which it sends the browser back."""
    provider = http.get(authorize).headers["location"]
    state = parse_qs(urlsplit(provider).query)["state"][0]
    callback = http.get(provider.split("/local-provider")[0] + "/callback", params={"state": state, "code": email})
    return callback.headers["location"]


@pytest.mark.slow
def test_signing_in_through_a_provider(visitor, http):
    """PKCE: the browser leaves with a challenge and returns with a code. The sign-in needs its verifier."""
    authorize = go_to_provider(visitor, "costs")
    query = parse_qs(urlsplit(authorize).query)
    assert query["code_challenge_method"] == ["s256"]
    assert query["redirect_to"] == [f"{visitor.url}/signed-in"]
    back = come_back(visitor, http, authorize, ADMIN.email)
    assert back.startswith(f"{visitor.url}/signed-in?code=")
    answer = visitor.get(back.removeprefix(f"{visitor.url}/"))
    assert (answer.status_code, answer.headers["location"]) == (303, "./costs")
    assert FLOW_COOKIE not in visitor.cookies
    assert visitor.get("costs").status_code == 200


@pytest.mark.slow
def test_a_code_is_refused_in_another_browser(visitor, http):
    """An attacker cannot sign another person in with a link that carries the attacker's code."""
    back = come_back(visitor, http, go_to_provider(visitor), ADMIN.email).removeprefix(f"{visitor.url}/")
    other = replace(visitor, cookies={})
    assert other.get(back).status_code == 400
    go_to_provider(other)
    assert other.get(back).status_code == 400
    assert SESSION_COOKIE not in other.cookies


def test_a_sign_in_by_a_provider_does_not_make_an_operator(visitor, http):
    back = come_back(visitor, http, go_to_provider(visitor), FREE_USERS[0].email)
    assert visitor.get(back.removeprefix(f"{visitor.url}/")).status_code == 303
    assert visitor.get("").status_code == 403


def test_an_unknown_account_at_the_provider_leads_back_with_a_reason(visitor, http):
    back = come_back(visitor, http, go_to_provider(visitor), "nobody@example.test")
    answer = visitor.get(back.removeprefix(f"{visitor.url}/"))
    assert answer.status_code == 400
    assert "No account of this project" in answer.text


@pytest.mark.parametrize("path", ["sign-in/evil", "sign-in/google", "sign-in/..%2f"])
def test_only_providers_in_the_settings_are_used(visitor, path):
    assert visitor.get(path).status_code in (404, 405)


def test_behind_a_proxy_the_way_back_is_the_address_the_browser_uses(visitor):
    away = visitor.get("sign-in/github", X_Forwarded_Proto="https", X_Forwarded_Prefix="/admin")
    back = parse_qs(urlsplit(away.headers["location"]).query)["redirect_to"]
    assert back == [visitor.url.replace("http:", "https:") + "/admin/signed-in"]
    away = visitor.get("sign-in/github", X_Forwarded_Proto="https", X_Forwarded_Prefix="/admin/../other")
    back = parse_qs(urlsplit(away.headers["location"]).query)["redirect_to"]
    assert back == [visitor.url.replace("http:", "https:") + "/signed-in"]


def test_an_invalid_host_header_is_refused(visitor):
    """Otherwise the address to which the provider returns would be invalid."""
    assert visitor.get("sign-in/github", Host="a b/@c").status_code == 400
