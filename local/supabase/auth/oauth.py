"""Sign-in through a provider with PKCE: redirects, states and codes as in supabase/auth.

No real provider is reached: `/local-provider` is a page on which the user picks an account.
Sources: supabase/auth, internal/api/external.go, token.go and verify.go; RFC 7636.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from local.http_server import Request, Response
from local.supabase.auth.responses import AuthFailure, Row, read_fields, redirect, transaction
from local.supabase.auth.sessions import Sessions
from local.supabase.auth.users import find_by_email, find_by_id, list_emails
from local.supabase.rest.pool import Pool

PROVIDERS = ("azure", "bitbucket", "github", "gitlab", "google")
FLOW_S = 300
SITE_URL = "http://127.0.0.1:3000"
LOOPBACK = ("127.0.0.1", "localhost")
_LISTED_USERS = 20
_CHALLENGE = re.compile(r"[a-zA-Z0-9._~-]{43,128}", re.ASCII)


@dataclass(frozen=True)
class _Flow:
    """A sign-in under way: until the end of `FLOW_S` the browser may return with an account."""

    provider: str
    challenge: str
    referrer: str
    begun_at: float


class OAuth:
    """Sign-in through a provider, from `/authorize` to the session. A restart of the service forgets those under way."""

    def __init__(self, pool: Pool, sessions: Sessions, now: Callable[[], float]) -> None:
        self._pool, self._sessions, self._now = pool, sessions, now
        self._flows: dict[str, _Flow] = {}  # by state
        self._codes: dict[str, tuple[_Flow, str]] = {}  # with the id of the user who was picked

    def authorize(self, request: Request) -> Response:
        """`GET /authorize`: remember the challenge and send the browser to the provider."""
        provider, challenge = request.param("provider") or "", request.param("code_challenge") or ""
        if provider not in PROVIDERS:
            raise AuthFailure(400, "validation_failed", "Unsupported provider: provider is not enabled")
        if (request.param("code_challenge_method") or "").lower() != "s256":
            raise AuthFailure(
                501, "not_implemented", "The local sign-in service supports OAuth with PKCE and S256 only"
            )
        if not _CHALLENGE.fullmatch(challenge):
            raise AuthFailure(400, "validation_failed", "code challenge has to be between 43 and 128 characters")
        state = secrets.token_urlsafe(16)
        self._flows[state] = _Flow(provider, challenge, choose_redirect(request.param("redirect_to")), self._now())
        return redirect(f"{self._sessions.issuer}/local-provider?{urlencode({'state': state})}")

    def show_provider(self, request: Request) -> Response:
        """`GET /local-provider`: the page on which the user picks an account; a form without scripts."""
        flow = self._find_flow(request)
        with transaction(self._pool) as cursor:
            emails = list_emails(cursor, _LISTED_USERS)
        page = _PAGE.format(
            provider=escape(flow.provider),
            state=escape(request.param("state") or ""),
            users="".join(
                f'<p><button name="code" value="{escape(email)}">{escape(email)}</button></p>' for email in emails
            ),
        )
        policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return Response(200, page.encode(), headers)

    def take_callback(self, request: Request) -> Response:
        """`GET /callback`: the provider sends the browser back with an account or an error."""
        try:
            flow = self._find_flow(request)
        except AuthFailure as failure:
            return redirect(_add_failure(SITE_URL, failure))
        try:
            code = self._connect(request, flow)
        except AuthFailure as failure:
            return redirect(_add_failure(flow.referrer, failure))
        return redirect(_add_query(flow.referrer, {"code": code}))

    def exchange(self, request: Request) -> Row:
        """`POST /token?grant_type=pkce`: one session for a code and its verifier."""
        auth_code, verifier = read_fields(request, "auth_code", "code_verifier")
        if not auth_code or not verifier:
            message = "invalid request: both auth code and code verifier should be non-empty"
            raise AuthFailure(400, "validation_failed", message)
        flow, user_id = self._codes.get(auth_code, (None, ""))
        with transaction(self._pool) as cursor:
            user = find_by_id(cursor, user_id)
            if flow is None or user is None:
                raise AuthFailure(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
            if self._now() > flow.begun_at + FLOW_S:
                raise AuthFailure(422, "flow_state_expired", "invalid flow state, flow state has expired")
            if not hmac.compare_digest(_challenge_of(verifier), flow.challenge):
                message = "code challenge does not match previously saved code verifier"
                raise AuthFailure(400, "bad_code_verifier", message)
            if self._codes.pop(auth_code, None) is None:  # another request was faster
                raise AuthFailure(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
            return self._sessions.open(cursor, user)

    def _connect(self, request: Request, flow: _Flow) -> str:
        """A code for the user whom the provider names by e-mail."""
        if error := request.param("error"):
            raise AuthFailure(403, error, request.param("error_description") or error)
        with transaction(self._pool) as cursor:
            user = find_by_email(cursor, request.param("code") or "")
        if user is None:
            raise AuthFailure(403, "signup_disabled", "Signups not allowed for this instance")
        if user["banned"]:
            raise AuthFailure(403, "user_banned", "User is banned")
        code = secrets.token_urlsafe(16)
        self._codes[code] = (flow, user["id"])
        return code

    def _find_flow(self, request: Request) -> _Flow:
        """The sign-in that `authorize` began; AuthFailure 400 for another or an expired state."""
        flow = self._flows.get(request.param("state") or "")
        if flow is None:
            raise AuthFailure(400, "bad_oauth_state", "OAuth callback with invalid state")
        if self._now() > flow.begun_at + FLOW_S:
            raise AuthFailure(400, "bad_oauth_state", "OAuth state has expired")
        return flow


def choose_redirect(wanted: str | None) -> str:
    """The address for the final redirect: `wanted` if it is on this computer, else the site, as in supabase/auth."""
    try:
        parts = urlsplit(wanted or "")
    except ValueError:  # an incomplete IPv6 address
        return SITE_URL
    is_allowed = parts.scheme in ("http", "https") and parts.hostname in LOOPBACK and "@" not in parts.netloc
    return parts.geturl() if is_allowed else SITE_URL


def _challenge_of(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _add_query(url: str, fields: dict[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | fields)))


def _add_failure(url: str, failure: AuthFailure) -> str:
    """Add the failure to the query and to the fragment, as supabase/auth does."""
    fields = {
        "error": "access_denied" if failure.status == 403 else "invalid_request",
        "error_code": failure.code,
        "error_description": failure.message,
    }
    return f"{_add_query(url, fields)}#{urlencode({**fields, 'sb': ''})}"


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Local sign-in provider</title></head>
<body>
<h1>Local sign-in provider</h1>
<p>This page takes the place of {provider}, which the local cloud does not use. Pick an account. No password is needed.</p>
<form action="callback"><input type="hidden" name="state" value="{state}">{users}</form>
<form action="callback"><input type="hidden" name="state" value="{state}">
<p><label>Another e-mail <input name="code" type="email" required></label> <button>Sign in</button></p></form>
<form action="callback"><input type="hidden" name="state" value="{state}"><input type="hidden" name="error" value="access_denied">
<input type="hidden" name="error_description" value="The user denied access">
<p><button>Cancel</button></p></form>
</body>
</html>
"""
