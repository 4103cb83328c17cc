"""Alerts are sent until they are accepted, and a failure to send one never interrupts the caller."""

import base64
import hashlib
import hmac
import logging
import threading
import uuid

import httpx
import pytest

from shared.adapters.alert_webhook import AlertWebhook
from shared.adapters.notifications import AT_ONCE, Notifier, make_body, make_id
from shared.domain.errors import TransientError
from tests.support.alert_receiver import URL, AlertReceiver

OTHER_URL = "https://other.example.test/T1/b2"


class Book:
    """Alerts and their outbox in memory. `down` makes the database unreachable, `no_record` only the recording of results."""

    def __init__(self, *, down=False):
        self.open, self.down, self.no_record, self.waiting, self.results = {}, down, False, [], []
        self.leased, self.destinations = set(), set()

    def raise_alert(self, kind, key, message, metadata):
        self._check()
        if (kind, key) in self.open:
            return False
        self.open[kind, key] = (str(uuid.uuid4()), message)
        self._queue(kind, key, "opened", self.open[kind, key])
        return True

    def resolve_alert(self, kind, key):
        self._check()
        found = self.open.pop((kind, key), None)
        if found:
            self._queue(kind, key, "resolved", found)
        return found is not None

    def take_alerts(self, destinations, limit):
        self._check()
        self.destinations.update(destinations)
        free = set(destinations) - self.leased
        taken = [message for message in self.waiting if message["destination"] in free][:limit]
        self.leased |= {message["destination"] for message in taken}
        return taken

    def record_deliveries(self, results):
        self._check()
        if self.no_record:
            raise TransientError("the database cannot be reached")
        self.results += results
        tried = {each["delivery_id"] for each in results if each["outcome"] != "skipped"}
        self.waiting = [each for each in self.waiting if each["delivery_id"] not in tried]
        last = {each["destination"]: each["outcome"] for each in results if each["outcome"] != "skipped"}
        self.leased -= {destination for destination, outcome in last.items() if outcome == "delivered"}

    def outcomes(self):
        return [each["outcome"] for each in self.results]

    def _check(self):
        if self.down:
            raise TransientError("the database cannot be reached")

    def _queue(self, kind, key, event, alert):
        for destination in sorted(self.destinations):
            self.waiting.append(
                {"id": alert[0], "kind": kind, "key": key, "message": alert[1], "metadata": {"n": 1}, "event": event}
                | {"opened_at": "2026-11-27T00:00:00+00:00", "resolved_at": None, "destination": destination}
                | {"delivery_id": str(uuid.uuid4()), "token": "t"}
            )


@pytest.fixture
def receiver():
    return AlertReceiver()


def make(book, *webhooks):
    book.destinations.update(webhook.name for webhook in webhooks)
    return Notifier(book, webhooks)


def test_an_alert_and_its_end_are_sent_once(receiver):
    """At once, by the call that opened or resolved it, with the message first."""
    notifier = make(Book(), receiver.make_webhook())
    for _ in range(3):
        notifier.open("brake", "fleet", "the brake is on", {"n": 1})
    for _ in range(2):
        notifier.resolve("brake", "fleet")
    assert receiver.list_told() == [("brake", "fleet", False), ("brake", "fleet", True)]
    opened, resolved = [body for _, body in receiver.accepted]
    assert (opened["text"], opened["metadata"]) == ("Hangar: the brake is on", {"n": 1})
    assert resolved["text"] == "Hangar: resolved: brake fleet. It was: the brake is on"


def test_what_others_opened_is_sent(receiver):
    book = Book()
    notifier = make(book, receiver.make_webhook())
    for number in range(AT_ONCE + 5):
        book.raise_alert("crash_loop", str(number), "it crashes", {})
    notifier.deliver()
    assert [key for _, key, _ in receiver.list_told()] == [str(number) for number in range(AT_ONCE + 5)]


