"""Every use case of one user's app: each function sets up its starting point, and the matrix makes every call of it fail."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from local.fly.transport import open_client
from shared.domain.machine_config import INSTALLATION_KEY, ROW_KEY, USER_KEY
from shared.domain.naming import machine_name, network_name
from tests.support.worker import ORG
from tests.support.world import World

GRACE_S = 600
REGION = "iad"


@dataclass(frozen=True)
class Start:
    """The starting point of a use case: the app's user, the machine that must survive, and what starts the worker."""

    user: UUID
    keeps: str | None = None
    driver: Literal["nudge", "sweep"] = "nudge"


def _provisioned(world: World, tier: str = "pro") -> UUID:
    user = world.add_user(tier)
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "active"
    return user


def _machine_of(world: World, user: UUID) -> str:
    return str(world.row(user)["machine_id"])


def upgrade(world: World) -> Start:
    """A new user pays."""
    return Start(world.add_user("pro"))


def downgrade(world: World) -> Start:
    """A user stops paying; the plan has no grace."""
    user = _provisioned(world)
    world.set_tier(user, "free")
    return Start(user)


def enter_grace(world: World) -> Start:
    """A user stops paying. The machine is stopped; the app is kept until the grace ends."""
    world.sql("update public.fly_plans set grace_s = %s where tier = 'pro'", GRACE_S)
    user = _provisioned(world)
    world.set_tier(user, "free")
    return Start(user)


def end_grace(world: World) -> Start:
    """The grace has ended."""
    start = enter_grace(world)
    world.reconciler.reconcile(start.user, 240)
    assert world.row(start.user)["status"] == "deprovisioning"
    world.clock.advance(GRACE_S + 1)
    return start


def return_in_grace(world: World) -> Start:
    """A user pays again before the grace ends, and keeps the same machine."""
    start = enter_grace(world)
    world.reconciler.reconcile(start.user, 240)
    world.set_tier(start.user, "pro")
    return Start(start.user, keeps=_machine_of(world, start.user))


def return_when_gone(world: World) -> Start:
    """A user pays again after the app was deleted."""
    user = downgrade(world).user
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "deleted"
    world.set_tier(user, "pro")
    return Start(user)


def return_too_late(world: World) -> Start:
    """A user pays again while the app is being deleted. It is deleted, and a new app replaces it."""
    user = _provisioned(world)
    world.set_tier(user, "free")
    world.rewind.upon = ("DELETE", "/v1/apps/*"), lambda: world.set_tier(user, "pro")
    return Start(user)


def start_stopped(world: World) -> Start:
    """The machine was stopped by hand."""
    user = _provisioned(world)
    machine_id = _machine_of(world, user)
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{world.row(user)['fly_app_name']}/machines/{machine_id}/stop").raise_for_status()
    return Start(user)


def replace_failed(world: World) -> Start:
    """The machine failed for good."""
    user = _provisioned(world)
    world.control("PUT", f"machines/{_machine_of(world, user)}", {"state": "failed"})
    return Start(user)


def replace_vanished_machine(world: World) -> Start:
    """The machine was destroyed by hand."""
    user = _provisioned(world)
    with open_client(world.sim) as fly:
        path = f"/v1/apps/{world.row(user)['fly_app_name']}/machines/{_machine_of(world, user)}"
        fly.delete(path, params={"force": "true"}).raise_for_status()
    return Start(user)


def replace_vanished_app(world: World) -> Start:
    """The app was deleted by hand."""
    user = _provisioned(world)
    with open_client(world.sim) as fly:
        fly.delete(f"/v1/apps/{world.row(user)['fly_app_name']}").raise_for_status()
    return Start(user)


def remove_stray(world: World) -> Start:
    """The app has had a second machine for a while."""
    user = _provisioned(world)
    with open_client(world.sim) as fly:
        config = {"image": "app@sha256:1", "guest": {"cpus": 1, "memory_mb": 256, "cpu_kind": "shared"}}
        body = {"name": "stray", "region": REGION, "config": config}
        fly.post(f"/v1/apps/{world.row(user)['fly_app_name']}/machines", json=body).raise_for_status()
    world.clock.advance(1200)
    return Start(user, keeps=_machine_of(world, user))


def change_size(world: World) -> Start:
    """A user takes a larger plan."""
    world.sql("update public.fly_plans set cpu_count = 4, memory_mb = 1024 where tier = 'elite'")
    user = _provisioned(world)
    world.set_tier(user, "elite")
    return Start(user, keeps=_machine_of(world, user))


def rename(world: World) -> Start:
    """Another organisation already uses the name."""
    user = world.add_user("pro")
    world.control("PUT", "foreign-apps", [world.row(user)["fly_app_name"]])
    return Start(user)


def depart(world: World) -> Start:
    """A user deletes the account."""
    user = _provisioned(world)
    world.sql("delete from auth.users where id = %s", user)
    return Start(user)


def remove_orphan(world: World) -> Start:
    """A create took effect after its row was closed. Sweeps have seen the orphan often and long enough, so one removes it."""
    user, gone = _provisioned(world), _provisioned(world)
    world.set_tier(gone, "free")
    world.reconciler.reconcile(gone, 240)
    row = world.row(gone)
    assert row["status"] == "deleted"
    _make_app(world, row["fly_app_name"], UUID(row["id"]), gone)
    for _ in range(2):
        world.sweep()
        world.clock.advance(600)
    return Start(user, keeps=_machine_of(world, user), driver="sweep")


def readopt_orphan(world: World) -> Start:
    """An entitled user's app has no row, as after the restore of an older database."""
    world.sql("update hangar.settings set live = false")
    user = world.add_user("pro")
    machine_id = _make_app(world, "vyx-user-0badcafe", world.make_id(), user)
    return Start(user, keeps=machine_id, driver="sweep")


def _make_app(world: World, app: str, row_id: UUID, user: UUID) -> str:
    with open_client(world.sim) as fly:
        network = network_name(world.installation_id, row_id)
        fly.post("/v1/apps", json={"app_name": app, "org_slug": ORG, "network": network}).raise_for_status()
        metadata = {USER_KEY: str(user), ROW_KEY: str(row_id), INSTALLATION_KEY: str(world.installation_id)}
        config = {"image": "app@sha256:1", "guest": {"cpus": 1, "memory_mb": 256}, "metadata": metadata}
        body = {"name": machine_name(app), "region": REGION, "config": config}
        made = fly.post(f"/v1/apps/{app}/machines", json=body)
        made.raise_for_status()
    return str(made.json()["id"])


def sweep_at_rest(world: World) -> Start:
    """Up to date; a sweep checks it."""
    user = _provisioned(world)
    world.sweep()
    world.clock.advance(300)
    return Start(user, keeps=_machine_of(world, user), driver="sweep")


WAYS: dict[str, Callable[[World], Start]] = {
    way.__name__: way
    for way in (
        upgrade,
        downgrade,
        enter_grace,
        end_grace,
        return_in_grace,
        return_when_gone,
        return_too_late,
        start_stopped,
        replace_failed,
        replace_vanished_machine,
        replace_vanished_app,
        remove_stray,
        change_size,
        rename,
        depart,
        remove_orphan,
        readopt_orphan,
        sweep_at_rest,
    )
}
