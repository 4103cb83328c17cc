"""Who is calling: deny by default, one verifier for each kind of proof, compared in constant time on bytes.

A function declares the kinds it lets in and is handed a `Caller`, or one of two errors: `Unauthenticated` (no proof
that holds; never says which part failed) and `Forbidden` (proven, but not of a kind this function lets in).
A further kind of caller is one more `Verifier`; that of operators is in `shared/http/operator_auth.py`.

Replays inside the time window are let through on purpose: a nudge carries no state, so a second one only looks again.
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

# A `user` has signed in and is no operator: proven, and let in nowhere.
Kind = Literal["webhook", "static", "operator", "user"]

WINDOW_S = 300
SIGNATURES_MAX = 16
# No full stop: it separates the signed parts, so an id holding one could be read as another id and another time.
_WEBHOOK_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)
_UNIX_S = re.compile(r"[0-9]{1,12}", re.ASCII)


class Unauthenticated(Exception):  # noqa: N818  named for the answer it becomes
    """No proof that holds. Carries no reason: a stranger learns nothing from being refused."""


class Forbidden(Exception):  # noqa: N818  named for the answer it becomes
    """The proof holds, but this function does not let this kind of caller in."""


@dataclass(frozen=True)
class Caller:
    """Who proved what: the kind of proof, and a name for the log: a webhook delivery's id, an operator's e-mail."""

    kind: Kind
    name: str


class Verifier(Protocol):
    """One kind of proof. `verify` answers None for a missing, malformed or wrong one.

    It raises HangarError (Retry when it may pass) where the proof cannot be judged, for want of what it is judged by.
    `headers` have lower-case names.
    """

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None: ...


@dataclass(frozen=True)
class SignedWebhook:
    """Standard Webhooks (standardwebhooks.com, specification 1.0): HMAC-SHA256 over `id.timestamp.body`, base64, `v1,`.

    Several signatures, separated by spaces, are tried in turn, as when the sender rotates its secret. The time-stamp
    may be `WINDOW_S` seconds off in either direction.
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
        # Every candidate is compared, and as bytes: compare_digest refuses text that is not ASCII.
        matches = [hmac.compare_digest(expected, given.encode("utf-8", "replace")) for given in signatures]
        return Caller("webhook", delivery) if any(matches) else None


@dataclass(frozen=True)
class StaticHeader:
    """The header `X-Hangar-Secret`, for callers that cannot sign: the Supabase dashboard's webhooks, Cloud Scheduler."""

    secret: SecretStr

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None:  # noqa: ARG002  the header is the whole proof
        given = headers.get("x-hangar-secret", "").encode("utf-8", "replace")
        # Digests have one length, so that not even the secret's length shows in the time it takes.
        same = hmac.compare_digest(
            hashlib.sha256(given).digest(), hashlib.sha256(self.secret.get_secret_value().encode()).digest()
        )
        return Caller("static", "static secret") if same else None


def sign_webhook(key: bytes, delivery: str, *, sent_at: str, body: bytes) -> str:
    """The `webhook-signature` of one delivery: `v1,` and the base64 of HMAC-SHA256 over `delivery.sent_at.body`."""
    signed = b".".join((delivery.encode(), sent_at.encode(), body))
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def build_verifiers(config: Config) -> tuple[Verifier, ...]:
    """The proofs these settings make possible."""
    signed = SignedWebhook(config.webhook_secret)
    return (signed,) if config.static_secret is None else (signed, StaticHeader(config.static_secret))


def authenticate(
    verifiers: Sequence[Verifier], allowed: frozenset[Kind], headers: Mapping[str, str], body: bytes, now_unix_s: float
) -> Caller:
    """The caller behind a request: the first whose proof holds and whose kind is allowed.

    Raises `Unauthenticated` when no proof holds (always, with no verifiers), `Forbidden` when only others' do, and
    HangarError when the proof that might have held could not be judged.
    """
    is_proven, unjudged = False, None
    for verifier in verifiers:
        try:
            caller = verifier.verify(headers, body, now_unix_s)
        except HangarError as error:
            unjudged = error
            continue
        if caller is not None and caller.kind in allowed:
            return caller
        is_proven = is_proven or caller is not None
    if unjudged is not None:
        raise unjudged
    raise Forbidden if is_proven else Unauthenticated
