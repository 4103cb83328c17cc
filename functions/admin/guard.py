"""Who may see a page: checks every request before its route runs, and keeps the session alive."""

import time

import flask
from werkzeug.exceptions import NotFound

from functions.admin.auth.session import SESSION_COOKIE, Session, drop_cookie, keep_session, make_session, read_session
from functions.admin.auth.sign_in_service import NotSignedIn
from functions.admin.pages.sign_in import ask_to_sign_in
from functions.admin.request_context import RequestContext, get_context, show
from shared.domain.errors import TransientError
from shared.observability.logging import label_request

REFRESH_BEFORE_S = 60
# Endpoints that work without a session. Every other endpoint is for operators only.
OPEN_ENDPOINTS = frozenset({"static", "sign_in.sign_in", "sign_in.go_to_provider", "sign_in.come_back"})
_SIGN_OUT = "sign_in.sign_out"
# What an operator whom the database confirmed shortly before may use while the database is out of reach: it shows no user's data.
_DIAGNOSIS = frozenset({"doctor.show_doctor", "doctor.run_checks"})


def check_request() -> flask.Response | None:
    """The answer if the request may not reach its route, else None. For `before_request`."""
    request, context = flask.request, get_context()
    if not request.host:  # werkzeug found the Host header invalid
        flask.abort(400)
    if request.endpoint == "static":
        return None
    session = read_session(context.admin.sealer, request)
    if _fails_routing(session):
        return None  # Flask raises the 404 or 405 next
    if request.method == "POST":
        _refuse_other_sites(request)
    if session is None and _comes_from_other_site(request):
        return show("bounce.html")
    if request.endpoint in OPEN_ENDPOINTS:
        context.session = session
        return None
    return ask_to_sign_in() if session is None else _check_operator(context, session)


def save_renewed_session(response: flask.Response) -> flask.Response:
    """Put renewed tokens into the cookie, unless the route has set that cookie. For `after_request`."""
    context = get_context()
    if context.session and context.is_renewed and SESSION_COOKIE not in "".join(response.headers.getlist("Set-Cookie")):
        keep_session(response, context.admin.sealer, context.session)
    return response


def _fails_routing(session: Session | None) -> bool:
    """Whether no route fits. A signed-in operator's 404 is checked like a page: it shows the navigation."""
    failure = flask.request.routing_exception
    shows_navigation = isinstance(failure, NotFound) and flask.request.method == "GET" and session is not None
    return failure is not None and not shows_navigation


def _check_operator(context: RequestContext, session: Session) -> flask.Response | None:
    renewed = _renew(context, session)
    if renewed is None:
        response = ask_to_sign_in(ended=True)
        drop_cookie(response, SESSION_COOKIE)
        return response
    context.session, context.is_renewed = renewed, renewed is not session
    label_request(user_id=renewed.user_id)
    proof = flask.request.form.get("proof", "") if flask.request.method == "POST" else None
    if proof is not None and not context.admin.sealer.is_form_proof(renewed, proof):
        flask.abort(403)
    if flask.request.endpoint == _SIGN_OUT:
        return None
    seen = context.admin.seen_operators
    try:
        frame = context.database.read_frame(renewed.user_id)
    except TransientError:
        if flask.request.endpoint in _DIAGNOSIS and seen.was_operator(renewed.user_id):
            return None  # without the frame: the page says that the database is out of reach
        raise
    seen.note(renewed.user_id, is_operator=frame is not None)
    if frame is None:
        return show("no_permission.html", 403)
    context.frame = frame
    return None


def _renew(context: RequestContext, session: Session) -> Session | None:
    """The session, with new tokens if its own expire soon. None if Supabase has ended it."""
    left_s = session.expires_at - time.time()
    if left_s > REFRESH_BEFORE_S:
        return session
    try:
        return make_session(context.admin.sign_in_service.refresh(session.refresh_token), session.session_id)
    except NotSignedIn:
        return None
    except TransientError:
        if left_s > 0:
            return session
        raise


def _refuse_other_sites(request: flask.Request) -> None:
    """Refuse a form that another site sends. Browsers name the sender; cookie and form proof are checked as well."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    ours = (None, f"http://{request.host}", f"https://{request.host}")
    if site not in (None, "same-origin") or origin not in ours:
        flask.abort(403)


def _comes_from_other_site(request: flask.Request) -> bool:
    """Whether a link on another site led here. The browser then holds back our strict cookie until a step on our own site."""
    site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
    return request.method == "GET" and site in ("cross-site", "same-site") and mode == "navigate"
