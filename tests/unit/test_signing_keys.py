"""What the project says about the key that signs the tokens of machines, and what doctor makes of it."""

import json

import httpx
import pytest
from pydantic import SecretStr

from local.supabase.keys import Keys
from ops.setup.secrets import make_signing_key
from shared.adapters.signing_keys import SigningKeys, read_signing_keys
from shared.doctor.signing_key import check_signing_key
from shared.doctor.surroundings import Surroundings
from shared.domain.errors import TransientError

ISSUER = "https://x.supabase.co/auth/v1"
OURS = make_signing_key()
KID = json.loads(OURS)["kid"]


def read(answer, key=OURS):
    def respond(request):
        assert str(request.url) == f"{ISSUER}/.well-known/jwks.json"
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    return read_signing_keys(ISSUER, SecretStr(key), transport=httpx.MockTransport(respond))


def public(jwk, **changes):
    return {name: value for name, value in json.loads(jwk).items() if name != "d"} | changes


def test_our_key_is_published_among_others():
    other = make_signing_key()
    keys = read({"keys": [public(other), public(OURS)]})
    assert keys == SigningKeys(KID, (json.loads(other)["kid"], KID))
    assert keys.is_published


def test_a_pem_is_known_by_its_thumbprint():
    keys = Keys.generate()
    assert read(keys.jwks(), keys.signing_key_pem) == SigningKeys(keys.kid, (keys.kid,))


@pytest.mark.parametrize(
    "listed",
    [
        [],  # a project that signs with a shared secret
        [public(make_signing_key())],
        [public(make_signing_key(), kid=KID)],  # another key under our id
        [public(OURS, kid=None), public(OURS, kid=""), "text", None, {"kid": 7}],
    ],
)
def test_a_key_that_the_project_does_not_publish(listed):
    assert not read({"keys": listed}).is_published


@pytest.mark.parametrize(
    "answer", [httpx.Response(500), httpx.Response(200, text="<html>"), [], {"keys": None}, {"message": "no Route"}]
)
def test_an_answer_that_is_no_list_of_keys_says_nothing(answer):
    with pytest.raises(TransientError):
        read(answer)


def check(published, recorded=None, key=OURS):
    here = Surroundings("https://x.supabase.co/", "sb_secret_x", user_token_key=key)

    def ask(issuer, secret):
        assert (issuer, secret.get_secret_value()) == (ISSUER, OURS)
        if published is None:
            raise TransientError("no answer")
        return SigningKeys(KID, published)

    return check_signing_key(here, recorded, ask)


@pytest.mark.parametrize(
    ("published", "recorded", "state", "says"),
    [
        ((KID, "b"), None, "ok", "accepts"),
        ((KID, "b"), {"signing": KID}, "ok", "accepts"),
        (("b",), {"signing": KID}, "wrong", "this shell signs with the key"),
        (("b",), None, "wrong", "does not publish"),
        ((KID,), {"signing": "b"}, "wrong", "the functions sign with the key b, which the project does not publish"),
        ((KID, "b"), {"signing": "b"}, "wrong", "hangar deploy"),
        (None, None, "warning", "not checked: no answer"),
    ],
)
def test_doctor_names_what_the_project_refuses(published, recorded, state, says):
    found = check(published, recorded)
    assert (found.state, found.name) == (state, "signing_key")
    assert says in f"{found.found} {found.remedy}"


def test_doctor_does_not_guess_without_a_key():
    assert check((KID,), key=None).found == "not checked: HANGAR_USER_TOKEN_KEY is not set here"
