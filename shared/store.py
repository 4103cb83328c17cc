"""The database behind one seam: `rpc(name, args) -> JSON`. In production over PostgREST, in simulation straight to Postgres.

`Database` gives the procedures of docs/database.md their Python names and types and is the same over every store.
Errors: Retry (nothing happened), Unknown (it may have), Refused (a person must act: key, grants, migrations), Bug.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import httpx

from shared.errors import Bug, HangarError, Refused, Retry, Unknown, cut_excerpt
from shared.models import Json, Row, Settings
from shared.tls import get_tls_context

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
        except Unknown:
            self._sleep(_PAUSE_BEFORE_SECOND_TRY_S)
            return self._rpc_once(name, args)

    def _rpc_once(self, name: str, args: Json) -> Any:
        from postgrest.exceptions import APIError  # noqa: PLC0415  half the cold start: paid by the first call, not the import

        try:
            return self._client().rpc(name, args).execute().data
        except APIError as error:
            raise explain_refusal(name, error.code, error.message, error.details, error.hint) from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Retry(f"the database at {self._url} cannot be reached ({type(error).__name__}) for {name}") from error
        except httpx.HTTPError as error:
            raise Unknown(f"the database gave no answer to {name} ({type(error).__name__})") from error

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
    """The branch of `shared.errors` that a SQLSTATE, a PostgREST code or a gateway's status calls for."""
    code = str(code or "")
    said = cut_excerpt(" ".join(str(part) for part in (message, details, hint) if part))
    if code in _UNKNOWN_GATEWAY:
        return Unknown(f"the database's gateway answered {code} to {name}: {said}")
    if code[:2] in _TRANSIENT_CLASSES or code in _TRANSIENT_GATEWAY:
        return Retry(f"the database could not run {name} now ({code}: {said})", code=code)
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
    return Bug(f"the database rejected {name} ({code}: {said})", code=code)


@dataclass(frozen=True)
class Claim:
    """What asking for one user's row gave. `row` is ours to act on only when `outcome` is "claimed"."""

    outcome: str
    row: Row | None
    last: Row | None
    settings: Settings
    now: datetime
    entitled: bool | None
    known: bool


@dataclass(frozen=True)
class Saved:
    """What a save gave back: the row as it stands now, and why an intent was refused, if it was.

    `retry_in_s` belongs to the refusal "rate": when this row's turn comes.
    """

    row: Row
    settings: Settings
    now: datetime
    generation_moved: bool
    refused: str | None
    retry_in_s: float
    successor: UUID | None


class Database:
    """The procedures by name and type."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def rpc(self, procedure: str, /, **args: Any) -> Any:
        """Call `procedure` with `args` as `p_…`; for procedures that need no shape of their own."""
        return self._store.rpc(procedure, {f"p_{key}": value for key, value in args.items()})

    def claim(self, user_id: UUID, holder: str, *, force: bool) -> Claim:
        """Derive the user's desired state and lease the row, if there is one to lease."""
        answer = self.rpc("fly_claim", user=str(user_id), holder=holder, force=force)
        return Claim(
            outcome=answer["outcome"],
            row=Row.model_validate(answer["row"]) if answer["row"] else None,
            last=Row.model_validate(answer["last"]) if answer["last"] else None,
            settings=Settings.model_validate(answer["settings"]),
            now=datetime.fromisoformat(answer["now"]),
            entitled=answer["entitled"],
            known=bool(answer["known"]),
        )

    def claim_due(self, limit: int, holder: str, first: str = "present") -> tuple[list[Row], Settings, datetime, int]:
        """Lease up to `limit` due rows, oldest first; with settings, the database's time and how many stay due.

        What is wanted and what is unwanted are queues of their own; `first` says who gets the larger half of the places.
        """
        answer = self.rpc("fly_claim_due", limit=limit, holder=holder, first=first)
        rows = [Row.model_validate(claimed["row"]) for claimed in answer["claimed"]]
        now = datetime.fromisoformat(answer["now"])
        return rows, Settings.model_validate(answer["settings"]), now, int(answer["due_left"])

    def save(self, row: Row, patch: Json, events: Sequence[Json], *, release: bool) -> Saved | None:
        """Compare-and-set on lease and generation; None when the lease is lost."""
        answer = self.rpc(
            "fly_save",
            id=str(row.id),
            lease_token=str(row.lease_token),
            planned_generation=row.generation,
            patch=patch,
            events=list(events),
            release=release,
        )
        if answer is None:
            return None
        return Saved(
            row=Row.model_validate(answer["row"]),
            settings=Settings.model_validate(answer["settings"]),
            now=datetime.fromisoformat(answer["now"]),
            generation_moved=bool(answer["generation_moved"]),
            refused=answer["refused"],
            retry_in_s=float(answer["retry_in_s"] or 0),
            successor=UUID(answer["successor"]) if answer["successor"] else None,
        )

    def raise_alert(self, kind: str, key: str, message: str, metadata: Json) -> bool:
        """Open an alert; True when it was not open already, so that it is sent once."""
        return bool(self.rpc("fly_raise_alert", kind=kind, key=key, message=message, metadata=metadata)["new"])

    def resolve_alert(self, kind: str, key: str) -> bool:
        """Close an open alert; True when there was one."""
        return bool(self.rpc("fly_resolve_alert", kind=kind, key=key)["resolved"])

    def take_alerts(self) -> list[Json]:
        """Alerts the database raised by itself, each handed out once."""
        alerts: list[Json] = self.rpc("fly_take_alerts")["alerts"]
        return alerts
