"""The removal hold at Fly: a user who loses entitlement keeps a running machine for a while, and a renewal costs no call."""

import pytest

from shared.domain.models import OperatorRequest
from shared.fleet.sweep import Sweep
from tests.support.hand_edits import EDITS, edit_by_hand

HOLD_S = 300


@pytest.fixture
def held(world):
    """A world with the hold of a real installation, and a user whose app is active and healthy."""
    world.sql("update hangar.settings set removal_hold_s = %s", HOLD_S)
    world.user = world.add_user("pro")
    world.sweep()
    world.before = running(world)
    assert len(world.before) == 1
    return world


def running(world):
    """The apps and the machines that run in them."""
    return {
        name: [machine.id for machine in machines if machine.state == "started"]
        for name, machines in world.apps().items()
    }


def fly_calls(world, action):
    world.sim.world.requests.clear()
    action()
    return sum(world.sim.world.requests.values())


def test_the_machine_runs_until_the_hold_ends(held):
    """Neither drain nor sweep stops it before, and the first drain after it removes the app."""
    held.set_tier(held.user, "free")
    row = held.row(held.user)
    assert (row["status"], row["desired_state"]) == ("deprovisioning", "absent")
    held.sweep(drain_only=True)
    held.clock.advance(HOLD_S - 20)
    held.sweep()
    assert running(held) == held.before
    held.clock.advance(40)
    held.sweep(drain_only=True)
    assert held.row(held.user)["status"] == "deleted"
    assert held.apps() == {}


@pytest.mark.parametrize("gone_s", [0.1, 3, HOLD_S - 1])
def test_a_renewal_within_the_hold_costs_no_call(held, gone_s):
    """Delete and insert again, as some hosts do for an update: the same machine, the same app, and no request to Fly at all."""

    def leave_and_return():
        held.sql("delete from public.user_subscriptions where user_id = %s", held.user)
        held.sweep(drain_only=True)
        held.clock.advance(gone_s)
        held.sweep(drain_only=True)
        held.sql("insert into public.user_subscriptions (user_id, tier) values (%s, 'pro')", held.user)
        held.sweep(drain_only=True)

    assert fly_calls(held, leave_and_return) == 0
    row = held.row(held.user)
    assert (row["status"], row["desired_state"], row["hold_until"], row["next_attempt_at"]) == (
        "active",
        "present",
        None,
        None,
    )
    assert row["observed_generation"] == row["generation"]
    held.sweep()
    assert running(held) == held.before


def test_a_renewal_with_a_larger_plan_changes_the_machine_in_place(held):
    held.sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    held.set_tier(held.user, "free")
    held.set_tier(held.user, "elite")
    held.sweep(drain_only=True)
    assert held.row(held.user)["status"] == "active"
    assert running(held) == held.before


def test_a_failing_app_is_not_taken_for_healthy_after_a_renewal(held):
    """What was not as desired when the hold began is looked at again."""
    held.sql("update public.user_fly_apps set status = 'error', error_code = 'refused', observed_generation = null")
    held.set_tier(held.user, "free")
    held.set_tier(held.user, "pro")
    assert held.row(held.user)["next_attempt_at"] is not None


@pytest.mark.parametrize("dies_in", ["before the loss", "in the hold"])
def test_a_renewal_finds_the_work_of_a_worker_that_died(held, dies_in):
    """I8, I11: the app was as desired, but a worker had it and died. Whoever comes next must still be led to the row."""

    def die():
        [(claim,)] = held.sql("select public.fly_claim(%s, 'worker', p_force => true)", held.user)
        assert claim["outcome"] == "claimed"

    if dies_in == "before the loss":
        die()
    held.set_tier(held.user, "free")
    held.sweep(drain_only=True)
    if dies_in == "in the hold":
        die()
    held.set_tier(held.user, "pro")
    held.sweep(drain_only=True)
    held.clock.advance(HOLD_S)
    held.sweep(drain_only=True)
    row = held.row(held.user)
    assert (row["status"], row["lease_token"], row["open_intent"], row["next_attempt_at"]) == (
        "active",
        None,
        None,
        None,
    )
    assert running(held) == held.before


def test_a_renewal_keeps_the_repair_that_was_due(held):
    """I8: an operator asked for a repair, and the user left and came back before the drain began it."""
    machine = held.sim.machines()[0]
    edit_by_hand(held, machine, EDITS["env emptied"][0])
    held.sql("update hangar.settings set paused = true")
    held.sweep()
    assert held.row(held.user)["drift"] != {}
    held.sql("update hangar.settings set paused = false")
    held.sql("select public.fly_retry(%s, 'operator')", held.user)
    held.set_tier(held.user, "free")
    held.sql("select public.fly_sync_entitlements()")
    held.set_tier(held.user, "pro")
    held.sweep(drain_only=True)
    assert held.sim.machines()[0].config["env"]["USER_ID"] == str(held.user)
    assert running(held) == held.before


def test_grace_begins_after_the_hold(held):
    """First it runs, then it is stopped and kept, then it goes."""
    held.sql("update public.fly_plans set grace_s = 3600 where tier = 'pro'")
    held.set_tier(held.user, "free")
    held.clock.advance(HOLD_S + 1)
    held.sweep(drain_only=True)
    assert running(held) == {name: [] for name in held.before}
    held.clock.advance(3550)
    held.sweep(drain_only=True)
    assert running(held) == {name: [] for name in held.before}
    held.clock.advance(100)
    held.sweep(drain_only=True)
    assert held.apps() == {}


def test_a_deleted_user_has_no_hold(held):
    held.sql("delete from auth.users where id = %s", held.user)
    held.sweep(drain_only=True)
    assert held.apps() == {}


def test_a_user_deleted_during_the_hold_goes_at_once(held):
    held.set_tier(held.user, "free")
    held.sql("delete from auth.users where id = %s", held.user)
    held.sweep(drain_only=True)
    assert held.apps() == {}


def test_a_denied_user_has_no_hold(held):
    held.sql("select public.fly_set_override(%s, 'deny', null, 'operator', 'abuse')", held.user)
    held.sweep(drain_only=True)
    assert held.apps() == {}


def test_an_operators_deprovision_ends_the_hold(held):
    """A call of the database, or a look at the app, does not."""
    held.set_tier(held.user, "free")
    result = held.reconciler.reconcile(held.user, 240)
    assert (result.state, result.code) == ("pending", "removal_hold")
    assert "keeps running until" in result.detail
    held.reconciler.reconcile(held.user, 240, request=OperatorRequest("operator", "check"))
    assert running(held) == held.before
    held.reconciler.reconcile(held.user, 240, request=OperatorRequest("operator", "deprovision"))
    assert held.apps() == {}
    assert ("recovery_attempted", "info") in {(kind, status) for kind, status, _ in held.events(held.user)}


def test_a_short_hold_is_waited_for(held):
    """A wake-up call ends with the app gone when the hold ends within seconds, as in the local cloud."""
    held.sql("update hangar.settings set removal_hold_s = 2")
    held.set_tier(held.user, "free")
    report = Sweep(held.reconciler, held.clock() + 50).run(drain_only=True, users=[held.user])
    assert report.deprovisioned == 1
    assert held.apps() == {}


def test_a_wake_up_call_works_on_its_users_only(held):
    """The others are left to their own calls, and to the drain."""
    named, other = held.add_user("pro"), held.add_user("pro")
    report = Sweep(held.reconciler, held.clock() + 50).run(drain_only=True, users=[named])
    assert report.provisioned == 1
    assert (held.row(named)["status"], held.row(other)["status"]) == ("active", "provisioning")
