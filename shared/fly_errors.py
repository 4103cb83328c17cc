"""Reads Fly's failures: one table from an answer to the branch of `shared.errors` the caller reacts by.

Fly uses 400, 403, 409, 412 and 422 each for several unrelated things, so the table is asked in this order: status code,
then the body's `status`, then the gRPC-like prefix of `error`, then its text. Sources: Fly's OpenAPI description and
docs, fly-go `flaps_error.go` and its tests, flyctl `leasable_machine.go`; texts stand here as they come over the wire.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

from shared import errors
from shared.errors import cut_excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY = frozenset(range(300, 600))
SHORTEST_SECRET = 6
GONE = frozenset({404, 410})
CLIENT_ERRORS = frozenset(range(400, 500))
_PREFIX = re.compile(r"^([a-z_]+): ")  # of a gRPC status: not_found, already_exists, failed_precondition, aborted, …
_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)  # 01JD2N4V3X0PZ4K5-sin
_MACHINE_ID = re.compile(r"machine ID ([0-9A-Za-z]+) already exists")


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the client means it; `what` names it in messages, `secrets` must never be shown."""

    what: str
    method: str
    path: str
    app: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    accept: frozenset[int] = frozenset()
    read_timeout_s: float = 15.0
    is_repeatable: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_read(self) -> bool:
        return self.method == "GET"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, the parsed JSON (None when it was none) and the headers that mean something to us."""

    status: int
    data: Any = field(repr=False)
    text: str = field(repr=False)
    request_id: str | None
    retry_after_s: float | None = None

    @property
    def error(self) -> str:
        """Fly's `error` text, or the start of the body where it is not Fly's JSON."""
        if isinstance(self.data, dict):
            told = self.data.get("error") or self.data.get("message")
            if isinstance(told, str):
                return told
        return self.text

    @property
    def proves_absence(self) -> bool:
        """Whether this 404 or 410 comes from Fly itself, not from a wrong address or a proxy that knows no such path.

        "Gone" ends an app's record, so a page or Go's plain "404 page not found" must never pass for it.
        """
        if self.status not in GONE:
            return False
        return isinstance(self.data, dict) or (not self.text.strip() and self.request_id is not None)

    @property
    def body_status(self) -> str:
        told = self.data.get("status") if isinstance(self.data, dict) else None
        return told if isinstance(told, str) else ""


@dataclass(frozen=True, slots=True)
class Rule:
    """`kind` and `code` for answers that match every part given; `text` is looked for without regard to case."""

    statuses: frozenset[int]
    kind: type[errors.HangarError]
    code: str
    body_status: str = ""
    prefix: str = ""
    text: str = ""
    org_wide: bool | None = None
    create_app: bool | None = None
    stray: bool = False
    advice: str = ""


ELSEWHERE = "Hangar tries again later; another region or a list such as 'lhr,eu' helps at once"
RAISE_QUOTA = "Ask Fly to raise the organisation's quota, or choose another region"
FIX_TOKEN = "Set FLY_API_TOKEN to a valid organisation token of FLY_ORG_SLUG (fly tokens create org)"  # noqa: S105 advice, not a token
FIX_IMAGE = "Check that the image exists and that Fly may pull it (DOCKER_IMAGE or the plan's image)"
FIX_SIZE = "Change the plan's size to one Fly offers (shared: 256 to 2048 MB for each CPU, in steps of 256)"
FIX_ORG = "Check FLY_ORG_SLUG"


def _on(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


RULES: tuple[Rule, ...] = (
    # The body's own status word.
    Rule(ANY, errors.Capacity, "region", body_status="insufficient_capacity", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "volume", body_status="volume_placement_capacity", advice=ELSEWHERE),
    Rule(CLIENT_ERRORS, errors.NameTaken, "name_taken", body_status="name_taken"),
    # Room, told by text: older servers send no status word, and hosts never do.
    Rule(ANY, errors.Capacity, "host", text="could not reserve resource for machine", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "host", text="insufficient resources to create", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "host", text="deploys to this host are temporarily disabled", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "region", text="could not find a candidate host", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "region", text="no capacity", advice=ELSEWHERE),
    Rule(ANY, errors.Capacity, "region", text="out of capacity", advice=ELSEWHERE),
    Rule(_on(403, 409, 422), errors.Capacity, "quota", text="over the allowed quota", advice=RAISE_QUOTA),
    Rule(CLIENT_ERRORS, errors.Refused, "quota", text="add a payment method", advice="Add a payment method at Fly"),
    # Who we are.
    Rule(_on(401), errors.Refused, "auth", advice=FIX_TOKEN),
    Rule(_on(403), errors.Refused, "auth", org_wide=True, advice=FIX_TOKEN),
    Rule(_on(403), errors.Foreign, "foreign"),
    # What exists.
    Rule(GONE, errors.Retry, "not_fly", stray=True, advice="This is not Fly's own answer: check FLY_API_URL"),
    Rule(_on(404), errors.Refused, "org", org_wide=True, advice=FIX_ORG),
    Rule(GONE, errors.Gone, "gone"),
    Rule(_on(409), errors.NameTaken, "name_taken", create_app=True),
    Rule(_on(400, 409, 422), errors.NameTaken, "name_taken", text="name has already been taken", create_app=True),
    Rule(_on(400, 409, 422), errors.NameTaken, "name_taken", text="uniqueness constraint", create_app=True),
    Rule(_on(400, 409, 422), errors.Conflict, "exists", prefix="already_exists"),
    Rule(_on(400, 409, 422), errors.Conflict, "exists", text="unique machine name violation"),
    # Not now.
    Rule(_on(429), errors.Retry, "rate_limited"),
    Rule(_on(409, 412), errors.Retry, "leased", text="lease currently held"),
    Rule(_on(409, 412), errors.Conflict, "started", text="still attempting to start"),
    Rule(_on(409), errors.Conflict, "conflict"),
    Rule(_on(412), errors.Conflict, "started", text="from current state: 'start"),  # started, starting
    Rule(_on(412), errors.Gone, "gone", text="from current state: 'destroy"),  # destroyed, destroying
    Rule(_on(412), errors.Retry, "settling"),
    Rule(_on(408), errors.Unknown, "outcome_unknown"),
    Rule(_on(501), errors.Refused, "unsupported", advice="Check FLY_API_URL"),
    Rule(frozenset(range(500, 600)), errors.Unknown, "outcome_unknown"),
    Rule(CLIENT_ERRORS, errors.Unknown, "outcome_unknown", prefix="deadline_exceeded"),
    Rule(CLIENT_ERRORS, errors.Unknown, "outcome_unknown", prefix="unavailable"),
    # What a person must change.
    Rule(frozenset(range(300, 400)), errors.Refused, "unsupported", advice="Check FLY_API_URL: it redirects"),
    Rule(
        CLIENT_ERRORS, errors.Refused, "name", text="validation failed: name", advice="Check app_prefix in the settings"
    ),
    Rule(CLIENT_ERRORS, errors.Refused, "size", text="config.guest", advice=FIX_SIZE),
    Rule(CLIENT_ERRORS, errors.Refused, "size", text="memory_mb", advice=FIX_SIZE),
    Rule(CLIENT_ERRORS, errors.Refused, "image", text="image", advice=FIX_IMAGE),
    Rule(CLIENT_ERRORS, errors.Refused, "image", text="manifest", advice=FIX_IMAGE),
)
_OTHERWISE = Rule(ANY, errors.Refused, "bad_request", advice="Fly does not accept this request; see its text")


def classify_answer(call: Call, answer: Answer, hidden: tuple[str, ...] = ()) -> errors.HangarError:
    """The error an answer with a status outside 2xx stands for; reads never are `Unknown`: they have no effect."""
    rule = next((each for each in RULES if _matches(each, call, answer)), _OTHERWISE)
    told = cut_excerpt(hide_secrets(answer.error, (*hidden, *call.secrets)))
    message = f"{call.what}: Fly answered {answer.status}" + (f" ({told})" if told else " with an empty body")
    common: dict[str, Any] = {
        "code": rule.code,
        "advice": rule.advice or None,
        "status": answer.status,
        "fly_request_id": answer.request_id,
    }
    if issubclass(rule.kind, errors.Conflict):
        named = _MACHINE_ID.search(answer.error)
        return rule.kind(message, machine_id=named[1] if named else None, **common)
    if issubclass(rule.kind, errors.Retry):
        return _make_transient(call, rule.kind, message, retry_after_s=answer.retry_after_s, **common)
    return rule.kind(message, **common)


def translate_failure(
    call: Call, failure: httpx.HTTPError | httpx.InvalidURL, hidden: tuple[str, ...] = ()
) -> errors.HangarError:
    """The error for a request that got no answer: never sent = `Retry`, maybe carried out = `Unknown`."""
    name = type(failure).__name__
    if isinstance(failure, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        # Their texts quote headers and addresses, so they are not repeated.
        return errors.Bug(f"{call.what}: the request could not be built ({name})")
    told = cut_excerpt(hide_secrets(str(failure), (*hidden, *call.secrets)))
    message = f"{call.what}: no answer from Fly ({name}{': ' if told else ''}{told})"
    if isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return errors.Retry(message, code="unreachable")
    return _make_transient(call, errors.Unknown, message, retry_after_s=None, code="outcome_unknown")


def explain_unreadable(call: Call, answer: Answer) -> errors.HangarError:
    """The error for a 2xx answer without what it must hold: a write has probably happened."""
    message = f"{call.what}: Fly answered {answer.status} with a body Hangar cannot read"
    return _make_transient(
        call,
        errors.Unknown,
        message,
        retry_after_s=None,
        code="outcome_unknown",
        status=answer.status,
        fly_request_id=answer.request_id,
    )


def read_answer(response: httpx.Response, hidden: tuple[str, ...] = ()) -> Answer:
    """The parts of a response the client works with. A request id is stored and shown, so it must look like one."""
    try:
        data = json.loads(response.content) if response.content else None
    except ValueError:
        data = None
    headers = response.headers
    request_id = hide_secrets(headers.get("fly-request-id", ""), hidden)
    return Answer(
        status=response.status_code,
        data=data,
        text=response.text if data is None else "",
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else None,
        retry_after_s=parse_retry_after(headers.get("retry-after"), headers.get("date")),
    )


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds of a `Retry-After` in either form (RFC 9110 10.2.3); a date counts from the answer's own `Date`."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds())
    except (TypeError, ValueError):
        return None


def hide_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without any of `secrets`, whole or by their comma- or space-separated parts, should an answer echo them.

    Parts under six characters stay: hiding "true" would hide the message and no secret.
    """
    parts = {part for each in secrets for part in (each, *re.split(r"[,\s]+", each))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            text = text.replace(part, "[hidden]")
    return text


def _make_transient(
    call: Call, kind: type[errors.Retry], message: str, *, retry_after_s: float | None, code: str, **known: Any
) -> errors.Retry:
    if kind is errors.Unknown and call.is_read:
        return errors.Retry(message, retry_after_s=retry_after_s, code="unavailable", **known)
    return kind(message, retry_after_s=retry_after_s, code=code, **known)


def _matches(rule: Rule, call: Call, answer: Answer) -> bool:
    if answer.status not in rule.statuses:
        return False
    if rule.body_status and rule.body_status != answer.body_status:
        return False
    if rule.prefix and not ((found := _PREFIX.match(answer.error)) and found[1] == rule.prefix):
        return False
    if rule.text and rule.text not in answer.error.lower():
        return False
    if rule.stray and answer.proves_absence:
        return False
    creates_app = call.path == "/v1/apps" and call.method == "POST"
    if rule.create_app is not None and rule.create_app != creates_app:
        return False
    return rule.org_wide is None or rule.org_wide == (call.app is None or creates_app)
