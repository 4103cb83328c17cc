"""Alerts are sent once, and a failure to send one never interrupts the caller."""

import json
import logging

import httpx

from shared.adapters.notifications import Notifier
from shared.domain.errors import TransientError


class Book:
    """Open alerts in memory. `down` makes the database unreachable."""

    def __init__(self, *, down=False):
        self.open, self.down, self.raised = set(), down, []

    def raise_alert(self, kind, key, message, metadata):
        if self.down:
            raise TransientError("the database cannot be reached")
        new = (kind, key) not in self.open
        self.open.add((kind, key))
        return new

    def resolve_alert(self, kind, key):
        if self.down:
            raise TransientError("the database cannot be reached")
        if (kind, key) in self.open:
            self.open.remove((kind, key))
            return True
        return False

    def take_alerts(self):
        if self.down:
            raise TransientError("the database cannot be reached")
        raised, self.raised = self.raised, []
        return raised


def make_alerts(book, status=200):
    sent = []

    def receive(request):
        sent.append(json.loads(request.content))
        return httpx.Response(status)

    return Notifier(book, "https://hooks.example.test/T0/secret", httpx.MockTransport(receive)), sent


def test_an_alert_and_its_end_are_sent_once():
    alerts, sent = make_alerts(Book())
    for _ in range(3):
        alerts.open("brake", "fleet", "the brake is on", {"n": 1})
    for _ in range(2):
        alerts.resolve("brake", "fleet")
    assert [each.get("resolved", False) for each in sent] == [False, True]
    assert sent[0]["text"] == "Hangar: the brake is on"


def test_an_alert_that_cannot_be_stored_is_sent():
    alerts, sent = make_alerts(Book(down=True))
    alerts.open("brake", "fleet", "the brake is on", {})
    alerts.resolve("brake", "fleet")
    assert len(sent) == 1


def test_a_failing_webhook_is_logged_without_its_url(caplog):
    """A Slack webhook's URL is its credential."""
    alerts, _ = make_alerts(Book(), status=500)
    with caplog.at_level(logging.ERROR):
        alerts.open("brake", "fleet", "the brake is on", {})
    assert "did not accept brake/fleet" in caplog.text
    assert "secret" not in caplog.text


def test_without_a_webhook_the_alert_is_stored():
    book = Book()
    Notifier(book, None).open("brake", "fleet", "the brake is on", {})
    assert book.open == {("brake", "fleet")}


def test_an_alert_of_the_database_is_delivered_once():
    book = Book()
    book.raised = [{"id": "1", "kind": "brake", "key": "fleet", "message": "the brake is on", "metadata": {}}]
    alerts, sent = make_alerts(book)
    alerts.deliver()
    alerts.deliver()
    assert [each["text"] for each in sent] == ["Hangar: the brake is on"]


def test_alerts_that_cannot_be_read_do_not_interrupt_the_caller():
    alerts, sent = make_alerts(Book(down=True))
    alerts.deliver()
    assert sent == []
