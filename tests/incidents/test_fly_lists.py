"""Incidents in which Fly's lists were wrong: empty, of one region only, old, or with a page twice."""

from collections.abc import Callable

import pytest

from local.fly.transport import open_client
from tests.incidents.fleet import MINUTE, Fleet, answer, have_fleet
from tests.support.worker import ORG

MACHINES, APPS, OWN = "/v1/orgs/*/machines", "/v1/apps", "/v1/apps/*/machines"


def read_lists(fleet: Fleet) -> tuple[dict, dict]:
    """What Fly's two lists of the organisation say now."""
    with open_client(fleet.world.sim) as fly:
        return fly.get(f"/v1/orgs/{ORG}/machines").json(), fly.get(f"/v1/apps?org_slug={ORG}").json()


def lie(fleet: Fleet, *answers: tuple[str, object]) -> None:
    fleet.world.set_faults(*(answer("GET", path, status=200, body=body) for path, body in answers))


EMPTY: dict[str, list[tuple[str, object]]] = {
    "the app's own list": [(OWN, [])],
    "the list of the organisation": [(MACHINES, {"machines": []})],
    "every list": [(MACHINES, {"machines": []}), (APPS, {"apps": [], "total_apps": 0}), (OWN, [])],
}


@pytest.mark.parametrize("which", EMPTY)
def test_lists_answered_empty_and_duplicates_were_made(fleet, which):
    """For 47 minutes Fly gave `fly deploy` empty lists, and it made all machines a second time.

    Source: https://fly.io/infra-log/machines-api-duplicates/ (28 April 2026).

    Hangar reads a machine by its id and names each machine, so that Fly refuses a second one. It makes nothing twice,
    also for a user who upgrades meanwhile. The operator sees `unlisted` when the list of the organisation is empty.
    """
    world = fleet.world
    world.sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    lie(fleet, *EMPTY[which])
    world.set_tier(fleet.users[0], "elite")
    fleet.pass_time(47 / 60)
    fleet.assert_untouched()
    assert ("unlisted", "fleet") in fleet.alerts or which == "the app's own list"
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()
    [machine] = [each for each in world.sim.machines() if each.id == fleet.before[fleet.users[0]][1]]
    assert machine.config["guest"]["memory_mb"] == 1024


def test_a_list_that_shows_one_region_only(fleet):
    """The cause of the duplicates: a list had the machines of one region, and no word about others.

    Source: https://fly.io/infra-log/machines-api-duplicates/ (28 April 2026).

    Hangar reads each app that the list lacks directly before it concludes anything. Nothing is made or repaired, and a
    user who leaves meanwhile is still removed. Every app is found healthy. The operator sees one `unlisted`.
    """
    world, leaves = fleet.world, fleet.users.pop()
    machines, apps = read_lists(fleet)
    shown = {app for app, _ in (fleet.before[user] for user in fleet.users[:2])}
    machines["machines"] = [each for each in machines["machines"] if each["app_name"] in shown]
    apps["apps"], apps["total_apps"] = [each for each in apps["apps"] if each["name"] in shown], 2
    lie(fleet, (MACHINES, machines), (APPS, apps))
    world.set_tier(leaves, "free")
    del fleet.before[leaves]
    fleet.pass_time(1)
    fleet.assert_untouched()
    assert world.row(leaves)["status"] == "deleted"
    assert {world.row(user)["health_status"] for user in fleet.users} == {"healthy"}
    assert fleet.alerts == {("unlisted", "fleet")}
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()


def hide_everything(fleet: Fleet) -> None:
    """Every list of Fly is empty, and every direct look answers 404."""
    looks = ("/v1/apps/*", "/v1/apps/*/*", "/v1/apps/*/*/*")
    fleet.world.set_faults(
        *(answer("GET", path, status=200, body=body) for path, body in EMPTY["every list"][:2]),
        *(answer("GET", path, status=404, body={"error": "not found"}) for path in looks),
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 10, 12])
def test_lists_and_direct_looks_that_show_nothing(world, count):
    """The same incident, at its worst: the lists are empty, and Fly answers 404 for each app.

    Source: https://fly.io/infra-log/machines-api-duplicates/ (28 April 2026).

    Both come from one state system, so they are no two proofs. Hangar makes no app and no machine again, however small
    the fleet. The operator sees one `incident` that says so, and how to go on if the apps are really gone.
    """
    fleet = have_fleet(world, count)
    hide_everything(fleet)
    calls = len(world.sql("select 1 from user_fly_app_events where event_type = 'action' and status = 'intent'"))
    fleet.pass_time(2)
    assert (
        len(world.sql("select 1 from user_fly_app_events where event_type = 'action' and status = 'intent'")) == calls
    )
    assert fleet.alerts == {("incident", "fleet")}
    assert "hangar retry USER" in fleet.read_message("incident")
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()


