"""The user pays again while the app is on its way out: at every point before and after every call that removes it."""

import uuid

import pytest

from local.fly.transport import open_client
from tests.simulation.test_guards import MINUTES, make_app, our_network
from tests.support.destruction_watch import find_wrong_apps, watch
from tests.support.sizes import size

DESTROYS = "('stop_machine', 'destroy_machine', 'delete_app')"


def leave(world):
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    world.set_tier(user, "free")
    return user


def leave_an_orphan(world):
    """An app whose row the database never had, approved by an operator; its user does not pay."""
    user, row = world.add_user(), uuid.UUID(int=world.random.getrandbits(128), version=4)
    name = f"orphan-{row.hex[:8]}"
    make_app(world, name, our_network(world, row.hex), hangar_user=str(user), hangar_row=str(row))
    world.clock.advance(MINUTES)
    world.sweep()
    assert world.sql("select public.fly_approve_orphan(%s, 'operator')", name) == [({"approved": True},)]
    return user


def leave_a_surplus(world):
    """As above, and the app's row was closed: there is nothing to go back to but a new app."""
    user = leave(world)
    closed = world.row(user)
    world.sweep(drain_only=True)
    name = f"surplus-{closed['id'][:8]}"
    make_app(world, name, closed["network"], hangar_user=str(user), hangar_row=closed["id"])
    world.clock.advance(MINUTES)
    world.sweep()
    world.sql("select public.fly_approve_orphan(%s, 'operator')", name)
    return user


@pytest.mark.sized
@pytest.mark.parametrize("begin", [leave, leave_an_orphan, leave_a_surplus], ids=["row", "orphan", "surplus"])
def test_a_renewal_at_every_boundary_of_a_destruction(world, begin):
    """I5: after the renewal no destructive intent is recorded, and the user ends with a running app.

    `make test` renews at every seventh boundary, `make proof` at every one.
    """
    step = size("RENEWAL_STEP")
    world.sql("update hangar.settings set brake_floor = 1000")
    seen, boundary = watch(world), 0
    fired, took = True, 0
    while fired:
        user = begin(world)
        renewed_after = []

        def renew(user=user, renewed_after=renewed_after):
            world.set_tier(user, "pro")
            renewed_after.extend(world.sql("select max(seq) from public.user_fly_app_events")[0])

        taken = len(seen.taken)
        seen.act, seen.act_at = renew, seen.passed + boundary
        world.sweep()
        fired, seen.act_at = bool(renewed_after), None
        if fired:
            late = world.sql(
                "select metadata from public.user_fly_app_events where event_type = 'action' and status = 'intent'"
                f" and metadata ->> 'action' in {DESTROYS} and user_id = %s and seq > %s",
                user,
                *renewed_after,
            )
            assert [each for (each,) in late if each["purpose"] != "orphan" or not world.row(user)] == []
        took += len(seen.taken) > taken
        for _ in range(3):
            world.clock.advance(20 * MINUTES)
            world.sweep()
        assert find_wrong_apps(world) == [], boundary
        world.set_tier(user, "free")
        world.sweep(drain_only=True)
        boundary += step
    assert boundary > 20
    assert took > 3 // step


def test_an_approval_is_void_after_the_user_paid(world):
    """I5: an orphan was approved for removal; its user pays before the next sweep. The approval is void."""
    seen = watch(world)
    user = leave_an_orphan(world)
    world.set_tier(user, "pro")
    world.sweep()
    assert seen.taken == []
    world.settle()
    assert find_wrong_apps(world) == []
    assert world.row(user)["fly_app_name"].startswith("orphan-")


def test_an_approved_orphan_that_a_row_has_by_now_is_kept(world):
    """I5: the app was re-adopted by hand meanwhile. The live row counts, not the approval."""
    user = leave_an_orphan(world)
    world.set_tier(user, "pro")
    name = world.row(user)["fly_app_name"]
    world.sql("update public.fly_orphans set approved_by = 'operator', sightings = 9")
    with open_client(world.sim) as fly:
        assert fly.get(f"/v1/apps/{name}").status_code == 200
    seen = watch(world)
    world.settle()
    assert seen.taken == []
    assert find_wrong_apps(world) == []
