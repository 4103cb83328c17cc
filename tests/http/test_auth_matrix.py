"""Every caller, function and method against real processes: responses match the table, and a refused call reaches nothing."""

import base64
import json
import time
import uuid
from datetime import UTC, datetime
from functools import cache

import pytest
from pydantic import SecretStr

from local.supabase.keys import Keys
from shared.adapters.user_tokens import mint_user_token
from tests.http.auth_matrix import CALLERS, METHODS, read_table
from tests.http.running_function import (
    FUNCTIONS,
    INSTALLATION,
    JSON,
    PEM,
    SETTINGS,
    STATIC,
    USER,
    outside,
    running,
    sign,
)

BODY = json.dumps({"user_id": USER}).encode()
NOTHING_NEEDED = {
    "outcome": "none",
    "row": None,
    "last": None,
    "entitled": False,
    "known": True,
    "closed_unknown": False,
    "settings": {"installation_id": INSTALLATION, "live": True, "fly_org_slug": "acme"},
    "now": "2026-11-22T12:00:00+00:00",
}
SECRET = STATIC["X-Hangar-Secret"]
ROWS, WAYS = read_table(CALLERS), read_table(METHODS)
LET_IN = ("200", "409")
# Requests that only identify the caller.
IDENTIFYING = {"GET /auth/v1/.well-known/jwks.json", "POST /rest/v1/rpc/fly_operator"}
PROJECT_KEYS = Keys("", "", PEM)
OPERATOR, SIGNED_IN = "44444444-4444-4444-8444-444444444444", "55555555-5555-4555-8555-555555555555"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def find_issuer():
    """The issuer of the project to which the function under test belongs."""
    return f"{PROJECT_ADDRESS.url}/auth/v1"


def session_token(user, keys=PROJECT_KEYS, **changes):
    """The access token of a signed-in user."""
    return keys.mint("authenticated", user, **{"iss": find_issuer(), "session_id": str(uuid.uuid4()), **changes})


def machine_token():
    """The token in the machine of a user who is an operator."""
    return mint_user_token(
        SecretStr(PEM),
        issuer=find_issuer(),
        user_id=uuid.UUID(OPERATOR),
        app_id=uuid.uuid4(),
        now=datetime.now(UTC),
    )


def many(count):
    """This many signatures; only the last one is right."""
    right = sign(BODY)
    wrong = "v1," + base64.b64encode(b"x" * 32).decode()
    return right | {"webhook-signature": " ".join([*[wrong] * (count - 1), right["webhook-signature"]])}


def signature_as(change):
    signed = sign(BODY)
    return signed | {"webhook-signature": change(signed["webhook-signature"])}


class ProjectAddress:
    """The address of the project for the function under test."""

    url = ""


PROJECT_ADDRESS = ProjectAddress()


@cache
def sign_once(two_minutes: int) -> dict[str, str]:
    """One signature for all functions and tests within two minutes. It is valid for five."""
    return sign(BODY)