@pytest.mark.slow
def test_apps_that_somebody_deleted_all_come_back_after_a_retry(fleet):
    """The same answers, and they are true: somebody deleted every app of the organisation by hand.

    Source: https://fly.io/infra-log/machines-api-duplicates/ (28 April 2026) for the lists.

    An operator retries one user. Fly then lists that user's app, and Hangar repairs the others.
    """
    world = fleet.world
    for machine in world.sim.machines():
        del world.sim.world.machines[machine.id]
    world.sim.apps.clear()
    fleet.pass_time(1)
    assert not world.sim.apps
    assert fleet.alerts == {("incident", "fleet")}
    world.sql("select public.fly_retry(%s, 'test')", fleet.users[0])
    fleet.assert_well()


def test_lists_of_half_an_hour_ago(fleet):
    """Parts of Fly's state system missed all updates for half an hour and served old data.

    Source: https://fly.io/infra-log/2024-06-29 (27 June 2024).

    Meanwhile one user signs up and one leaves. The old lists lack the new app and still show the removed one. Direct
    reads decide: the new app is not made again. The operator sees `unlisted` for the one and `orphans` for the other,
    until the lists are right.
    """
    world, leaves = fleet.world, fleet.users.pop()
    del fleet.before[leaves]
    machines, apps = read_lists(fleet)
    lie(fleet, (MACHINES, machines), (APPS, apps))
    new = world.add_user("pro")
    world.set_tier(leaves, "free")
    fleet.pass_time(0.5)
    assert (world.row(new)["status"], world.row(leaves)["status"]) == ("active", "deleted")
    fleet.assert_untouched()
    assert fleet.kinds == {"unlisted", "orphans"}
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()


def test_a_list_whose_cursor_comes_again(fleet):
    """Pages may be short or empty with more to come. Here the same page comes again and again.

    Source: superfly/docs, `api/machines/openapi.json`, operation Machines_org_list.

    Hangar stops at the repeated cursor and concludes nothing from such a list. The operator sees `fly_unreachable`.
    """
    machines, _ = read_lists(fleet)
    lie(fleet, (MACHINES, machines | {"next_cursor": "again"}))
    fleet.pass_time(0.5)
    assert fleet.alerts == {("fly_unreachable", "listing")}
    fleet.assert_untouched()
    fleet.world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()


def show_twice(machines: dict) -> None:
    machines["machines"] += machines["machines"]


def show_an_older_state_too(machines: dict) -> None:
    machines["machines"] += [dict(machine, state="stopped") for machine in machines["machines"]]


@pytest.mark.parametrize("change", [show_twice, show_an_older_state_too], ids=lambda change: change.__name__)
def test_a_list_that_shows_machines_twice(fleet, change: Callable[[dict], None]):
    """The order of the list is not guaranteed, so a machine that changes between two pages is on both.

    Source: superfly/docs, `api/machines/openapi.json`, operation Machines_org_list.

    Hangar counts the machine once, and does not take the second entry for a stray: nothing is stopped or destroyed. No
    alert.
    """
    machines, _ = read_lists(fleet)
    change(machines)
    lie(fleet, (MACHINES, machines))
    fleet.pass_time(1)
    assert fleet.watch.taken == []
    assert fleet.alerts == set()
    fleet.assert_untouched()
    assert fleet.world.sweep().apps == len(fleet.users)


@pytest.mark.parametrize("status", [408, 504])
def test_a_create_that_was_answered_408_and_done(fleet, status):
    """Fly answered 408 to a create that it carried out, and a client that repeats it makes a duplicate.

    Source: https://github.com/superfly/flyctl/pull/5098 (August 2026).

    Hangar looks for the machine before it repeats the call, and continues with the one that it finds. The user has the
    app within minutes. No alert.
    """
    world = fleet.world
    world.set_faults(
        {"method": "POST", "path": OWN, "when": "after", "status": status, "text": "", "times": 3},
    )
    new = world.add_user("pro")
    fleet.pass_time(10 * MINUTE / 3600)
    assert world.row(new)["status"] == "active"
    assert fleet.alerts == set()
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()