def test_a_message_keeps_its_id_in_every_attempt(receiver):
    """The result of the first could not be recorded, so it is sent again; the receiver can recognise it."""
    book = Book()
    notifier = make(book, receiver.make_webhook())
    book.no_record = True
    notifier.open("brake", "fleet", "the brake is on", {})
    book.no_record, book.leased = False, set()
    notifier.deliver()
    ids = [id_ for id_, _ in receiver.accepted]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert receiver.list_told() == [("brake", "fleet", False)]


def test_messages_are_signed_when_there_is_a_key(receiver):
    """As Standard Webhooks: v1, HMAC-SHA256 over id, time and body."""
    key = b"k" * 24
    webhook = receiver.make_webhook(key=key)
    notifier = make(Book(), webhook)
    notifier.open("brake", "fleet", "the brake is on: é", {})
    [request] = receiver.requests
    signed = b".".join(request.headers[name].encode() for name in ("webhook-id", "webhook-timestamp"))
    expected = hmac.new(key, signed + b"." + request.content, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    make(Book(), receiver.make_webhook()).open("brake", "fleet", "x", {})
    assert "webhook-signature" not in receiver.requests[-1].headers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (503, "answered 503"),
        (410, "answered 410"),
        (302, "answered 302: a redirect is not followed; configure the final URL"),
        (httpx.ConnectError, "no answer (ConnectError)"),
        (httpx.ReadTimeout, "no answer (ReadTimeout)"),
    ],
)
def test_a_destination_that_is_out_is_asked_once(receiver, answer, error):
    """The other messages are not tried, which is no failure of theirs."""
    book = Book()
    notifier = make(book, receiver.make_webhook())
    for key in "abc":
        book.raise_alert("test", key, "m", {})
    receiver.answer = lambda _: answer
    notifier.deliver()
    assert book.outcomes() == ["failed", "skipped", "skipped"]
    assert book.results[0]["error"] == error


def test_a_refused_message_does_not_hold_up_the_next(receiver):
    """Two refusals in a row are about the destination."""
    book = Book()
    notifier = make(book, receiver.make_webhook())
    for key in "abcde":
        book.raise_alert("test", key, "m", {})
    receiver.answer = lambda body: 400 if body["key"] in "acd" else 200
    notifier.deliver()
    assert book.outcomes() == ["failed", "delivered", "failed", "failed", "skipped"]


def test_the_end_of_an_alert_never_overtakes_its_opening(receiver):
    """It is not even tried when the opening was refused; what is about something else is."""
    book = Book()
    notifier = make(book, receiver.make_webhook())
    book.raise_alert("test", "a", "m", {})
    book.resolve_alert("test", "a")
    book.raise_alert("test", "b", "m", {})
    answers = iter([400])
    receiver.answer = lambda _: next(answers, 200)
    notifier.deliver()
    assert book.outcomes()[:3] == ["failed", "skipped", "delivered"]


def test_the_wait_that_the_receiver_asks_for_is_passed_on(receiver):
    book = Book()
    notifier = make(book, receiver.make_webhook())
    for headers, wait_s in (({"Retry-After": "120"}, 120.0), ({"Retry-After": "9" * 400}, 86_400.0), ({}, None)):
        book.leased, book.waiting = set(), []
        book.raise_alert("test", str(wait_s), "m", {})
        receiver.answer, receiver.headers = lambda _: 429, headers
        notifier.deliver()
        assert book.results[-1]["retry_after_s"] == wait_s


def test_one_destination_that_hangs_holds_up_no_other(receiver):
    """Nor the caller: after its time the message counts as failed, and the others as not tried."""
    over = threading.Event()
    hanging = AlertReceiver(answer=lambda _: over.wait(20) and 200)
    book = Book()
    notifier = make(book, hanging.make_webhook(OTHER_URL), receiver.make_webhook())
    for key in "ab":
        book.raise_alert("test", key, "m", {})
    notifier.deliver(budget_s=1.5)
    over.set()
    assert receiver.list_told() == [("test", "a", False), ("test", "b", False)]
    slow = [each["outcome"] for each in book.results if each["destination"].startswith("other.example.test-")]
    assert slow == ["failed", "skipped"]


