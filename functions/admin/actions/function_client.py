"""Calls the other functions over HTTP for an operator, with the operator's own access token, and words their answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from functions.admin.request_context import RequestContext
from shared.adapters.http_client import make_client

# A sweep or a drain is only started: it can take as long as the function may run, and the pages show what it does.
START_PATIENCE_S = 3
# A creation takes a while. What is not answered by then continues, and the page shows it.
PATIENCE_S = 25
_WATCH = "This page shows the progress."


@dataclass(frozen=True)
class Unanswered:
    """What becomes of a request that the function did not receive (`lost`), or to which it did not answer (`unknown`)."""

    lost: str
    unknown: str


RECORDED = Unanswered(*["The request is recorded, and the next drain carries it out."] * 2)
CHECK = Unanswered(*["The next sweep checks the app."] * 2)
RESTART = Unanswered(
    "The machine was not restarted. Hangar does not repeat a restart, so request it again.",
    "Whether the machine was restarted is not known; the timeline shows it. Hangar does not repeat a restart.",
)
SWEEP = Unanswered(
    "No sweep was started. The scheduler starts one every 5 minutes.",
    "Whether a sweep was started is not known; the Controls page shows it. The scheduler starts one every 5 minutes.",
)


@dataclass(frozen=True)
class ActionOutcome:
    """What the operator reads after an action. `tone` is "good", "busy" or "bad"; `page` is where, by default where it began."""

    tone: str
    text: str
    page: str | None = None


def start_sweep(context: RequestContext) -> ActionOutcome:
    """Start a sweep, which may take long. What is not finished within seconds continues without this page."""
    return call_function(context, "health", {}, SWEEP, START_PATIENCE_S)


def call_function(
    context: RequestContext, name: str, body: Mapping[str, Any], unanswered: Unanswered, patience_s: int = PATIENCE_S
) -> ActionOutcome:
    """Call a function as this operator, and say what came of it. `unanswered`: what becomes of it without an answer."""
    url = context.admin.config.function_urls.get(name)
    if url is None:
        return ActionOutcome(
            "busy" if unanswered is RECORDED else "bad",
            f"HANGAR_FUNCTIONS_URL is not set, so the {name} function was not called. {unanswered.lost}",
        )
    headers = {"Authorization": f"Bearer {context.operator.access_token}", "Content-Type": "application/json"}
    timeout = httpx.Timeout(patience_s, connect=min(patience_s, 5))
    try:
        with make_client(url, timeout=timeout) as http:
            response = http.post(url, content=json.dumps(body), headers=headers)
    except httpx.ReadTimeout:
        if patience_s < PATIENCE_S:
            return ActionOutcome("busy", "Started. It continues, and the pages show what it finds.")
        return ActionOutcome("busy", f"The {name} function is still working after {patience_s} s. {_WATCH}")
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return ActionOutcome(
            "bad", f"The {name} function could not be reached ({type(error).__name__}). {unanswered.lost}"
        )
    except httpx.HTTPError as error:
        return ActionOutcome(
            "bad", f"The {name} function did not answer ({type(error).__name__}). {unanswered.unknown}"
        )
    return format_response(name, response, unanswered)


def format_response(name: str, response: httpx.Response, unanswered: Unanswered = RECORDED) -> ActionOutcome:
    """A function's answer as a message for the operator. Only status and `code` are interpreted; `detail` is shown as it is."""
    body = _read_object(response)
    code, status = body.get("code"), response.status_code
    detail = str(body.get("detail") or f"The {name} function answered {status}").rstrip(".")
    sentence = f"{detail[:1].upper()}{detail[1:]}."
    if status == httpx.codes.ACCEPTED and code == "leased":
        return ActionOutcome("busy", f"In progress: a worker is already working on this app. {_WATCH}")
    if status == httpx.codes.ACCEPTED:
        return ActionOutcome("busy", f"Accepted, not finished yet: {detail}. {_WATCH}")
    if status == httpx.codes.OK:
        return ActionOutcome("good", sentence)
    if status == httpx.codes.CONFLICT or code == "not_restarted":
        return ActionOutcome("bad", sentence)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return ActionOutcome("bad", f"The {name} function did not accept your sign-in. Sign out and sign in again.")
    if code == "out_of_reach":  # its detail says that Hangar tries again
        return ActionOutcome("busy", sentence)
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        if unanswered is RECORDED:
            return ActionOutcome("busy", f"{sentence} Nothing is lost: Hangar tries again automatically.")
        return ActionOutcome("bad", f"{sentence} {unanswered.unknown}")
    return ActionOutcome("bad", f"{sentence} ({status})")


def _read_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
