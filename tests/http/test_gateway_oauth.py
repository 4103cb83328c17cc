"""Sign-in through a provider with PKCE, with a browser and the unmodified client."""

import re
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from local.supabase.auth.oauth import FLOW_S, SITE_URL
from tests.http.test_gateway_sessions import EMAIL, USER, Clocked, code_of

BACK = "http://127.0.0.1:4999/auth/callback?next=%2Fapps"


@pytest.fixture
def clocked(project):
    return Clocked(project)


@pytest.fixture
def gateway(clocked):
    with clocked.open() as gateway:
        yield gateway


class Browser:
    """Follows redirects within the gateway and sends no API key."""

    def __init__(self, clocked, gateway):
        self.http, self.gateway = clocked.project.http, gateway

    def go(self, url):
        """Follow redirects. Returns the last page, or the outside address to which it redirects."""
        for _ in range(5):
            answer = self.http.get(url, follow_redirects=False)
            if not answer.is_redirect:
                return answer
            url = str(answer.url.join(answer.headers["location"]))
            if not url.startswith(self.gateway.url):
                return url
        raise AssertionError(f"endless redirects: {url}")

    def submit(self, page, button):
        """Press a button of the provider's page. Sends the form's hidden fields and the button's name."""
        [form] = [form for form in re.findall(r"<form.*?</form>", page.text, re.DOTALL) if button in form]
        fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
        if f'<button name="code" value="{button}">' in form:
            fields["code"] = button
        return self.go(str(page.url.copy_with(query=None).join("callback").copy_merge_params(fields)))


@pytest.fixture
def browser(clocked, gateway):
    return Browser(clocked, gateway)


def start(auth, redirect_to=BACK):
    return auth.sign_in_with_oauth({"provider": "github", "options": {"redirect_to": redirect_to}}).url


def query_of(url):
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}


def test_a_user_signs_in_through_the_provider(clocked, gateway, browser):
    """The provider sends the browser back with a code. Code and verifier are exchanged for a session."""
    auth = clocked.client(gateway)
    page = browser.go(start(auth))
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Local sign-in provider" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    back = browser.submit(page, EMAIL)
    assert back.startswith("http://127.0.0.1:4999/auth/callback?")
    query = query_of(back)
    assert query["next"] == "/apps", "the parameters of the page are kept"
    session = auth.exchange_code_for_session({"auth_code": query["code"]}).session
    assert session.user.id == USER
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert claims["sub"] == USER
    assert auth.get_user().user.email == EMAIL
    assert auth.refresh_session().session.access_token


def get_code(clocked, gateway, browser):
    auth = clocked.client(gateway)
    return auth, query_of(browser.submit(browser.go(start(auth)), EMAIL))["code"]


def test_a_code_works_once(clocked, gateway, browser):
    auth, code = get_code(clocked, gateway, browser)
    verifier = auth._storage.get_item(f"{auth._storage_key}-code-verifier")
    assert auth.exchange_code_for_session({"auth_code": code, "code_verifier": verifier}).session
    again = code_of(lambda: auth.exchange_code_for_session({"auth_code": code, "code_verifier": verifier}))
    assert again == "flow_state_not_found"
    assert clocked.count("sessions") == 1


def test_a_code_needs_its_verifier(clocked, gateway, browser):
    """A code found in a log or a history is useless. The browser that began the sign-in can still use it."""
    auth, code = get_code(clocked, gateway, browser)
    thief = clocked.client(gateway)
    stolen = {"auth_code": code, "code_verifier": "v" * 60}
    assert code_of(lambda: thief.exchange_code_for_session(stolen)) == "bad_code_verifier"
    assert code_of(lambda: thief.exchange_code_for_session({"auth_code": code})) == "validation_failed"
    assert auth.exchange_code_for_session({"auth_code": code}).session


def test_a_code_expires_after_five_minutes(clocked, gateway, browser):
    auth, code = get_code(clocked, gateway, browser)
    clocked.seconds += FLOW_S + 1
    assert code_of(lambda: auth.exchange_code_for_session({"auth_code": code})) == "flow_state_expired"


def test_a_cancelled_sign_in_returns_with_the_reason(clocked, gateway, browser):
    back = browser.submit(browser.go(start(clocked.client(gateway))), "Cancel")
    query = query_of(back)
    assert (query["error"], query["error_description"]) == ("access_denied", "The user denied access")
    assert "code" not in query
    assert "error=access_denied" in urlsplit(back).fragment


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("update auth.users set banned_until = now() + interval '1 hour'", "user_banned"),
        ("update auth.users set deleted_at = now()", "signup_disabled"),
    ],
)
def test_a_refused_user_returns_with_the_reason(clocked, gateway, browser, change, code):
    page = browser.go(start(clocked.client(gateway)))
    clocked.project.sql(change)
    query = query_of(browser.submit(page, EMAIL))
    assert (query["error"], query["error_code"]) == ("access_denied", code)


@pytest.mark.parametrize("state", ["", "a.b.c", "made-up"])
def test_a_forged_state_redirects_to_the_site(browser, gateway, state):
    back = browser.go(f"{gateway.url}/auth/v1/callback?code={EMAIL}&state={state}")
    assert back.startswith(SITE_URL)
    assert query_of(back)["error_code"] == "bad_oauth_state"


def test_a_state_expires_and_a_users_token_is_not_a_state(clocked, gateway, browser):
    page = browser.go(start(clocked.client(gateway)))
    clocked.seconds += FLOW_S + 1
    assert query_of(browser.submit(page, EMAIL))["error_code"] == "bad_oauth_state"
    token = clocked.sign_in(gateway).access_token
    back = browser.go(f"{gateway.url}/auth/v1/callback?code={EMAIL}&state={token}")
    assert query_of(back)["error_code"] == "bad_oauth_state"


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        "https://evil.example/",
        "//evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1.evil.example/",
        "javascript:alert(1)",
        "http://[",
        "/apps",
    ],
)
def test_a_code_is_never_sent_to_another_site(clocked, gateway, browser, wanted):
    """Another address is replaced by the site's, as with a hosted project's allow-list."""
    auth = clocked.client(gateway)
    url = start(auth, wanted) if wanted else auth.sign_in_with_oauth({"provider": "google"}).url
    assert browser.submit(browser.go(url), EMAIL).startswith(f"{SITE_URL}?code=")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("provider=nobody&code_challenge=x", 400),
        ("code_challenge=x", 400),
        ("provider=github", 501),
        ("provider=github&code_challenge=" + "c" * 43, 501),
        ("provider=github&code_challenge_method=plain&code_challenge=" + "c" * 43, 501),
        ("provider=github&code_challenge_method=s256", 400),
        ("provider=github&code_challenge_method=s512&code_challenge=" + "c" * 43, 501),
        ("provider=github&code_challenge_method=s256&code_challenge=" + "c" * 42, 400),
        ("provider=github&code_challenge_method=s256&code_challenge=" + "%3C" * 43, 400),
    ],
)
def test_an_invalid_start_of_a_sign_in_is_refused(browser, gateway, query, status):
    assert browser.go(f"{gateway.url}/auth/v1/authorize?{query}").status_code == status


def test_the_providers_page_escapes_e_mails(clocked, gateway, browser):
    """An e-mail may hold HTML."""
    evil = """"><img src=x onerror=alert(1)>'@example.test"""
    clocked.project.sql(f"update auth.users set email = '{evil.replace(chr(39), chr(39) * 2)}'")
    page = browser.go(start(clocked.client(gateway)))
    assert "<img" not in page.text
    assert "&lt;img" in page.text
