"""A restored older database, and two installations on copies of one database.

The copies are real: made with `create database … template` at an earlier moment. The workers then use the copy.
"""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import conninfo, sql

from local.fly.transport import open_client
from shared.fleet.orphans import Orphans
from shared.fleet.sweep import Sweep
from tests.simulation.test_attacks import fail, have_surplus, lie, sweep_on
from tests.simulation.test_guards import MINUTES, event_types, have_active_users
from tests.support.databases import drop_database
from tests.support.destruction_watch import entitled, find_wrong_apps, watch
from tests.support.sessions import Session
from tests.support.world import World

# They restore an older copy of their database, so they do not share it.
pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def copy() -> Iterator:
    """`copy(world)` copies the database of `world` as it is now, and returns the URL of the copy."""
    copies: list[str] = []

    def make(world: World) -> str:
        world.close()
        parts = conninfo.conninfo_to_dict(world.url)
        name = f"copy_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(conninfo.make_conninfo(world.url, dbname="postgres"), autocommit=True) as connection:
            leave = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
            connection.execute(leave, (parts["dbname"],))
            create = sql.SQL("create database {} template {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(str(parts["dbname"]))))
        copies.append(world.url.replace(f"/{parts['dbname']}", f"/{name}"))
        point_at(world, world.url)
        return copies[-1]

    yield make
    for url in copies:
        drop_database(url)


def point_at(world: World, url: str) -> None:
    """Make the workers and the host of `world` use this database from now on."""
    world.close()
    world.stores.clear()
    world.url = url
    world.host = psycopg.connect(url, autocommit=True)
    world._session = Session(world.host, world.clock)
    world.reconciler = world.new_worker()


def leave_and_come_back(world, user):
    world.set_tier(user, "free")
    world.sweep(drain_only=True)
    world.set_tier(user, "pro")
    world.sweep(drain_only=True)


def replace_machine(world, user):
    world.control("PUT", f"machines/{world.row(user)['machine_id']}", {"state": "failed"})
    world.sweep()
    world.sweep(drain_only=True)


def live_on(world, users):
    """Changes after the copy: a replaced machine, a higher tier, a return, a cancellation, two new users, two upgrades."""
    _same, moved, raised, back, gone, *free = users
    replace_machine(world, moved)
    world.set_tier(raised, "elite")
    leave_and_come_back(world, back)
    world.set_tier(gone, "free")
    new = [world.add_user("pro") for _ in range(2)]
    for user in free:
        world.set_tier(user, "pro")
    world.sweep(drain_only=True)
    world.clock.advance(60)
    assert find_wrong_apps(world) == []
    return new


def bring_up_to_date(world, users, new):
    """The host's billing writes the missed changes to the restored database."""
    _same, _moved, raised, _back, gone, *free = users
    world.set_tier(raised, "elite")
    world.set_tier(gone, "free")
    for user in new:
        world.sql("insert into auth.users (id, email) values (%s, %s)", user, f"{user.hex[:8]}@example.test")
    for user in [*free, *new]:
        world.set_tier(user, "pro")


def running(world):
    """The user and the id of every running machine."""
    return {
        (machine.config["metadata"]["hangar_user"], machine.id)
        for machine in world.sim.machines()
        if machine.state == "started"
    }


@pytest.mark.parametrize("live", [True, False], ids=["live", "not-live"])
@pytest.mark.parametrize("hours", [0, 3], ids=["told-at-once", "told-hours-later"])
@pytest.mark.slow
def test_an_older_database_came_back(world, copy, hours, live):
    """I5: no paying user loses the running machine, even if the copy does not know it. The user who cancelled loses it."""
    users = [*have_active_users(world, 5), world.add_user(), world.add_user()]
    old = copy(world)
    new = live_on(world, users)
    ran = running(world)
    point_at(world, old)
    world.sql("update hangar.settings set live = %s", live)
    seen = watch(world)
    for _ in range(hours):
        sweep_on(world, 60)
    if hours:
        assert ("brake", "database") in world.open_alerts()
        assert event_types(world).count("brake_tripped") == 1
        assert [each.app for each in seen.taken] == []
    world.sweep()  # the first sweep with the restored database finds what exists
    bring_up_to_date(world, users, new)
    sweep_on(world, 60)
    assert seen.find_wrong_calls() == []
    assert ran - running(world) == set()
    world.sql("select public.fly_release_brake('operator', 'restored, and billing is up to date')")
    sweep_on(world, 60)
    world.settle()
    assert find_wrong_apps(world) == []
    assert {machine for machine in ran if machine[0] in entitled(world)} - running(world) == set()
    assert not [alert for alert in world.open_alerts() if alert[0] in ("brake", "orphans")]


@pytest.mark.slow
def test_a_new_name_that_a_newer_app_of_ours_has(world, copy):
    """The copy's name_seq is too low: the next name belongs to another row's app on Fly. No app is taken over, none is lost."""
    (user,) = have_active_users(world, 1)
    old = copy(world)
    leave_and_come_back(world, user)
    newer = world.row(user)
    point_at(world, old)
    seen = watch(world)
    world.set_tier(user, "free")
    world.sweep(drain_only=True)
    world.set_tier(user, "pro")
    assert world.row(user)["fly_app_name"] == newer["fly_app_name"]
    assert world.row(user)["id"] != newer["id"]
    world.sweep(drain_only=True)
    sweep_on(world, 60)
    world.settle()
    assert seen.find_wrong_calls() == []
    assert find_wrong_apps(world) == []


@pytest.mark.slow
def test_an_orphan_stays_until_its_users_new_app_runs(world, copy):
    """I5: the user gets a new row whose app cannot be created. The old app, unknown to the database, keeps running."""
    other, user = *have_active_users(world, 1), world.add_user()
    old = copy(world)
    world.set_tier(user, "pro")
    world.sweep(drain_only=True)
    ran = running(world)
    point_at(world, old)
    seen = watch(world)
    world.fault(method="POST", path="/v1/apps/*/machines", when="before", status=422, body={"error": "image not found"})
    world.set_tier(user, "pro")
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "error"
    sweep_on(world, 120)
    assert {each.user for each in seen.taken} <= {None}  # None: the app that never had a machine
    assert running(world) == ran
    world.control("PUT", "faults", [])
    world.sql("select public.fly_retry(%s, 'operator')", user)
    sweep_on(world, 60)
    assert seen.find_wrong_calls() == []
    assert find_wrong_apps(world) == []
    assert world.row(other)["status"] == "active"


@pytest.mark.slow
def test_a_surplus_app_stays_until_the_users_own_one_runs(world):
    """I5: of two apps of an entitled user, the running one is kept."""
    (user,) = have_active_users(world, 1)
    have_surplus(world, user)
    fail(world, user)
    world.fault(method="POST", path="/v1/apps/*/machines", when="before", status=422, body={"error": "image not found"})
    seen = watch(world)
    sweep_on(world, 120)
    assert "surplus" in world.apps()
    assert seen.find_wrong_calls() == []
    world.control("PUT", "faults", [])
    world.sql("select public.fly_retry(%s, 'operator')", user)
    sweep_on(world, 60)
    assert find_wrong_apps(world) == []


@pytest.mark.slow
def test_a_silent_list_does_not_unmake_an_owner(world, copy):
    """I5: once a machine's metadata named the owner, a later empty response does not clear it."""
    _, user = *have_active_users(world, 1), world.add_user()
    old = copy(world)
    world.set_tier(user, "pro")
    world.sweep(drain_only=True)
    point_at(world, old)
    world.sql("update hangar.settings set live = false")
    seen = watch(world)
    world.sweep()
    with open_client(world.sim) as fly:
        [orphan] = world.sql("select app from public.fly_orphans")[0]
        app = fly.get(f"/v1/apps/{orphan}").json() | {"machine_count": 0}
    lies = ("/v1/apps/*/machines", []), ("/v1/orgs/*/machines", {"machines": []}), (f"/v1/apps/{orphan}", app)
    lie(*lies)(world)
    world.set_tier(user, "pro")
    sweep_on(world, 60)
    assert seen.taken == []
    assert world.row(user)["fly_app_name"] == orphan
    world.control("PUT", "faults", [])
    world.settle()
    assert find_wrong_apps(world) == []


@pytest.mark.slow
def test_a_worker_frozen_before_it_removes_an_orphan_lets_it_be(world, copy):
    """I6: the removal was allowed, then the user paid and the app was readopted. The old verdict no longer counts."""
    _, user = *have_active_users(world, 1), world.add_user()
    old = copy(world)
    world.set_tier(user, "pro")
    world.sweep(drain_only=True)
    ran = running(world)
    point_at(world, old)
    sweep_on(world, 10)
    world.sql("select public.fly_release_brake('operator', 'all is well')")
    world.sweep()
    frozen, verdicts = world.reconciler, []
    judge, seen = frozen.database.judge_orphan, watch(world)

    def freeze(*args, **options):
        answer = judge(*args, **options)
        if answer.verdict == "remove":
            frozen.database.judge_orphan = judge
            verdicts.append(answer)
            world.clock.advance(15 * MINUTES)
            world.set_tier(user, "pro")
            world.sweep()
        return answer

    frozen.database.judge_orphan, other = freeze, world.reconciler
    world.reconciler = frozen
    world.clock.advance(20 * MINUTES)
    world.sql("update hangar.settings set sweep_lease_s = 60")
    Sweep(frozen, world.clock() + 240).run(drain_only=False)
    world.reconciler = other
    assert len(verdicts) == 1
    assert running(world) == ran
    assert seen.find_wrong_calls() == []
    world.settle()
    assert find_wrong_apps(world) == []


@pytest.mark.slow
def test_with_little_time_every_orphan_has_its_turn(world, copy, monkeypatch):
    """A sweep with time for one orphan checks those of unknown users first, and every orphan in turn."""
    users = [*have_active_users(world, 1), *(world.add_user() for _ in range(4))]
    old = copy(world)
    for user in users[1:]:
        world.set_tier(user, "pro")
    world.sweep(drain_only=True)
    ran = running(world)
    point_at(world, old)
    last = users[4]
    world.sql("alter table public.user_subscriptions disable trigger hangar_mark_update")
    world.sql("update hangar.settings set live = false")
    world.set_tier(last, "pro")
    looks = []
    monkeypatch.setattr(Sweep, "_is_time_up", lambda _: bool(looks) and len(looks) >= limit)
    forward = Orphans._deal_with

    def deal(self, orphan, listed):
        looks.append(orphan.app)
        return forward(self, orphan, listed)

    monkeypatch.setattr(Orphans, "_deal_with", deal)
    for _ in range(4):
        limit = len(looks) + 1
        world.sweep()
    assert len(set(looks)) == 4
    assert world.row(last)["status"] == "active"
    assert running(world) == ran


def twin_of(world, url):
    """A second Hangar on a copy of the database, with the same installation id, token and organisation."""
    twin = World(url, seed=1)
    twin.sim, twin.clock = world.sim, world.clock
    twin._session = Session(twin.host, twin.clock)
    assert twin.installation_id == world.installation_id
    watch(twin)
    return twin


@pytest.mark.slow
def test_two_hangars_with_one_installations_id(world, copy):
    """Not detectable (ADR 6), but limited: new apps of both are safe; known apps are removed at most `brake_floor` an hour."""
    world.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    users = have_active_users(world, 6)
    twin = twin_of(world, copy(world))
    twin.sql("update hangar.settings set brake_floor = 2")
    seen = watch(world)
    new = [world.add_user("pro") for _ in range(5)]
    twin.add_user("pro")
    world.sweep()
    twin.sweep(drain_only=True)
    twin.sql("update public.user_subscriptions set tier = 'free' where user_id = any (%s)", users)
    for _ in range(9):
        world.clock.advance(5 * MINUTES)
        twin.sweep()
        world.sweep()
    theirs = {str(user) for user in new}
    assert not [each for each in twin.boundaries.taken if each.user in theirs]
    assert twin.boundaries.most_in_an_hour() <= 2
    assert ("brake", "database") in twin.open_alerts()
    assert seen.taken == []
    twin.close()
    world.sql("select public.fly_release_brake('operator', 'the other Hangar is off')")
    world.settle()
    world.settle()
    assert find_wrong_apps(world) == []
