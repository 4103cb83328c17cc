"""Sweeps that start and do not come to their end: after a quarter of an hour an operator reads it in an alert."""

import pytest

from shared.domain.errors import TransientError
from tests.support.boundaries import Killed

ALERT = ("sweep_unfinished", "fleet")


def message(world):
    [(text,)] = world.sql("select message from hangar.alerts where kind = 'sweep_unfinished' and resolved_at is null")
    return text


def kill_sweep(world, where="after fly_sweep_progress"):
    """The next sweep ends at this place: before its report is possible, or in an exception after which it still reports."""
    cross = world.boundaries.cross

    def cross_or_die(at):
        cross(at)
        if at == where:
            raise Killed(at)

    world.clock.advance(300)
    world.boundaries.cross = cross_or_die
    try:
        with pytest.raises(Killed):
            world.sweep()
    finally:
        world.boundaries.cross = cross


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("after fly_sweep_claim", "None of them has reported"),
        ("after fly_sweep_progress", "An error ended the one that reported last"),
    ],
)
def test_sweeps_that_are_ended_again_and_again_raise_an_alert(world, where, says):
    """Drains work all the time, so nothing else shows it. The first complete sweep ends the alert."""
    user = world.add_user("pro")
    world.sweep()
    for _ in range(3):
        kill_sweep(world, where)
        assert ALERT not in world.open_alerts()
    kill_sweep(world, where)
    assert ALERT in world.open_alerts()
    assert message(world).startswith("3 sweeps have started since ")
    assert says in message(world)
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "active"
    assert ALERT in world.open_alerts()
    world.clock.advance(300)
    assert world.sweep().complete
    assert ALERT not in world.open_alerts()
    kill_sweep(world, where)
    assert ALERT not in world.open_alerts()


def test_sweeps_that_follow_each_other_quickly_raise_no_alert(world):
    """An operator who runs `hangar sweep` again and again, each time ended by Ctrl-C, is no quarter of an hour."""
    world.add_user("pro")
    for _ in range(6):
        kill_sweep(world)
        world.clock.advance(-170)  # 130 s after the last one: its lease has ended
    assert ALERT not in world.open_alerts()


def test_sweeps_that_end_in_an_error_raise_the_alert_too(world):
    """A part of the sweep fails each time, and the sweep reports that it is not complete."""
    world.add_user("pro")
    world.sweep()
    world.sql("alter function public.fly_fleet_page(uuid, integer) rename to fly_fleet_page_gone")
    for _ in range(4):
        world.clock.advance(300)
        with pytest.raises(Exception, match="fly_fleet_page"):
            world.sweep()
    assert "An error ended the one that reported last" in message(world)


def test_an_outage_of_fly_has_its_own_alert(world):
    """No sweep can be complete while Fly cannot be listed. That is said once."""
    world.add_user("pro")
    world.sweep()
    world.fault(method="GET", path="/v1/orgs/*/machines", status=503, times=1000)
    for _ in range(5):
        world.clock.advance(300)
        with pytest.raises(TransientError):
            world.sweep()
    assert ("fly_unreachable", "listing") in world.open_alerts()
    assert ALERT not in world.open_alerts()


def test_a_quota_does_not_hide_sweeps_that_never_end(world):
    """Only a refusal to list the fleet explains them. A limit may last for days."""
    world.add_user("pro")
    world.sweep()
    limit = {"error": "Your organization has reached its machine limit"}
    world.fault(method="POST", path="/v1/apps/*/machines", when="before", status=422, body=limit)
    world.add_user("pro")
    world.sweep()
    for _ in range(4):
        kill_sweep(world)
    assert {ALERT, ("fly_refused", "quota")} <= world.open_alerts()
