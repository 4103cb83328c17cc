"""Signing in and out: by password, or by an OAuth provider with PKCE. Both use Supabase Auth."""

import logging
import re
from urllib.parse import quote, urlencode

import flask

from functions.admin.auth.session import (
    MOST_COOKIE_CHARS,
    SESSION_COOKIE,
    Session,
    drop_cookie,
    keep_session,
    make_session,
    set_cookie,
)
from functions.admin.auth.sign_in_service import NotSignedIn
from functions.admin.request_context import (
    get_context,
    get_origin,
    is_live_refresh,
    read_arg,
    redirect_to,
    show,
)
from shared.domain.errors import TransientError

_log = logging.getLogger("hangar.admin")
blueprint = flask.Blueprint("sign_in", __name__)
FLOW_COOKIE = "__Host-hangar-flow"
_FLOW_S = 600
# A page of the dashboard, relative to its first page: no scheme, no host, no way up.
_NEXT = re.compile(r"(?!.*\.\.)[a-z][\w./-]*(\?[\w.~%=&+:@,-]*)?", re.ASCII)
_MESSAGES = {
    "invalid_credentials": "The e-mail or the password is wrong.",
    "email_not_confirmed": "This e-mail address has not been confirmed yet.",
    "user_banned": "This account is locked.",
    "over_request_rate_limit": "Too many attempts. Wait a minute, then try again.",
    "too_large": "The token of this account is too large for a cookie. Remove what is not needed from the account's metadata.",
    "ended": "Your session has ended. Sign in to continue where you were.",
    "signup_disabled": "No account of this project has the e-mail of that sign-in.",
    "flow": "The sign-in was not completed in this browser. Start again.",
}


@blueprint.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> flask.Response:
    """The form, and the answer to it."""
    if flask.request.method == "GET":
        has_ended = read_arg("ended") and get_context().session is None
        return _show_form(read_arg("next"), _MESSAGES["ended"] if has_ended else "", status=200)
    form = flask.request.form
    email, password, after = form.get("email", "").strip(), form.get("password", ""), form.get("next", "")
    if not email or not password:
        return _show_form(after, "Enter both e-mail and password.", email)
    if "\0" in email + password:  # no text in Supabase's database can hold it, so no account has it
        return _show_form(after, _MESSAGES["invalid_credentials"], email.replace("\0", ""))
    try:
        return _let_in(make_session(get_context().admin.sign_in_service.sign_in(email, password)), after)
    except NotSignedIn as refusal:
        return _show_form(after, _explain(refusal), email)


@blueprint.get("/sign-in/<provider>")
def go_to_provider(provider: str) -> flask.Response:
    """Send the browser to an OAuth provider. This is a link and not a form: `form-action 'self'` would stop the way back."""
    admin = get_context().admin
    if provider not in admin.config.admin_oauth_providers:
        flask.abort(404)
    address, verifier = admin.sign_in_service.start_oauth(provider, f"{get_origin()}/signed-in")
    response = flask.Response(status=303, headers={"Location": address})
    flow = {"verifier": verifier, "next": read_arg("next")}
    set_cookie(response, FLOW_COOKIE, admin.sealer.seal("flow", flow), max_age_s=_FLOW_S)
    return response


@blueprint.get("/signed-in")
def come_back() -> flask.Response:
    """Back from the provider, with a code that only the browser which started the sign-in can turn into a session."""
    admin = get_context().admin
    flow = admin.sealer.unseal("flow", flask.request.cookies.get(FLOW_COOKIE, ""))
    if flow is None or not read_arg("code"):
        code = read_arg("error_code")
        _log.warning("an OAuth sign-in came back without a code: %s", code or "no reason given")
        return _show_form(flow["next"] if flow else "", _MESSAGES.get(code, _MESSAGES["flow"]))
    try:
        tokens = admin.sign_in_service.finish_oauth(read_arg("code"), flow["verifier"])
        response = _let_in(make_session(tokens), flow["next"])
    except NotSignedIn as refusal:
        return _show_form(flow["next"], _explain(refusal))
    drop_cookie(response, FLOW_COOKIE)
    return response


@blueprint.post("/sign-out")
def sign_out() -> flask.Response:
    """End the session at Supabase and delete it here. If Supabase does not answer, it is deleted here all the same."""
    context = get_context()
    try:
        context.admin.sign_in_service.sign_out(context.operator.access_token)
    except TransientError as error:
        _log.warning("the session could not be ended at Supabase; it expires there: %s", error)
    response = redirect_to("sign-in")
    drop_cookie(response, SESSION_COOKIE)
    return response


def ask_to_sign_in(*, ended: bool = False) -> flask.Response:
    """The way to the form, for a page that needs a session. After the sign-in that page is shown, but its POST is not sent.

    The page's own script and a form get the answer in place (401). The script would take the sign-in form for its page, and
    the operator who sent a form has to read that nothing was done.
    """
    request = flask.request
    query = request.query_string.decode("ascii", "ignore")
    after = request.path.lstrip("/") + (f"?{query}" if query else "")
    if request.method == "POST":
        message = "Your session had ended, so nothing was done. Sign in, then do it again."
        return _show_form(after, message, status=401)
    if is_live_refresh():
        return _show_form(after, status=401)
    args = {"next": after} if _NEXT.fullmatch(after) else {}
    args |= {"ended": "1"} if ended else {}
    return redirect_to(f"sign-in?{urlencode(args)}" if args else "sign-in")


def _show_form(after: str, message: str = "", email: str = "", status: int | None = None) -> flask.Response:
    after = after if _NEXT.fullmatch(after) else ""
    return show(
        "sign_in.html",
        status or (400 if message else 200),
        after=after,
        quoted=quote(after, safe=""),
        message=message,
        typed_email=email,
        providers=get_context().admin.config.admin_oauth_providers,
    )


def _let_in(session: Session, after: str) -> flask.Response:
    response = redirect_to(after if _NEXT.fullmatch(after) else "")
    keep_session(response, get_context().admin.sealer, session)
    if len(response.headers["Set-Cookie"]) > MOST_COOKIE_CHARS:
        raise NotSignedIn("too_large")
    return response


def _explain(refusal: NotSignedIn) -> str:
    return _MESSAGES.get(refusal.code, f"Supabase Auth refused the sign-in ({refusal.code}).")
