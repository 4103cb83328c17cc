"""The outbox of alerts, asked function by function: who is told, what waits for what, and what is forgotten when."""

import json
import uuid

from psycopg import sql

from tests.postgres.app_rows import ago, each, insert, open_alert, open_alerts

HOOK, OTHER = "hook", "other"
MINUTE, HOUR, DAY = 60, 3600, 86_400


def destination(hangar, name=HOOK, **columns):
    insert(hangar, "hangar.alert_destinations", destination=name, **columns)


def alert(hangar, key="a", kind="test", **columns):
    """An alert without messages, whatever destinations there are: its id."""
    alert_id = uuid.uuid4()
    hangar.sql("alter table hangar.alerts disable trigger user")
    open_alert(hangar, kind, key, id=alert_id, **columns)
    hangar.sql("alter table hangar.alerts enable trigger user")
    return alert_id


def message(hangar, of, event="opened", to=HOOK, **columns):
    message_id = uuid.uuid4()
    insert(hangar, "hangar.alert_deliveries", id=message_id, alert_id=of, event=event, destination=to, **columns)
    return message_id


def messages(hangar, of):
    rows = hangar.sql("select event, destination from hangar.alert_deliveries where alert_id = %s order by seq", of)
    return [(row["event"], row["destination"]) for row in rows]


def read_message(hangar, message_id):
    found = hangar.sql("select * from hangar.alert_deliveries where id = %s", message_id)
    return found[0] if found else None


def read_destination(hangar, name=HOOK):
    found = hangar.sql("select * from hangar.alert_destinations where destination = %s", name)
    return found[0] if found else None


def test_the_end_of_an_alert_is_told_where_its_opening_was_or_will_be(inside):
    """Not where the opening was given up, or never meant to go."""
    of = alert(inside)
    for name in ("delivered", "waits", "dead", "new"):
        destination(inside, name)
    message(inside, of, to="delivered", delivered_at=ago(60))
    message(inside, of, to="waits")
    message(inside, of, to="dead", dead_at=ago(60))
    inside.sql("select hangar.resolve_alert('test', 'a')")
    assert [to for event, to in messages(inside, of) if event == "resolved"] == ["delivered", "waits"]


def test_a_destination_hears_each_open_alert_once_and_only_its_own(inside):
    is_open, over = alert(inside), alert(inside, "over", resolved_at=ago(1))
    for _ in range(2):
        inside.sql("select hangar.register_destinations(array[%s, %s, %s])", HOOK, OTHER, HOOK)
    assert messages(inside, is_open) == [("opened", HOOK), ("opened", OTHER)]
    assert messages(inside, over) == []
    destination(inside, "not named")
    inside.sql("select hangar.register_destinations(array[%s])", HOOK)
    assert len(messages(inside, is_open)) == 2


def test_a_destination_is_seen_at_most_once_a_minute(inside):
    """So that many calls at once do not write the same row."""
    for ago_s, is_written in each(inside, [(50, False), (70, True)]):
        destination(inside, seen_at=ago(ago_s))
        inside.sql("select hangar.register_destinations(array[%s])", HOOK)
        assert (
            inside.one("select seen_at > hangar.now() - interval '10 s' from hangar.alert_destinations") is is_written
        )


def test_a_silent_destination_is_forgotten_with_what_waits_for_it(inside):
    """What was delivered stays on record, and a destination that the caller names is kept."""
    of = alert(inside)
    for name in (HOOK, OTHER, "recent"):
        destination(inside, name, seen_at=ago(HOUR if name == "recent" else 7 * HOUR))
        message(inside, of, to=name)
        message(inside, of, "resolved", to=name, delivered_at=ago(60))
        alert(inside, name, "alert_delivery")
    inside.sql("select hangar.forget_destinations(interval '6 hours', array[%s])", OTHER)
    assert [bool(read_destination(inside, name)) for name in (HOOK, OTHER, "recent")] == [False, True, True]
    left = {(event, to) for event, to in messages(inside, of)}
    assert left == {("resolved", HOOK), *((event, to) for event in ("opened", "resolved") for to in (OTHER, "recent"))}
    assert open_alerts(inside, "alert_delivery") == [("alert_delivery", OTHER), ("alert_delivery", "recent")]


DUE = [
    ({}, True),
    ({"delivered_at": ago(1)}, False),
    ({"dead_at": ago(1)}, False),
    ({"next_attempt_at": ago(1)}, True),
    ({"next_attempt_at": ago(-60)}, False),
    ({"to": OTHER}, False),
]


def due(hangar):
    return [row["id"] for row in hangar.sql("select id from hangar.due_deliveries(%s)", HOOK)]


