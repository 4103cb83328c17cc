"""Fly's clock and the database's differ: ages are measured by Fly's, nobody is hurt, and an alert names both."""

import pytest

from shared.fleet.sweep import Sweep

MINUTES = 60


def skew(world, seconds):
    world.control("PUT", "clock", {"skew_s": seconds})


def have_active_users(world, number):
    users = world.add_users(["pro"] * number)
    world.sweep(drain_only=True)
    return users


def machine_ids(world):
    return sorted(machine.id for machines in world.apps().values() for machine in machines)


def destroys(world):
    return world.sql(
        "select count(*) from public.user_fly_app_events where event_type = 'action' and status = 'intent'"
        " and (metadata ->> 'action') in ('destroy_machine', 'delete_app')"
    )[0][0]


def hang(world):
    """Every machine is `starting`, and stays so."""
    for machine in world.sim.machines():
        world.control("PUT", f"machines/{machine.id}", {"state": "starting"})


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-12 * MINUTES, 12 * MINUTES, -3600, 3600])
def test_a_machine_that_boots_is_not_old_by_another_clock(world, seconds):
    """C10: the database 12 minutes ahead of Fly, or behind. Only a machine that really hangs for ten minutes is replaced."""
    skew(world, seconds)
    have_active_users(world, 3)
    before = machine_ids(world)
    world.clock.advance(300)
    world.sweep()
    hang(world)
    hangs_since = world.clock()
    while world.clock() - hangs_since < 5 * MINUTES:  # a drain waits for the machine, and may take four minutes
        world.clock.advance(10)
        world.sweep(drain_only=True)
        assert world.clock() - hangs_since < 10 * MINUTES
    assert (machine_ids(world), destroys(world)) == (before, 0)
    while world.clock() - hangs_since < 16 * MINUTES:
        world.clock.advance(60)
        world.sweep()
    assert destroys(world) == 3
    assert [machine.state for machine in world.sim.machines()] == ["started"] * 3


def test_booting_takes_its_time_under_a_wrong_clock(world):
    """New users while Fly boots as slowly as it does: each gets one machine, and none is thrown away."""
    world.control("PUT", "latency", {"profile": "typical"})
    skew(world, -12 * MINUTES)
    users = world.add_users(["pro"] * 12)
    for _ in range(6):
        world.sweep(drain_only=True)
        world.clock.advance(60)
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert (len(machine_ids(world)), destroys(world)) == (12, 0)


def correct_after(monkeypatch, world, method, *, also=lambda: None):
    """The first time that this call of the client has its answer, Fly's clock is corrected, and other answers agree on that."""
    client = type(world.reconciler.fly)
    call, calls = getattr(client, method), []

    def corrected(self, *args, **given):
        answer = call(self, *args, **given)
        if not calls:
            calls.append(answer)
            skew(world, 0)
            also()
            for _ in range(2):
                self.get_app(next(iter(world.apps())))
        return answer

    monkeypatch.setattr(client, method, corrected)
    return calls


def test_a_machine_is_not_older_than_its_worker_knows(world, monkeypatch):
    """Fly's clock is corrected while a new machine boots: by its stamps the machine was made twelve minutes ago."""
    world.control("PUT", "latency", {"profile": "typical"})
    skew(world, -12 * MINUTES)
    calls = correct_after(monkeypatch, world, "create_machine")
    [user] = world.add_users(["pro"])
    world.sweep(drain_only=True)
    assert (len(calls), world.row(user)["status"], destroys(world)) == (1, "active", 0)


def test_an_age_is_told_by_the_clock_that_stamped_the_answer(world, monkeypatch):
    """A machine was read while it booted. Before Hangar decides, Fly's clock is corrected, and the machine runs."""
    skew(world, -12 * MINUTES)
    [user] = have_active_users(world, 1)
    before = machine_ids(world)
    hang(world)
    world.clock.advance(30)
    world.sql("update public.user_fly_apps set next_attempt_at = hangar.now(), status = 'provisioning'")

    def finish_boot():
        [machine] = world.sim.machines()
        machine.state = "started"

    calls = correct_after(monkeypatch, world, "list_machines", also=finish_boot)
    world.sweep(drain_only=True)
    assert [machine.state for machine in calls[0]] == ["starting"]
    assert (world.row(user)["status"], machine_ids(world), destroys(world)) == ("active", before, 0)


def test_a_clock_that_jumps_between_two_answers_makes_nothing_old(world):
    """The first answer after the jump still has the old lead to it: then no age is known, and nothing is destroyed."""
    have_active_users(world, 3)
    before = machine_ids(world)
    hang(world)
    hangs_since = world.clock()
    for seconds in (-3600, 3600, -7200, 0):
        skew(world, seconds)
        world.reconciler.fly.get_app(next(iter(world.apps())))  # the old reading, and after it one of the new clock
        world.sql("update public.user_fly_apps set next_attempt_at = hangar.now()")
        Sweep(world.reconciler, world.clock() + 60).run(drain_only=True)
    assert world.clock() - hangs_since < 10 * MINUTES
    assert (machine_ids(world), destroys(world)) == (before, 0)


@pytest.mark.parametrize(("seconds", "opens"), [(20, False), (-25, False), (45, True), (-720, True), (90_000, True)])
def test_an_alert_names_both_clocks_above_thirty_seconds(world, seconds, opens):
    have_active_users(world, 1)
    skew(world, seconds)
    for _ in range(2):
        world.clock.advance(300)
        world.sweep()
    found = world.sql("select message, metadata from hangar.alerts where kind = 'clock_skew' and resolved_at is null")
    assert len(found) == opens
    for message, metadata in found:
        assert metadata["skew_s"] == pytest.approx(seconds, abs=2)
        assert metadata["fly_time"] in message
        assert metadata["database_time"] in message
    skew(world, 0)
    for _ in range(2):
        world.clock.advance(300)
        world.sweep()
    assert not world.open_alerts()
