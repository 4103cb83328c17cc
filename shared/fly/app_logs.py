"""What an app has logged, from Fly's HTTP endpoint: read when a person asks, never in a sweep, and never stored.

Source: Fly docs "Logs API options" and fly-go `resource_logs.go`. Fly describes the endpoint as "not officially supported, mostly
stable". It keeps about seven days.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from shared.fly.errors import explain_unreadable
from shared.fly.messages import Request
from shared.fly.transport import FlyLink, check_part

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

MACHINES_API = "https://api.machines.dev"
LOGS_API = "https://api.fly.io"
READ_TIMEOUT_S = 10.0  # a person waits for it
PAGE_LINES = 100  # Fly's own limit


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a machine. `at` is Fly's text of the time."""

    id: str
    at: str
    level: str
    region: str
    machine_id: str
    message: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """At most 100 lines, the oldest first. `cursor` is the place of what comes after them."""

    lines: tuple[LogLine, ...]
    cursor: str | None


class LogReader:
    """The logs of one organisation's apps. A simulator answers at the address of its Machines API."""

    def __init__(
        self,
        machines_api_url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        is_fly = machines_api_url.rstrip("/").removesuffix("/v1") == MACHINES_API
        self._link = FlyLink(LOGS_API if is_fly else machines_api_url, token, transport=transport, sleep=sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close_idle(0)

    def read(self, app: str, cursor: str | None = None, machine_id: str | None = None) -> LogPage:
        """The newest lines of a day, or those after `cursor` (nanoseconds since 1970). One attempt.

        Raises what the link raises: NotFound for an app that Fly does not have, Refused, TransientError.
        """
        params = {"next_token": cursor, "instance": machine_id}
        call = Request(
            f"read the logs of app {app}",
            "GET",
            f"/api/v1/apps/{check_part('app name', app)}/logs",
            app,
            {name: value for name, value in params.items() if value},
            read_timeout_s=READ_TIMEOUT_S,
        )
        answer = self._link.call_once(call)
        body = answer.data if isinstance(answer.data, dict) else {}
        lines = body.get("data")
        if not isinstance(lines, list):
            raise explain_unreadable(call, answer)
        meta = body.get("meta")
        following = meta.get("next_token") if isinstance(meta, dict) else None
        return LogPage(tuple(_parse(each) for each in lines), str(following) if following else None)


def _parse(raw: Any) -> LogLine:
    data: dict[str, Any] = raw if isinstance(raw, dict) else {}
    told = data.get("attributes")
    attributes: dict[str, Any] = told if isinstance(told, dict) else {}

    def text(name: str) -> str:
        value = attributes.get(name)
        return value if isinstance(value, str) else ""

    at, machine_id, message = text("timestamp"), text("instance"), text("message")
    known = data.get("id")
    return LogLine(
        id=known if isinstance(known, str) and known else f"{machine_id} {at} {message}",
        at=at,
        level=text("level"),
        region=text("region"),
        machine_id=machine_id,
        message=message,
    )