GARBAGE = {"webhook-id": "¡", "webhook-timestamp": "-1", "webhook-signature": "v1,v1,,", "X-Hangar-Secret": "ÿþ"}
HEADERS = {
    "nobody": dict,
    "garbage in every header": lambda: {
        name: value.encode("latin-1") for name, value in (GARBAGE | {"Authorization": "Bearer ÿ"}).items()
    },
    "wrong static secret": lambda: {"X-Hangar-Secret": SECRET[:-1] + "0"},
    "right static secret with more behind it": lambda: {"X-Hangar-Secret": f"{SECRET}, more"},
    "right static secret in another header": lambda: {"X-Hangar-Secrets": SECRET, "Hangar-Secret": SECRET},
    "right static secret": lambda: STATIC,
    "right static secret and a wrong signature": lambda: STATIC | sign(BODY, key=b"o" * 32),
    "right signature": lambda: sign(BODY),
    "right signature a second time": lambda: sign_once(int(time.time()) // 120),
    "right signature and a wrong static secret": lambda: sign(BODY) | {"X-Hangar-Secret": "wrong"},
    "signature of five minutes ago": lambda: sign(BODY, at=int(time.time()) - 240),
    "signature of six minutes ago": lambda: sign(BODY, at=int(time.time()) - 360),
    "signature of six minutes ahead": lambda: sign(BODY, at=int(time.time()) + 360),
    "signature of another body": lambda: sign(BODY + b" "),
    "signature with another id": lambda: sign(BODY, webhook_id="msg_other"),
    "signature with another time": lambda: sign(BODY, webhook_timestamp=str(int(time.time()) - 1)),
    "signature without id": lambda: {name: text for name, text in sign(BODY).items() if name != "webhook-id"},
    "signature without time": lambda: {name: text for name, text in sign(BODY).items() if name != "webhook-timestamp"},
    "signature by another key": lambda: sign(BODY, key=b"o" * 32),
    "signature by the secret as it is written": lambda: sign(BODY, key=SETTINGS["HANGAR_WEBHOOK_SECRET"].encode()),
    "signature of version v1a": lambda: signature_as(lambda text: text.replace("v1,", "v1a,")),
    "signature without version": lambda: signature_as(lambda text: text.removeprefix("v1,")),
    "sixteen signatures, the last one right": lambda: many(16),
    "seventeen signatures, the last one right": lambda: many(17),
    "anon key as bearer": lambda: bearer(Keys("", "", PEM).mint("anon")),
    "publishable key as bearer": lambda: bearer(SETTINGS["SUPABASE_PUBLISHABLE_KEY"]),
    "secret key as bearer": lambda: bearer(SETTINGS["SUPABASE_SECRET_KEY"]),
    "webhook secret as bearer": lambda: bearer(SETTINGS["HANGAR_WEBHOOK_SECRET"]),
    "static secret as bearer": lambda: bearer(SECRET),
    "static secret as basic authorization": lambda: {
        "Authorization": "Basic " + base64.b64encode(f"{SECRET}:{SECRET}".encode()).decode()
    },
    "a machine's user token as bearer": lambda: bearer(machine_token()),
    "an operator's session as bearer": lambda: bearer(session_token(OPERATOR)),
    "an operator's session of another project": lambda: bearer(
        session_token(OPERATOR, iss="http://127.0.0.1:9/auth/v1")
    ),
    "an operator's session that is over": lambda: bearer(session_token(OPERATOR, exp=int(time.time()) - 60)),
    "an operator's session signed by another": lambda: bearer(session_token(OPERATOR, Keys.generate())),
    "an operator's session and a wrong signature": lambda: bearer(session_token(OPERATOR)) | sign(BODY, key=b"o" * 32),
    "a user's session as bearer": lambda: bearer(session_token(SIGNED_IN)),
    "a user's session and the right signature": lambda: bearer(session_token(SIGNED_IN)) | sign(BODY),
}


@pytest.fixture(scope="module", params=FUNCTIONS)
def deployed(request, tmp_path_factory):
    """The function's name, its process, and the database it would reach."""
    with (
        outside() as (world, settings),
        running(request.param, settings, tmp_path_factory.mktemp("matrix")) as function,
    ):
        PROJECT_ADDRESS.url = settings["SUPABASE_URL"]
        function.ask(BODY, JSON | HEADERS["right signature a second time"]())
        yield request.param, function, world


def test_every_row_of_the_table_has_a_caller():
    assert list(HEADERS) == list(ROWS)


def set_answers(world, caller):
    """Set the responses of the project and the database for this caller."""
    world.answers |= {
        "fly_claim": NOTHING_NEEDED,
        "fly_end_removal_hold": {"ended": False},
        "jwks.json": PROJECT_KEYS.jwks(),
    }
    world.answers["fly_operator"] = {"operator": ROWS[caller]["kind"] == "operator", "email": "user@example.test"}


@pytest.mark.parametrize("method", WAYS)
def test_every_caller_gets_the_answer_in_the_table(deployed, method):
    """One column of the table. A refused caller reaches nothing except the check of its identity."""
    name, function, world = deployed
    for caller, headers in HEADERS.items():
        expected = WAYS[method][name]
        world.reached.clear()
        set_answers(world, caller)
        reply = function.ask(BODY, JSON | headers(), method=method)
        assert str(reply.status) == (ROWS[caller][name] if expected == "caller" else expected), caller
        assert bool(set(world.reached) - IDENTIFYING) == (str(reply.status) in LET_IN), caller
        if reply.status >= 400 and method != "HEAD":
            assert reply.headers["Content-Type"] == "application/problem+json", caller
        if reply.status == 401:
            assert reply.json()["code"] == "proof", caller


def test_the_log_names_the_kind_of_caller_in_the_table(deployed):
    """The log names the kind of each accepted caller. For a refused caller it names none."""
    name, function, world = deployed
    for caller, row in ROWS.items():
        set_answers(world, caller)
        request_id = function.ask(BODY, JSON | HEADERS[caller]()).headers["X-Request-Id"]
        [labels] = [
            line["labels"] for line in function.lines() if line.get("labels", {}).get("request_id") == request_id
        ]
        assert labels.get("caller", "-") == (row["kind"] if row[name] in LET_IN else "-"), caller
