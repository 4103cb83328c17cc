"""Requests to Fly and its responses, as values; read from httpx once and free of secrets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from shared.adapters.http_client import parse_retry_after
from shared.observability.redaction import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx


GONE = frozenset({404, 410})


GRPC_PREFIX = re.compile(
    r"^([a-z_]+): "
)  # of a gRPC status: not_found, already_exists, failed_precondition, aborted, …


_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)  # 01JD2N4V3X0PZ4K5-sin


MACHINE_ID = re.compile(r"machine ID ([0-9A-Za-z]+) already exists")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the client means it; `what` names it in messages, `secrets` must never be shown."""

    what: str
    method: str
    path: str
    app: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    accept: frozenset[int] = frozenset()
    read_timeout_s: float = 15.0
    is_repeatable: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_read(self) -> bool:
        return self.method == "GET"

    @property
    def creates_machine(self) -> bool:
        return self.method == "POST" and self.app is not None and self.path == f"/v1/apps/{self.app}/machines"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: status, the parsed JSON (None if it was not JSON) and the headers that Hangar reads."""

    status: int
    data: Any = field(repr=False)
    text: str = field(repr=False)
    request_id: str | None
    retry_after_s: float | None = None
    next_cursor: str | None = None
    date: datetime | None = None

    @property
    def error(self) -> str:
        """Fly's `error` text, or the start of the body where it is not Fly's JSON."""
        if isinstance(self.data, dict):
            message = self.data.get("error") or self.data.get("message")
            if isinstance(message, str):
                return message
        return self.text

    @property
    def proves_absence(self) -> bool:
        """Whether this 404 or 410 comes from Fly itself, not from a wrong address or a proxy without such a path.

        "Gone" ends an app's record, so a page or Go's plain "404 page not found" must never pass for it.
        """
        if self.status not in GONE:
            return False
        return isinstance(self.data, dict) or (not self.text.strip() and self.request_id is not None)

    @property
    def body_status(self) -> str:
        status = self.data.get("status") if isinstance(self.data, dict) else None
        return status if isinstance(status, str) else ""


def read_answer(response: httpx.Response, hidden: tuple[str, ...] = ()) -> Response:
    """The parts of a response the client works with. A request id is stored and shown, so it must look like one."""
    try:
        data = json.loads(response.content) if response.content else None
    except ValueError:
        data = None
    headers = response.headers
    request_id = hide_secrets(headers.get("fly-request-id", ""), hidden)
    return Response(
        status=response.status_code,
        data=data,
        text=response.text if data is None else "",
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else None,
        retry_after_s=parse_retry_after(headers.get("retry-after"), headers.get("date")),
        next_cursor=headers.get("fly-next-cursor") or None,
        # An answer without Fly's id comes from something in between, which has a clock of its own.
        date=parse_date(headers.get("date")) if _REQUEST_ID.fullmatch(request_id) else None,
    )


@lru_cache(64)
def parse_date(value: str | None) -> datetime | None:
    """The time of a `Date` header in UTC; None if it is not one."""
    try:
        return parsedate_to_datetime(value or "").astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
