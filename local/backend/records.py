"""The host's tables over PostgREST, with the publishable key and the user's own token."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from postgrest import APIError, SyncPostgrestClient
from postgrest.types import ReturnMethod

from local.backend.selection import Selection
from local.backend.settings import Settings

PAGE = 500  # below PostgREST's max-rows (1,000 at Supabase), so that a short page is the last one
TIMEOUT = httpx.Timeout(5.0, connect=2.0)


class RecordsError(Exception):
    """The database was not reached or refused. The text is short and holds no key."""


class Records:
    """Reads traders and writes signals. Not thread-safe; one per process."""

    def __init__(self, settings: Settings) -> None:
        headers = {"apikey": settings.publishable_key, "Authorization": f"Bearer {settings.user_token}"}
        # Plain HTTP needs no certificates, and reading the CA file costs every machine megabytes.
        secure = settings.supabase_url.startswith("https://")
        tls = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.Client(timeout=TIMEOUT, verify=tls, trust_env=False, limits=httpx.Limits(max_connections=2))
        self._client = SyncPostgrestClient(
            f"{settings.supabase_url}/rest/v1", headers=headers, http_client=self._http, retry_enabled=False
        )

    def read_traders(self, selection: Selection) -> Iterator[dict[str, Any]]:
        """Every row of `traders` in the selection, page by page; RecordsError when a page fails."""
        after: str | None = None
        while True:
            query = self._client.from_("traders").select("id", "user_id", "name", "enabled", "is_built_in", "filter")
            for column, wanted in selection.conditions:
                query = query.eq(column, wanted)
            if after is not None:
                query = query.gt("id", after)
            rows: list[Any] = self._send(query.order("id").limit(PAGE))
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1]["id"]

    def write_signal(self, signal: Mapping[str, Any]) -> None:
        """Insert one signal with its own id. Writing it again after a lost response succeeds: the row exists."""
        try:
            self._send(self._client.from_("signals").insert(dict(signal), returning=ReturnMethod.minimal))
        except RecordsError as error:
            if not (isinstance(error.__cause__, APIError) and error.__cause__.code == "23505"):
                raise

    def close(self) -> None:
        self._http.close()

    @staticmethod
    def _send(request: Any) -> Any:
        try:
            return request.execute().data
        except APIError as error:
            raise RecordsError(f"{error.code}: {(error.message or 'no message')[:200]}") from error
        except httpx.HTTPError as error:
            raise RecordsError(f"{type(error).__name__}: {str(error)[:200]}") from error
