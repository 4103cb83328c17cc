"""Every request to the dashboard: its route, the session and the rights behind it, the headers and errors of its answer."""

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import flask
from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.routing import Map, Rule

from functions.admin import action_views as actions
from functions.admin.auth.gotrue import NotSignedIn
from functions.admin.auth.session import (
    SESSION_COOKIE,
    Session,
    drop_cookie,
    keep_session,
    make_session,
    read_session,
    set_cookie,
)
from functions.admin.pages import controls, costs, events, failures, fleet, sign_in, users
from functions.admin.request_context import LIVE_HEADER, AdminContext, Page, RequestContext
from functions.admin.views.render import read_asset
from shared.domain.errors import HangarError, InternalError, TransientError
from shared.http.request_body import discard_rest
from shared.observability.logging import label_request, read_trace, request_context

_log = logging.getLogger("hangar.admin")

MAX_FORM_BYTES = 16 * 1024
REFRESH_BEFORE_S = 60
NOWHERE = "nowhere"
SAID_COOKIE = "__Host-hangar-said"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# What changes by itself: ages in words, and the time the script counts from.
_TICKING = re.compile(r">[^<]*</time>| data-now=\"\d+\"")
_Handler = Callable[..., Page]
_OPEN: dict[str, _Handler] = {
    "sign_in": sign_in.sign_in,
    "go_to_provider": sign_in.go_to_provider,
    "come_back": sign_in.come_back,
}
_FOR_OPERATORS: dict[str, _Handler] = {
    "fleet": fleet.show_fleet,
    "fleet_csv": fleet.export_fleet,
    "search": users.search_users,
    "user": users.show_user,
    "events": events.show_events,
    "failures": failures.show_failures,
    "costs": costs.show_costs,
    "controls": controls.show_controls,
    "action": actions.answer_action,
}
_ROUTES = Map(
    [
        Rule("/", endpoint="fleet", methods=["GET"]),
        Rule("/fleet.csv", endpoint="fleet_csv", methods=["GET"]),
        Rule("/search", endpoint="search", methods=["GET"]),
        Rule("/users/<uuid:user_id>", endpoint="user", methods=["GET"]),
        Rule("/events", endpoint="events", methods=["GET"]),
        Rule("/failures", endpoint="failures", methods=["GET"]),
        Rule("/costs", endpoint="costs", methods=["GET"]),
        Rule("/controls", endpoint="controls", methods=["GET"]),
        Rule("/actions/<name>", endpoint="action", methods=["GET", "POST"]),
        Rule("/sign-in", endpoint="sign_in", methods=["GET", "POST"]),
        Rule("/sign-in/<provider>", endpoint="go_to_provider", methods=["GET"]),
        Rule("/signed-in", endpoint="come_back", methods=["GET"]),
        Rule("/sign-out", endpoint="sign_out", methods=["POST"]),
        Rule("/assets/<name>", endpoint="asset", methods=["GET"]),
    ],
    strict_slashes=False,
)


def serve(desk: AdminContext, request: flask.Request) -> flask.Response:
    """Answer one request; never raises."""
    started = time.monotonic()
    request_id = str(uuid.uuid4())
    trace = read_trace({name.lower(): value for name, value in request.headers.items()})
    with request_context({"function": "admin", "request_id": request_id}, trace):
        visit = RequestContext(desk, request, request_id)
        response = _answer(visit)
        request.max_content_length = None
        discard_rest(request)
        response.headers.update(_HEADERS)
        response.headers["X-Request-Id"] = request_id
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["Server-Timing"] = f"app;dur={(time.monotonic() - started) * 1000:.0f}"
        _log.info("%s %s answered %d", request.method, request.path, response.status_code)
    return response


def _answer(visit: RequestContext) -> flask.Response:
    try:
        visit.request.max_content_length = MAX_FORM_BYTES
        return _route(visit)
    except HTTPException as error:
        return _show_error(visit, error.code or 500, "")
    except TransientError as error:
        _log.warning("%s", error, extra={"labels": {"code": error.code}})
        return _show_error(visit, 503, "")
    except InternalError as error:
        # Class 22 (PostgreSQL documentation, appendix A): what the address or form says is no such value.
        if error.code.startswith("22"):
            _log.info("%s", error)
            return _show_error(visit, 400, "")
        _log.exception("%s", error)
        return _show_error(visit, 500, error.code)
    except HangarError as error:
        _log.exception("%s", error)
        return _show_error(visit, 500, error.code)
    except Exception:  # noqa: BLE001  the edge: whatever broke becomes one page and one line of log
        _log.exception("the dashboard broke at %s", visit.request.path)
        return _show_error(visit, 500, "")


