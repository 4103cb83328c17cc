"""Alerts reach their receivers through outages, kills and days of silence: each once in effect, and in order."""

from contextlib import suppress

import httpx
import pytest

from shared.adapters.notifications import Notifier
from shared.domain.errors import HangarError
from tests.simulation.test_guards import MINUTES
from tests.support.alert_receiver import AlertReceiver
from tests.support.boundaries import Killed

HOUR = 60 * MINUTES
OTHER_URL = "https://other.example.test/alerts"


def listen(world, *receivers):
    """Workers of this world send alerts to these receivers."""
    urls = ["https://hooks.example.test/alerts", OTHER_URL]
    webhooks = [receiver.make_webhook(url) for receiver, url in zip(receivers, urls, strict=False)]
    world.reconciler.notifier = Notifier(world.reconciler.database, webhooks, world.clock)
    world.sweep()  # which says that the database cannot call the functions
    for receiver in receivers:
        receiver.accepted.clear()


@pytest.fixture
def receiver(world):
    made = AlertReceiver()
    listen(world, made)
    return made


def sweep_for(world, hours):
    """A sweep every five minutes; each covers the whole fleet."""
    for _ in range(round(hours * 12)):
        world.clock.advance(5 * MINUTES)
        assert world.sweep().complete


def fail(world):
    """A user pays while Fly fails: their own request tries it, and an alert is raised. Returns the user."""
    world.fault(method="POST", path="/v1/apps", when="before", status=500)
    user = world.add_user("pro")
    with suppress(HangarError, Killed):
        world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "error"
    return user


def count_waiting(world):
    return world.sql("select count(*) from hangar.alert_deliveries where delivered_at is null and dead_at is null")[0][
        0
    ]


def list_history(world, *kinds):
    """Openings and ends in the order in which they happened."""
    return [
        tuple(row)
        for row in world.sql(
            "select kind, key, over from (select kind, key, false as over, opened_at as at from hangar.alerts union all"
            " select kind, key, true, resolved_at from hangar.alerts where resolved_at is not null) h"
            " where kind = any (%s) order by at, over desc, key",
            list(kinds),
        )
    ]


@pytest.mark.slow
def test_a_day_of_silence_loses_no_alert(world, receiver):
    """Every alert that opened or ended while the receiver was away arrives when it answers: in order, once, within 15 minutes.

    An alert shows meanwhile that the messages wait.
    """
    world.sql("alter table public.user_subscriptions drop constraint user_subscriptions_tier_check")
    answers = (httpx.ConnectError, 503, 500, 410, httpx.ReadTimeout, 404)
    for hour in range(24):
        answer = answers[hour // 4]
        receiver.answer = lambda _, answer=answer: answer
        user = world.add_user()
        world.sql("update public.user_subscriptions set tier = %s where user_id = %s", f"tier{hour:02}", user)
        sweep_for(world, 0.5)
        if hour % 3 == 0:
            world.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
        sweep_for(world, 0.5)
        assert (
            ("alert_delivery", world.sql("select destination from hangar.alert_destinations")[0][0])
        ) in world.open_alerts()
    assert receiver.accepted == []
    assert count_waiting(world) == 24 + 8 + 1
    assert receiver.refused < 300, "a destination that is out is asked about twice in a quarter of an hour"
    receiver.answer = lambda _: 200
    sweep_for(world, 0.5)
    expected = list_history(world, "unknown_tier")
    assert len(expected) == 24 + 8
    assert receiver.list_told("unknown_tier") == expected
    ids = [id_ for id_, _ in receiver.accepted]
    assert len(ids) == len(set(ids))
    assert [over for _, _, over in receiver.list_told("alert_delivery")] == [False, True]
    assert count_waiting(world) == 0


def test_one_refusal_costs_a_minute(world, receiver):
    """One 503, and the next drain delivers the alert."""
    answers = iter([503])
    receiver.answer = lambda _: next(answers, 200)
    user = fail(world)
    assert receiver.accepted == []
    world.clock.advance(60)
    world.sweep(drain_only=True)
    [(_, body)] = receiver.accepted
    assert body["kind"] == "provision_failed"
    assert str(user) in str(body)


def test_an_alert_is_sent_by_the_call_that_raises_it(world, receiver):
    """No drain is needed for it."""
    fail(world)
    assert [kind for kind, _, _ in receiver.list_told()] == ["provision_failed"]


@pytest.mark.parametrize("at", ["before fly_record_deliveries", "after fly_record_deliveries"])
def test_a_worker_that_dies_while_it_sends_causes_no_loss(world, receiver, at, monkeypatch):
    """Before the result was recorded the message is sent again with its old id, half a minute later; after it, never."""
    cross = world.boundaries.cross

    def die(where):
        if where == at:
            raise Killed(where)
        cross(where)

    monkeypatch.setattr(world.boundaries, "cross", die)
    fail(world)
    monkeypatch.undo()
    assert len(receiver.accepted) == 1
    for _ in range(2):
        world.clock.advance(60)
        world.sweep(drain_only=True)
    assert len(receiver.accepted) == (2 if at.startswith("before") else 1)
    assert len(receiver.list_told()) == 1


@pytest.mark.slow
def test_a_dead_destination_costs_the_other_one_nothing(world):
    """Neither a message nor its time."""
    dead, alive = AlertReceiver(answer=lambda _: 410), AlertReceiver()
    listen(world, dead, alive)
    fail(world)
    assert [kind for kind, _, _ in alive.list_told()] == ["provision_failed"]
    sweep_for(world, 1)
    [name] = [key for kind, key in world.open_alerts() if kind == "alert_delivery"]
    assert name.startswith("hooks.example.test-")
    assert ("alert_delivery", name, False) in alive.list_told()
    dead.answer = lambda _: 200
    sweep_for(world, 0.5)
    assert dead.list_told("provision_failed") == alive.list_told("provision_failed")
    assert "alert_delivery" not in {kind for kind, _ in world.open_alerts()}


def test_without_a_destination_alerts_stay_in_the_database(world):
    fail(world)
    assert {kind for kind, _ in world.open_alerts()} == {"provision_failed"}
    assert count_waiting(world) == 0
