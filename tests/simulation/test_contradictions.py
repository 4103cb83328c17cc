"""Fly's answers deny each other: what the lists show is a reason to wait, never to give up a name or to make another app."""

from contextlib import suppress

import pytest

from local.fly.transport import open_client
from shared.domain.errors import TransientError
from shared.domain.naming import app_name
from tests.support.worker import ORG

ABSENT = {"method": "GET", "path": "/v1/apps/*", "when": "before", "status": 404, "body": {"error": "app not found"}}
TAKEN = {
    "method": "POST", "path": "/v1/apps", "when": "before", "status": 422,
    "body": {"error": "Validation failed: Name has already been taken", "status": "name_taken"},
}  # fmt: skip
DENIED = ABSENT | {"status": 403, "body": {"error": "unauthorized"}}
OTHERS = ABSENT | {"status": 200, "body": {"name": "x", "network": "somebody-else", "organization": {"slug": ORG}}}


def have_active_user(world):
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "active"
    return user


def retry(world, user, times):
    for _ in range(times):
        with suppress(TransientError):  # what the caller of a function sees as 503
            world.reconciler.reconcile(user, 240, force=True)
        world.clock.advance(120)


def existing(world):
    return {name: [machine.id for machine in machines] for name, machines in world.apps().items()}


@pytest.mark.parametrize("listing", ["both", "apps", "machines"])
def test_an_app_that_the_lists_show_is_not_given_up_for_a_404(world, listing):
    """C6: ten minutes of 404 and 422 while the app runs. Afterwards the same app and machine are the user's."""
    user = have_active_user(world)
    before, row = existing(world), world.row(user)
    left_out = {
        "both": [],
        "apps": [{"method": "GET", "path": "/v1/orgs/*/machines", "status": 200, "body": {"machines": []}}],
        "machines": [{"method": "GET", "path": "/v1/apps", "status": 200, "body": {"apps": []}}],
    }[listing]
    world.set_faults(ABSENT, TAKEN, *left_out)
    retry(world, user, 5)
    during = world.row(user)
    assert (during["status"], during["error_code"]) == ("error", "contradiction")
    assert (during["fly_app_name"], existing(world)) == (row["fly_app_name"], before)
    assert ("provision_failed", row["id"]) in world.open_alerts()
    world.set_faults()
    world.settle()
    after = world.row(user)
    assert (after["status"], after["fly_app_name"], after["machine_id"]) == (
        "active",
        row["fly_app_name"],
        row["machine_id"],
    )
    assert (existing(world), world.open_alerts()) == (before, set())


def test_a_name_that_no_list_shows_is_given_up_as_before(world):
    """Fly holds a deleted app's name for too long: the user is served under the next one."""
    user = have_active_user(world)
    row = world.row(user)
    with open_client(world.sim) as fly:
        fly.delete(f"/v1/apps/{row['fly_app_name']}", params={"force": "true"})
    world.set_faults(TAKEN)
    retry(world, user, 2)
    assert world.row(user)["fly_app_name"] != row["fly_app_name"]


@pytest.mark.parametrize("denial", [DENIED, OTHERS], ids=["403", "another network"])
def test_an_app_that_the_lists_show_as_ours_is_not_someone_elses(world, denial):
    """The worker created the app and died, so that the row knows nothing of it: the lists alone say that it is ours."""
    user = world.add_user("pro")
    world.set_faults(
        {"method": "POST", "path": "/v1/apps/*/secrets", "when": "before", "status": 403, "body": {"error": "no"}}
    )
    world.sweep(drain_only=True)
    world.clock.advance(600)
    row, before = world.row(user), existing(world)
    assert (row["secrets_version"], len(before)) == (None, 1)
    fault = denial if denial is DENIED else denial | {"body": denial["body"] | {"name": row["fly_app_name"]}}
    world.set_faults(fault)
    retry(world, user, 4)
    during = world.row(user)
    assert (during["error_code"], during["fly_app_name"]) == ("contradiction", row["fly_app_name"])
    assert existing(world) == before
    world.set_faults()
    world.settle()
    assert (world.row(user)["status"], list(existing(world))) == ("active", list(before))


def test_lists_that_are_empty_do_not_matter_while_a_direct_read_shows_the_app(world):
    """The other way round: nothing is made anew and nothing is destroyed."""
    user = have_active_user(world)
    before = existing(world)
    world.set_faults(
        {"method": "GET", "path": "/v1/orgs/*/machines", "when": "before", "status": 200, "body": {"machines": []}},
        {"method": "GET", "path": "/v1/apps", "when": "before", "status": 200, "body": {"apps": []}},
    )
    for _ in range(12):
        world.clock.advance(300)
        world.sweep()
    assert (existing(world), world.row(user)["status"]) == (before, "active")


def test_a_strangers_name_is_still_given_up(world):
    """No list shows it as ours, and an app of our own organisation with another network is not ours either."""
    users = world.add_users(["pro", "pro"])
    first, second = (app_name("vyx-user", user, 0) for user in users)
    world.control("PUT", "foreign-apps", [first])
    with open_client(world.sim) as fly:
        fly.post("/v1/apps", json={"app_name": second, "org_slug": ORG, "network": "somebody"}).raise_for_status()
    world.sweep(drain_only=True)
    assert [world.row(user)["fly_app_name"] for user in users] == [app_name("vyx-user", user, 1) for user in users]
