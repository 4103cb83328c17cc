"""Every use case that destroys, combined with every kind of wrong input that asks for more destruction.

Each case: four users with apps, one of them on a way to destruction (`WAYS`); then something is wrong for an hour (`ATTACKS`);
then it is put right and an operator lets go what was held back. Nobody entitled may lose what runs, at any moment; what goes in
an hour is bounded; when more is asked for, the brake is on and says so; at the end everything is as it should be.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from local.fly.transport import open_client
from shared.domain.errors import HangarError
from tests.simulation.test_guards import MINUTES, event_types, have_active_users, make_app
from tests.support.destruction_watch import find_wrong_apps, watch
from tests.support.world import World

FLOOR = 2


def leave(world, user):
    world.set_tier(user, "free")


def have_surplus(world, user):
    row = world.row(user)
    make_app(world, "surplus", row["network"], hangar_user=str(user), hangar_row=row["id"])


def have_stray(world, user):
    app = world.row(user)["fly_app_name"]
    with open_client(world.sim) as fly:
        guest = {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}
        config = {"image": "app", "guest": guest, "metadata": {"hangar_user": str(user)}}
        fly.post(f"/v1/apps/{app}/machines", json={"name": "by-hand", "config": config}).raise_for_status()


def fail(world, user):
    world.control("PUT", f"machines/{world.row(user)['machine_id']}", {"state": "failed"})


WAYS = {"deprovision": leave, "orphan": have_surplus, "stray": have_stray, "replace": fail}


@dataclass(frozen=True)
class Attack:
    """A wrong input and how it is undone. `frees`: it entitles nobody; `empties`: no subscription is left."""

    begin: Callable[[World], object]
    end: Callable[[World], object] = lambda world: world.control("PUT", "faults", [])
    frees: bool = False
    empties: bool = False


def lie(*answers: tuple[str, object]) -> Callable[[World], None]:
    """Fly answers every such GET with 200 and this body."""
    rules = [{"method": "GET", "path": path, "when": "before", "status": 200, "body": body} for path, body in answers]
    return lambda world: world.control("PUT", "faults", rules)


def repeat_old_lists(world):
    """What the lists said before the newest user came and while the first one's app was another: now and for ever."""
    with open_client(world.sim) as fly:
        machines, apps = (
            fly.get("/v1/orgs/hangar-test/machines").json(),
            fly.get("/v1/apps?org_slug=hangar-test").json(),
        )
    for machine in machines["machines"]:
        machine["state"] = "destroyed" if machine is machines["machines"][0] else "failed"
    machines["machines"].append(dict(machines["machines"][-1], id="3d8d9999d9d999", app_name="vyx-user-dead0000"))
    apps["apps"] = [dict(apps["apps"][0], name="vyx-user-dead0000"), *apps["apps"][:-2]]
    lie(("/v1/orgs/*/machines", machines), ("/v1/apps", apps))(world)


def end_lists_early(world):
    with open_client(world.sim) as fly:
        machines, apps = (
            fly.get("/v1/orgs/hangar-test/machines").json(),
            fly.get("/v1/apps?org_slug=hangar-test").json(),
        )
    machines["machines"], apps["apps"] = machines["machines"][:1], apps["apps"][:1]
    machines.pop("next_cursor", None)
    apps.pop("next_cursor", None)
    lie(("/v1/orgs/*/machines", machines), ("/v1/apps", apps))(world)


def run(*statements: str) -> Callable[[World], None]:
    def execute(world):
        for statement in statements:
            world.sql(statement)

    return execute


def save_and(*statements: str) -> Callable[[World], None]:
    """Keep the host's tables, then run these."""
    keep = [f"create table if not exists public.kept_{name} as table {schema}.{name}" for schema, name in KEPT]
    return run(*keep, *statements)


def put_back(world):
    """The mistake undone: the kept rows again, as they were."""
    world.sql("insert into auth.users select * from public.kept_users on conflict do nothing")
    world.sql("delete from public.user_subscriptions")
    world.sql("insert into public.user_subscriptions select * from public.kept_user_subscriptions")
    world.sql("insert into public.fly_plans select * from public.kept_fly_plans on conflict do nothing")
    world.sql(
        "update public.fly_plans p set dedicated = k.dedicated from public.kept_fly_plans k where k.tier = p.tier"
    )
    for _, name in KEPT:
        world.sql(f"drop table public.kept_{name}")


KEPT = (("auth", "users"), ("public", "user_subscriptions"), ("public", "fly_plans"))


