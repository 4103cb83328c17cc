"""What the process behind the dashboard holds, what is known of the current request, and how a page is answered."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, cast
from uuid import UUID

import flask

from functions.admin.auth.session import CookieSealer, Session
from functions.admin.auth.sign_in_service import SignInService
from shared.adapters.database import PostgrestStore
from shared.adapters.operator_database import OperatorDatabase
from shared.domain.moments import read_moment
from shared.settings.config import Config

# The page's script sends this header when it refreshes the page.
LIVE_HEADER = "X-Hangar-Live"
SEEN_FOR_S = 15 * 60
MOST_NOTICE_BYTES = (
    1400  # twice that, packed for a cookie, stays below 4,096: a notice may be added to one that was not read yet
)
MOST_RELEASE_ID = 2**31 - 1  # an integer of Postgres
_PREFIX = re.compile(r"(?!.*\.\.)(/[\w.~-]+){0,8}", re.ASCII)
# What changes without any event: ages in words, and the time from which the script counts.
_TICKING = re.compile(r">[^<]*</time>| data-now=\"\d+\"")


class SeenOperators:
    """Whom the database has lately confirmed as operators: for the doctor page while the database is out of reach."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}

    def note(self, user_id: UUID | str, *, is_operator: bool) -> None:
        """What the database has just said about this user."""
        if is_operator:
            self._seen[str(user_id)] = self._clock()
        else:
            self._seen.pop(str(user_id), None)

    def was_operator(self, user_id: UUID | str) -> bool:
        """Whether the database called this user an operator in the last 15 minutes, and has not taken it back."""
        seen_at = self._seen.get(str(user_id))
        return seen_at is not None and self._clock() - seen_at < SEEN_FOR_S


@dataclass(frozen=True)
class AdminContext:
    """What a process has once: settings, database, sign-in service, cookie sealer.

    `doctor_lock` is held while the checks of the doctor page run, so that a process runs them once at a time.
    """

    config: Config
    database: OperatorDatabase
    sign_in_service: SignInService
    sealer: CookieSealer
    seen_operators: SeenOperators = field(default_factory=SeenOperators)
    doctor_lock: Lock = field(default_factory=Lock)


def make_admin_context(config: Config) -> AdminContext:
    """The context for these settings. It opens no connection."""
    return AdminContext(
        config=config,
        database=OperatorDatabase(PostgrestStore(config.supabase_url, config.supabase_secret_key.get_secret_value())),
        sign_in_service=SignInService(config.token_issuer, config.supabase_publishable_key),
        sealer=CookieSealer(config.supabase_secret_key),
    )


@dataclass
class RequestContext:
    """What is known of the current request. The guard fills it in.

    `frame` is the result of `read_frame`. It stays empty until the guard has seen that the caller is an operator, and on the
    doctor page while the database is out of reach.
    """

    admin: AdminContext
    request_id: str
    session: Session | None = None
    is_renewed: bool = False
    frame: Mapping[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> OperatorDatabase:
        return self.admin.database

    @property
    def operator(self) -> Session:
        """The session of the operator. Only for pages behind the guard."""
        if self.session is None:
            raise LookupError("this page was served without a session")
        return self.session

    @property
    def actor(self) -> str:
        """Who acts, for the audit log: the e-mail address that the database knows."""
        return str(self.frame.get("email") or self.operator.email)

    @property
    def now(self) -> datetime:
        """The database's time, in UTC."""
        return read_moment(self.frame["now"])

    @property
    def form_proof(self) -> str:
        return self.admin.sealer.make_form_proof(self.session) if self.session else ""


def get_context() -> RequestContext:
    """The context of the current request."""
    return cast("RequestContext", flask.g.hangar)


def get_root() -> str:
    """The relative way from this page to the dashboard's first page. It works behind any path prefix."""
    return "../" * (flask.request.path.count("/") - 1) or "./"


def get_origin() -> str:
    """The dashboard's absolute address as the browser sees it, for the way back from an OAuth provider."""
    request = flask.request
    forwarded = request.headers.get("X-Forwarded-Proto", request.scheme).partition(",")[0].strip()
    prefix = request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    scheme = forwarded if forwarded in ("http", "https") else "https"
    return f"{scheme}://{request.host}{prefix if _PREFIX.fullmatch(prefix) else ''}"


def is_live_refresh() -> bool:
    """Whether the page's own script asks for the page again."""
    return LIVE_HEADER in flask.request.headers


def clean(text: str) -> str:
    """The text without spaces around it and without NUL, which no text in Postgres can hold."""
    return text.replace("\0", "").strip()


def read_arg(name: str) -> str:
    """One value of the address, cleaned. Empty if it is missing."""
    return clean(flask.request.args.get(name, ""))


def read_release_id(name: str) -> int | None:
    """The number of a release from the address. None if it is missing or cannot be one."""
    text = read_arg(name)
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_RELEASE_ID))
    return int(text) if is_number and 0 < int(text) <= MOST_RELEASE_ID else None


def show(template: str, status: int = 200, **values: Any) -> flask.Response:
    """The page that this template makes, with an ETag that ignores ticking ages."""
    html = flask.render_template(template, status=status, **values)
    response = flask.Response(html, status, content_type="text/html; charset=utf-8")
    response.set_etag(hashlib.sha256(_TICKING.sub("", html).encode()).hexdigest()[:20])
    return response


def leave_notice(text: str, tone: str) -> None:
    """A message for the next page. It travels in a cookie, and browsers drop one of over 4 KiB, so a long one is cut."""
    kept = text[:MOST_NOTICE_BYTES]
    while len(json.dumps(kept)) > MOST_NOTICE_BYTES:
        kept = kept[:-20]
    flask.flash(kept if kept == text else f"{kept}…", tone)


def redirect_to(path: str) -> flask.Response:
    """Send the browser to another page of the dashboard. `path` is relative to the first page."""
    return flask.Response(status=303, headers={"Location": get_root() + path})
