"""Calls the database through one interface: `rpc(name, args) -> JSON`.

In production the calls go over PostgREST, in simulations directly to Postgres. `Database` in `procedures.py` adds names and
types and works with every store. Errors: TransientError (nothing happened), OutcomeUnknown (it may have happened), Refused (an
operator must fix the key, the grants or the migrations, or has given a value that is not allowed), Conflict (somebody else has
changed it meanwhile), InternalError.
"""

import functools
import inspect
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from shared.adapters.http_client import make_client
from shared.domain.errors import Conflict, HangarError, InternalError, OutcomeUnknown, Refused, TransientError
from shared.domain.models import Json
from shared.observability.redaction import cut_excerpt

if TYPE_CHECKING:
    from postgrest import SyncPostgrestClient

_TIMEOUT = httpx.Timeout(connect=5, read=12, write=5, pool=5)  # the database cancels a statement after 8 s
_PAUSE_BEFORE_SECOND_TRY_S = 0.3
# SQLSTATE classes of transactions that certainly did not commit and may succeed later (PostgREST's error table).
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57")
_TRANSIENT_GATEWAY = {"PGRST000", "PGRST001", "PGRST002", "PGRST003", "429"}
_SQLSTATE_CHARS = 5  # an HTTP status has three
_PAUSED_PROJECT = "540"  # of Supabase's gateway
_UNKNOWN_GATEWAY = {"502", "503", "504", "520", "521", "522", "523", "524"}
# Our procedures raise these themselves, with a sentence for the operator: a value that is not allowed, and a value that is
# not the one that the caller saw (PostgREST answers 409 to PT409).
_INVALID_VALUE, _CHANGED_MEANWHILE = "22023", "PT409"
_READ_ONLY = "25006"
_MISSING_SCHEMA = {"PGRST202", "PGRST205", "42883", "42P01"}


class Store(Protocol):
    """The interface that `Database` uses."""

    def rpc(self, name: str, args: Json) -> Any:
        """Call a procedure with named arguments and return its decoded jsonb value."""


