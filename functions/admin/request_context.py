"""One request to the dashboard, and what the process behind it holds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import flask

from functions.admin.auth.gotrue import GoTrue
from functions.admin.auth.session import CookieSealer, Session
from functions.admin.views.render import render
from shared.adapters.database import PostgrestStore
from shared.adapters.procedures import Database
from shared.settings.config import Config

# What the page's own script says when it asks for the page again.
LIVE_HEADER = "X-Hangar-Live"
_PREFIX = re.compile(r"(?!.*\.\.)(/[\w.~-]+){0,8}", re.ASCII)


@dataclass(frozen=True)
class AdminContext:
    """What a process has once: settings, database, Supabase Auth, seals."""

    config: Config
    database: Database
    gotrue: GoTrue
    seals: CookieSealer


def make_desk(config: Config) -> AdminContext:
    """The desk for these settings; nothing is connected yet."""
    return AdminContext(
        config=config,
        database=Database(PostgrestStore(config.supabase_url, config.supabase_secret_key.get_secret_value())),
        gotrue=GoTrue(config.token_issuer, config.supabase_publishable_key),
        seals=CookieSealer(config.supabase_secret_key),
    )


def clean(text: str) -> str:
    """What somebody sent, without the one character that no text of Postgres can hold."""
    return text.replace("\0", "").strip()


@dataclass(frozen=True)
class Page:
    """What a visit is answered with: a document of ours, or a way to another address (relative to the root)."""

    html: str = ""
    status: int = 200
    to: str | None = None
    said: Mapping[str, str] | None = None
    response: flask.Response | None = None


@dataclass(frozen=True)
class RequestContext:
    """A request and who makes it. `frame` is what fly_admin_frame says; empty when nobody is signed in."""

    desk: AdminContext
    request: flask.Request
    request_id: str
    session: Session | None = None
    frame: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, str] | None = None

    @property
    def root(self) -> str:
        """The way from this page to the dashboard's first page: relative, so that it holds behind any prefix."""
        return "../" * (self.request.path.count("/") - 1) or "./"

    @property
    def actor(self) -> str:
        """Who acts, for the audit log: the e-mail that the database knows."""
        assert self.session is not None  # noqa: S101  actions run behind the sign-in
        return str(self.frame.get("email") or self.session.email)

    @property
    def now(self) -> datetime:
        """The database's time."""
        return datetime.fromisoformat(self.frame["now"])

    @property
    def origin(self) -> str:
        """This dashboard's absolute address as the browser sees it, for the way back from an OAuth provider."""
        forwarded = self.request.headers.get("X-Forwarded-Proto", self.request.scheme).partition(",")[0].strip()
        prefix = self.request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
        scheme = forwarded if forwarded in ("http", "https") else "https"
        return f"{scheme}://{self.request.host}{prefix if _PREFIX.fullmatch(prefix) else ''}"

    def ask(self, name: str) -> str:
        """One value of the address, trimmed; empty when it is not there."""
        return clean(self.request.args.get(name, ""))

    def show(self, template: str, status: int = 200, **values: Any) -> Page:
        """A page made of a template, with the frame around it."""
        proof = self.desk.seals.make_form_proof(self.session) if self.session else ""
        frame = {"visit": self, "root": self.root, "proof": proof, "said": self.said, "status": status}
        return Page(render(template, **frame, **values), status)
