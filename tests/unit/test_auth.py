"""Authentication: deny by default, and treat every malformed credential as missing."""

import base64
from uuid import UUID

import pytest
from pydantic import SecretStr

from shared.http.webhook_auth import (
    Caller,
    Forbidden,
    SignedWebhook,
    StaticHeader,
    Unauthenticated,
    authenticate,
    build_verifiers,
    sign_webhook,
)
from shared.settings.config import Config
from shared.settings.validators import webhook_key

KEY = b"k" * 32
SECRET = SecretStr("whsec_" + base64.b64encode(KEY).decode())
SIGNED = SignedWebhook(SECRET)
STATIC = StaticHeader(SecretStr("a-static-secret-of-32-characters"))
NOW = 1_700_000_000
ARABIC = {ord(str(digit)): 0x660 + digit for digit in range(10)}
BODY = b'{"user_id": "11111111-1111-4111-8111-111111111111"}'
BOTH = frozenset({"webhook", "static"})


def signed_headers(body=BODY, at=NOW, key=KEY, delivery="msg_1", **changes):
    signature = sign_webhook(key, delivery, sent_at=str(at), body=body)
    headers = {"webhook-id": delivery, "webhook-timestamp": str(at), "webhook-signature": signature, **changes}
    return {name: value for name, value in headers.items() if value is not None}