def _route(visit: RequestContext) -> flask.Response:
    if not visit.request.host:  # what werkzeug makes of a Host that there cannot be
        raise BadRequest
    endpoint, values = _find_route(visit)
    if endpoint == "asset":
        return _send_asset(visit, **values)
    if visit.request.method == "POST":
        _refuse_other_sites(visit.request)
    session = read_session(visit.desk.seals, visit.request)
    if session is None and _comes_from_elsewhere(visit.request):
        return _finish(visit, visit.show("bounce.html"))
    if endpoint in _OPEN:
        return _finish(replace(visit, session=session), _OPEN[endpoint](replace(visit, session=session), **values))
    if session is None:
        return _finish(visit, sign_in.ask_to_sign_in(visit))
    session, is_new = _renew(visit, session)
    if session is None:
        response = _finish(visit, sign_in.ask_to_sign_in(visit, ended=True))
        drop_cookie(response, SESSION_COOKIE)
        return response
    visit = replace(
        visit, session=session, said=visit.desk.seals.unseal("said", visit.request.cookies.get(SAID_COOKIE, ""))
    )
    response = _serve_signed_in(visit, endpoint, values)
    if is_new and SESSION_COOKIE not in "".join(response.headers.getlist("Set-Cookie")):
        keep_session(response, visit.desk.seals, session)
    return response


def _serve_signed_in(visit: RequestContext, endpoint: str, values: Mapping[str, object]) -> flask.Response:
    session = visit.session
    if session is None:
        raise LookupError("served without a session")
    label_request(user_id=session.user_id)
    if visit.request.method == "POST" and not visit.desk.seals.is_form_proof(
        session, visit.request.form.get("proof", "")
    ):
        return _finish(visit, visit.show("error.html", 403, code="form"))
    if endpoint == "sign_out":
        return _finish(visit, sign_in.sign_out(visit))
    frame = visit.desk.database.rpc("fly_admin_frame", user=session.user_id)
    if frame.get("operator") is not True:
        return _finish(visit, visit.show("no_permission.html", 403))
    visit = replace(visit, frame=frame)
    if endpoint == NOWHERE:
        return _show_error(visit, 404, "")
    try:
        return _finish(visit, _FOR_OPERATORS[endpoint](visit, **values))
    except HTTPException as error:
        return _show_error(visit, error.code or 500, "")


def _find_route(visit: RequestContext) -> tuple[str, Mapping[str, Any]]:
    """Where the address leads. Nowhere is a place of its own for who is signed in, with the way to every page."""
    try:
        return _ROUTES.bind_to_environ(visit.request.environ).match()
    except NotFound:
        if visit.request.method != "GET" or read_session(visit.desk.seals, visit.request) is None:
            raise
        return NOWHERE, {}


def _renew(visit: RequestContext, session: Session) -> tuple[Session | None, bool]:
    """The session, with new tokens when its own end soon; None when Supabase has ended it."""
    left_s = session.expires_at - time.time()
    if left_s > REFRESH_BEFORE_S:
        return session, False
    try:
        return make_session(visit.desk.gotrue.refresh(session.refresh_token), session.mark), True
    except NotSignedIn:
        return None, False
    except TransientError:
        if left_s > 0:
            return session, False
        raise


def _refuse_other_sites(request: flask.Request) -> None:
    """A browser says where a form comes from; what comes from elsewhere goes no further (beside cookie and form proof)."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    ours = (None, f"http://{request.host}", f"https://{request.host}")
    if site not in (None, "same-origin") or origin not in ours:
        raise _OtherSite


class _OtherSite(HTTPException):
    code = 403


def _comes_from_elsewhere(request: flask.Request) -> bool:
    """Whether a link on another site led here: then our strict cookie is held back, and one step on our own site brings it."""
    site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
    return request.method == "GET" and site in ("cross-site", "same-site") and mode == "navigate"


def _send_asset(visit: RequestContext, name: str) -> flask.Response:
    found = read_asset(name)
    if found is None:
        raise NotFound
    content, kind, version = found
    response = flask.Response(content, content_type=kind)
    is_current = visit.request.query_string.decode("ascii", "replace") == version
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
    return response


def _finish(visit: RequestContext, page: Page) -> flask.Response:
    """The response a page becomes: a redirect, a stream of its own, or HTML with an ETag that ignores the ticking of clocks."""
    if page.response is not None:
        return page.response
    if page.to is not None:
        response = flask.Response(
            status=303, headers={"Location": page.to if "://" in page.to else visit.root + page.to}
        )
        if page.said:
            set_cookie(response, SAID_COOKIE, visit.desk.seals.seal("said", page.said), max_age_s=120)
        return response
    still = _TICKING.sub("", page.html)
    etag = f'"{hashlib.sha256(still.encode()).hexdigest()[:20]}"'
    if page.status == 200 and visit.request.headers.get("If-None-Match") == etag:
        return flask.Response(status=304, headers={"ETag": etag})
    response = flask.Response(page.html, page.status, {"ETag": etag}, content_type="text/html; charset=utf-8")
    if visit.said and visit.request.method == "GET" and LIVE_HEADER not in visit.request.headers:
        drop_cookie(response, SAID_COOKIE)
    return response


def _show_error(visit: RequestContext, status: int, code: str) -> flask.Response:
    """A page that says what happened and what to do; the log has the rest under the request's id."""
    response = _finish(visit, visit.show("error.html", status, code=code))
    if status == 503:
        response.headers["Retry-After"] = "10"
    return response
