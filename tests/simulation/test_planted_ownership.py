"""Ownership checks that back each other up, each tested alone."""

from dataclasses import replace
from uuid import UUID

import pytest

from local.fly.transport import open_client
from tests.support.worker import ORG

MINUTES = 60


def make_app(world, name, network):
    with open_client(world.sim) as fly:
        fly.post("/v1/apps", json={"app_name": name, "org_slug": ORG, "network": network}).raise_for_status()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"id": "x", "name": "orphan", "network": "default", "organization": {"name": ORG, "slug": ORG}}),
        (404, {"error": "app not found"}),
        (403, {"error": "unauthorized"}),
        (503, {"error": "unavailable"}),
    ],
)
def test_the_list_alone_removes_no_orphan(world, status, body):
    """I5: the second check is a direct read of its network. If the network differs, the app is kept."""
    make_app(world, "orphan", f"hangar-{world.installation_id.hex[:12]}-{'0' * 32}")
    world.fault(method="GET", path="/v1/apps/*", when="before", status=status, body=body)
    for _ in range(8):
        world.clock.advance(5 * MINUTES)
        world.sweep()
    assert "orphan" in world.apps()


def test_a_worker_of_another_installation_does_not_even_rename(world):
    """I4: steps without a write on Fly are not taken either. The row stays unchanged, with an alert."""
    user = world.add_user("pro")
    before = world.row(user)
    make_app(world, before["fly_app_name"], "default")
    world.reconciler.inputs = replace(world.reconciler.inputs, installation_id=UUID(int=7))
    assert world.reconciler.reconcile(user, 60).state == "pending"
    after = world.row(user)
    assert (after["fly_app_name"], after["machine_id"]) == (before["fly_app_name"], None)
    assert world.reconciler.fly.calls == 0
    assert ("installation", "fleet") in world.open_alerts()