def test_the_published_vector_of_standard_webhooks_verifies():
    """Secret, id, time, body and signature as in the reference implementations of standardwebhooks.com."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    verifier = SignedWebhook(SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    caller = verifier.verify(headers, b'{"test": 2432232314}', 1614265330)
    assert caller == Caller("webhook", "msg_p5jXN8AQM9LWM0D4loKWxJek")


@pytest.mark.parametrize("offset", [-300, -299, 0, 299, 300])
def test_a_signature_is_valid_inside_the_window(offset):
    assert SIGNED.verify(signed_headers(at=NOW + offset), BODY, NOW)


@pytest.mark.parametrize("offset", [-86_400, -301, 301, 86_400])
def test_an_old_or_future_signature_is_invalid(offset):
    assert SIGNED.verify(signed_headers(at=NOW + offset), BODY, NOW) is None


def test_one_valid_signature_among_several_is_enough():
    """A sender that rotates its secret signs with both."""
    good = signed_headers()["webhook-signature"]
    other = signed_headers(key=b"o" * 32)["webhook-signature"]
    for given in (f"{other} {good}", f"{good} {other}", f"v1a,AAAA nonsense {good}", f"  {good}  "):
        assert SIGNED.verify(signed_headers(**{"webhook-signature": given}), BODY, NOW)
    assert SIGNED.verify(signed_headers(**{"webhook-signature": f"{other} {other}"}), BODY, NOW) is None


GOOD_TAIL = signed_headers()["webhook-signature"].removeprefix("v1,")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-signature", None),
        ("webhook-signature", ""),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1,"),
        ("webhook-signature", GOOD_TAIL),
        ("webhook-signature", f"v1{GOOD_TAIL}"),
        ("webhook-signature", f"v2,{GOOD_TAIL}"),
        ("webhook-signature", f"V1,{GOOD_TAIL}"),
        ("webhook-signature", f"v1,{GOOD_TAIL[:-1]}"),
        ("webhook-signature", f"v1,{GOOD_TAIL}="),
        ("webhook-signature", "v1,not base64 at all!"),
        ("webhook-signature", "v1,ÿþ€"),
        ("webhook-signature", "\udcff"),
        ("webhook-signature", "v1,x " * 17 + f"v1,{GOOD_TAIL}"),
        ("webhook-id", None),
        ("webhook-id", ""),
        ("webhook-id", "msg_2"),
        ("webhook-id", "msg 1"),
        ("webhook-id", "x" * 257),
        ("webhook-id", "ÿ"),
        ("webhook-timestamp", None),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", str(NOW + 1)),
        ("webhook-timestamp", f"{NOW}.0"),
        ("webhook-timestamp", f" {NOW}"),
        ("webhook-timestamp", f"+{NOW}"),
        ("webhook-timestamp", "1_700_000_000"),
        ("webhook-timestamp", str(NOW).translate(ARABIC)),
        ("webhook-timestamp", "nan"),
        ("webhook-timestamp", "inf"),
        ("webhook-timestamp", "9" * 5000),
    ],
)
def test_a_malformed_header_is_invalid_and_not_an_error(name, value):
    assert SIGNED.verify(signed_headers(**{name: value}), BODY, NOW) is None


def test_an_id_with_a_full_stop_is_invalid_even_if_signed():
    """It could be read as another id and another time."""
    assert SIGNED.verify(signed_headers(delivery="msg.1"), BODY, NOW) is None


@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], b"", b"\xff\xfe"])
def test_a_changed_body_invalidates_the_signature(body):
    assert SIGNED.verify(signed_headers(), body, NOW) is None
    assert SIGNED.verify(signed_headers(body=body), body, NOW), "any bytes can be signed"


def test_a_clock_without_a_value_validates_nothing():
    assert SIGNED.verify(signed_headers(), BODY, float("nan")) is None


@pytest.mark.parametrize(
    "given", [None, "", "a-static-secret-of-32-character", "A-STATIC-SECRET-OF-32-CHARACTERS", "ÿ", "\udcff"]
)
def test_a_wrong_static_secret_is_invalid(given):
    headers = {} if given is None else {"x-hangar-secret": given}
    assert STATIC.verify(headers, BODY, NOW) is None


def test_the_static_secret_authenticates_its_kind():
    caller = STATIC.verify({"x-hangar-secret": "a-static-secret-of-32-characters"}, b"", NOW)
    assert caller
    assert caller.kind == "static"


def test_without_verifiers_no_caller_is_authenticated():
    with pytest.raises(Unauthenticated):
        authenticate((), BOTH, signed_headers(), BODY, NOW)


def test_a_kind_that_is_not_allowed_is_forbidden():
    with pytest.raises(Forbidden):
        authenticate((SIGNED,), frozenset(), signed_headers(), BODY, NOW)
    with pytest.raises(Forbidden):
        authenticate((SIGNED, STATIC), frozenset({"static"}), signed_headers(), BODY, NOW)


def test_one_allowed_credential_among_several_is_enough():
    headers = signed_headers() | {"x-hangar-secret": "a-static-secret-of-32-characters"}
    assert authenticate((SIGNED, STATIC), frozenset({"static"}), headers, BODY, NOW).kind == "static"
    assert authenticate((SIGNED, STATIC), BOTH, headers, BODY, NOW).kind == "webhook"
    headers["x-hangar-secret"] = "wrong"
    assert authenticate((SIGNED, STATIC), BOTH, headers, BODY, NOW).kind == "webhook"


def test_the_error_says_nothing_about_the_credential():
    with pytest.raises(Unauthenticated) as caught:
        authenticate((SIGNED,), BOTH, signed_headers(at=1), BODY, NOW)
    assert str(caught.value) == ""
    assert SECRET.get_secret_value() not in repr(SIGNED)


def test_without_a_configured_static_secret_its_header_is_invalid():
    config = Config(
        supabase_url="http://127.0.0.1:1",
        supabase_secret_key=SecretStr(""),
        supabase_publishable_key="sb_publishable_0000000000",
        fly_api_token=SecretStr(""),
        fly_org_slug="acme",
        installation_id=UUID(int=1),
        webhook_secret=SECRET,
        user_token_key=SecretStr(""),
    )
    with pytest.raises(Unauthenticated):
        authenticate(build_verifiers(config), BOTH, {"x-hangar-secret": ""}, b"", NOW)
    assert webhook_key(SECRET.get_secret_value()) == KEY
