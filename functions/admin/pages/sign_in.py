"""Signing in and out: by password, or by an OAuth provider with PKCE; both against Supabase Auth."""

import logging
import re
from urllib.parse import quote, urlencode

import flask
from werkzeug.exceptions import NotFound

from functions.admin.auth.gotrue import NotSignedIn, make_verifier
from functions.admin.auth.session import (
    MOST_COOKIE_CHARS,
    SESSION_COOKIE,
    Session,
    drop_cookie,
    keep_session,
    make_session,
    set_cookie,
)
from functions.admin.request_context import LIVE_HEADER, Page, RequestContext
from shared.domain.errors import TransientError

_log = logging.getLogger("hangar.admin")
FLOW_COOKIE = "__Host-hangar-flow"
_FLOW_S = 600
# A page of ours, relative to the root: no scheme, no host, no way up.
_NEXT = re.compile(r"(?!.*\.\.)[a-z][\w./-]*(\?[\w.~%=&+:@,-]*)?", re.ASCII)
_WORDS = {
    "invalid_credentials": "The e-mail or the password is wrong.",
    "email_not_confirmed": "This e-mail address has not been confirmed yet.",
    "user_banned": "This account is locked.",
    "over_request_rate_limit": "Too many attempts. Wait a minute, then try again.",
    "too_large": "The token of this account is too large for a cookie. Take what is not needed out of the account's metadata.",
    "ended": "Your session has ended. Sign in to go on where you were.",
    "signup_disabled": "No account of this project has the e-mail of that sign-in.",
    "flow": "The sign-in was not completed in this browser. Start again.",
}


def sign_in(visit: RequestContext) -> Page:
    """The form, and what it sends."""
    if visit.request.method == "GET":
        ended = visit.ask("ended") and visit.session is None
        return _show_form(visit, visit.ask("next"), _WORDS["ended"] if ended else "", status=200)
    form = visit.request.form
    email, password, after = form.get("email", "").strip(), form.get("password", ""), form.get("next", "")
    if not email or not password:
        return _show_form(visit, after, "Give both e-mail and password.", email)
    if "\0" in email + password:  # no text of Supabase's holds it, so it is nobody's
        return _show_form(visit, after, _WORDS["invalid_credentials"], email.replace("\0", ""))
    try:
        return _let_in(visit, make_session(visit.desk.gotrue.sign_in(email, password)), after)
    except NotSignedIn as refusal:
        return _show_form(visit, after, _tell(refusal), email)


def go_to_provider(visit: RequestContext, provider: str) -> Page:
    """Send the browser to an OAuth provider. A link and no form: `form-action 'self'` would stop the way back."""
    if provider not in visit.desk.config.admin_oauth_providers:
        raise NotFound
    verifier = make_verifier()
    response = flask.Response(status=303)
    response.headers["Location"] = visit.desk.gotrue.make_authorize_url(provider, f"{visit.origin}/signed-in", verifier)
    flow = {"verifier": verifier, "next": visit.ask("next")}
    set_cookie(response, FLOW_COOKIE, visit.desk.seals.seal("flow", flow), max_age_s=_FLOW_S)
    return Page(response=response)


def come_back(visit: RequestContext) -> Page:
    """Back from the provider, with a code that only the browser which began can turn into a session."""
    flow = visit.desk.seals.unseal("flow", visit.request.cookies.get(FLOW_COOKIE, ""))
    if flow is None or not visit.ask("code"):
        code = visit.ask("error_code")
        _log.warning("a sign-in by OAuth came back without a code: %s", code or "no reason given")
        return _show_form(visit, flow["next"] if flow else "", _WORDS.get(code, _WORDS["flow"]))
    try:
        page = _let_in(
            visit, make_session(visit.desk.gotrue.exchange(visit.ask("code"), flow["verifier"])), flow["next"]
        )
    except NotSignedIn as refusal:
        return _show_form(visit, flow["next"], _tell(refusal))
    if page.response is not None:
        drop_cookie(page.response, FLOW_COOKIE)
    return page


def sign_out(visit: RequestContext) -> Page:
    """End the session at Supabase and forget it here; should Supabase not answer, it is forgotten here all the same."""
    if visit.session is not None:
        try:
            visit.desk.gotrue.sign_out(visit.session.access_token)
        except TransientError as error:
            _log.warning("the session could not be ended at Supabase and ends by itself: %s", error)
    response = flask.Response(status=303, headers={"Location": "sign-in"})
    drop_cookie(response, SESSION_COOKIE)
    return Page(response=response)


def ask_to_sign_in(visit: RequestContext, *, ended: bool = False) -> Page:
    """The way to the form for a page that needs a session; after signing in, that page (never its POST) is shown.

    The page's own script and a form get the answer in place (401): the one would take the form for its page, and the other
    has to say that nothing was done.
    """
    query = visit.request.query_string.decode("ascii", "ignore")
    after = visit.request.path.lstrip("/") + (f"?{query}" if query else "")
    if visit.request.method == "POST":
        return _show_form(
            visit, after, "Your session had ended, so nothing was done. Sign in, then do it again.", status=401
        )
    if LIVE_HEADER in visit.request.headers:
        return _show_form(visit, after, status=401)
    ways = {"next": after} if _NEXT.fullmatch(after) else {}
    ways |= {"ended": "1"} if ended else {}
    return Page(to=f"sign-in?{urlencode(ways)}" if ways else "sign-in")


def _show_form(
    visit: RequestContext, after: str, message: str = "", email: str = "", status: int | None = None
) -> Page:
    after = after if _NEXT.fullmatch(after) else ""
    providers = visit.desk.config.admin_oauth_providers
    status = status or (400 if message else 200)
    return visit.show(
        "sign_in.html",
        status,
        after=after,
        quoted=quote(after, safe=""),
        message=message,
        email=email,
        providers=providers,
    )


def _let_in(visit: RequestContext, session: Session, after: str) -> Page:
    response = flask.Response(status=303)
    response.headers["Location"] = visit.root + (after if _NEXT.fullmatch(after) else "")
    keep_session(response, visit.desk.seals, session)
    if len(response.headers["Set-Cookie"]) > MOST_COOKIE_CHARS:
        raise NotSignedIn("too_large")
    return Page(response=response)


def _tell(refusal: NotSignedIn) -> str:
    return _WORDS.get(refusal.code, f"Supabase Auth does not let you in ({refusal.code}).")