def explain_unreadable(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make an `InternalError` of an answer that a method cannot read: another server, or another version, has sent it."""
    is_object = method.__annotations__.get("return") in (Json, "Json")

    def fail(kind: str) -> InternalError:
        error = InternalError(
            f"the answer of the database to {method.__name__} cannot be read ({kind})",
            code="unreadable_answer",
            advice="Check that SUPABASE_URL is the project with Hangar and that its schema has this version: `hangar doctor`",
        )
        error.source = "the database"
        return error

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = method(*args, **kwargs)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is None:
                raise  # it was called with other arguments than it takes
            raise fail(type(error).__name__) from error
        if is_object and not isinstance(answer, dict):
            raise fail(f"{type(answer).__name__} instead of an object")
        return answer

    return call


class Caller:
    """Calls procedures over any store; the typed procedures build on it."""

    def __init_subclass__(cls) -> None:
        """Whatever a public method of a subclass cannot read in an answer becomes one error."""
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and not name.startswith("_"):
                setattr(cls, name, explain_unreadable(value))

    def __init__(self, store: Store) -> None:
        self._store = store

    def _call(self, procedure: str, /, **args: Any) -> Any:
        """Call `procedure` with `args` as `p_…`. Its jsonb value, decoded. Only the typed methods of this package use it."""
        return self._store.rpc(procedure, {f"p_{key}": value for key, value in args.items()})


class PostgrestStore:
    """Supabase over PostgREST, as `service_role`. Each thread has its own HTTP client, made at its first call."""

    def __init__(self, supabase_url: str, secret_key: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = f"{supabase_url.rstrip('/')}/rest/v1"
        self._key = secret_key
        self._sleep = sleep
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"PostgrestStore({self._url})"

    def rpc(self, name: str, args: Json) -> Any:
        """Call a procedure; repeat it once if no response came. Every procedure is safe to repeat: events and leases have ids."""
        try:
            return self._rpc_twice(name, args)
        except HangarError as error:
            error.source = "the database"
            raise

    def _rpc_twice(self, name: str, args: Json) -> Any:
        try:
            return self._rpc_once(name, args)
        except OutcomeUnknown:
            self._sleep(_PAUSE_BEFORE_SECOND_TRY_S)
            return self._rpc_once(name, args)

    def _rpc_once(self, name: str, args: Json) -> Any:
        from postgrest.exceptions import APIError  # noqa: PLC0415  half of the cold start: paid by the first call, not by the import

        try:
            return self._client().rpc(name, args).execute().data
        except APIError as error:
            raise explain_refusal(name, error.code, error.message, error.details, error.hint) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise TransientError(
                f"the database at {self._url} cannot be reached ({type(error).__name__}) for {name}"
            ) from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"the database sent no response to {name} ({type(error).__name__})") from error

    def _client(self) -> "SyncPostgrestClient":
        from postgrest import SyncPostgrestClient  # noqa: PLC0415  as above

        client: SyncPostgrestClient | None = getattr(self._local, "client", None)
        if client is None:
            headers = {"apikey": self._key, "Authorization": f"Bearer {self._key}"}
            http = make_client(self._url, headers=headers, timeout=_TIMEOUT)
            client = SyncPostgrestClient(self._url, headers=headers, http_client=http)
            self._local.client = client
        return client


def _end_sentence(text: str) -> str:
    """The text with a full stop, because Postgres's messages have none and a hint may follow."""
    return text if text.rstrip()[-1:] in tuple(".:;,!?") else f"{text}."


def explain_refusal(
    name: str, code: str | None, message: str | None, details: str | None = None, hint: str | None = None
) -> HangarError:
    """The error for a SQLSTATE, a PostgREST code or an HTTP status of the gateway."""
    code = str(code or "")
    parts = [str(part) for part in (message, details, hint) if part]
    excerpt = cut_excerpt(" ".join([*(_end_sentence(part) for part in parts[:-1]), *parts[-1:]]))
    if code in _UNKNOWN_GATEWAY:
        return OutcomeUnknown(f"the database's gateway answered {code} to {name}: {excerpt}")
    # The body of such an answer has no code, and postgrest does not show the status.
    if code == _PAUSED_PROJECT or (not code and "project paused" in excerpt.lower()):
        return TransientError(
            f"the Supabase project is paused ({excerpt}), so the database could not run {name}",
            code="paused_project",
            advice="Resume the project in Supabase's dashboard",
        )
    if (len(code) == _SQLSTATE_CHARS and code[:2] in _TRANSIENT_CLASSES) or code in _TRANSIENT_GATEWAY:
        return TransientError(f"the database could not run {name} right now ({code}: {excerpt})", code=code)
    if code == _READ_ONLY:
        return TransientError(
            f"the database is read-only and could not run {name} ({code}: {excerpt})",
            code="read_only",
            advice="Supabase makes a database read-only when its disk is nearly full: free space there, or enlarge the disk",
        )
    if code in _MISSING_SCHEMA:
        return Refused(
            f"the database does not know {name} ({code})",
            code="migrations",
            advice="Apply supabase/migrations with `supabase db push`, then reload PostgREST's schema cache",
        )
    if code == _INVALID_VALUE:
        return Refused(excerpt, code="invalid_value")
    if code == _CHANGED_MEANWHILE:
        return Conflict(excerpt, code="changed", advice="Read it again, then decide")
    # Supabase's gateway rejects a wrong key without any code.
    if code in {"42501", "401", "403", "PGRST301", "PGRST302", "PGRST303"} or (not code and "API key" in excerpt):
        return Refused(
            f"the database refused {name} ({code}: {excerpt})",
            code="auth",
            advice="Check that SUPABASE_SECRET_KEY is a secret key of the project in SUPABASE_URL",
        )
    if code.isdecimal() and len(code) < _SQLSTATE_CHARS:
        return Refused(
            f"the address of the database answered {code} to {name}: {excerpt}",
            code="address",
            advice="Check that SUPABASE_URL is https://PROJECT.supabase.co, and the state of the project in Supabase's dashboard",
        )
    return InternalError(f"the database rejected {name} ({code}: {excerpt})", code=code or None)
