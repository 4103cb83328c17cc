"""What an operator has typed at a prompt of `hangar init`: cleaned, described without a secret, compared with the project."""

import re
from urllib.parse import urlsplit

from ops.install.database_url import parse_database_url
from ops.install.errors import InstallError
from shared.settings.validators import base_url, read_key_claims

_DASHBOARD = re.compile(r"https://supabase\.com/dashboard/project/(?P<ref>[a-z0-9]{10,40})\b.*", re.ASCII)
_HOST = re.compile(r"(?P<ref>[a-z0-9]{10,40})\.supabase\.(?:co|in|net|red)", re.ASCII)
_MOST_SHOWN_CHARS = 100


def clean(text: str) -> str:
    """The text without space around it and without one pair of quotes, which is often copied with a value."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"`":
        text = text[1:-1].strip()
    return text


def describe(text: str) -> str:
    """What was typed, for a message: the kind of a key or an address that may hold a secret, and any other text itself."""
    if text.startswith("sb_secret_"):
        return "a secret key of Supabase"
    if text.startswith("sb_publishable_"):
        return "a publishable key of Supabase"
    if claims := read_key_claims(text):
        return f"a legacy key of Supabase with the role {str(claims.get('role'))[:30]!r}"
    if re.match(r"postgres(ql)?(\+\w+)?:", text, re.IGNORECASE):
        return "a database URL"
    if re.match(r"FlyV1 |fm[12][a-z]?_|fo1_", text):
        return "a Fly token"
    if re.match(r"whsec_|\{|-----BEGIN", text):
        return "a secret"
    # A URL may hold a user with a password, and a long word without spaces may be a key of another service.
    if re.search(r"//[^/]*@", text) or re.search(r"[A-Za-z0-9_+/=-]{32,}", text):
        return "a text that may hold a secret"
    return repr(text[:_MOST_SHOWN_CHARS])


def check_project_url(text: str) -> str | None:
    """What is wrong with the address of a Supabase project, or None."""
    expected = "expected the address of the project alone, like https://abcdefghijklmnopqrst.supabase.co"
    if found := _DASHBOARD.fullmatch(text):
        return f"this is the project's page in the dashboard; its address is https://{found['ref']}.supabase.co"
    if base_url.parse(text) is None:
        return f"expected {base_url.expected}, not {describe(text)}"
    parts = urlsplit(text)
    if parts.path.strip("/"):
        return f"{expected}, without {parts.path!r}"
    if (parts.hostname or "").startswith("db.") or (parts.hostname or "").endswith(".pooler.supabase.com"):
        return f"{expected}; {parts.hostname!r} is the host of a database"
    return None


def find_project(url: str) -> str | None:
    """The reference of the project at this address, or None if the address does not hold it, as with a domain of your own."""
    found = _HOST.fullmatch((urlsplit(url).hostname or "").lower())
    return found["ref"] if found else None


def check_key_project(key: str, url: str) -> str | None:
    """Whether a legacy key belongs to this project. The newer keys do not say."""
    project, claims = find_project(url), read_key_claims(key) or {}
    if project and claims.get("ref") and claims["ref"] != project:
        return f"this is a key of the project {str(claims['ref'])[:40]!r}, and SUPABASE_URL names {project!r}"
    return None


def check_database_project(database_url: str, url: str) -> str | None:
    """Whether a database URL names the database of this project, as far as host and role tell."""
    project = find_project(url)
    try:
        parameters = parse_database_url(database_url, "").parameters
    except InstallError:
        return None  # the check of the connection says what is wrong
    host, role = str(parameters.get("host") or ""), str(parameters.get("user") or "")
    direct = re.fullmatch(r"db\.([a-z0-9]{10,40})\.supabase\.(?:co|in|net|red)", host)
    pooled = re.fullmatch(r"\w+\.([a-z0-9]{10,40})", role) if host.endswith(".pooler.supabase.com") else None
    named = direct or pooled
    if project and named and named[1] != project:
        return f"this is the database of the project {named[1]!r}, and SUPABASE_URL names {project!r}"
    return None