def test_which_message_may_be_sent_now(inside):
    for columns, is_due in each(inside, DUE):
        sent = message(inside, alert(inside), **columns)
        assert due(inside) == ([sent] if is_due else []), columns


BEFORE = [
    # a message before, whether the next one about the same waits for it
    ({"next_attempt_at": ago(-60)}, {}, False, True),
    ({"next_attempt_at": ago(-60)}, {"key": "b"}, False, False),
    ({"next_attempt_at": ago(-60)}, {"kind": "other"}, False, False),
    ({"next_attempt_at": ago(-60), "to": OTHER}, {}, False, False),
    ({"next_attempt_at": ago(-60), "delivered_at": ago(1)}, {}, False, False),
    ({"next_attempt_at": ago(-60), "dead_at": ago(1)}, {}, False, False),
    ({"next_attempt_at": ago(-60)}, {}, True, False),  # a later one holds nothing up
]


def test_which_message_waits_for_one_before_it(inside):
    for columns, about, is_later, waits in each(inside, BEFORE):
        first = alert(inside, **about, resolved_at=ago(1))
        if is_later:
            sent = message(inside, alert(inside))
            message(inside, first, **columns)
        else:
            message(inside, first, **columns)
            sent = message(inside, alert(inside))
        assert (sent in due(inside)) is not waits, (columns, about, is_later)


def test_messages_are_sent_in_their_order(inside):
    sent = [message(inside, alert(inside, key)) for key in "cab"]
    assert due(inside) == sent


BACKOFF = [(1, None, 5), (0, None, 5), (2, None, 10), (8, None, 640), (9, None, 900), (99, None, 900)]


def test_how_long_a_destination_waits(inside):
    """A receiver may ask for more, up to a day, and never for less."""
    for failures, asked_s, wait_s in [*BACKOFF, (1, 60, 60), (9, 60, 900), (1, 1e9, DAY), (1, -5, 5)]:
        found = inside.one("select extract(epoch from hangar.delivery_backoff(%s, %s))::int", failures, asked_s)
        assert found == wait_s, (failures, asked_s)


def take(hangar, *names, limit=100):
    return hangar.one("select public.fly_take_alerts(%s, %s::jsonb) -> 'alerts'", limit, json.dumps(names or [HOOK]))


LEASE = {"lease_token": uuid.uuid4(), "lease_expires_at": ago(-10)}
READY = [
    ({}, True),
    (LEASE, False),
    ({**LEASE, "lease_expires_at": ago(1)}, True),
    ({"next_attempt_at": ago(-60)}, False),
    ({"next_attempt_at": ago(1)}, True),
]


def test_a_destination_is_taken_when_it_is_free_and_due(inside):
    for columns, is_taken in each(inside, READY):
        destination(inside, **columns)
        message(inside, alert(inside))
        taken = take(inside)
        assert [each["attempts"] for each in taken] == ([1] if is_taken else []), columns
    destination(inside)
    assert (take(inside), read_destination(inside)["lease_token"]) == ([], None)


def test_a_lease_lasts_half_a_minute_and_a_call_takes_so_many(inside):
    destination(inside)
    sent = [str(message(inside, alert(inside, key))) for key in "abc"]
    assert [each["delivery_id"] for each in take(inside, limit=2)] == sent[:2]
    assert inside.one(
        "select extract(epoch from lease_expires_at - hangar.now())::int from hangar.alert_destinations"
    ) in range(20, 31)
    assert [read_message(inside, each)["attempts"] for each in sent] == [1, 1, 0]


def test_a_destination_that_no_caller_names_for_six_hours_is_forgotten(inside):
    destination(inside, seen_at=ago(6 * HOUR + 60))
    destination(inside, OTHER, seen_at=ago(6 * HOUR - 60))
    take(inside, "new")
    assert (read_destination(inside), read_destination(inside, OTHER) is not None) == (None, True)


SNOOZES = [
    # the alert, its opening, when the snooze ends, whether it is told again
    ({}, {"delivered_at": ago(HOUR)}, 1, True),
    ({}, {"delivered_at": ago(HOUR)}, -60, False),
    ({}, {}, 1, False),  # the opening waits anyway
    ({"resolved_at": ago(1)}, {"delivered_at": ago(HOUR)}, 1, False),
    ({}, {"delivered_at": ago(HOUR), "to": "gone"}, 1, False),
]


def snooze(hangar, of, ended_s):
    insert(hangar, "hangar.alert_handling", alert_id=of, state="snoozed", actor="test", until=ago(ended_s))
    hangar.sql("select hangar.end_snoozes()")
    return hangar.one("select count(*) from hangar.alert_handling")


