"""Raises alerts, once for each problem: the database keeps the open alerts, and the webhook receives a copy.

The body for the webhook is `{"text": …}`, which Slack and compatible services accept, with Hangar's own fields beside it.
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
    """Stores the open alerts: `Database`, or a fake in tests."""

    def raise_alert(self, kind: str, key: str, message: str, metadata: Json) -> bool:
        """Open an alert. True if it was not open already."""

    def resolve_alert(self, kind: str, key: str) -> bool:
        """Close an open alert. True if it was open."""

    def take_alerts(self) -> list[Json]:
        """The alerts that the database raised and that were not sent yet. Each is returned once."""


class Notifier:
    """Opens and resolves alerts. A failure to store or send an alert is logged and never interrupts the caller."""

    def __init__(self, book: AlertBook, webhook_url: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self._book = book
        self._webhook_url = webhook_url
        self._transport = transport

    def open(self, kind: str, key: str, message: str, metadata: Json) -> None:
        """Open the alert `kind`/`key`. It is sent to the webhook only if it was not open already."""
        try:
            is_new = self._book.raise_alert(kind, key, message, metadata)
        except HangarError as error:
            _log.error("The alert %s/%s could not be stored (%s). Its message: %s", kind, key, error, message)
            is_new = True  # sending it twice is better than not at all
        if is_new:
            self._send(
                {"text": f"Hangar: {message}", "kind": kind, "key": key, "message": message, "metadata": metadata}
            )

    def resolve(self, kind: str, key: str) -> bool:
        """Close the alert and notify the webhook. True if it was open."""
        try:
            was_open = self._book.resolve_alert(kind, key)
        except HangarError as error:
            _log.error("The alert %s/%s could not be resolved: %s", kind, key, error)
            return False
        if was_open:
            self._send({"text": f"Hangar: resolved: {kind} {key}", "kind": kind, "key": key, "resolved": True})
        return was_open

    def deliver(self) -> None:
        """Send the alerts that the database raised (the brake, unknown tiers, nudges that cannot be sent).

        The database marks an alert as sent when it hands it out, so an alert is delivered at most once.
        """
        try:
            alerts = self._book.take_alerts()
        except HangarError as error:
            _log.error("The alerts that the database raised could not be read: %s", error)
            return
        for alert in alerts:
            self._send({"text": f"Hangar: {alert['message']}", **alert})

    def _send(self, body: Json) -> None:
        if not self._webhook_url:
            return
        try:
            with make_client(self._webhook_url, timeout=_TIMEOUT, transport=self._transport) as client:
                client.post(self._webhook_url, json=body).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # A Slack webhook's URL is a credential and is part of the error's text, so only the type is logged.
            _log.error("The alert webhook did not accept %s/%s: %s", body["kind"], body["key"], type(error).__name__)
