"""The database behind one seam: `rpc(name, args) -> JSON`. In production over PostgREST, in simulation straight to Postgres.

`Database` gives the procedures of docs/database.md their Python names and types and is the same over every store.
Errors: Retry (nothing happened), Unknown (it may have), Refused (a person must act: key, grants, migrations), Bug.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from shared.adapters.http_client import get_tls_context
from shared.domain.errors import HangarError, InternalError, OutcomeUnknown, Refused, TransientError
from shared.domain.models import Json
from shared.observability.redaction import cut_excerpt

if TYPE_CHECKING:
    from postgrest import SyncPostgrestClient

_TIMEOUT = httpx.Timeout(connect=5, read=12, write=5, pool=5)  # the database itself stops at 8 s
_PAUSE_BEFORE_SECOND_TRY_S = 0.3
# SQLSTATE classes after which the transaction certainly did not commit and may succeed later (PostgREST's error table).
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57")
_TRANSIENT_GATEWAY = {"PGRST000", "PGRST001", "PGRST002", "PGRST003"}
_UNKNOWN_GATEWAY = {"502", "503", "504", "520", "521", "522", "523", "524"}
_MISSING_SCHEMA = {"PGRST202", "PGRST205", "42883", "42P01"}


class Store(Protocol):
    """The seam."""

    def rpc(self, name: str, args: Json) -> Any:
        """Call one procedure with named arguments; its jsonb value, decoded."""


class Caller:
    """Calls procedures over any store; the typed procedures build on it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def rpc(self, procedure: str, /, **args: Any) -> Any:
        """Call `procedure` with `args` as `p_…`. Its jsonb value, decoded. Typed methods are preferred."""
        return self._store.rpc(procedure, {f"p_{key}": value for key, value in args.items()})


class PostgrestStore:
    """Supabase over PostgREST, as `service_role`. One HTTP client for each thread, made when first used."""

    def __init__(self, supabase_url: str, secret_key: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = f"{supabase_url.rstrip('/')}/rest/v1"
        self._key = secret_key
        self._sleep = sleep
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"PostgrestStore({self._url})"

    def rpc(self, name: str, args: Json) -> Any:
        """Tries once more after a cut connection: every procedure is safe to repeat (events and leases carry ids)."""
        try:
            return self._rpc_once(name, args)
        except OutcomeUnknown:
            self._sleep(_PAUSE_BEFORE_SECOND_TRY_S)
            return self._rpc_once(name, args)

    def _rpc_once(self, name: str, args: Json) -> Any:
        from postgrest.exceptions import APIError  # noqa: PLC0415  half the cold start: paid by the first call, not the import

        try:
            return self._client().rpc(name, args).execute().data
        except APIError as error:
            raise explain_refusal(name, error.code, error.message, error.details, error.hint) from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TransientError(
                f"the database at {self._url} cannot be reached ({type(error).__name__}) for {name}"
            ) from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"the database gave no answer to {name} ({type(error).__name__})") from error

    def _client(self) -> "SyncPostgrestClient":
        from postgrest import SyncPostgrestClient  # noqa: PLC0415  see above

        client: SyncPostgrestClient | None = getattr(self._local, "client", None)
        if client is None:
            headers = {"apikey": self._key, "Authorization": f"Bearer {self._key}"}
            # HTTP/2 connections go stale in frozen functions (supabase-py #1064); short keep-alive for the same reason.
            http = httpx.Client(
                base_url=self._url,
                headers=headers,
                verify=get_tls_context(),
                http2=False,
                timeout=_TIMEOUT,
                # A proxy of the environment must not come between us and a local cloud.
                trust_env=httpx.URL(self._url).host not in ("127.0.0.1", "localhost", "::1"),
                limits=httpx.Limits(keepalive_expiry=20),
            )
            client = SyncPostgrestClient(self._url, headers=headers, http_client=http)
            self._local.client = client
        return client


def explain_refusal(
    name: str, code: str | None, message: str | None, details: str | None = None, hint: str | None = None
) -> HangarError:
    """The branch of `shared.domain.errors` that a SQLSTATE, a PostgREST code or a gateway's status calls for."""
    code = str(code or "")
    said = cut_excerpt(" ".join(str(part) for part in (message, details, hint) if part))
    if code in _UNKNOWN_GATEWAY:
        return OutcomeUnknown(f"the database's gateway answered {code} to {name}: {said}")
    if code[:2] in _TRANSIENT_CLASSES or code in _TRANSIENT_GATEWAY:
        return TransientError(f"the database could not run {name} now ({code}: {said})", code=code)
    if code in _MISSING_SCHEMA:
        return Refused(
            f"the database does not know {name} ({code})",
            code="migrations",
            advice="Apply supabase/migrations with `supabase db push`, then reload PostgREST's schema cache",
        )
    # Supabase's gateway gives its own refusals of a key no code at all.
    if code in {"42501", "401", "403", "PGRST301", "PGRST302", "PGRST303"} or (not code and "API key" in said):
        return Refused(
            f"the database refused {name} ({code}: {said})",
            code="auth",
            advice="Check that SUPABASE_SECRET_KEY is a secret key of the project in SUPABASE_URL",
        )
    return InternalError(f"the database rejected {name} ({code}: {said})", code=code)
