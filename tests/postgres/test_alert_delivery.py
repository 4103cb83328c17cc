"""The outbox of alerts: what is stored when an alert opens or resolves, who may send it, and how long it waits."""

import pytest

HOOK, OTHER = "hooks.example.test-1", "mail.example.test-2"


def take(hangar, *destinations, limit=100, via=None):
    return hangar.rpc("fly_take_alerts", via=via, limit=limit, destinations=list(destinations or [HOOK]))["alerts"]


def record(hangar, messages, outcome, **more):
    results = [
        {"delivery_id": each["delivery_id"], "token": each["token"], "outcome": outcome, **more} for each in messages
    ]
    return hangar.rpc("fly_record_deliveries", results=results)["recorded"]


def raise_alert(hangar, key, kind="test"):
    hangar.rpc("fly_raise_alert", kind=kind, key=key, message=f"{key} is broken")


def shown(messages):
    return [(each["key"], each["event"]) for each in messages]


def waiting(hangar):
    return [
        (row["key"], row["event"])
        for row in hangar.sql(
            "select a.key, n.event from hangar.alert_deliveries n join hangar.alerts a on a.id = n.alert_id"
            " where n.delivered_at is null and n.dead_at is null and a.kind = 'test' order by n.seq"
        )
    ]


def open_kinds(hangar):
    return {row["kind"] for row in hangar.sql("select kind from hangar.alerts where resolved_at is null")}


@pytest.fixture
def hook(hangar):
    """One destination is known."""
    assert take(hangar, HOOK) == []
    return hangar


@pytest.mark.parametrize(
    "statement",
    [
        "select public.fly_raise_alert('test', 'a', 'm')",
        "select hangar.raise_alert('test', 'a', 'm')",
        "insert into hangar.alerts (kind, key, message) values ('test', 'a', 'm')",
    ],
)
def test_whoever_opens_an_alert_stores_its_message_with_it(hook, statement):
    """Also if the transaction is plain SQL. A transaction that is rolled back leaves neither."""
    with hook.admin.transaction(force_rollback=True):
        hook.sql(statement)
        assert waiting(hook) == [("a", "opened")]
    assert waiting(hook) == []
    hook.sql(statement)
    assert waiting(hook) == [("a", "opened")]
    hook.sql("update hangar.alerts set resolved_at = hangar.now() where key = 'a'")
    assert waiting(hook) == [("a", "opened"), ("a", "resolved")]


def test_what_is_seen_again_is_not_told_again(hook):
    for _ in range(3):
        raise_alert(hook, "a")
    assert waiting(hook) == [("a", "opened")]


def test_a_new_destination_hears_what_is_open_and_nothing_of_what_is_over(hangar):
    raise_alert(hangar, "over")
    raise_alert(hangar, "open")
    hangar.rpc("fly_resolve_alert", kind="test", key="over")
    assert shown(take(hangar, HOOK)) == [("open", "opened")]
    assert shown(take(hangar, OTHER)) == [("open", "opened")]


def test_one_worker_at_a_time_sends_to_a_destination(hook):
    """Another one gets nothing until the result is recorded, or until half a minute has passed."""
    raise_alert(hook, "a")
    first = take(hook)
    raise_alert(hook, "b")
    assert (shown(first), take(hook, via=hook.worker())) == ([("a", "opened")], [])
    assert record(hook, first, "delivered") == 1
    assert shown(take(hook)) == [("b", "opened")]
    hook.shift_clock(31)
    [again] = take(hook)
    assert (again["key"], again["attempts"]) == ("b", 2)


def test_two_sessions_never_claim_the_same_message(hook):
    """The second one does not wait for the first one's transaction either."""
    raise_alert(hook, "a")
    first, second = hook.worker(), hook.worker()
    with first.transaction():
        assert shown(take(hook, via=first)) == [("a", "opened")]
        assert take(hook, via=second) == []