def test_every_destination_receives_every_alert(receiver):
    other = AlertReceiver()
    notifier = make(Book(), receiver.make_webhook(), other.make_webhook(OTHER_URL))
    notifier.open("brake", "fleet", "the brake is on", {})
    assert receiver.list_told() == other.list_told() == [("brake", "fleet", False)]


def test_an_alert_that_cannot_be_stored_is_sent(receiver):
    """Under an id that repetitions within the hour share."""
    notifier = make(Book(down=True), receiver.make_webhook())
    for _ in range(2):
        notifier.open("brake", "fleet", "the brake is on", {})
    notifier.resolve("brake", "fleet")
    assert len(receiver.accepted) == 2
    assert receiver.list_told() == [("brake", "fleet", False)]


def test_a_failing_webhook_is_logged_without_its_url(receiver, caplog):
    """A Slack webhook's URL is its credential; the receiver's own words may contain it, too."""
    webhook = AlertWebhook(
        URL, transport=httpx.MockTransport(lambda _: httpx.Response(500, text=f"no {URL} services/T0000/b1111"))
    )
    book = Book()
    notifier = make(book, webhook)
    with caplog.at_level(logging.ERROR):
        notifier.open("brake", "fleet", "the brake is on", {})
    assert "did not accept a message (answered 500" in caplog.text
    assert "T0000" not in caplog.text + repr(webhook) + webhook.name + book.results[0]["error"]


def test_without_a_webhook_the_alert_is_stored():
    book = Book()
    Notifier(book).open("brake", "fleet", "the brake is on", {})
    assert set(book.open) == {("brake", "fleet")}


def test_an_outbox_that_cannot_be_read_does_not_interrupt_the_caller(receiver):
    make(Book(down=True), receiver.make_webhook()).deliver()
    assert receiver.requests == []


def test_without_time_nothing_is_claimed(receiver):
    book = Book()
    notifier = make(book, receiver.make_webhook())
    book.raise_alert("test", "a", "m", {})
    notifier.deliver(budget_s=-3.0)
    assert (receiver.requests, book.leased) == ([], set())


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_message_gets_only_the_time_that_is_left():
    """And with hardly any left, the next one is not sent, so that the caller is not held up."""
    clock = Clock()

    def answer(_):
        clock.now += 1.2
        return 204

    receiver, book = AlertReceiver(answer=answer), Book()
    webhook = receiver.make_webhook()
    book.destinations.add(webhook.name)
    for key in "abc":
        book.raise_alert("test", key, "m", {})
    Notifier(book, [webhook], clock).deliver(budget_s=2.8)
    assert [request.extensions["timeout"]["read"] for request in receiver.requests] == pytest.approx([2.8, 1.6])
    assert book.outcomes() == ["delivered", "delivered", "skipped"]


def test_a_reminder_is_another_message_each_time():
    """A receiver drops a message whose id it knows, so each snooze ends with an id of its own."""
    known = {
        "id": "11111111-1111-4111-8111-111111111111",
        "kind": "k",
        "key": "a",
        "message": "a is broken",
        "metadata": {},
    }
    first = {
        **known,
        "event": "reminded",
        "opened_at": "2026-11-22T10:00:00+00:00",
        "queued_at": "2026-11-22T11:00:00+00:00",
    }
    second = first | {"queued_at": "2026-11-22T12:00:00+00:00"}
    ids = [make_id(message) for message in (first, second, first | {"event": "opened"})]
    assert len(set(ids)) == 3
    assert make_body(first)["text"] == "Hangar: still open: a is broken"
    assert make_body(first)["reminded"] is True
