"""The Postgres URL that an operator gives: checked before anything is sent, and never shown with its password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg import conninfo

from ops.install.errors import WrongInput

VARIABLES = ("SUPABASE_DB_URL", "DATABASE_URL")
TRANSACTION_POOLER_PORT = "6543"
_MOST_HOST_CHARS = 253
_URL = re.compile(r"postgres(?:ql)?(?:\+\w+)?://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
# What other libraries keep in the URL and libpq refuses.
_FOREIGN = {
    "connection_limit", "pool_timeout", "socket_timeout", "schema", "statement_cache_size", "prepared_statement_cache_size",
    "supa", "workaround",
}  # fmt: skip
_SESSION_URL = (
    "Use the session pooler (port 5432 of the same host) or the direct connection. Supabase shows both under Connect"
)


@dataclass(frozen=True)
class DatabaseUrl:
    """Where to connect. `label` names database, host and role, without the password."""

    parameters: Mapping[str, Any] = field(repr=False)
    label: str
    password: str | None = field(default=None, repr=False)

    def hide_password(self, text: str) -> str:
        """The text without the password, for words that come from elsewhere."""
        return text.replace(self.password, "…") if self.password and len(self.password) > 2 else text


def read_database_url(given: str | None, environ: Mapping[str, str]) -> DatabaseUrl:
    """The URL of the option, else that of the environment. Raises WrongInput."""
    if given is not None:
        return parse_database_url(given, "--database-url")
    for name in VARIABLES:
        if environ.get(name, "").strip():
            return parse_database_url(environ[name], name)
    raise WrongInput(
        f"no database is named: set {VARIABLES[0]} to the Postgres URL of the database's owner "
        "(Supabase: Connect, direct connection or session pooler), or give --database-url. .env.hangar is not read if the "
        "SUPABASE_URL of the environment is another one than that of the file"
    )


def parse_database_url(text: str, source: str) -> DatabaseUrl:
    """The parts of this URL. Raises WrongInput, with a message that quotes nothing of it."""
    found = _URL.fullmatch(text.strip().strip("'\""))
    if not found:
        raise WrongInput(f"{source} is no Postgres URL: expected postgresql://ROLE:PASSWORD@HOST:5432/DATABASE")
    rest = found["rest"]
    if "[" in rest.partition("@")[0] and "YOUR-PASSWORD" in rest.upper():
        raise WrongInput(f"{source} still has the placeholder [YOUR-PASSWORD]: put the database's password there")
    credentials, at, _ = rest.rpartition("@")
    if at and re.search(r"[@/?#\s]", credentials):
        raise WrongInput(
            f"{source}: the password has a character that a URL must encode. Write @ as %40, / as %2F, ? as %3F, # as %23, "
            "a space as %20"
        )
    base, _, query = rest.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    if any(name == "pgbouncer" and value.lower() in ("true", "1") for name, value in options):
        raise WrongInput(f"{source} has pgbouncer=true, so it names a transaction pooler. {_SESSION_URL}")
    kept = [(name, value) for name, value in options if name.lower() not in _FOREIGN | {"pgbouncer"}]
    try:
        parameters = conninfo.conninfo_to_dict(
            f"postgresql://{base}" + (f"?{urlencode(kept, quote_via=quote)}" if kept else "")
        )
    except psycopg.Error:
        # libpq quotes the part that it does not understand, which may be the password.
        raise WrongInput(
            f"{source} cannot be read as a Postgres URL: expected postgresql://ROLE:PASSWORD@HOST:5432/DATABASE, with % in the "
            "password written as %25, and only options that libpq knows"
        ) from None
    return _check(parameters, source)


def _check(parameters: dict[str, Any], source: str) -> DatabaseUrl:
    host, port = str(parameters.get("host") or parameters.get("hostaddr") or ""), str(parameters.get("port") or "5432")
    if not host or not parameters.get("user"):
        missing = "host" if not host else "role"
        raise WrongInput(f"{source} names no {missing}: expected postgresql://ROLE:PASSWORD@HOST:5432/DATABASE")
    if not re.fullmatch(r"\d{1,5}(,\d{1,5})*", port, re.ASCII) or any(
        not 0 < int(each) < 65536 for each in port.split(",")
    ):
        raise WrongInput(f"{source} has a port that is no number from 1 to 65535")
    if not host.startswith("/") and any(not _is_host(each) for each in host.split(",")):
        raise WrongInput(f"{source} has a host that cannot be a name: at most 253 characters, and 63 between two dots")
    timeout = str(parameters.get("connect_timeout", "10"))
    if not re.fullmatch(r"\d{1,6}", timeout, re.ASCII):
        raise WrongInput(f"{source} has a connect_timeout that is no number of seconds")
    if TRANSACTION_POOLER_PORT in port.split(","):
        raise WrongInput(
            f"{source} names port {TRANSACTION_POOLER_PORT}, Supabase's transaction pooler, which cannot hold the lock that "
            f"installing needs. {_SESSION_URL}"
        )
    parameters.setdefault("dbname", parameters["user"])
    label = f"{parameters['dbname']} on {host}:{port} as {parameters['user']}"
    return DatabaseUrl(parameters, label, parameters.get("password"))


def _is_host(host: str) -> bool:
    """Whether the resolver takes this name. Python's ends with an error of its own if not."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return len(host) <= _MOST_HOST_CHARS
