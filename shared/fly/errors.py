"""Classifies Fly's failures: one table from a response to the class of `shared.domain.errors`.

Fly uses 400, 403, 409, 412 and 422 each for several unrelated things, so the table is asked in this order: status code,
then the body's `status`, then the gRPC-like prefix of `error`, then its text. Sources: Fly's OpenAPI description and
docs, fly-go `flaps_error.go` and its tests, flyctl `leasable_machine.go`; texts are quoted as Fly sends them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from shared.domain import errors
from shared.fly import refusals
from shared.fly.messages import GONE, GRPC_PREFIX, MACHINE_ID, Request, Response
from shared.observability.redaction import cut_excerpt, hide_secrets

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

ANY = frozenset(range(300, 600))
CLIENT_ERRORS = frozenset(range(400, 500))
# A refusal that gives a reason in words; 404, 408, 410 and 429 have a meaning of their own, whatever their text.
REFUSING = CLIENT_ERRORS - {404, 408, 410, 429}


@dataclass(frozen=True, slots=True)
class Rule:
    """`kind` and `code` for responses that match every given part; `text` and `words` are searched case-insensitively.

    `words` are searched in a text without our own names: an app may be called "billing-app".
    """

    statuses: frozenset[int]
    kind: type[errors.HangarError]
    code: str
    body_status: str = ""
    prefix: str = ""
    text: str = ""
    words: re.Pattern[str] | None = None
    org_wide: bool | None = None
    create_app: bool | None = None
    create_machine: bool | None = None
    stray: bool = False
    advice: str = ""


ELSEWHERE = "Hangar tries the next region of the list, and this one again later; a list such as 'lhr,eu' helps at once"
WAIT_FOR_HOST = "Hangar keeps the machine and tries again later"
PAY = "Open the organisation's billing page at Fly: pay what is open, or add a payment method"
VERIFY = "Open the organisation at Fly and do what it asks for, or write to Fly's support"
RAISE_QUOTA = "Ask Fly to raise the organisation's limit, or remove what is not needed"
FIX_TOKEN = "Set FLY_API_TOKEN to a valid organisation token of FLY_ORG_SLUG (fly tokens create org)"  # noqa: S105 advice, not a token
FIX_IMAGE = "Check that the image exists and that Fly may pull it: see the image of the plan and of hangar.settings"
FIX_SIZE = "Change the plan's size to one Fly offers (shared: 256 to 2048 MB for each CPU, in steps of 256)"
FIX_CONFIG = (
    "Make the environment smaller: `hangar user env`, the plan's env, HANGAR_MACHINE_ENV; Fly's text names the limit"
)
FIX_ORG = "Check FLY_ORG_SLUG"


def _on(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


RULES: tuple[Rule, ...] = (
    # The body's own status word.
    Rule(ANY, errors.Capacity, "region_full", body_status="insufficient_capacity", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "volume", body_status="volume_placement_capacity", advice=ELSEWHERE),
    Rule(CLIENT_ERRORS, errors.NameTaken, "name_taken", body_status="name_taken"),
    # No room, recognised by its text: older servers send no status word, and hosts never do. A new machine may find room
    # elsewhere; an existing one has to wait for its host.
    Rule(ANY, errors.Capacity, "region_full", text="could not reserve resource", create_machine=True, advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "host", text="could not reserve resource for machine", advice=WAIT_FOR_HOST),
    Rule(ANY, errors.Capacity, "host", text="insufficient resources to create", advice=WAIT_FOR_HOST),
    Rule(ANY, errors.Capacity, "host", text="deploys to this host are temporarily disabled", advice=WAIT_FOR_HOST),
    Rule(ANY, errors.Capacity, "region_full", text="could not find a candidate host", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "region_full", text="no capacity", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "region_full", text="out of capacity", advice=ELSEWHERE),
    # What exists already: its name may be any word, so this comes before the words.
    Rule(_on(400, 409, 422), errors.Conflict, "exists", prefix="already_exists", create_app=False),
    Rule(_on(400, 409, 422), errors.Conflict, "exists", text="unique machine name violation"),
    # What is wrong with the request itself: its text may name a limit or a policy too.
    Rule(REFUSING, errors.Refused, "size", words=refusals.SIZE, advice=FIX_SIZE),
    Rule(REFUSING, errors.TransientError, "rate_limited", words=refusals.RATE),
    Rule(REFUSING, errors.Refused, "image", words=refusals.PULL, advice=FIX_IMAGE),
    Rule(REFUSING, errors.Refused, "refused", words=refusals.CONFIG, advice=FIX_CONFIG),
    # Why the organisation is refused.
    Rule(_on(402), errors.Refused, "billing", advice=PAY),
    Rule(REFUSING, errors.Refused, "policy", words=refusals.POLICY, advice=VERIFY),
    Rule(REFUSING, errors.Capacity, "quota", words=refusals.REGION_QUOTA, advice=RAISE_QUOTA),
    Rule(REFUSING, errors.Refused, "quota", words=refusals.QUOTA, advice=RAISE_QUOTA),
    Rule(REFUSING, errors.Refused, "billing", words=refusals.BILLING, advice=PAY),
    # Who we are.
    Rule(_on(401), errors.Refused, "token", advice=FIX_TOKEN),
    Rule(_on(403), errors.Refused, "image", words=refusals.IMAGE, advice=FIX_IMAGE),
    Rule(_on(403), errors.Refused, "token", words=refusals.TOKEN, advice=FIX_TOKEN),
    Rule(_on(403), errors.Refused, "token", words=refusals.NOT_AUTHORIZED, org_wide=True, advice=FIX_TOKEN),
    Rule(_on(403), errors.NotOwned, "not_owned", words=refusals.NOT_OWNED, org_wide=False),
    # What exists.
    Rule(GONE, errors.TransientError, "not_fly", stray=True, advice="This is not Fly's own answer: check FLY_API_URL"),
    Rule(_on(404), errors.Refused, "org", org_wide=True, advice=FIX_ORG),
    Rule(GONE, errors.NotFound, "gone"),
    Rule(_on(409), errors.NameTaken, "name_taken", create_app=True),
    Rule(_on(400, 409, 422), errors.NameTaken, "name_taken", text="name has already been taken", create_app=True),
    Rule(_on(400, 409, 422), errors.NameTaken, "name_taken", text="uniqueness constraint", create_app=True),
    # Not now.
    Rule(_on(429), errors.TransientError, "rate_limited"),
    Rule(_on(409, 412), errors.TransientError, "leased", text="lease currently held"),
    Rule(_on(409, 412), errors.TransientError, "leased", text="concurrent update"),
    Rule(_on(409, 412), errors.Conflict, "started", text="still attempting to start"),
    Rule(_on(409), errors.Conflict, "conflict"),
    Rule(_on(412), errors.Conflict, "started", text="from current state: 'start"),  # started, starting
    Rule(_on(412), errors.NotFound, "gone", text="from current state: 'destroy"),  # destroyed, destroying
    Rule(_on(412), errors.TransientError, "settling"),
    Rule(_on(408), errors.OutcomeUnknown, "outcome_unknown"),
    Rule(_on(501), errors.Refused, "unsupported", advice="Check FLY_API_URL"),
    Rule(frozenset(range(500, 600)), errors.OutcomeUnknown, "outcome_unknown"),
    Rule(CLIENT_ERRORS, errors.OutcomeUnknown, "outcome_unknown", prefix="deadline_exceeded"),
    Rule(CLIENT_ERRORS, errors.OutcomeUnknown, "outcome_unknown", prefix="unavailable"),
    # What an operator must change.
    Rule(frozenset(range(300, 400)), errors.Refused, "unsupported", advice="Check FLY_API_URL: it redirects"),
    Rule(
        CLIENT_ERRORS, errors.Refused, "name", text="validation failed: name", advice="Check app_prefix in the settings"
    ),
    Rule(CLIENT_ERRORS, errors.Refused, "image", words=refusals.IMAGE, advice=FIX_IMAGE),
)
_OTHERWISE = Rule(ANY, errors.Refused, "refused", advice="Fly does not accept this request; its text says why")


def classify_answer(call: Request, answer: Response, hidden: tuple[str, ...] = ()) -> errors.HangarError:
    """The error for a response with a status outside 2xx. A read is never `OutcomeUnknown`, because it has no effect."""
    said = refusals.blank_names(answer.error, list_names(call))
    rule = next((each for each in RULES if _matches(each, call, answer, said)), _OTHERWISE)
    excerpt = cut_excerpt(hide_secrets(answer.error, (*hidden, *call.secrets)))
    message = f"{call.what}: Fly answered {answer.status}" + (f" ({excerpt})" if excerpt else " with an empty body")
    common: dict[str, Any] = {
        "code": rule.code,
        "advice": rule.advice or None,
        "status": answer.status,
        "fly_request_id": answer.request_id,
    }
    if issubclass(rule.kind, errors.Conflict):
        named = MACHINE_ID.search(answer.error)
        return rule.kind(message, machine_id=named[1] if named else None, **common)
    if issubclass(rule.kind, errors.TransientError):
        return _make_transient(call, rule.kind, message, retry_after_s=answer.retry_after_s, **common)
    return rule.kind(message, **common)


def translate_failure(
    call: Request, failure: httpx.HTTPError | httpx.InvalidURL, hidden: tuple[str, ...] = ()
) -> errors.HangarError:
    """The error for a request without a response: `TransientError` if never sent, `OutcomeUnknown` if it may have arrived."""
    name = type(failure).__name__
    if isinstance(failure, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        # Their texts quote headers and addresses, so they are not repeated.
        return errors.InternalError(f"{call.what}: the request could not be built ({name})")
    excerpt = cut_excerpt(hide_secrets(str(failure), (*hidden, *call.secrets)))
    message = f"{call.what}: no answer from Fly ({name}{': ' if excerpt else ''}{excerpt})"
    if isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError):
        return errors.TransientError(message, code="unreachable")
    return _make_transient(call, errors.OutcomeUnknown, message, retry_after_s=None, code="outcome_unknown")


def explain_unreadable(call: Request, answer: Response) -> errors.HangarError:
    """The error for a 2xx response that lacks what it must contain: a write has probably happened, so it is not repeated."""
    message = f"{call.what}: Fly answered {answer.status} with a body Hangar cannot read"
    error = _make_transient(
        call,
        errors.OutcomeUnknown,
        message,
        retry_after_s=None,
        code="outcome_unknown",
        status=answer.status,
        fly_request_id=answer.request_id,
    )
    error.may_repeat = False
    return error


def _make_transient(
    call: Request,
    kind: type[errors.TransientError],
    message: str,
    *,
    retry_after_s: float | None,
    code: str,
    **known: Any,
) -> errors.TransientError:
    if kind is errors.OutcomeUnknown and call.is_read:
        return errors.TransientError(message, retry_after_s=retry_after_s, code="unavailable", **known)
    return kind(message, retry_after_s=retry_after_s, code=code, **known)


def list_names(call: Request) -> Iterator[str]:
    """The names in a request that Fly may repeat in its answer: app, machine, organisation and image."""
    body = call.body or {}
    config = body.get("config")
    image = config.get("image") if isinstance(config, dict) else None
    for name in (
        call.app,
        body.get("name"),
        body.get("app_name"),
        body.get("org_slug"),
        call.params.get("org_slug"),
        image,
    ):
        if isinstance(name, str):
            yield name
    if isinstance(image, str):
        yield image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _matches(rule: Rule, call: Request, answer: Response, said: str) -> bool:
    if answer.status not in rule.statuses:
        return False
    if rule.body_status and rule.body_status != answer.body_status:
        return False
    if rule.prefix and not ((found := GRPC_PREFIX.match(answer.error)) and found[1] == rule.prefix):
        return False
    if rule.text and rule.text not in answer.error.lower():
        return False
    if rule.words and not rule.words.search(said):
        return False
    if rule.stray and answer.proves_absence:
        return False
    creates_app = call.path == "/v1/apps" and call.method == "POST"
    if rule.create_app is not None and rule.create_app != creates_app:
        return False
    if rule.create_machine is not None and rule.create_machine != call.creates_machine:
        return False
    return rule.org_wide is None or rule.org_wide == (call.app is None or creates_app)
