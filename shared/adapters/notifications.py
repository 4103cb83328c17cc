"""Alerts: the database alone decides whether one is open and stores its messages; this module sends them to the webhooks.

A message is claimed from the outbox, sent, and recorded as delivered or failed. If the process ends in between, the message is
sent again with the same `webhook-id`, so it is delivered at least once. The body is `{"text": …}`, which Slack and compatible
services accept, with Hangar's own fields beside it.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.adapters.alert_webhook import AlertWebhook
from shared.domain.errors import HangarError
from shared.domain.models import Json

_log = logging.getLogger("hangar.alerts")
BUDGET_S = 8.0
TIMEOUT_S = 5.0
LEAST_TIME_S = 0.5  # with less, a message would be sent only to be given up
AT_ONCE = 20
# The second refusal in a row is about the destination, not about the message.
REFUSALS_IN_A_ROW = 2


class AlertBook(Protocol):
    """The alerts and their outbox: `Database`, or a fake in tests."""

    def raise_alert(self, kind: str, key: str, message: str, metadata: Json) -> bool:
        """Open an alert. True if it was not open already."""

    def resolve_alert(self, kind: str, key: str) -> bool:
        """Close an open alert. True if it was open."""

    def take_alerts(self, destinations: Sequence[str], limit: int) -> list[Json]:
        """Claim messages that are due for these destinations, in order."""

    def record_deliveries(self, results: Sequence[Json]) -> None:
        """Record how the claimed messages fared."""


class Notifier:
    """Opens and resolves alerts and sends what waits. Its failures are logged and never interrupt the caller."""

    def __init__(
        self, book: AlertBook, webhooks: Sequence[AlertWebhook] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._book = book
        self._webhooks = {webhook.name: webhook for webhook in webhooks}
        self._clock = clock

    def open(self, kind: str, key: str, message: str, metadata: Json) -> None:
        """Open the alert `kind`/`key`, and send it now if it was not open already."""
        try:
            is_new = self._book.raise_alert(kind, key, message, metadata)
        except HangarError as error:
            _log.error("The alert %s/%s could not be stored (%s). Its message: %s", kind, key, error, message)
            self._send_unstored(kind, key, message, metadata)
            return
        if is_new:
            self.deliver()

    def resolve(self, kind: str, key: str) -> bool:
        """Close the alert and send that it is over. True if it was open."""
        try:
            was_open = self._book.resolve_alert(kind, key)
        except HangarError as error:
            _log.error("The alert %s/%s could not be resolved: %s", kind, key, error)
            return False
        if was_open:
            self.deliver()
        return was_open

    def deliver(self, budget_s: float = BUDGET_S) -> None:
        """Send the messages that are due, whoever opened or resolved the alert, for at most `budget_s` seconds.

        What is not delivered stays in the outbox, and a later call tries again.
        """
        ends_at = self._clock() + budget_s
        while self._webhooks and self._clock() < ends_at - LEAST_TIME_S:
            try:
                taken = self._book.take_alerts(sorted(self._webhooks), AT_ONCE)
                if not taken:
                    return
                self._book.record_deliveries(self._send_all(taken, ends_at))
            except HangarError as error:
                _log.error("The outbox of alerts could not be read or written: %s. The next drain tries again", error)
                return

    def _send_all(self, taken: Sequence[Json], ends_at: float) -> list[Json]:
        """Send to every destination at the same time, so that one that hangs holds up no other. The results of all messages."""
        batches: dict[str, list[Json]] = {}
        for message in taken:
            batches.setdefault(message["destination"], []).append(message)
        senders = [_Sender(self._webhooks[name], batch, ends_at, self._clock) for name, batch in batches.items()]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(max(0.0, ends_at - self._clock()))
        results = [result for sender in senders for result in sender.collect()]
        for result in results:
            if result["outcome"] == "failed":
                _log.error(
                    "The alert webhook %s did not accept a message (%s). It stays in the outbox and is sent again",
                    result["destination"],
                    result["error"],
                )
        return results

    def _send_unstored(self, kind: str, key: str, message: str, metadata: Json) -> None:
        """Without the database there is no outbox: sending an alert more than once is better than not at all."""
        hour = int(time.time() // 3600)
        message_id = f"unstored_{hashlib.sha256(f'{kind}/{key}/{hour}'.encode()).hexdigest()[:32]}"
        body = {"text": f"Hangar: {message}", "kind": kind, "key": key, "message": message, "metadata": metadata}
        for webhook in self._webhooks.values():
            attempt = webhook.send(body, message_id, TIMEOUT_S)
            if not attempt.delivered:
                _log.error("The alert webhook %s did not accept %s/%s: %s", webhook.name, kind, key, attempt.error)


class _Sender(threading.Thread):
    """Sends one destination's messages in order. A daemon, so that a destination that never ends its answer holds up nothing."""

    def __init__(
        self, webhook: AlertWebhook, batch: Sequence[Json], ends_at: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(name=f"alerts to {webhook.name}", daemon=True)
        self._webhook, self._batch, self._ends_at, self._clock = webhook, batch, ends_at, clock
        self._results: list[Json] = []

    def run(self) -> None:
        refusals, refused_subjects = 0, set()
        for message in self._batch:
            left_s, subject = self._ends_at - self._clock(), (message["kind"], message["key"])
            if subject in refused_subjects:  # "resolved" must not overtake "opened"
                self._results.append(self._result_of(message, "skipped"))
                continue
            if left_s < LEAST_TIME_S:
                return
            attempt = self._webhook.send(make_body(message), make_id(message), min(TIMEOUT_S, left_s))
            outcome = "delivered" if attempt.delivered else "failed"
            result = self._result_of(message, outcome, error=attempt.error, retry_after_s=attempt.retry_after_s)
            self._results.append(result)
            if attempt.delivered:
                refusals = 0
                continue
            refusals += 1
            refused_subjects.add(subject)
            if attempt.is_out or refusals >= REFUSALS_IN_A_ROW:
                return

    def collect(self) -> list[Json]:
        """A result for every message. If the destination has not answered by now, the message on its way has failed."""
        is_late, results = self.is_alive(), list(self._results)
        for number, message in enumerate(self._batch[len(results) :]):
            if is_late and number == 0:
                results.append(self._result_of(message, "failed", error="no answer in time"))
            else:
                results.append(self._result_of(message, "skipped"))
        return results

    def _result_of(self, message: Json, outcome: str, **more: object) -> Json:
        known = {name: message[name] for name in ("delivery_id", "token", "destination")}
        return {**known, "outcome": outcome, **more}


def make_id(message: Json) -> str:
    """The `webhook-id`: the same in every attempt and for every destination."""
    message_id = f"alert_{UUID(message['id']).hex}_{message['event']}"
    if message["event"] != "reminded":
        return message_id
    # Each snooze ends with a message of its own.
    return f"{message_id}_{datetime.fromisoformat(message['queued_at']):%Y%m%dT%H%M%S}"


def make_body(message: Json) -> Json:
    """What a webhook receives about an alert."""
    body = {name: message[name] for name in ("id", "kind", "key", "message", "metadata", "opened_at")}
    if message["event"] == "opened":
        return {"text": f"Hangar: {message['message']}", **body}
    if message["event"] == "reminded":
        return {"text": f"Hangar: still open: {message['message']}", **body, "reminded": True}
    text = f"Hangar: resolved: {message['kind']} {message['key']}. It was: {message['message']}"
    return {"text": text, **body, "resolved": True, "resolved_at": message["resolved_at"]}
