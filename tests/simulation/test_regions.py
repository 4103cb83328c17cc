"""Regions as a list of preference: the next one is tried at once, a full one is remembered, and a pinned machine waits."""

import psycopg
import pytest

from tests.support.boundaries import Killed

REGION = "update public.fly_plans set region = %s where tier = 'pro'"


def plan(world, preference):
    world.sql(REGION, preference)


def fill(world, *regions, full=True):
    for region in regions:
        world.control("PUT", f"regions/{region}", {"full": True} if full else {})


def remembered(world):
    return {region for (region,) in world.sql("select region from hangar.region_capacity where until > hangar.now()")}


def creates(world, calls):
    return sum(method == "POST" and path.endswith("/machines") for method, path in calls)


def where(world, user):
    row = world.row(user)
    return row["region"], row["machine_region"], row["status"]


def test_the_next_region_is_tried_at_once(world):
    """C8: the first two are full; the user is served in the third by one run, and later users ask only there."""
    plan(world, "sin,nrt,hkg")
    fill(world, "sin", "nrt")
    users = world.add_users(["pro"] * 3)
    calls = world.watch_calls()
    assert world.reconciler.reconcile(users[0], 240).status == "active"
    assert creates(world, calls) == 3
    calls.clear()
    for user in users[1:]:
        world.reconciler.reconcile(user, 240)
    assert creates(world, calls) == 2
    assert {where(world, user) for user in users} == {("sin,nrt,hkg", "hkg", "active")}
    assert (remembered(world), world.open_alerts()) == ({"sin", "nrt"}, set())


def test_a_full_region_is_asked_again_after_a_quarter_of_an_hour(world):
    plan(world, "sin,nrt")
    fill(world, "sin")
    first, second, third = world.add_users(["pro"] * 3)
    world.reconciler.reconcile(first, 240)
    fill(world, "sin", full=False)
    world.clock.advance(14 * 60)
    world.reconciler.reconcile(second, 240)
    world.clock.advance(2 * 60)
    world.reconciler.reconcile(third, 240)
    assert [where(world, user)[1] for user in (first, second, third)] == ["nrt", "nrt", "sin"]
    assert remembered(world) == set()


def test_a_list_that_is_full_everywhere_names_each_region_and_is_retried(world):
    """Nothing is placed outside the list, and the first region with room is found although all are remembered as full."""
    plan(world, "sin, NRT")
    fill(world, "sin", "nrt")
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    row = world.row(user)
    assert (row["status"], row["error_code"], row["region"]) == ("error", "region_full", "sin,nrt")
    assert "sin: " in row["error_message"]
    assert "nrt: " in row["error_message"]
    assert "could not find a candidate host" in row["error_message"]
    assert row["next_attempt_at"] is not None
    assert ("provision_failed", "region_full/sin,nrt") in world.open_alerts()
    fill(world, "nrt", full=False)
    world.settle()
    assert (where(world, user), world.open_alerts()) == (("sin,nrt", "nrt", "active"), set())


def test_a_pinned_region_that_is_full_waits_for_it(world):
    plan(world, "sin")
    fill(world, "sin")
    user = world.add_user("pro")
    calls = world.watch_calls()
    for _ in range(3):
        world.reconciler.reconcile(user, 240, force=True)
    assert creates(world, calls) == 3
    assert (world.row(user)["error_code"], [list(machines) for machines in world.apps().values()]) == (
        "region_full",
        [[]],
    )
    fill(world, "sin", full=False)
    world.reconciler.reconcile(user, 240, force=True)
    assert where(world, user) == ("sin", "sin", "active")
    assert remembered(world) == set()


