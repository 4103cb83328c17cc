"""The dashboard as a Flask application: routes, security headers, error pages."""

import logging
import time
import uuid
from pathlib import Path
from typing import Any, cast

import flask
import jinja2
from werkzeug.exceptions import HTTPException

from functions.admin import guard
from functions.admin.actions import routes as actions
from functions.admin.pages import controls, costs, doctor, events, failures, fleet, machine, releases, sign_in, users
from functions.admin.request_context import (
    AdminContext,
    RequestContext,
    get_context,
    get_root,
    is_live_refresh,
    show,
)
from functions.admin.views.render import add_filters, get_asset_version
from shared.domain.errors import HangarError, InternalError, Refused, TransientError
from shared.http.request_body import discard_rest
from shared.observability.logging import read_trace, request_context

_log = logging.getLogger("hangar.admin")

MAX_FORM_BYTES = 16 * 1024
FLASH_COOKIE = "__Host-hangar-flash"
_BLUEPRINTS = (
    sign_in.blueprint,
    fleet.blueprint,
    users.blueprint,
    machine.blueprint,
    events.blueprint,
    failures.blueprint,
    costs.blueprint,
    releases.blueprint,
    controls.blueprint,
    doctor.blueprint,
    actions.blueprint,
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_REQUEST_ID = "hangar.request_id"


class _AdminFlask(flask.Flask):
    # A missing value is an error, not a gap in the page.
    jinja_options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}  # noqa: RUF012  as in Flask

    def send_static_file(self, filename: str) -> flask.Response:
        """A small file of ours, whole: without ranges, and without conditions other than those of `_finish`."""
        folder = Path(__file__).parent / "static"
        return flask.send_from_directory(folder, filename, conditional=False, etag=False, last_modified=None)


def make_app(admin: AdminContext) -> flask.Flask:
    """The dashboard for this context."""
    app = _AdminFlask("functions.admin", root_path=str(Path(__file__).parent), static_url_path="/assets")
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_FORM_BYTES,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        # Flask's session holds only the messages of `flask.flash`. The operator's tokens have a sealed cookie of their own.
        SECRET_KEY=admin.sealer.derive_key("flash"),
        SESSION_COOKIE_NAME=FLASH_COOKIE,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
    )
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # the redirect would be absolute and lose a proxy's path prefix
    add_filters(app)
    app.context_processor(_make_template_values)

    @app.before_request
    def start_request() -> None:
        flask.g.started_s = time.monotonic()
        flask.g.hangar = RequestContext(admin, flask.request.environ.get(_REQUEST_ID, ""))

    app.before_request(guard.check_request)
    # Flask runs these in reverse order.
    app.after_request(_finish)
    app.after_request(guard.save_renewed_session)
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
    _add_error_pages(app)
    return app


def serve(app: flask.Flask, request: flask.Request) -> flask.Response:
    """Answer one request that the functions framework received."""
    request_id = str(uuid.uuid4())
    trace = read_trace({name.lower(): value for name, value in request.headers.items()})
    with request_context({"function": "admin", "request_id": request_id}, trace):
        response = cast("flask.Response", flask.Response.from_app(app, {**request.environ, _REQUEST_ID: request_id}))
        _log.info("%s %s answered %d", request.method, request.path, response.status_code)
    return response


def _make_template_values() -> dict[str, Any]:
    """What every template may use."""
    context = get_context()
    return {
        "root": get_root(),
        "frame": context.frame,
        "now": context.now if context.frame else None,
        "email": context.frame.get("email") or (context.session.email if context.session else ""),
        "proof": context.form_proof,
        "request_id": context.request_id,
        "is_live_refresh": is_live_refresh(),
    }


def _finish(response: flask.Response) -> flask.Response:
    """Set the headers of every answer, and answer 304 to a page that has not changed."""
    request = flask.request
    etag, _ = response.get_etag()
    if etag is not None and response.status_code == 200 and etag in request.if_none_match:
        response.status_code = 304
        response.set_data(b"")
    request.max_content_length = None
    discard_rest(request)
    response.headers.update(_HEADERS)
    response.headers["X-Request-Id"] = get_context().request_id
    is_file = request.endpoint == "static" and response.status_code < 400
    response.headers["Cache-Control"] = _choose_caching(request) if is_file else "no-store"
    response.headers["Server-Timing"] = f"app;dur={(time.monotonic() - flask.g.started_s) * 1000:.0f}"
    return response


def _choose_caching(request: flask.Request) -> str:
    """A file may be kept for ever if its address carries the hash of its content."""
    version = get_asset_version((request.view_args or {}).get("filename", ""))
    is_current = request.query_string.decode("ascii", "replace") == version
    return "public, max-age=31536000, immutable" if is_current else "no-cache"


def _add_error_pages(app: flask.Flask) -> None:
    @app.errorhandler(HTTPException)
    def show_http_error(error: HTTPException) -> flask.Response:
        return _show_error(error.code or 500)

    @app.errorhandler(TransientError)
    def show_unavailable(error: TransientError) -> flask.Response:
        _log.warning("%s", error, extra={"labels": {"code": error.code}})
        response = _show_error(503, source=error.source)
        response.headers["Retry-After"] = "10"
        return response

    @app.errorhandler(Refused)
    @app.errorhandler(InternalError)
    def show_internal_error(error: Refused | InternalError) -> flask.Response:
        # A value in the address or form is invalid: a procedure says so, or Postgres (class 22 in its appendix A).
        if error.code == "invalid_value" or error.code.startswith("22"):
            _log.info("%s", error)
            return _show_error(400)
        return show_failure(error)

    @app.errorhandler(HangarError)
    def show_failure(error: HangarError) -> flask.Response:
        _log.exception("%s", error, exc_info=error)
        return _show_error(500, error.code)

    @app.errorhandler(Exception)
    def show_broken(error: Exception) -> flask.Response:
        _log.exception("the dashboard failed at %s", flask.request.path, exc_info=error)
        return _show_error(500)


def _show_error(status: int, code: str = "", source: str = "") -> flask.Response:
    """A page that says what happened and what to do. The log has the reason under the request's id."""
    context = get_context()
    may_diagnose = context.session is not None and context.admin.seen_operators.was_operator(context.session.user_id)
    return show("error.html", status, code=code, source=source, may_diagnose=may_diagnose)
