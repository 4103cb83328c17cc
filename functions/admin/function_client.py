"""Actions go through the functions by HTTP, as everyone's do, with the operator's own access token."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from functions.admin.request_context import RequestContext
from shared.adapters.http_client import make_client

# A creation takes a while; what is not answered by then goes on by itself, and the page shows it.
PATIENCE_S = 25


def call_function(visit: RequestContext, name: str, body: Mapping[str, Any]) -> dict[str, str]:
    """Call a function as this operator, and say what came of it."""
    url = visit.desk.config.function_urls.get(name)
    if url is None:
        text = f"HANGAR_FUNCTIONS_URL is not set, so the {name} function was not called. The next drain takes it up."
        return {"tone": "busy", "text": text}
    if visit.session is None:
        raise LookupError("an action without a session")
    headers = {"Authorization": f"Bearer {visit.session.access_token}", "Content-Type": "application/json"}
    try:
        with make_client(url, timeout=httpx.Timeout(PATIENCE_S, connect=5)) as http:
            answer = http.post(url, content=json.dumps(body), headers=headers)
    except httpx.ReadTimeout:
        return {
            "tone": "busy",
            "text": f"The {name} function is still at work after {PATIENCE_S} s. This page shows how it goes on.",
        }
    except httpx.HTTPError as error:
        text = (
            f"The {name} function could not be reached ({type(error).__name__}). What is wanted stands in the database; "
            "the next drain takes it up."
        )
        return {"tone": "bad", "text": text}
    return format_answer(name, answer)


def format_answer(name: str, answer: httpx.Response) -> dict[str, str]:
    """A function's answer in words."""
    try:
        told = answer.json()
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    detail = str(told.get("detail") or f"The {name} function answered {answer.status_code}")
    if answer.status_code == httpx.codes.ACCEPTED and told.get("code") == "leased":
        text = "Under way: a worker has taken it up; this page shows how it goes on."
        return {"tone": "busy", "text": text}
    if answer.status_code == httpx.codes.ACCEPTED:
        return {
            "tone": "busy",
            "text": f"Accepted, not finished yet: {detail.rstrip('.')}. This page shows how it goes on.",
        }
    detail = f"{detail[0].upper()}{detail[1:].rstrip('.')}."
    if answer.status_code == httpx.codes.OK:
        return {"tone": "good", "text": detail}
    if answer.status_code == httpx.codes.CONFLICT or told.get("code") == "not_restarted":
        return {"tone": "bad", "text": detail}
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return {"tone": "bad", "text": f"The {name} function did not take your sign-in. Sign out and in again."}
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        rest = "" if "nothing is lost" in detail.lower() else " Nothing is lost: it is tried again by itself."
        return {"tone": "busy", "text": f"{detail}{rest}"}
    return {"tone": "bad", "text": f"{detail} ({answer.status_code})"}
