"""Restarts and checks that an operator requests: done once, on the leased row, and logged under the operator's name."""

import pytest

from functions.responses import answer_result
from shared.domain.errors import TransientError
from shared.domain.models import OperatorRequest
from shared.http.problem import Problem
from tests.support.boundaries import Killed

RESTART, CHECK = OperatorRequest("operator@example.test", "restart"), OperatorRequest("operator@example.test", "check")
RESTARTS = ("POST", "/v1/apps/*/machines/*/restart")


@pytest.fixture
def user(world):
    """A user whose app runs."""
    user = world.add_user("pro")
    assert world.reconciler.reconcile(user, 240).status == "active"
    world.clock.advance(300)
    return user


def machine_of(world, user):
    [machine] = world.apps()[world.row(user)["fly_app_name"]]
    return machine


def restarts(world, user, actors=(RESTART.actor,)):
    """The sorted statuses of the user's restarts in the audit log. All of them must be by these actors."""
    found = [
        (status, metadata["actor"])
        for kind, status, metadata in world.events(user)
        if kind == "action" and metadata["action"] == "restart_machine"
    ]
    assert {actor for _, actor in found} <= set(actors)
    return sorted(status for status, _ in found)


def test_a_running_machine_is_restarted_once_under_the_operators_name(world, user):
    calls = world.watch_calls()
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (outcome.state, outcome.status, outcome.restarted) == ("converged", "active", True)
    assert calls.count(RESTARTS) == 1
    assert machine_of(world, user).state == "started"
    assert restarts(world, user) == ["intent", "succeeded"]
    assert world.row(user)["next_attempt_at"] is None
    [attempt] = [
        metadata for kind, _, metadata in world.events(user) if kind == "recovery_attempted" and "source" in metadata
    ]
    assert (attempt["actor"], attempt["source"]) == (RESTART.actor, "restart")


def test_asked_twice_it_is_done_once_and_after_a_minute_again(world, user):
    calls = world.watch_calls()
    world.reconciler.reconcile(user, 240, request=RESTART)
    again = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (again.state, again.restarted) == ("converged", True)
    assert "less than a minute ago" in again.restart_detail
    assert calls.count(RESTARTS) == 1
    world.clock.advance(61)
    world.reconciler.reconcile(user, 240, request=RESTART)
    assert calls.count(RESTARTS) == 2


def test_two_concurrent_restarts_restart_once(world, user):
    other = world.new_worker()
    other.database.claim(user, "other", force=True)
    calls = world.watch_calls()
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (outcome.state, outcome.restarted) == ("pending", None)
    assert calls.count(RESTARTS) == 0


def test_while_paused_nothing_is_restarted_and_the_app_stays_active(world, user):
    world.sql("update hangar.settings set paused = true")
    calls = world.watch_calls()
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert outcome.restarted is False
    assert "paused" in outcome.restart_detail
    assert calls.count(RESTARTS) == 0
    assert restarts(world, user) == []
    assert (world.row(user)["status"], world.row(user)["next_attempt_at"]) == ("active", None)


def test_a_restart_that_fly_refuses_is_reported_and_is_not_a_failure_of_the_app(world, user):
    world.fault(method="POST", path="/v1/apps/*/machines/*/restart", status=400, body={"error": "no"}, when="before")
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (outcome.status, outcome.restarted) == ("active", False)
    assert restarts(world, user) == ["failed", "intent"]
    assert world.row(user)["retry_count"] == 0
    assert world.open_alerts() == set()
    world.control("PUT", "faults", [])
    assert world.reconciler.reconcile(user, 240, request=RESTART).restarted is True


def test_a_lost_answer_does_not_restart_twice(world, user):
    """The restart may have taken effect, so it counts as done for a minute."""
    world.fault(method="POST", path="/v1/apps/*/machines/*/restart", status=502, body="proxy", when="after", times=1)
    calls = world.watch_calls()
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (outcome.status, outcome.restarted) == ("active", False)
    assert restarts(world, user) == ["intent", "unknown"]
    assert world.reconciler.reconcile(user, 240, request=RESTART).restarted is True
    assert calls.count(RESTARTS) == 1


def test_killed_behind_the_call_the_next_finds_the_machine_and_the_intent_is_closed(world, user):
    world.kill_after(*RESTARTS)
    with pytest.raises(Killed):
        world.reconciler.reconcile(user, 240, request=RESTART)
    world.spare()
    world.settle()
    assert restarts(world, user, (RESTART.actor, "worker")) == ["intent", "unknown"]
    assert world.row(user)["status"] == "active"
    assert machine_of(world, user).state == "started"


def test_a_machine_that_this_call_starts_is_not_restarted_as_well(world, user):
    machine = machine_of(world, user)
    world.control("POST", f"machines/{machine.id}/crash", None)
    calls = world.watch_calls()
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (outcome.status, outcome.restarted) == ("active", True)
    assert calls.count(RESTARTS) == 0


def test_an_app_that_goes_is_not_restarted(world, user):
    world.set_tier(user, "free")
    calls = world.watch_calls()
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert (outcome.status, outcome.restarted) == ("deleted", False)
    assert calls.count(RESTARTS) == 0


def test_an_unknown_user_has_no_machine_to_restart(world):
    outcome = world.reconciler.reconcile(world.add_user(), 240, request=RESTART)
    assert (outcome.state, outcome.restarted) == ("nothing", None)


def test_an_operators_check_ignores_backoff_and_is_logged_under_their_name(world):
    """A nudge respects the backoff of a failed app; an operator's request does not."""
    world.fault(method="POST", path="/v1/apps", status=400, body={"error": "no"}, when="before")
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "error"
    world.control("PUT", "faults", [])
    assert world.reconciler.reconcile(user, 240).status == "error"
    assert world.reconciler.reconcile(user, 240, request=CHECK).status == "active"
    done = [
        metadata["actor"] for kind, status, metadata in world.events(user) if (kind, status) == ("action", "succeeded")
    ]
    assert set(done) == {CHECK.actor}


