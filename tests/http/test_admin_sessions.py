"""How a session at the dashboard begins, goes on and ends, with Supabase Auth's own words at the other end."""

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


def test_a_session_in_its_last_minute_goes_on_under_new_tokens(operator):
    before = operator.session
    operator.change_session(expires_at=time.time() + REFRESH_BEFORE_S - 5)
    assert operator.get("").status_code == 200
    after = operator.session
    assert after["session_id"] == before["session_id"]
    assert after["expires_at"] > time.time() + REFRESH_BEFORE_S
    assert after["refresh_token"] != before["refresh_token"]
    assert operator.get("").status_code == 200
    assert operator.session == after


def test_two_tabs_that_refresh_at_once_both_go_on(operator):
    """Each has the old cookie; whichever answer the browser keeps, the session lives."""
    operator.change_session(expires_at=time.time() - 5)
    tabs = [replace(operator, cookies=dict(operator.cookies)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda tab: tab.get("controls").status_code, tabs))
    assert statuses == [200] * 4
    for tab in tabs:
        tab.change_session(expires_at=time.time() - 5)
        assert tab.get("").status_code == 200


def test_a_form_stays_good_when_its_session_was_refreshed_meanwhile(operator):
    """A confirmation that stood open over the token's end."""
    page = operator.get("actions/sweep")
    proof = re.findall(r'name="proof" value="(\w+)"', page.text)[-1]
    operator.change_session(expires_at=time.time() - 5)
    assert operator.send("POST", "actions/sweep", data={"proof": proof}).status_code == 303


def test_signing_out_ends_the_session_at_supabase_too(operator, http, admin_cloud):
    """The refresh token somebody may have copied is worth nothing afterwards."""
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
    """From our form to the provider's page; its address."""
    form = visitor.get(f"sign-in?next={after}")
    [link] = re.findall(r'href="\./(sign-in/github\?next=[^"]*)"', form.text)
    away = visitor.get(link)
    assert away.status_code == 303
    assert FLOW_COOKIE in visitor.cookies
    return away.headers["location"]


def come_back(visitor, http, authorize, email):
    """Say at the provider who one is; the address one is sent back to."""
    provider = http.get(authorize).headers["location"]
    state = parse_qs(urlsplit(provider).query)["state"][0]
    callback = http.get(provider.split("/local-provider")[0] + "/callback", params={"state": state, "code": email})
    return callback.headers["location"]


def test_signing_in_through_a_provider(visitor, http):
    """Away with a challenge, back with a code, in with the verifier that only this browser has."""
    authorize = go_to_provider(visitor, "costs")
    asked = parse_qs(urlsplit(authorize).query)
    assert asked["code_challenge_method"] == ["s256"]
    assert asked["redirect_to"] == [f"{visitor.url}/signed-in"]
    back = come_back(visitor, http, authorize, ADMIN.email)
    assert back.startswith(f"{visitor.url}/signed-in?code=")
    answer = visitor.get(back.removeprefix(f"{visitor.url}/"))
    assert (answer.status_code, answer.headers["location"]) == (303, "./costs")
    assert FLOW_COOKIE not in visitor.cookies
    assert visitor.get("costs").status_code == 200


def test_a_code_is_worth_nothing_in_another_browser(visitor, http):
    """Whoever slips somebody a link with a code of their own signs nobody in."""
    back = come_back(visitor, http, go_to_provider(visitor), ADMIN.email).removeprefix(f"{visitor.url}/")
    other = replace(visitor, cookies={})
    assert other.get(back).status_code == 400
    go_to_provider(other)
    assert other.get(back).status_code == 400
    assert SESSION_COOKIE not in other.cookies


def test_a_provider_that_vouches_for_a_user_makes_no_operator(visitor, http):
    back = come_back(visitor, http, go_to_provider(visitor), FREE_USERS[0].email)
    assert visitor.get(back.removeprefix(f"{visitor.url}/")).status_code == 303
    assert visitor.get("").status_code == 403


def test_a_provider_that_knows_nobody_leads_back_with_a_reason(visitor, http):
    back = come_back(visitor, http, go_to_provider(visitor), "nobody@example.test")
    answer = visitor.get(back.removeprefix(f"{visitor.url}/"))
    assert answer.status_code == 400
    assert "No account of this project" in answer.text


@pytest.mark.parametrize("path", ["sign-in/evil", "sign-in/google", "sign-in/..%2f"])
def test_only_providers_of_the_settings_are_gone_to(visitor, path):
    assert visitor.get(path).status_code in (404, 405)


def test_behind_a_proxy_the_way_back_is_the_browsers_address(visitor):
    away = visitor.get("sign-in/github", X_Forwarded_Proto="https", X_Forwarded_Prefix="/admin")
    back = parse_qs(urlsplit(away.headers["location"]).query)["redirect_to"]
    assert back == [visitor.url.replace("http:", "https:") + "/admin/signed-in"]
    away = visitor.get("sign-in/github", X_Forwarded_Proto="https", X_Forwarded_Prefix="/admin/../other")
    back = parse_qs(urlsplit(away.headers["location"]).query)["redirect_to"]
    assert back == [visitor.url.replace("http:", "https:") + "/signed-in"]


def test_a_host_that_there_cannot_be_is_refused(visitor):
    """Else the way back from the provider would lead nowhere."""
    assert visitor.get("sign-in/github", Host="a b/@c").status_code == 400
