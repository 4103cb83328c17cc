"""What the matrix found, each as the smallest test of its own."""

import pytest

from local.fly.transport import open_client
from shared.domain.naming import machine_name, network_name
from tests.support.worker import ORG

ORPHAN = "vyx-user-0badcafe"


@pytest.fixture
def restored(world):
    """As after a restore of an older database: an entitled user's app runs, and has no row. Its first machine's id."""
    world.sql("update hangar.settings set live = false")
    user, row_id = world.add_user("pro"), world.reconciler.new_id()
    metadata = {"hangar_user": str(user), "hangar_row": str(row_id)}
    config = {"image": "app", "guest": {"cpus": 1, "memory_mb": 256, "cpu_kind": "shared"}, "metadata": metadata}
    with open_client(world.sim) as fly:
        network = network_name(world.installation_id, row_id)
        fly.post("/v1/apps", json={"app_name": ORPHAN, "org_slug": ORG, "network": network}).raise_for_status()
        body = {"name": machine_name(ORPHAN), "region": "iad", "config": config}
        return fly.post(f"/v1/apps/{ORPHAN}/machines", json=body).json()["id"]


def machines_of(world):
    return {name: [machine.id for machine in machines] for name, machines in world.apps().items()}


def sweep_until_ripe(world):
    for _ in range(3):
        world.sweep()
        world.clock.advance(600)


def check_given_back(world, machine_id):
    world.sweep()
    assert machines_of(world) == {ORPHAN: [machine_id]}
    assert world.sql("select fly_app_name, status from public.user_fly_apps") == [(ORPHAN, "active")]


@pytest.mark.parametrize("shown_elsewhere", ["in the listing", "in the app"])
def test_an_orphan_whose_machines_are_denied_is_not_judged(world, restored, shown_elsewhere):
    """I5: the machine's metadata names the owner. A denied list must not make the app ownerless and removable."""
    world.fault(method="GET", path="/v1/apps/*/machines", when="before", status=200, body=[])
    if shown_elsewhere == "in the app":
        world.control("PUT", "regions/iad", {"error": True})
    sweep_until_ripe(world)
    assert machines_of(world) == {ORPHAN: [restored]}
    world.control("PUT", "faults", [])
    world.control("PUT", "regions/iad", {})
    check_given_back(world, restored)


def test_an_orphan_on_an_unreachable_host_is_not_judged(world, restored):
    """I5: the owner is in metadata that cannot be read now."""
    world.control("PUT", f"machines/{restored}", {"host_status": "unreachable"})
    sweep_until_ripe(world)
    assert machines_of(world) == {ORPHAN: [restored]}
    assert world.sql("select count(*) from public.user_fly_apps") == [(0,)]
    world.control("PUT", f"machines/{restored}", {"host_status": "ok"})
    check_given_back(world, restored)


def test_a_readopted_app_is_not_left_for_one_refusal(world, restored):
    """I2: after a 403 on its first read, creating another app would make this one an orphan again."""
    verdicts = iter((200, 403))  # the sweep's own read, then the reconciler's
    real = world.reconciler.fly.get_app

    def get_app(name, **kwargs):
        if next(verdicts, 200) == 403:
            world.fault(method="GET", path="/v1/apps/*", when="before", status=403, body={"error": "no"}, times=1)
        return real(name, **kwargs)

    world.reconciler.fly.get_app = get_app
    world.sweep()
    world.clock.advance(1900)
    world.sweep()
    assert machines_of(world) == {ORPHAN: [restored]}
    assert world.sql("select status from public.user_fly_apps") == [("active",)]


def test_one_403_takes_no_other_name(world):
    """I5: a word, not a proof. Of an app that a restored database had just been given back, it cost the user everything in it."""
    user = world.add_user("pro")
    world.fault(method="GET", path="/v1/apps/*", when="before", status=403, body={"error": "unauthorized"}, times=1)
    world.sweep(drain_only=True)
    row = world.row(user)
    assert (row["status"], row["name_seq"]) == ("active", 0)
