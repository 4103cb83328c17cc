"""Forged and foreign access tokens, sent to a deployed function: none is accepted, and none causes needless requests.

The rules themselves are tested in tests/unit/test_operators.py. Here two real servers take part: the project that publishes its
keys, and an attacker that publishes other keys.
"""

import base64
import hmac
import json
import time
import uuid

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.http_server import Response, Server
from local.supabase.keys import Keys
from shared.http.operator_auth import LOOK_AGAIN_S
from tests.http.running_function import JSON, PEM, USER, outside, running
from tests.http.test_auth_matrix import NOTHING_NEEDED

BODY = json.dumps({"user_id": USER}).encode()
PROJECT, ATTACKER = Keys("", "", PEM), Keys.generate()
OPERATOR = "44444444-4444-4444-8444-444444444444"
JWKS, ASK_OPERATOR = "GET /auth/v1/.well-known/jwks.json", "POST /rest/v1/rpc/fly_operator"


class Project:
    """A function, its Supabase project, and calls with a bearer token."""

    def __init__(self, function, world, issuer):
        self.function, self.world, self.issuer = function, world, issuer

    def claims(self, **changes):
        now = int(time.time())
        whole = {
            "iss": self.issuer,
            "aud": "authenticated",
            "role": "authenticated",
            "sub": OPERATOR,
            "iat": now,
            "exp": now + 3600,
            "session_id": str(uuid.uuid4()),
            "is_anonymous": False,
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def sign(self, keys=PROJECT, *, headers=None, algorithm="ES256", key=None, **changes):
        named = {"kid": PROJECT.kid, **(headers or {})}
        return jwt.encode(self.claims(**changes), key or keys.signing_key_pem, algorithm=algorithm, headers=named)

    def ask(self, token):
        self.world.reached.clear()
        return self.function.ask(BODY, JSON | {"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with (
        outside() as (world, settings),
        running("deprovision", settings, tmp_path_factory.mktemp("forgeries")) as function,
    ):
        world.answers |= {
            "fly_claim": NOTHING_NEEDED,
            "fly_end_removal_hold": {"ended": False},
            "jwks.json": PROJECT.jwks(),
        }
        world.answers["fly_operator"] = {"operator": True, "email": "operator@example.test"}
        yield Project(function, world, f"{settings['SUPABASE_URL']}/auth/v1")


@pytest.fixture(scope="module")
def attacker():
    """A server that publishes the attacker's keys under the project's own key id, and records the requests to it."""
    requested = []

    def answer(request):
        requested.append(request.path)
        document = ATTACKER.jwks()
        document["keys"][0]["kid"] = PROJECT.kid
        return Response(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    with Server(answer) as server:
        yield server.url, requested


def encode(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def tamper(project):
    """A token of a user of the project, with the operator's id inserted."""
    head, _, signature = project.sign(sub=USER).split(".")
    return f"{head}.{encode(project.claims())}.{signature}"


def sign_with_published_key(project):
    """A token signed with the public key as a shared secret. Built by hand, because libraries refuse to sign like this."""
    public = PROJECT.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encode({'alg': 'HS256', 'kid': PROJECT.kid})}.{encode(project.claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).rstrip(b"=").decode()
    return f"{signed}.{signature}"


FORGED = {
    "unsigned": lambda p: f"{encode({'alg': 'none', 'kid': PROJECT.kid})}.{encode(p.claims())}.",
    "unsigned in another case": lambda p: f"{encode({'alg': 'nOnE', 'kid': PROJECT.kid})}.{encode(p.claims())}.AAAA",
    "tampered": tamper,
    "signed by another under our key id": lambda p: p.sign(ATTACKER),
    "HS256 with the key that the project publishes": sign_with_published_key,
    "the key brought along": lambda p: p.sign(ATTACKER, headers={"jwk": ATTACKER.jwks()["keys"][0]}),
    "a chain brought along": lambda p: p.sign(ATTACKER, headers={"x5c": ["AAAA"]}),
    "an extension we do not know": lambda p: p.sign(headers={"crit": ["b64"], "b64": False}),
    "anon": lambda p: p.sign(role="anon"),
    "service_role": lambda p: p.sign(role="service_role"),
    "another audience": lambda p: p.sign(aud="other"),
    "another issuer": lambda p: p.sign(iss="https://other.example.test/auth/v1"),
    "over": lambda p: p.sign(exp=int(time.time()) - 60),
    "not yet": lambda p: p.sign(nbf=int(time.time()) + 600),
    "endless": lambda p: p.sign(exp=None),
    "no session": lambda p: p.sign(session_id=None),
    "an app's": lambda p: p.sign(app_id=str(uuid.uuid4())),
    "long and unsigned": lambda _: f"{encode({'alg': 'none', 'kid': PROJECT.kid})}.{'A' * 7000}.AAAA",
}


def test_an_operators_own_token_is_accepted(project):
    """A valid token is accepted, so the refusals below have another cause than a broken set-up."""
    assert project.ask(project.sign()).status == 200


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_401_and_reaches_nothing(project, forge):
    """The call does not reach the check whether its user is an operator."""
    assert project.ask(project.sign()).status == 200  # the keys have been fetched
    reply = project.ask(forge(project))
    assert reply.status == 401, reply.body
    assert project.world.reached == []


def test_a_huge_token_is_refused_by_the_server_itself(project):
    """The function never sees it."""
    assert project.ask(project.sign(filler="x" * 40_000)).status == 431
    assert project.world.reached == []


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_key_addresses_in_a_token_are_ignored(project, attacker, header):
    """The token names an address of its key. Only the keys of the project are used."""
    url, requested = attacker
    token = project.sign(ATTACKER, headers={header: f"{url}/jwks.json"})
    assert project.ask(token).status == 401
    assert requested == []


def test_a_removed_operator_is_out_at_the_next_call(project):
    """The same token is accepted, then refused with 403, then accepted again."""
    token = project.sign()
    assert project.ask(token).status == 200
    project.world.answers["fly_operator"] = {"operator": False, "email": "operator@example.test"}
    assert project.ask(token).status == 403
    assert project.world.reached == [ASK_OPERATOR]
    project.world.answers["fly_operator"] = {"operator": True, "email": "operator@example.test"}
    assert project.ask(token).status == 200


@pytest.mark.slow
def test_unknown_key_ids_do_not_cause_a_request_each(tmp_path):
    """Fifty of them cause one or two requests. Without the keys the response is 503: the token may be valid."""
    with outside() as (world, settings), running("deprovision", settings, tmp_path) as function:
        project = Project(function, world, f"{settings['SUPABASE_URL']}/auth/v1")
        world.answers |= {
            "fly_claim": NOTHING_NEEDED,
            "fly_end_removal_hold": {"ended": False},
            "fly_operator": {"operator": True, "email": None},
        }
        down = project.ask(project.sign())
        assert (down.status, int(down.headers["Retry-After"]) >= 1) == (503, True), "no keys, no verdict"
        assert ASK_OPERATOR not in world.reached
        world.answers["jwks.json"] = PROJECT.jwks()
        ends_at = time.monotonic() + 60
        while (
            project.ask(project.sign()).status == 503
        ):  # after a failure the keys are requested again only after a pause
            assert time.monotonic() < ends_at
            time.sleep(0.5)
        requests, began = 0, time.monotonic()
        for number in range(50):
            assert project.ask(project.sign(headers={"kid": f"made-up-{number}"})).status == 401
            requests += world.reached.count(JWKS)
        assert requests <= 1 + (time.monotonic() - began) / LOOK_AGAIN_S