def be_another(world):
    world.reconciler.inputs = replace(world.reconciler.inputs, installation_id=uuid.UUID(int=7))


def be_oneself(world):
    world.reconciler = world.new_worker()


def change_installation(world):
    """Settings and environment both name another installation; existing apps carry the old proof."""
    world.sql("update hangar.settings set installation_id = '00000000-0000-4000-8000-000000000007'")
    world.kept_id, world.installation_id = world.installation_id, uuid.UUID("00000000-0000-4000-8000-000000000007")
    world.reconciler = world.new_worker()


def change_installation_back(world):
    world.installation_id = world.kept_id
    world.sql("update hangar.settings set installation_id = %s", world.kept_id)
    world.reconciler = world.new_worker()


def ask_another_organisation(world):
    world.reconciler.fly._org_slug = "another"


def jump(world):
    """Every clock jumps three hours ahead, so a subscription that was about to end has ended."""
    world.clock.advance(3 * 3600)


def do_nothing(world):
    pass


ATTACKS = {
    "none": Attack(do_nothing),
    "lists that miss everything": Attack(lie(("/v1/orgs/*/machines", {"machines": []}), ("/v1/apps", {"apps": []}))),
    "lists of another time": Attack(repeat_old_lists),
    "lists that end early": Attack(end_lists_early),
    "an app's own list is blank": Attack(lie(("/v1/apps/*/machines", []))),
    "a region cannot be read": Attack(
        lambda world: world.control("PUT", "regions/iad", {"error": True}),
        lambda world: world.control("PUT", "regions/iad", {"error": False}),
    ),
    "plans deleted": Attack(save_and("delete from public.fly_plans"), put_back),
    "no plan is dedicated": Attack(save_and("update public.fly_plans set dedicated = false"), put_back, frees=True),
    "everybody freed": Attack(save_and("update public.user_subscriptions set tier = 'free'"), put_back, frees=True),
    "everybody expired": Attack(
        save_and("update public.user_subscriptions set expires_at = '2020-01-01'"), put_back, frees=True
    ),
    "subscriptions truncated": Attack(save_and("truncate public.user_subscriptions"), put_back, empties=True),
    "users deleted": Attack(save_and("delete from auth.users"), put_back, empties=True),
    "the clock leaps": Attack(jump),
    "a brake that lets nothing through": Attack(
        run("update hangar.settings set brake_floor = 0, brake_share = 0"),
        run(f"update hangar.settings set brake_floor = {FLOOR}"),
    ),
    "another organisation in the settings": Attack(
        run("update hangar.settings set fly_org_slug = 'another'"),
        run("update hangar.settings set fly_org_slug = 'hangar-test'"),
    ),
    "workers that ask another organisation": Attack(ask_another_organisation, be_oneself),
    "another prefix": Attack(run("update hangar.settings set app_prefix = 'other'"), do_nothing),
    "another installation in the environment": Attack(be_another, be_oneself),
    "another installation everywhere": Attack(change_installation, change_installation_back),
}


def sweep_on(world, minutes):
    for _ in range(minutes // 10):
        world.clock.advance(10 * MINUTES)
        try:
            world.sweep()
        except HangarError:
            continue  # an outage is no reason to destroy; the next sweep tries again


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("way", WAYS)
def test_no_entitled_users_app_is_lost(world, way, attack):
    """I5: at any moment under attack, within a bound when everybody is to go, and all is well when it is over."""
    kind = ATTACKS[attack]
    world.sql(f"update hangar.settings set brake_floor = {FLOOR}, brake_share = 0")
    users = have_active_users(world, 4)
    seen = watch(world)
    WAYS[way](world, users[0])
    kind.begin(world)
    sweep_on(world, 50)
    assert seen.find_wrong_calls() == []
    assert seen.most_in_an_hour() <= FLOOR
    if kind.empties:
        assert ("host_loss", "subscriptions") in world.open_alerts()
        assert seen.most_in_an_hour() <= 1  # the way's own
    if kind.frees:
        assert ("brake", "fleet") in world.open_alerts()
        assert event_types(world).count("brake_tripped") == 1
        assert world.sql("select public.fly_brake_status() ->> 'why'") == [("many",)]
    kind.end(world)
    world.sql("select public.fly_release_brake('operator', 'looked at')")
    sweep_on(world, 40)
    world.settle()
    assert seen.find_wrong_calls() == []
    assert find_wrong_apps(world) == []
    assert {alert for alert in world.open_alerts() if alert[0] in ("brake", "orphans", "installation")} == set()
