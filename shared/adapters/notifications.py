"""Tells a person, once for each thing that is wrong: the open alert stands in the database, the webhook gets a copy.

The webhook's body is what Slack and everything Slack-compatible takes (`{"text": …}`), with our own fields beside it.
"""

import logging
from typing import Protocol

import httpx

from shared.adapters.http_client import make_client
from shared.domain.errors import HangarError
from shared.domain.models import Json

_log = logging.getLogger("hangar.alerts")
_TIMEOUT = httpx.Timeout(5)


class AlertBook(Protocol):
    """Where alerts stand: `Database`, or a test's own."""

    def raise_alert(self, kind: str, key: str, message: str, metadata: Json) -> bool:
        """Open an alert; True when it was not open already."""

    def resolve_alert(self, kind: str, key: str) -> bool:
        """Close an open alert; True when there was one."""

    def take_alerts(self) -> list[Json]:
        """The alerts that the database itself raised and nobody was told of; each is handed out once."""


class Notifier:
    """Opens and resolves alerts. A failure to alert is logged and never stops the work it speaks of."""

    def __init__(self, book: AlertBook, webhook_url: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self._book = book
        self._webhook_url = webhook_url
        self._transport = transport

    def open(self, kind: str, key: str, message: str, metadata: Json) -> None:
        """Open the alert `kind`/`key`; sent to the webhook only when it was not open already."""
        try:
            new = self._book.raise_alert(kind, key, message, metadata)
        except HangarError as error:
            _log.error("alert %s/%s could not be recorded (%s); its message was: %s", kind, key, error, message)
            new = True  # better said twice than not at all
        if new:
            self._send(
                {"text": f"Hangar: {message}", "kind": kind, "key": key, "message": message, "metadata": metadata}
            )

    def resolve(self, kind: str, key: str) -> bool:
        """Close the alert, if it is open, and say so; True when it was."""
        try:
            was_open = self._book.resolve_alert(kind, key)
        except HangarError as error:
            _log.error("alert %s/%s could not be resolved: %s", kind, key, error)
            return False
        if was_open:
            self._send({"text": f"Hangar: resolved: {kind} {key}", "kind": kind, "key": key, "resolved": True})
        return was_open

    def deliver(self) -> None:
        """Send what the database raised by itself (the brake, unknown tiers, nudges that cannot go out)."""
        try:
            taken = self._book.take_alerts()
        except HangarError as error:
            _log.error("the database's own alerts could not be read: %s", error)
            return
        for alert in taken:
            self._send({"text": f"Hangar: {alert['message']}", **alert})

    def _send(self, body: Json) -> None:
        if not self._webhook_url:
            return
        try:
            with make_client(self._webhook_url, timeout=_TIMEOUT, transport=self._transport) as client:
                client.post(self._webhook_url, json=body).raise_for_status()
        except httpx.HTTPError as error:
            # The URL itself is a credential with Slack, so only the kind of failure is told.
            _log.error("the alert webhook did not take %s/%s: %s", body["kind"], body["key"], type(error).__name__)
