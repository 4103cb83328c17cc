"""The checks that call the functions at the URLs in Vault: once with a wrong signature, once with the database's own.

Both calls have a body that a function refuses after the signature and before it does anything.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from shared.adapters.http_client import make_client
from shared.doctor.checks import Check, not_checked, ok, warning, wrong
from shared.observability import code_version
from shared.observability.redaction import cut_excerpt

FUNCTIONS = ("provision", "deprovision", "health")
TIMEOUT_S = 20.0
_BAD_SIGNATURE = "v1," + "A" * 43 + "="
# The code of the refusal of the probe's body.
_EXPECTED_CODES: Mapping[str, str] = {"provision": "user_id", "deprovision": "user_id", "health": "drain_only"}
_UPDATE = "select vault.update_secret((select id from vault.secrets where name = '{}'), '{}');"
SET_SECRET = _UPDATE.format("hangar_webhook_secret", "THE VALUE OF HANGAR_WEBHOOK_SECRET OF THE FUNCTIONS")
SET_URL = _UPDATE.format("hangar_functions_url", "https://YOUR-FUNCTIONS")

Post = Callable[[str, Mapping[str, str], str], httpx.Response]


@dataclass
class Seen:
    """What the functions' answers show beside the check itself: their clocks, and which code each of them runs."""

    dates: list[datetime] = field(default_factory=list)
    code: dict[str, str | None] = field(default_factory=dict)


def post(url: str, headers: Mapping[str, str], body: str) -> httpx.Response:
    """One call of a function. Raises httpx.HTTPError, and httpx.InvalidURL."""
    with make_client(url, timeout=httpx.Timeout(TIMEOUT_S)) as http:
        return http.post(url, headers=dict(headers), content=body.encode())


def check_functions(
    probes: Mapping[str, Any] | None, seen: Seen, send: Post = post, only: Iterable[str] = FUNCTIONS
) -> Iterator[Check]:
    """One check for each function of `only`. What else the answers show is added to `seen`."""
    for function in only:
        name, probe = f"function_{function}", (probes or {}).get(function) or {}
        url = probe.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            yield not_checked(name, "Vault names no URL for it", SET_URL)
            continue
        yield _check_function(function, url, probe, seen, send)


def _check_function(function: str, url: str, probe: Mapping[str, Any], seen: Seen, send: Post) -> Check:
    name, shown = f"function_{function}", hide_query(url)
    body = str(probe.get("body") or "{}")
    unsigned = {"content-type": "application/json", "webhook-id": "doctor", "webhook-timestamp": str(int(time.time()))}
    try:
        refused = send(url, unsigned | {"webhook-signature": _BAD_SIGNATURE}, body)
        seen.dates += _read_date(refused)
        problem = judge_refusal(refused.status_code, refused.headers.get("www-authenticate", ""))
        if problem is not None:
            return wrong(name, f"{shown}: {problem}", SET_URL)
        signed = probe.get("headers")
        if not isinstance(signed, dict):
            return not_checked(
                name, f"{shown} refuses a wrong signature; Vault has no secret for a right one", SET_SECRET
            )
        answer = send(url, {str(key): str(value) for key, value in signed.items()}, body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return wrong(name, f"{shown} does not answer ({type(error).__name__})", SET_URL)
    check = judge_signed(name, shown, _EXPECTED_CODES[function], answer)
    if check.state == "ok":
        seen.code[function] = answer.headers.get(code_version.HEADER)
    return check


def judge_code(found: Mapping[str, str | None], own: str) -> Check:
    """Whether the functions run this version's code. `found` has the code of each that answered, None if it does not say."""
    name = "functions_code"
    if not found:
        return not_checked(name, "no function answered", "Correct what the checks of the functions name")
    if set(found.values()) == {own}:
        return ok(name, f"{', '.join(found)}: the code of this version ({own})")
    each = ", ".join(f"{function} {code or 'of a version that does not say so'}" for function, code in found.items())
    which = (
        "the functions run different code, so a deployment ended half-way"
        if len(set(found.values())) > 1
        else "the functions run the code of another version"
    )
    remedy = "Deploy this version again with `hangar deploy`, or run `hangar doctor` of the version that is deployed"
    return warning(name, f"{which}: {each}; this one is {own}", remedy)


def judge_refusal(status: int, challenge: str) -> str | None:
    """What is wrong with the answer to a wrong signature; None if it is a refusal of Hangar's."""
    if status == httpx.codes.UNAUTHORIZED and challenge == "Hangar":
        return None
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"the platform refuses the call ({status}) before Hangar sees it. Let everybody call it: Hangar checks signatures"
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        return f"there is no function at this URL ({status})"
    if 300 <= status < 400:
        return f"the URL leads elsewhere ({status}); calls of the database do not follow it"
    if status >= 500:
        return f"the function does not start or is broken ({status}); read its log"
    if status < 300:
        return f"a call with a wrong signature was accepted ({status}), so this is not Hangar"
    return f"the answer is not Hangar's ({status})"


def judge_signed(name: str, shown: str, code: str, answer: httpx.Response) -> Check:
    """What the answer to the database's own signature means. `code` is that of the refusal of the body."""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return wrong(
            name, f"{shown} rejects the signature of the database: it has another secret than Vault", SET_SECRET
        )
    try:
        found = answer.json().get("code")
    except (ValueError, AttributeError):
        found = None
    if answer.status_code == httpx.codes.BAD_REQUEST and found == code:
        return ok(name, f"{shown} accepts the signature of the database and refuses a wrong one")
    if answer.status_code == httpx.codes.BAD_REQUEST and found in set(_EXPECTED_CODES.values()):
        return wrong(name, f"another function answers at {shown}", SET_URL)
    said = cut_excerpt(answer.text, 100)
    return warning(
        name, f"{shown} answered {answer.status_code} to a signed call: {said!r}", "Read the log of the function"
    )


def hide_query(url: str) -> str:
    """A URL as it may be shown: without user and query, which may be credentials."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "the URL in Vault"
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.scheme}://{parsed.host}{port}{parsed.path}"


def _read_date(response: httpx.Response) -> list[datetime]:
    try:
        return [parsedate_to_datetime(response.headers.get("date", "")).astimezone(UTC)]
    except (TypeError, ValueError):
        return []