def test_what_follows_a_refused_message_waits_with_it(hook):
    """Its end, and the next alert of the same kind and key; an alert about something else does not wait."""
    raise_alert(hook, "a")
    hook.rpc("fly_resolve_alert", kind="test", key="a")
    raise_alert(hook, "a")
    raise_alert(hook, "b")
    first, *others, other = messages = take(hook)
    assert shown(messages) == [("a", "opened"), ("a", "resolved"), ("a", "opened"), ("b", "opened")]
    outcomes = [(first, "failed"), *((each, "skipped") for each in others), (other, "delivered")]
    results = [
        {"delivery_id": each["delivery_id"], "token": each["token"], "outcome": outcome} for each, outcome in outcomes
    ]
    hook.rpc("fly_record_deliveries", results=results)
    assert take(hook) == []
    hook.shift_clock(6)
    assert shown(take(hook)) == [("a", "opened"), ("a", "resolved"), ("a", "opened")]


def test_a_refused_message_holds_up_no_other(hook):
    """It alone waits when a later one was accepted, 5 s at first."""
    raise_alert(hook, "odd")
    raise_alert(hook, "fine")
    odd, fine = take(hook)
    results = [
        {"delivery_id": odd["delivery_id"], "token": odd["token"], "outcome": "failed", "error": "answered 400"},
        {"delivery_id": fine["delivery_id"], "token": fine["token"], "outcome": "delivered"},
    ]
    hook.rpc("fly_record_deliveries", results=results)
    raise_alert(hook, "next")
    messages = take(hook)
    assert shown(messages) == [("next", "opened")]
    record(hook, messages, "delivered")
    hook.shift_clock(6)
    assert shown(take(hook)) == [("odd", "opened")]


def test_a_destination_that_is_out_is_tried_less_and_less_often(hook):
    """Every attempt takes the first message. The others wait in their order. No wait is longer than a quarter of an hour."""
    for key in ("a", "b", "c"):
        raise_alert(hook, key)
    at, waits = 0.0, []
    for _ in range(11):
        messages = take(hook)
        assert shown(messages)[0] == ("a", "opened")
        record(hook, messages[:1], "failed", error="answered 503")
        assert take(hook) == []
        wait = hook.one("select extract(epoch from next_attempt_at - hangar.now()) from hangar.alert_destinations")
        waits.append(round(wait))
        at += float(wait) + 0.5
        hook.shift_clock(at)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]
    assert shown(take(hook)) == [("a", "opened"), ("b", "opened"), ("c", "opened"), (HOOK, "opened")]


def test_retry_after_is_honoured_up_to_a_day(hook):
    raise_alert(hook, "a")
    record(hook, take(hook), "failed", error="answered 429", retry_after_s=3600)
    hook.shift_clock(3500)
    assert take(hook) == []
    hook.shift_clock(3700)
    record(hook, take(hook), "failed", error="answered 429", retry_after_s=1e9)
    hook.shift_clock(3700 + 86_300)
    assert take(hook) == []
    hook.shift_clock(3700 + 86_500)
    assert shown(take(hook))[0] == ("a", "opened")


def test_a_late_report_of_a_success_counts_and_one_of_a_failure_does_not(hook):
    """The worker was suspended, and another one holds the lease."""
    raise_alert(hook, "a")
    [late] = take(hook)
    hook.shift_clock(31)
    [current] = take(hook)
    assert record(hook, [late], "failed", error="too late") == 0
    assert hook.one("select failures from hangar.alert_destinations") == 0
    assert record(hook, [late], "delivered") == 1
    assert record(hook, [current], "failed", error="answered 500") == 0
    assert waiting(hook) == []


def test_what_was_not_tried_is_no_attempt(hook):
    raise_alert(hook, "a")
    record(hook, take(hook), "skipped")
    assert hook.one("select failures from hangar.alert_destinations") == 0
    [message] = take(hook)
    assert message["attempts"] == 1


def test_a_dead_destination_does_not_hold_up_another(hook):
    take(hook, OTHER)
    raise_alert(hook, "a")
    record(hook, take(hook, HOOK), "failed", error="refused")
    assert [(each["key"], each["destination"]) for each in take(hook, HOOK, OTHER)] == [("a", OTHER)]


