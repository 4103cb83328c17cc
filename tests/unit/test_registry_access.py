"""How a registry is opened: challenges, tokens, credentials and redirects, and that no credential reaches another host."""

import base64

import httpx
import pytest

from local.http_server import Response
from shared.adapters.registry import Registry, make_registry
from tests.support.registry import TOKEN, LoopbackRegistry

CHALLENGE = 'Bearer realm="{url}/token",service="registry.example.test",scope="repository:team/app:pull"'
NAME = "team/app:v2"


@pytest.fixture
def registry():
    with LoopbackRegistry() as registry:
        yield registry


@pytest.fixture
def elsewhere():
    """Another host, as far as credentials are concerned: another port."""
    with LoopbackRegistry() as registry:
        yield registry


def look_up(registry, name=NAME, **settings):
    return Registry("all", **settings).look_up(f"{registry.host}/{name}")


@pytest.mark.parametrize(
    "challenge", [CHALLENGE, f'Basic realm="x", {CHALLENGE}', CHALLENGE.replace("Bearer", "bearer")]
)
def test_a_challenge_is_answered_with_an_anonymous_token(registry, challenge):
    digest = registry.push(NAME)
    registry.challenge = challenge
    assert look_up(registry).digest == digest
    [asked] = [each for each in registry.requests if each.path == "/token"]
    assert dict(asked.query) == {"service": "registry.example.test", "scope": "repository:team/app:pull"}
    assert "authorization" not in asked.headers


def test_a_challenge_without_a_scope_asks_for_a_pull(registry):
    digest = registry.push(NAME)
    registry.challenge = 'Bearer realm="{url}/token"'
    assert look_up(registry).digest == digest
    assert [dict(each.query) for each in registry.requests if each.path == "/token"] == [
        {"scope": "repository:team/app:pull"}
    ]


@pytest.mark.parametrize(
    ("token_answer", "said"),
    [
        (Response(200, b'{"token": "wrong"}'), "401"),
        (Response(401), "token service answered 401"),
        (Response(200, b"{}"), "gave no token"),
        (Response(200, b"[" * 50_000), "gave no token"),
        (Response(200, b'{"token": "two\\r\\nlines"}'), "gave no token"),
        (Response(200, b" " * 70_000), "larger than"),
    ],
)
def test_a_token_that_does_not_open_the_registry_leaves_it_unread(registry, token_answer, said):
    registry.push(NAME)
    registry.challenge, registry.token_answer = CHALLENGE, token_answer
    found = look_up(registry)
    assert found.outcome == "not_readable"
    assert said in found.said
    assert TOKEN not in found.said


def test_a_configured_credential_opens_its_own_registry(registry):
    digest = registry.push(NAME)
    registry.challenge, registry.accepts = "Basic realm=x", f"Basic {base64.b64encode(b'x:fly-token').decode()}"
    assert look_up(registry).outcome == "not_readable"
    assert look_up(registry, credentials={registry.host: ("x", "fly-token")}).digest == digest


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_registry_that_echoes_what_it_was_sent_shows_nothing(registry, scheme):
    """Neither a credential nor a character that a terminal obeys reaches a message."""
    registry.challenge = CHALLENGE if scheme == "Bearer" else "Basic realm=x"
    registry.accepts = ""
    basic = base64.b64encode(b"x:a-password").decode()
    registry.refusal_code = f"\x1b[2J a-password {basic} {TOKEN}"
    found = look_up(registry, credentials={registry.host: ("x", "a-password")})
    assert found.outcome == "not_readable"
    sent = registry.list_carried()[-1][1].partition(" ")[2]
    for text in (sent, "a-password", "\x1b"):
        assert text not in found.said
    assert found.said.startswith("it answered 401 ?[2J [redacted]")


def test_a_credential_is_not_sent_before_it_is_asked_for(registry):
    registry.push(NAME)
    look_up(registry, credentials={registry.host: ("x", "fly-token")})
    assert registry.list_carried() == []


def test_a_redirect_is_followed_without_the_credential(registry, elsewhere):
    """Neither the token nor the password reaches another host, and the digest is proved by the content from there."""
    digest = registry.push(NAME)
    elsewhere.blobs, elsewhere.manifests = registry.blobs, registry.manifests
    registry.challenge = CHALLENGE
    registry.redirect_manifests = registry.redirect_blobs = elsewhere.url
    assert look_up(registry, credentials={registry.host: ("x", "fly-token")}).digest == digest
    assert len(elsewhere.requests) == 2
    assert elsewhere.list_carried() == []
    assert len(registry.list_carried()) == 3


def test_the_credential_is_not_sent_to_a_token_service_elsewhere(registry, elsewhere):
    digest = registry.push(NAME)
    registry.challenge = CHALLENGE.replace("{url}", elsewhere.url)
    assert look_up(registry, credentials={registry.host: ("x", "fly-token")}).digest == digest
    assert [each.path for each in elsewhere.requests] == ["/token"]
    assert elsewhere.list_carried() == []


def test_the_credential_of_one_registry_is_not_sent_to_another(registry, elsewhere):
    elsewhere.push(NAME)
    elsewhere.challenge = "Basic realm=x"
    assert look_up(elsewhere, credentials={registry.host: ("x", "fly-token")}).outcome == "not_readable"
    assert elsewhere.list_carried() == []


def test_the_fly_token_opens_only_the_registry_of_fly():
    """As flyctl uses it: user x, and the token without its scheme."""
    seen = []

    def answer(request):
        seen.append((request.url.scheme, request.url.host, request.headers.get("authorization")))
        return httpx.Response(401, headers={"www-authenticate": "Basic realm=x"}, stream=httpx.ByteStream(b""))

    registry = make_registry("all", "FlyV1 fm2_canary", httpx.MockTransport(answer))
    for host in ("registry.fly.io", "registry.example.test", "registry.fly.io.example.test", "registry.fly.io:5000"):
        assert registry.look_up(f"{host}/app:v2").outcome == "not_readable"
    basic = f"Basic {base64.b64encode(b'x:fm2_canary').decode()}"
    assert [each for each in seen if each[2]] == [("https", "registry.fly.io", basic)]
    assert {scheme for scheme, _, _ in seen} == {"https"}
    assert "canary" not in repr(registry)


@pytest.mark.parametrize(
    "location",
    [
        "http://blobs.example.test/x",
        "http://127.0.0.1:1/x",
        "https://127.0.0.1:1/x",
        "http://[::1]/x",
        "file:///x",
        "https://user:word@blobs.example.test/x",
        "https://:99999",
    ],
)
def test_a_registry_elsewhere_leads_neither_to_this_machine_nor_to_plain_http(location):
    seen = []

    def answer(request):
        seen.append(str(request.url.host))
        return httpx.Response(307, headers={"location": location}, stream=httpx.ByteStream(b""))

    found = make_registry("all", None, httpx.MockTransport(answer)).look_up("registry.example.test/app:v2")
    assert found.outcome == "not_readable"
    assert seen == ["registry.example.test"]


def test_a_registry_on_this_machine_leads_nowhere_else(registry):
    registry.push(NAME)
    registry.redirect_manifests = "https://blobs.example.test"
    found = look_up(registry)
    assert (found.outcome, found.said) == ("not_readable", "a redirect leaves this machine")


def test_redirects_in_a_circle_end(registry):
    registry.redirect_manifests = registry.url
    found = look_up(registry)
    assert (found.outcome, found.said) == ("not_readable", "more than 5 redirects")
    assert len(registry.requests) == 6