def test_which_alert_is_told_again_after_its_snooze(inside):
    for columns, opening, ended_s, told in each(inside, SNOOZES):
        destination(inside)
        of = alert(inside, **columns)
        message(inside, of, **opening)
        assert snooze(inside, of, ended_s) == int(ended_s < 0)
        assert (("reminded", HOOK) in messages(inside, of)) is told, (columns, opening, ended_s)


def test_a_second_reminder_is_sent_like_the_first(inside):
    """Whatever became of the first one."""
    for first in each(inside, ({"delivered_at": ago(HOUR)}, {"dead_at": ago(HOUR)}, {"next_attempt_at": ago(-HOUR)})):
        destination(inside)
        of = alert(inside)
        message(inside, of, delivered_at=ago(DAY))
        again = message(inside, of, "reminded", created_at=ago(HOUR), attempts=3, last_error="x", **first)
        snooze(inside, of, 1)
        found = read_message(inside, again)
        assert [found[name] for name in ("delivered_at", "dead_at", "next_attempt_at", "last_error", "attempts")] == [
            None
        ] * 4 + [0]
        assert inside.one(
            "select created_at > hangar.now() - interval '1 min' from hangar.alert_deliveries where id = %s", again
        )


FAILING = [
    # the destination, its message, whether messages do not reach it
    ({"failing_since": ago(16 * MINUTE)}, {}, True),
    ({"failing_since": ago(14 * MINUTE)}, {}, False),
    ({"failing_since": ago(16 * MINUTE)}, {"delivered_at": ago(1)}, False),
    ({"failing_since": ago(16 * MINUTE)}, {"dead_at": ago(1)}, False),
    ({}, {"created_at": ago(16 * MINUTE), "last_error": "answered 400"}, True),
    ({}, {"created_at": ago(14 * MINUTE), "last_error": "answered 400"}, False),
    ({}, {"created_at": ago(16 * MINUTE)}, False),  # it has only waited
    ({"failing_since": ago(16 * MINUTE)}, {"created_at": ago(1), "last_error": "x"}, True),
    ({"failing_since": ago(1)}, {"created_at": ago(16 * MINUTE), "last_error": "x"}, True),
]


def test_when_messages_do_not_reach_a_destination(inside):
    for columns, sent, is_alert in each(inside, FAILING):
        destination(inside, **columns)
        message(inside, alert(inside), **sent)
        inside.sql("select hangar.check_destination(%s)", HOOK)
        assert bool(open_alerts(inside, "alert_delivery")) is is_alert, (columns, sent)


def test_the_alert_about_a_destination_ends_when_nothing_waits_for_it(inside):
    destination(inside, failing_since=ago(HOUR))
    alert(inside, HOOK, "alert_delivery")
    inside.sql("select hangar.check_destination(%s)", HOOK)
    assert open_alerts(inside, "alert_delivery") == []


def record(hangar, *results, token=LEASE["lease_token"]):
    told = [{"delivery_id": str(of), "token": str(token), "outcome": outcome, "error": "x"} for of, outcome in results]
    return hangar.one("select public.fly_record_deliveries(%s::jsonb) -> 'recorded'", json.dumps(told))


ENDS = [
    # the outcomes in the order of the messages, failures, whether it fails since before, waits, and has an error
    (("delivered",), 0, False, False, False),
    (("failed",), 4, True, True, True),
    (("skipped",), 3, True, False, True),
    (("failed", "delivered"), 0, False, False, False),
    (("delivered", "failed"), 4, True, True, True),
    (("failed", "skipped"), 4, True, True, True),
    (("delivered", "skipped"), 0, False, False, False),
]


def test_the_last_message_that_was_tried_speaks_for_its_destination(inside):
    for outcomes, failures, fails, waits, has_error in each(inside, ENDS):
        destination(inside, **LEASE, failures=3, failing_since=ago(600), last_error="old")
        sent = [message(inside, alert(inside, str(number)), attempts=2) for number in range(len(outcomes))]
        assert record(inside, *zip(sent, outcomes, strict=True)) == len(outcomes)
        found = read_destination(inside)
        assert (found["failures"], found["next_attempt_at"] is not None, found["last_error"] is not None) == (
            failures,
            waits,
            has_error,
        )
        since = inside.one("select failing_since < hangar.now() - interval '500 s' from hangar.alert_destinations")
        assert (bool(since), found["lease_token"], found["lease_expires_at"]) == (fails, None, None), outcomes


def test_a_first_failure_says_since_when(inside):
    destination(inside, **LEASE)
    record(inside, (message(inside, alert(inside), attempts=1), "failed"))
    assert inside.one("select failing_since > hangar.now() - interval '1 min' from hangar.alert_destinations")


