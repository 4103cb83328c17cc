"""Several workers look at the machines of one release: late looks count for nothing, and one worker restarts the canary."""

import pytest

from shared.fleet import releases as engine
from shared.reconcile.drain import drain
from tests.support.releases import NEW, finish, read_release, start_release


@pytest.fixture
def fleet(world):
    world.users = world.add_users(["pro"] * 6)
    world.settle()
    return world


def read_canary(world, release):
    return world.sql(
        "select state, good_since, restarted_at, reason_code from hangar.release_targets where release_id = %s and wave = 0",
        release,
    )[0]


def begin(world, *, soak_s):
    """A release whose canary waits for its first look, with a second worker."""
    release = start_release(world, image=NEW, soak_s=soak_s)
    for _ in range(20):
        world.clock.advance(30)
        world.reconciler.database.advance_releases(1)  # nobody looks yet
        world.sql("update hangar.release_targets set reserved_until = null")
        if read_canary(world, release)[0] == "verifying":
            return release, world.reconciler, world.new_worker()
        drain(world.reconciler, world.reconciler.clock() + 60)
    raise AssertionError("the canary was not updated")


def read(worker):
    """What this worker reads now, without recording it."""
    step = worker.database.advance_releases(50)
    began = worker.clock()
    ends_at = began + 100
    return [
        engine._look(worker, look, lambda: engine._time_after(worker, step.now, began), ends_at) for look in step.looks
    ]


@pytest.mark.slow
def test_a_look_that_was_read_before_the_newest_one_does_not_count(fleet):
    """The worker has read a check that was not passing yet. Another one has read and recorded since that it passes."""
    release, slow, other = begin(fleet, soak_s=120)
    (machine,) = fleet.apps()[read_release(fleet, release)["targets"][0]["app"]]
    fleet.control("PUT", f"machines/{machine.id}", {"checks": {"ready": "warning"}})
    late = read(slow)
    assert [each["verdict"] for each in late] == ["bad"]
    fleet.clock.advance(61)  # longer than the slow worker has the canary for itself
    fleet.control("PUT", f"machines/{machine.id}", {"checks": {}})
    engine.advance_releases(other, other.clock() + 100)
    good_since = read_canary(fleet, release)[1]
    assert good_since is not None
    fleet.clock.advance(3)
    assert slow.database.record_release_looks(late) == 0
    assert read_canary(fleet, release) == ("verifying", good_since, None, None)
    assert finish(fleet, release)["state"] == "completed"


def test_a_machine_is_handed_to_one_worker_at_a_time(fleet):
    _, one, other = begin(fleet, soak_s=30)
    assert len(one.database.advance_releases(50).looks) == 1
    assert not other.database.advance_releases(50).looks
    fleet.clock.advance(61)  # the first one has died
    assert len(other.database.advance_releases(50).looks) == 1


def test_one_worker_restarts_the_canary(fleet):
    release, one, other = begin(fleet, soak_s=30)
    while not (looks := one.database.advance_releases(50).looks) or looks[0].proof != "restart":
        fleet.clock.advance(1)
        if looks:
            fleet.sql("update hangar.release_targets set reserved_until = null")
            engine.advance_releases(one, one.clock() + 100)
    for _ in range(3):
        fleet.clock.advance(15)
        assert not other.database.advance_releases(50).looks
    assert read_canary(fleet, release)[2] is None


def test_a_restart_that_is_told_late_counts(fleet):
    """Otherwise the canary would be restarted once more."""
    release, slow, other = begin(fleet, soak_s=30)
    read_at = fleet.sql("select hangar.now()")[0][0]
    fleet.clock.advance(1)
    engine.advance_releases(other, other.clock() + 100)
    assert read_canary(fleet, release)[1] is not None
    since = fleet.sql("select applied_at from hangar.release_targets where release_id = %s and wave = 0", release)[0][0]
    row_id = fleet.sql("select row_id from hangar.release_targets where release_id = %s and wave = 0", release)[0][0]
    look = {"release": release, "row_id": str(row_id), "since": since.isoformat(), "read_at": read_at.isoformat()}
    assert slow.database.record_release_looks([{**look, "verdict": "restarted"}]) == 1
    assert read_canary(fleet, release)[3] == "restarted"
    assert slow.database.record_release_looks([{**look, "verdict": "restarted"}]) == 0
