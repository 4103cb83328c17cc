"""Apps whose rows the database has lost hold the brake, until an operator or the apps themselves say that it may end.

What a list does not show ends nothing: lists of Fly may be short, or empty, for a while.
"""

import pytest

from local.fly.transport import open_client
from tests.simulation.test_attacks import lie
from tests.simulation.test_guards import MINUTES, event_types, have_active_users, make_app, our_network, sweep_for


def lose_rows(world, users):
    """The database was restored from a copy without these users' rows and subscriptions. The next sweeps notice it."""
    lost = [world.row(user)["fly_app_name"] for user in users]
    world.sql("alter table public.user_fly_app_events disable trigger append_only")
    for table, column in (
        ("user_fly_app_events", "user_id"),
        ("fly_cost_intervals", "user_id"),
        ("user_fly_apps", "user_id"),
    ):
        world.sql(f"delete from public.{table} where {column} = any (%s)", users)
    world.sql("delete from public.user_subscriptions where user_id = any (%s)", users)
    sweep_for(world, 10)
    assert read_brake(world) == (True, "lost", 4)
    return lost


def read_brake(world):
    told = world.sql("select public.fly_brake_status()")[0][0]
    return told["tripped"], told["why"], told["lost_apps"]


def hide(world, hidden):
    """From now on no list of Fly shows these apps and their machines."""
    with open_client(world.sim) as fly:
        machines, apps = (
            fly.get("/v1/orgs/hangar-test/machines").json(),
            fly.get("/v1/apps?org_slug=hangar-test").json(),
        )
    machines["machines"] = [each for each in machines["machines"] if each["app_name"] not in hidden]
    apps["apps"] = [each for each in apps["apps"] if each["name"] not in hidden]
    lie(("/v1/orgs/*/machines", machines), ("/v1/apps", apps))(world)


def show(world):
    world.control("PUT", "faults", [])


def delete_by_hand(world, app):
    with open_client(world.sim) as fly:
        fly.delete(f"/v1/apps/{app}?force=true").raise_for_status()


def deny_for_one_sweep(world, app):
    """The list lacks the app and its own address answers 404, for one sweep."""
    rules = [
        {"method": "GET", "path": f"/v1/apps/{app}", "when": "before", "status": 404, "body": {"error": "not found"}}
    ]
    with open_client(world.sim) as fly:
        apps = fly.get("/v1/apps?org_slug=hangar-test").json()
    apps["apps"] = [each for each in apps["apps"] if each["name"] != app]
    rules.append({"method": "GET", "path": "/v1/apps", "when": "before", "status": 200, "body": apps})
    world.control("PUT", "faults", rules)


@pytest.fixture
def restored(world):
    """A paying user who leaves, and the names of four apps that the database has lost."""
    stays, *lost = have_active_users(world, 5)
    return world, stays, lose_rows(world, lost)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [1, 2, 4])
def test_a_short_list_does_not_release_the_brake(restored, hidden):
    """D2: one listing, or many, that lack a lost app leave the brake on: nothing is destroyed, also not of known users."""
    world, leaver, lost = restored
    hide(world, lost[:hidden])
    world.set_tier(leaver, "free")
    sweep_for(world, 60)
    assert read_brake(world) == (True, "lost", 4)
    show(world)
    sweep_for(world, 10)
    assert read_brake(world) == (True, "lost", 4)
    assert len(world.apps()) == 5
    assert ("brake", "database") in world.open_alerts()
    assert "orphan_removed" not in event_types(world)


@pytest.mark.slow
def test_one_direct_404_beside_a_short_list_does_not_release_the_brake(restored):
    """D2: two sources agree for one sweep, and both are wrong."""
    world, leaver, lost = restored
    world.set_tier(leaver, "free")
    for app in [*lost, *lost]:
        deny_for_one_sweep(world, app)
        sweep_for(world, 5)
        show(world)
        sweep_for(world, 5)
    assert read_brake(world) == (True, "lost", 4)
    assert len(world.apps()) == 5


def test_apps_that_are_gone_release_the_brake_after_two_direct_looks(restored):
    """D2: the operator deletes a lost app by hand. Two sweeps ask Fly directly, and only then it no longer counts."""
    world, _, lost = restored
    delete_by_hand(world, lost[0])
    sweep_for(world, 5)
    assert read_brake(world) == (True, "lost", 4)
    sweep_for(world, 5)
    assert read_brake(world) == (False, None, 3)
    assert ("brake", "database") not in world.open_alerts()
    assert event_types(world).count("orphan_removed") == 1


def test_an_approved_app_that_hangar_removed_needs_no_second_look(restored):
    """Fly has confirmed the removal, so a list without the app is enough."""
    world, _, lost = restored
    world.sql("update hangar.settings set brake_lost = 10")
    world.sql("select public.fly_approve_orphan(%s, 'operator')", lost[0])
    world.sweep()
    assert lost[0] not in world.apps()
    world.clock.advance(60)
    world.sweep()
    assert world.sql("select count(*) from public.fly_orphans") == [(3,)]


def test_an_approval_survives_a_short_list(world):
    """D11: the operator has approved once, and need not again because one listing lacked the app."""
    make_app(world, "orphan", our_network(world))
    world.sweep()
    world.sql("update hangar.settings set deletes_paused = true")
    world.sql("select public.fly_approve_orphan('orphan', 'operator')")
    hide(world, ["orphan"])
    sweep_for(world, 15)
    show(world)
    world.sweep()
    assert world.sql("select approved_by, listed from public.fly_orphans") == [("operator", True)]
    world.sql("update hangar.settings set deletes_paused = false")
    world.clock.advance(MINUTES)
    world.sweep()
    assert "orphan" not in world.apps()


def test_a_lost_app_of_a_user_who_pays_is_returned_although_lists_lack_it(restored):
    """I5: the direct look shows it, so the user gets it back."""
    world, _, lost = restored
    owners = dict(world.sql("select app, user_id from public.fly_orphans"))
    hide(world, lost)
    world.sql(
        "insert into public.user_subscriptions (user_id, tier, status) values (%s, 'pro', 'active')", owners[lost[0]]
    )
    sweep_for(world, 10)
    assert world.row(owners[lost[0]])["fly_app_name"] == lost[0]