def test_the_messages_of_a_destination_that_is_out_wait_for_it_and_not_for_a_time_of_their_own(inside):
    destination(inside, **LEASE)
    own = message(inside, alert(inside, "b"), next_attempt_at=ago(-60))
    sent = message(inside, alert(inside), attempts=1)
    record(inside, (sent, "failed"))
    assert [read_message(inside, each)["next_attempt_at"] for each in (own, sent)] == [None, None]
    assert read_message(inside, sent)["last_error"] == "x"


def test_a_message_that_was_refused_waits_alone_when_a_later_one_was_accepted(inside):
    destination(inside, **LEASE)
    refused = message(inside, alert(inside), attempts=3)
    accepted = message(inside, alert(inside, "b"), attempts=1, last_error="x", next_attempt_at=ago(1))
    record(inside, (refused, "failed"), (accepted, "delivered"))
    wait = "select extract(epoch from next_attempt_at - hangar.now())::int from hangar.alert_deliveries where id = %s"
    assert inside.one(wait, refused) in range(15, 21)
    found = read_message(inside, accepted)
    assert (found["delivered_at"] is not None, found["next_attempt_at"], found["last_error"]) == (True, None, None)


def test_only_the_holder_of_the_lease_says_that_a_message_failed(inside):
    """A success counts, whoever reports it, once, and says nothing about the destination."""
    destination(inside, **LEASE, failures=3)
    sent = message(inside, alert(inside), attempts=2)
    for outcome, recorded in (("failed", 0), ("skipped", 0), ("delivered", 1), ("delivered", 0), ("failed", 0)):
        assert record(inside, (sent, outcome), token=uuid.uuid4()) == recorded, outcome
    found = read_destination(inside)
    assert (found["failures"], found["lease_token"], read_message(inside, sent)["attempts"]) == (
        3,
        LEASE["lease_token"],
        2,
    )
    assert record(inside, (sent, "failed")) == 0


def test_what_was_not_tried_is_no_attempt_and_waits_no_longer(inside):
    destination(inside, **LEASE)
    sent = message(inside, alert(inside), attempts=2, last_error="before")
    record(inside, (sent, "skipped"))
    found = read_message(inside, sent)
    assert (found["attempts"], found["next_attempt_at"], found["last_error"]) == (1, None, "before")


TOLD = [("opened", None, True), ("resolved", None, False), ("opened", DAY, False)]


def test_an_alert_is_told_when_its_opening_was_first_accepted(inside):
    for event, told_s, is_new in each(inside, TOLD):
        destination(inside, **LEASE)
        of = alert(inside, told_at=sql.NULL if told_s is None else ago(told_s))
        record(inside, (message(inside, of, event), "delivered"))
        assert (
            inside.one("select told_at > hangar.now() - interval '1 min' from hangar.alerts where id = %s", of) is True
        ) is is_new


TIDIED = [
    # the alert's end and the message, whether it is given up, whether it is deleted
    (4 * DAY, {}, True, False),
    (2 * DAY, {}, False, False),
    (None, {"created_at": ago(40 * DAY)}, False, False),
    (4 * DAY, {"delivered_at": ago(4 * DAY)}, False, False),
    (4 * DAY, {"delivered_at": ago(4 * DAY), "created_at": ago(29 * DAY)}, False, False),
    (4 * DAY, {"delivered_at": ago(4 * DAY), "created_at": ago(31 * DAY)}, False, True),
    (4 * DAY, {"dead_at": ago(4 * DAY), "created_at": ago(31 * DAY)}, True, True),
    (2 * DAY, {"delivered_at": ago(31 * DAY), "created_at": ago(31 * DAY)}, False, False),
    (None, {"delivered_at": ago(31 * DAY), "created_at": ago(31 * DAY)}, False, False),
]


def test_which_messages_are_given_up_and_deleted(inside):
    for ended_s, sent, given_up, deleted in each(inside, TIDIED):
        sent_id = message(inside, alert(inside, resolved_at=sql.NULL if ended_s is None else ago(ended_s)), **sent)
        inside.sql("select hangar.tidy_deliveries()")
        found = read_message(inside, sent_id)
        assert (found is None) is deleted, (ended_s, sent)
        assert found is None or (found["dead_at"] is not None) is given_up, (ended_s, sent)


def test_a_destination_is_forgotten_a_week_after_the_last_function_named_it(inside):
    destination(inside, seen_at=ago(8 * DAY))
    destination(inside, OTHER, seen_at=ago(6 * DAY))
    inside.sql("select hangar.tidy_deliveries()")
    assert (read_destination(inside), read_destination(inside, OTHER) is not None) == (None, True)