def test_a_regional_quota_counts_as_full_and_keeps_its_code(world):
    """Fly's own advice in that text is another region. Only if the whole list is over its quota is it the organisation's."""
    plan(world, "sin,nrt")
    world.control("PUT", "regions/sin", {"quota_mb": 0})
    first = world.add_user("pro")
    world.reconciler.reconcile(first, 240)
    assert where(world, first)[1:] == ("nrt", "active")
    world.control("PUT", "regions/nrt", {"quota_mb": 0})
    world.clock.advance(1000)
    second = world.add_user("pro")
    world.reconciler.reconcile(second, 240)
    assert world.row(second)["error_code"] == "quota"
    assert "over the allowed quota" in world.row(second)["error_message"]
    assert world.open_alerts() == {("fly_refused", "quota")}


def test_another_kind_of_size_has_its_own_memory(world):
    plan(world, "sin,nrt")
    world.sql(
        "update public.fly_plans set cpu_kind = 'performance', cpu_count = 1, memory_mb = 2048, region = 'sin,nrt'"
        " where tier = 'elite'"
    )
    fill(world, "sin")
    pro, elite = world.add_users(["pro", "elite"])
    world.reconciler.reconcile(pro, 240)
    fill(world, "sin", full=False)
    world.reconciler.reconcile(elite, 240)
    assert (where(world, pro)[1], where(world, elite)[1]) == ("nrt", "sin")


def test_a_machine_in_any_region_of_the_list_stays_there(world):
    """Sweeps and a plan change do not move it, and its price is that of the region in which it runs."""
    plan(world, "gru,iad")
    fill(world, "gru")
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    before = world.row(user)
    fill(world, "gru", full=False)
    calls = world.watch_calls()
    for _ in range(3):
        world.clock.advance(1000)
        world.sweep()
    assert [call for call in calls if call[0] != "GET"] == []
    after = world.row(user)
    assert (after["machine_id"], after["machine_region"], after["generation"]) == (
        before["machine_id"],
        "iad",
        before["generation"],
    )
    prices = world.sql("select region, price_usd_per_s from public.fly_cost_intervals")
    assert [region for region, _ in prices] == ["iad"]
    assert round(float(prices[0][1]) * 2_592_000, 2) == 4.39


def test_an_alias_is_left_to_fly(world):
    plan(world, "sin,eu")
    fill(world, "sin")
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    assert where(world, user) == ("sin,eu", "ams", "active")


def test_a_process_that_dies_between_two_regions_makes_one_machine(world):
    """The memory is saved with the next intent: another worker continues with the next region."""
    plan(world, "sin,nrt")
    fill(world, "sin")
    user = world.add_user("pro")
    world.kill_after("POST", "/v1/apps/*/machines")
    with pytest.raises(Killed):
        world.reconciler.reconcile(user, 240)
    world.spare()
    world.settle()
    assert where(world, user)[1:] == ("nrt", "active")
    assert [len(machines) for machines in world.apps().values()] == [1]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("sin", "sin"),
        ("sin,nrt,hkg", "sin,nrt,hkg"),
        (" SIN , nrt,\tsin,", "sin,nrt"),
        ("eu,any", "eu,any"),
        ("usa", "usa"),
        (None, None),
    ],
)
def test_a_list_is_stored_in_one_form(world, given, stored):
    plan(world, given)
    assert world.sql("select region from public.fly_plans where tier = 'pro'") == [(stored,)]
    if given:
        world.sql("update hangar.settings set default_region = %s", given)
        assert world.sql("select default_region from hangar.settings") == [(stored,)]


@pytest.mark.parametrize("given", ["yul", "sin,yul", "sin nrt", "europe", "s1n", "", ",", "sin;nrt"])
def test_an_unknown_region_is_refused_with_the_words_that_are_allowed(world, given):
    """Wherever it is written, and nothing is changed."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="use one or several of ams, any, apac") as caught:
        plan(world, given)
    assert "plan pro" in str(caught.value)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="default_region: region"):
        world.sql("update hangar.settings set default_region = %s", given)
    assert world.sql("select region from public.fly_plans where tier = 'pro'") == [(None,)]