def wishes(world, user):
    """The audit entries of restarts that were begun."""
    return [
        metadata
        for kind, _, metadata in world.events(user)
        if kind == "recovery_attempted" and metadata.get("source") == "restart"
    ]


def test_a_restart_refused_is_not_logged_as_attempted(world, user):
    world.sql("update hangar.settings set paused = true")
    world.reconciler.reconcile(user, 240, request=RESTART)
    assert wishes(world, user) == []
    world.sql("update hangar.settings set paused = false")
    world.reconciler.reconcile(user, 240, request=RESTART)
    assert [metadata["actor"] for metadata in wishes(world, user)] == [RESTART.actor]


def test_a_restart_while_fly_is_down_says_that_nothing_repeats_it(world, user):
    """503 with the row's outcome: the app is observed again, the restart is not repeated."""
    world.fault(method="GET", path="/v1/apps/*", when="before", status=503)
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    with pytest.raises(Problem) as refusal:
        answer_result(outcome, user, request=RESTART)
    assert (refusal.value.status, refusal.value.code) == (503, "not_restarted")
    assert "was not restarted; Hangar does not repeat a restart" in refusal.value.detail
    assert "Retry-After" in refusal.value.headers
    world.control("PUT", "faults", [])
    calls = world.watch_calls()
    world.settle()
    assert calls.count(RESTARTS) == 0
    assert wishes(world, user) == []


@pytest.mark.parametrize(("and_then", "status"), [("an outage", 503), ("nothing", 409)])
def test_a_restart_whose_answer_was_lost_is_reported_as_unknown(world, user, monkeypatch, and_then, status):
    lost = {"method": "POST", "path": RESTARTS[1], "status": 502, "body": "proxy", "when": "after"}
    out = {"method": "GET", "path": "/v1/apps/*", "status": 503, "when": "before"}
    restart = world.reconciler.fly.restart_machine

    def restart_and_lose(*args, **named):
        world.control("PUT", "faults", [lost, out] if and_then == "an outage" else [lost])
        return restart(*args, **named)

    monkeypatch.setattr(world.reconciler.fly, "restart_machine", restart_and_lose)
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    with pytest.raises(Problem) as refusal:
        answer_result(outcome, user, request=RESTART)
    assert (refusal.value.status, refusal.value.code) == (status, "not_restarted")
    assert "t is not known whether the machine was restarted" in refusal.value.detail


@pytest.mark.parametrize("operator_request", [CHECK, None])
def test_a_check_that_fly_does_not_answer_leaves_a_healthy_app_unchanged(world, user, operator_request):
    """Unknown is not unhealthy: no error, no alert, no count. The app is checked again later, and then nothing is due."""
    before = world.row(user)
    world.fault(method="GET", path="/v1/apps/*", when="before", status=503)
    with pytest.raises(TransientError):
        world.reconciler.reconcile(user, 240, request=operator_request)
    row = world.row(user)
    kept = ("status", "health_status", "retry_count", "error_code", "error_message", "observed_generation")
    assert {name: row[name] for name in kept} == {name: before[name] for name in kept}
    assert row["next_attempt_at"] is not None
    assert row["lease_token"] is None
    assert world.open_alerts() == set()
    world.control("PUT", "faults", [])
    world.clock.advance(301)
    world.sweep(drain_only=True)
    assert (world.row(user)["status"], world.row(user)["next_attempt_at"]) == ("active", None)


def test_a_failed_check_of_an_unhealthy_app_is_a_failure(world, user):
    """A repair is needed and is not possible, so the row gets an error."""
    world.sql("update public.user_fly_apps set health_status = 'unhealthy' where user_id = %s", user)
    world.fault(method="GET", path="/v1/apps/*", when="before", status=503)
    with pytest.raises(TransientError):
        world.reconciler.reconcile(user, 240, request=CHECK)
    assert world.row(user)["status"] == "error"


def test_a_restart_whose_second_look_fails_is_no_bug_of_hangar(world, user, monkeypatch):
    """Fly goes down between the check and the restart of an unhealthy app. The row keeps Fly's error; the response is 503."""
    claim, claims = world.reconciler.database.claim, []

    def claim_and_go_down(*args, **named):
        claims.append(args)
        if len(claims) == 2:
            world.sql("update public.user_fly_apps set health_status = 'unhealthy' where user_id = %s", user)
            world.fault(method="GET", path="/v1/apps/*", when="before", status=503)
        return claim(*args, **named)

    monkeypatch.setattr(world.reconciler.database, "claim", claim_and_go_down)
    outcome = world.reconciler.reconcile(user, 240, request=RESTART)
    assert len(claims) == 2
    assert (outcome.restarted, outcome.code) == (None, "unavailable")
    assert world.row(user)["error_code"] == "unavailable"
    with pytest.raises(Problem) as refusal:
        answer_result(outcome, user, request=RESTART)
    assert refusal.value.status == 503


def test_without_time_for_it_nothing_is_restarted(world, user):
    """The time of the request ends once the app is up to date: the response says so, and Fly gets no restart call."""
    calls = world.watch_calls()
    world.fault(method="GET", path="/v1/apps/*", when="before", delay_s=3.0, times=1)
    outcome = world.reconciler.reconcile(user, 4.5, request=RESTART)
    assert outcome.restarted is False
    assert "the time of this request was up" in outcome.restart_detail
    assert calls.count(RESTARTS) == 0
