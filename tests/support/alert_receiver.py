"""The receiver of alerts in a simulated world: it stores what it accepts, and fails as a test tells it to."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.adapters.alert_webhook import AlertWebhook

URL = "https://hooks.example.test/services/T0000/b1111"


@dataclass
class AlertReceiver:
    """`answer(body)` is the status of its answer, or an exception class of httpx when there is none.

    `accepted` are the (webhook-id, body) that it answered 2xx, `refused` counts the others.
    """

    answer: Callable[[dict[str, Any]], int | type[httpx.HTTPError]] = lambda _: 204
    headers: dict[str, str] = field(default_factory=dict)
    accepted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    refused: int = 0

    def make_webhook(self, url: str = URL, key: bytes | None = None) -> AlertWebhook:
        return AlertWebhook(url, key, transport=httpx.MockTransport(self._receive))

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = json.loads(request.content)
        status = self.answer(body)
        if not isinstance(status, int):
            self.refused += 1
            raise status("no connection")
        if 200 <= status < 300:
            self.accepted.append((request.headers["webhook-id"], body))
        else:
            self.refused += 1
        return httpx.Response(status, headers=self.headers)

    def list_told(self, *kinds: str) -> list[tuple[str, str, bool]]:
        """What a person was told, in order: kind, key and whether it is over. A message that came twice counts once."""
        told = dict(reversed(self.accepted))
        ids = list(dict.fromkeys(id_ for id_, _ in self.accepted))
        bodies = [told[id_] for id_ in ids]
        return [
            (body["kind"], body["key"], "resolved" in body) for body in bodies if not kinds or body["kind"] in kinds
        ]
