"""Authenticates callers: deny by default, one verifier for each kind of credential, compared in constant time.

A function declares the kinds of caller that it accepts. It receives a `Caller`, or one of two errors: `Unauthenticated` (no
valid credential; never says which part failed) or `Forbidden` (a valid credential of a kind that this function does not accept).
To add a kind of caller, add a `Verifier`. The one for operators is in `shared/http/operator_auth.py`.

Replays inside the time window are accepted on purpose: a nudge carries no state, so a second one only repeats the check.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import SecretStr

from shared.domain.errors import HangarError
from shared.settings.config import Config
from shared.settings.validators import webhook_key

# A `user` is signed in but is not an operator. No function accepts this kind.
Kind = Literal["webhook", "static", "operator", "user"]

WINDOW_S = 300
SIGNATURES_MAX = 16
# No full stop: it separates the signed parts, so an id with a full stop could be read as another id and time.
_WEBHOOK_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)
_UNIX_S = re.compile(r"[0-9]{1,12}", re.ASCII)


class Unauthenticated(Exception):  # noqa: N818  named for the response it becomes
    """No valid credential. Carries no reason, so that nothing can be learned from it."""


class Forbidden(Exception):  # noqa: N818  named for the response it becomes
    """The credential is valid, but this function does not accept this kind of caller."""


@dataclass(frozen=True)
class Caller:
    """An authenticated caller: its kind, and a name for the log (the id of a webhook delivery, the e-mail of an operator)."""

    kind: Kind
    name: str


class Verifier(Protocol):
    """Checks one kind of credential. `verify` returns None if it is missing, malformed or wrong.

    It raises HangarError (TransientError if it may pass) if the credential cannot be checked, for example because the
    database cannot be reached. `headers` have lower-case names.
    """

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None: ...


@dataclass(frozen=True)
class SignedWebhook:
    """Standard Webhooks (standardwebhooks.com, specification 1.0): HMAC-SHA256 over `id.timestamp.body`, base64, `v1,`.

    The header may hold several signatures, separated by spaces, while the sender rotates its secret. The time-stamp may
    differ by `WINDOW_S` seconds in either direction.
    """

    secret: SecretStr

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None:
        delivery = headers.get("webhook-id", "")
        sent_at = headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "").split()
        key = webhook_key(self.secret.get_secret_value())
        if key is None or not _WEBHOOK_ID.fullmatch(delivery) or not _UNIX_S.fullmatch(sent_at):
            return None
        if not abs(now_unix_s - int(sent_at)) <= WINDOW_S or len(signatures) > SIGNATURES_MAX:
            return None
        expected = sign_webhook(key, delivery, sent_at=sent_at, body=body).encode()
        # Compares every candidate, and as bytes, because compare_digest rejects text that is not ASCII.
        matches = [hmac.compare_digest(expected, given.encode("utf-8", "replace")) for given in signatures]
        return Caller("webhook", delivery) if any(matches) else None


@dataclass(frozen=True)
class StaticHeader:
    """The header `X-Hangar-Secret`, for callers that cannot sign: the Supabase dashboard's webhooks, Cloud Scheduler."""

    secret: SecretStr

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None:  # noqa: ARG002  the header alone is the credential
        given = headers.get("x-hangar-secret", "").encode("utf-8", "replace")
        # Digests have the same length, so that the comparison time does not reveal the length of the secret.
        same = hmac.compare_digest(
            hashlib.sha256(given).digest(), hashlib.sha256(self.secret.get_secret_value().encode()).digest()
        )
        return Caller("static", "static secret") if same else None


def sign_webhook(key: bytes, delivery: str, *, sent_at: str, body: bytes) -> str:
    """The `webhook-signature` of one delivery: `v1,` and the base64 of HMAC-SHA256 over `delivery.sent_at.body`."""
    signed = b".".join((delivery.encode(), sent_at.encode(), body))
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def build_verifiers(config: Config) -> tuple[Verifier, ...]:
    """The verifiers that these settings configure."""
    signed = SignedWebhook(config.webhook_secret)
    return (signed,) if config.static_secret is None else (signed, StaticHeader(config.static_secret))


def authenticate(
    verifiers: Sequence[Verifier], allowed: frozenset[Kind], headers: Mapping[str, str], body: bytes, now_unix_s: float
) -> Caller:
    """The caller of a request: the first with a valid credential of an allowed kind.

    Raises `Unauthenticated` without a valid credential (always, without verifiers), `Forbidden` if the only valid
    credentials are of other kinds, and HangarError if a credential could not be checked.
    """
    is_authenticated, unchecked = False, None
    for verifier in verifiers:
        try:
            caller = verifier.verify(headers, body, now_unix_s)
        except HangarError as error:
            unchecked = error
            continue
        if caller is not None and caller.kind in allowed:
            return caller
        is_authenticated = is_authenticated or caller is not None
    if unchecked is not None:
        raise unchecked
    raise Forbidden if is_authenticated else Unauthenticated