def test_a_destination_that_fails_for_a_quarter_of_an_hour_is_an_alert(hook):
    """It names the destination, what waits, since when, the error and what to do, and ends with the first success."""
    raise_alert(hook, "a")
    record(hook, take(hook), "failed", error="answered 410")
    for at_s in (400, 899):
        hook.shift_clock(at_s)
        record(hook, take(hook), "failed", error="answered 410")
        assert "alert_delivery" not in open_kinds(hook)
    hook.shift_clock(901 + 900)
    record(hook, take(hook)[:1], "failed", error="answered 410")
    [alert] = hook.sql("select key, message from hangar.alerts where kind = 'alert_delivery'")
    assert alert["key"] == HOOK
    for words in (HOOK, "1 message waits", "answered 410", "HANGAR_ALERT_WEBHOOK_URL"):
        assert words in alert["message"]
    hook.shift_clock(901 + 1900)
    record(hook, take(hook)[:1], "delivered")
    assert "alert_delivery" not in open_kinds(hook)


def test_the_overview_tells_what_waits_since_when_and_why(hook):
    found = hook.rpc("fly_overview")["alert_deliveries"]
    assert (found["waiting"], found["since"], found["given_up"]) == (0, None, 0)
    raise_alert(hook, "a")
    raise_alert(hook, "b")
    record(hook, take(hook)[:1], "failed", error="answered 503")
    found = hook.rpc("fly_overview")["alert_deliveries"]
    [destination] = found["destinations"]
    assert (found["waiting"], destination["destination"], destination["waiting"]) == (2, HOOK, 2)
    assert destination["last_error"] == "answered 503"
    assert destination["since"] == found["since"]
    assert destination["failing_since"] is not None
    assert destination["next_attempt_at"] > destination["failing_since"]


def sweep(hangar):
    token = hangar.rpc("fly_sweep_claim")["token"]
    hangar.rpc("fly_sweep_finish", name="fleet", token=token, report={})


def test_a_message_is_given_up_when_its_alert_has_been_over_for_three_days(hook):
    """An alert that is still open waits for as long as it takes."""
    raise_alert(hook, "over")
    raise_alert(hook, "open")
    hook.rpc("fly_resolve_alert", kind="test", key="over")
    for days, left in ((2.9, 3), (3.1, 1)):
        hook.shift_clock(days * 86_400)
        take(hook)
        sweep(hook)
        assert len(waiting(hook)) == left
    assert waiting(hook) == [("open", "opened")]
    assert hook.rpc("fly_overview")["alert_deliveries"]["given_up"] == 2


def test_a_destination_that_is_configured_no_more_is_forgotten(hook):
    """After six hours of claims for others only; its alert ends. The last one waits a week for the functions to come back."""
    take(hook, OTHER)
    raise_alert(hook, "a")
    record(hook, take(hook, HOOK), "failed", error="refused")
    hook.shift_clock(1000)
    record(hook, take(hook, HOOK), "failed", error="refused")
    assert "alert_delivery" in open_kinds(hook)
    hook.shift_clock(5 * 3600)
    take(hook, OTHER)
    sweep(hook)
    assert "alert_delivery" in open_kinds(hook)
    hook.shift_clock(7 * 3600)
    sweep(hook)
    assert "alert_delivery" in open_kinds(hook)
    take(hook, OTHER)
    assert "alert_delivery" not in open_kinds(hook)
    assert hook.one("select array_agg(destination) from hangar.alert_destinations") == [OTHER]
    for days, left in ((6, 1), (8, 0)):
        hook.shift_clock(days * 86_400)
        sweep(hook)
        assert hook.one("select count(*) from hangar.alert_destinations") == left


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("fly_take_alerts", {"limit": 0}),
        ("fly_take_alerts", {"limit": 101}),
        ("fly_take_alerts", {"destinations": {}}),
        ("fly_take_alerts", {"destinations": []}),
        ("fly_take_alerts", {"destinations": [f"d{number}" for number in range(21)]}),
        ("fly_record_deliveries", {"results": {}}),
        ("fly_record_deliveries", {"results": [{"delivery_id": None, "outcome": "maybe"}]}),
    ],
)
def test_bad_arguments_are_refused(hangar, name, args):
    with pytest.raises(Exception, match="must be") as refused:
        hangar.rpc(name, **args)
    assert refused.value.sqlstate == "22023"


def test_without_destinations_it_hands_out_what_waits_for_a_caller_of_its_own(hangar):
    """As before there was more than one destination: each alert once, and again only if nobody confirms it."""
    raise_alert(hangar, "a")
    assert shown(hangar.rpc("fly_take_alerts")["alerts"]) == [("a", "opened")]
    assert hangar.rpc("fly_take_alerts") == {"alerts": []}
