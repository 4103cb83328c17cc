"""Machines that people change by hand: seen in Fly's own answer, told, priced as they are, repaired a few at a time."""

from datetime import UTC, datetime

import pytest

from shared.domain.cost import list_price_usd_per_s
from shared.domain.models import OperatorRequest
from tests.support.fault_schedule import by_hand
from tests.support.hand_edits import EDITS, edit_by_hand, find_differences

SCALE, OTHER_IMAGE = EDITS["scaled"][0], EDITS["other image"][0]


def have_healthy_users(world, count, tier="pro"):
    users = world.add_users([tier] * count)
    world.sweep()
    sweep_later(world)
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}
    return users


def sweep_later(world, minutes=5):
    """The next sweep, so that checks have run and waits of this length are over."""
    world.clock.advance(minutes * 60)
    return world.sweep()


def machine_of(world, user):
    (machine,) = world.apps()[world.row(user)["fly_app_name"]]
    return machine


def hold_repairs(world):
    world.sql("update hangar.settings set drift_share = 0")


def allow_repairs(world, share=0.05):
    world.sql("update hangar.settings set drift_share = %s", share)


def drift_alerts(world):
    return {key for kind, key in world.open_alerts() if kind == "drift"}


def updates(calls):
    return [path for method, path in calls if method == "POST" and path.split("?")[0].split("/")[-2] == "machines"]


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_seen_told_and_repaired_in_the_same_machine(world, edit):
    """Within two sweeps the machine is what it was. Nothing is destroyed, and no alert is left."""
    (user,) = have_healthy_users(world, 1)
    before, config = machine_of(world, user), dict(machine_of(world, user).config)
    before_digest = before.image_digest
    hold_repairs(world)
    edit_by_hand(world, before, EDITS[edit][0])
    report = sweep_later(world)
    row = world.row(user)
    assert set(row["drift"]) == EDITS[edit][1]
    assert (report.drifted, row["status"], row["drift_since"] is not None) == (1, "active", True)
    assert drift_alerts(world) == EDITS[edit][1]
    allow_repairs(world)
    sweep_later(world)
    sweep_later(world)
    after = machine_of(world, user)
    assert after.id == before.id
    assert {**after.config, "image": ""} == {**config, "image": ""}
    assert (after.config["image"], after.image_digest) == (config["image"], before_digest)
    row = world.row(user)
    assert (row["drift"], row["drift_since"], row["health_status"], row["error_code"]) == ({}, None, "healthy", None)
    assert drift_alerts(world) == set()
    assert world.count_events("drift_found", "drift_ended") == 2


def test_a_machine_as_deployed_never_drifts(world):
    """Fly adds defaults and writes some values in another way; that is no difference. Also not for a public machine."""
    world.sql("update public.fly_plans set public_service = true, power = 'on_demand' where tier = 'elite'")
    users = [*have_healthy_users(world, 1), *world.add_users(["elite"])]
    for _ in range(3):
        assert sweep_later(world).drifted == 0
    assert [world.row(user)["drift"] for user in users] == [{}, {}]
    assert world.count_events("drift_found") == 0


def test_autostop_changed_by_hand_is_drift(world):
    """A public machine that Fly may stop whenever it looks idle."""
    world.sql("update public.fly_plans set public_service = true where tier = 'pro'")
    (user,) = have_healthy_users(world, 1)
    machine = machine_of(world, user)
    edit_by_hand(world, machine, lambda config: config["services"][0].update(autostop="stop", autostart=True))
    assert sweep_later(world).drifted == 1
    sweep_later(world)
    assert machine_of(world, user).config["services"][0]["autostop"] is False
    assert world.row(user)["drift"] == {}


def test_a_tag_pushed_again_is_drift_only_where_it_was_deployed_by_hand(world):
    """The row keeps the digest that Hangar deployed. Repair pins it, although the tag points elsewhere by then."""
    world.sql("update hangar.settings set default_image = 'registry.example/app:v1'")
    first, second = have_healthy_users(world, 2)
    image = world.row(first)["docker_image"]
    digest = machine_of(world, first).image_digest
    world.control("PUT", "images", {image: "sha256:" + "e" * 64})
    assert sweep_later(world).drifted == 0
    edit_by_hand(world, machine_of(world, first), dict.items)  # `fly machine update`, with the config as it is
    assert machine_of(world, first).image_digest != digest
    assert sweep_later(world).drifted == 1
    sweep_later(world)
    assert machine_of(world, first).image_digest == digest
    assert (world.row(first)["drift"], world.row(second)["drift"]) == ({}, {})


def test_a_scaled_machine_costs_its_real_price_from_the_moment_it_is_seen(world):
    """The open interval has the price and the size that Fly reports; so has the cost report."""
    (user,) = have_healthy_users(world, 1)
    hold_repairs(world)
    edit_by_hand(world, machine_of(world, user), SCALE)
    seen_at = datetime.fromtimestamp(world.clock() + 300, UTC)
    sweep_later(world)
    sweep_later(world)
    region = machine_of(world, user).region
    price = list_price_usd_per_s("performance", 8, 16384, region, seen_at.date())
    [(kind, cpus, memory_mb, found, started_at)] = world.sql(
        "select cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at from public.fly_cost_intervals where ended_at is null"
    )
    assert (kind, cpus, memory_mb, f"{found:.12f}") == ("performance", 8, 16384, f"{price:.12f}")
    assert abs((started_at - seen_at).total_seconds()) < 120
    [(report,)] = world.sql("select public.fly_cost_report()")
    assert [(each["cpu_kind"], each["memory_mb"]) for each in report["groups"]] == [("performance", 16384)]


@pytest.mark.slow
def test_many_apps_with_the_same_difference_are_one_alert_and_a_few_repairs(world):
    """Twelve scaled machines: one alert, and with each sweep one update (5 % of twenty apps) until all are as they should be."""
    users = have_healthy_users(world, 20)
    for user in users[:12]:
        edit_by_hand(world, machine_of(world, user), SCALE)
    left = []
    for _ in range(16):
        calls = world.watch_calls()
        sweep_later(world)
        assert len(updates(calls)) <= 1
        left.append(sum(find_differences(world.row(user), machine_of(world, user)) != set() for user in users))
        if len(left) == 1:
            [(message, apps)] = world.sql(
                "select message, (metadata ->> 'apps')::integer from hangar.alerts where kind = 'drift' and resolved_at is null"
            )
            assert "guest" in message
            assert apps >= 11
    assert left[-1] == 0, left
    assert left == sorted(left, reverse=True)
    sweep_later(world)
    assert drift_alerts(world) == set()
    assert world.sql("select count(*) from hangar.alerts where kind = 'drift'") == [(1,)]


@pytest.mark.parametrize("hold", ["paused", "incident", "fly_unreachable", "brake"])
def test_only_a_healthy_fleet_is_repaired(world, hold):
    """The drift is told all the same, and repaired when what held it has ended."""
    (user,) = have_healthy_users(world, 1)
    edit_by_hand(world, machine_of(world, user), OTHER_IMAGE)
    if hold == "paused":
        world.sql("select public.fly_set_paused(true, 'operator')")
    else:
        if hold == "brake":  # one that really holds, otherwise the next sweep ends its alert
            world.sql("update hangar.settings set brake_floor = 0, brake_share = 0")
        world.sql("select hangar.raise_alert(%s, 'elsewhere', 'it lasts')", hold)
    for _ in range(3):
        sweep_later(world)
    assert find_differences(world.row(user), machine_of(world, user)) == {"image"}
    assert drift_alerts(world) == {"image"}
    if hold == "paused":
        world.sql("select public.fly_set_paused(false, 'operator')")
    else:
        world.sql("select hangar.resolve_alert(%s, 'elsewhere')", hold)
    sweep_later(world)
    sweep_later(world)
    assert find_differences(world.row(user), machine_of(world, user)) == set()


def test_a_repair_that_made_an_app_unhealthy_stops_the_others(world):
    """The first repaired app fails its checks, so no second machine is touched."""
    users = have_healthy_users(world, 3)
    for user in users:
        edit_by_hand(world, machine_of(world, user), OTHER_IMAGE)
    sweep_later(world)
    (first,) = [user for user in users if not find_differences(world.row(user), machine_of(world, user))]
    world.sql("update public.user_fly_apps set health_status = 'unhealthy' where user_id = %s", first)
    world.control("PUT", f"machines/{machine_of(world, first).id}", {"checks": {"alive": "critical"}})
    for _ in range(4):
        sweep_later(world)
    assert sum(bool(find_differences(world.row(user), machine_of(world, user))) for user in users) == 2


@pytest.mark.slow
def test_a_refused_repair_waits_longer_and_longer_and_then_for_a_person(world):
    """Fly refuses the update: the app keeps running and active, three attempts are made, and the reason is on the row."""
    (user,) = have_healthy_users(world, 1)
    edit_by_hand(world, machine_of(world, user), SCALE)
    machine = machine_of(world, user)
    refusal = {"error": "organization is suspended: pay the open invoice"}
    world.fault(method="POST", path=f"/v1/apps/*/machines/{machine.id}", status=403, body=refusal)
    calls = world.watch_calls()
    for _ in range(30):
        sweep_later(world)
    assert len(updates(calls)) == 3
    row = world.row(user)
    assert (row["status"], row["drift_repairs"], machine_of(world, user).state) == ("active", 3, "started")
    assert "invoice" in row["drift_error"]
    assert drift_alerts(world) == {"guest"}
    world.set_faults()
    for _ in range(10):
        sweep_later(world)
    assert find_differences(world.row(user), machine_of(world, user)) == {"guest"}
    world.sql("select public.fly_retry(%s, 'operator')", user)
    world.reconciler.reconcile(user, 50.0, request=OperatorRequest("operator", "provision"))
    sweep_later(world)
    assert world.row(user)["drift"] == {}
    assert drift_alerts(world) == set()


def test_a_plan_edit_moves_no_app(world):
    """The row holds the machine that it was given, so another plan is no drift."""
    (user,) = have_healthy_users(world, 1)
    world.sql("update public.fly_plans set memory_mb = 2048, docker_image = 'another:v9' where tier = 'pro'")
    world.sql("update hangar.settings set default_image = 'another:v9', default_region = 'nrt'")
    assert sweep_later(world).drifted == 0
    assert machine_of(world, user).config["guest"]["memory_mb"] == 512


def test_a_clone_in_another_region_replaces_nothing_of_ours(world):
    """`fly machine clone --region` and destroying the old one: Hangar makes its own machine again and removes the clone."""
    (user,) = have_healthy_users(world, 1)
    machine = machine_of(world, user)
    path = f"/v1/apps/{machine.app.name}/machines"
    with by_hand(world) as fly:
        fly.post(path, json={"name": "clone", "region": "nrt", "config": machine.config})
        fly.request("DELETE", f"{path}/{machine.id}", params={"force": "true"})
    for _ in range(5):
        sweep_later(world)
    assert (machine_of(world, user).region, machine_of(world, user).name) == (machine.region, machine.name)


def test_a_machine_outside_its_regions_is_told_and_left_to_a_person(world):
    """Fly moves no machine. It is priced where it is."""
    (user,) = have_healthy_users(world, 1)
    machine_of(world, user).region = "gru"
    for _ in range(4):
        sweep_later(world)
    row = world.row(user)
    assert set(row["drift"]) == {"region"}
    assert (row["status"], row["machine_region"], row["drift_repairs"]) == ("active", "gru", 0)
    assert drift_alerts(world) == {"region"}
    price = list_price_usd_per_s("shared", 2, 512, "gru", datetime.fromtimestamp(world.clock(), UTC).date())
    [(found,)] = world.sql("select price_usd_per_s from public.fly_cost_intervals where ended_at is null")
    assert f"{found:.12f}" == f"{price:.12f}"


def test_a_stopped_machine_with_another_image_is_started_and_then_repaired(world):
    """What was stopped by hand runs again at once; what it runs is repaired within the budget."""
    (user,) = have_healthy_users(world, 1)
    machine = machine_of(world, user)
    edit_by_hand(world, machine, OTHER_IMAGE)
    world.clock.advance(30)
    with by_hand(world) as fly:
        fly.post(f"/v1/apps/{machine.app.name}/machines/{machine.id}/stop")
    for _ in range(4):
        sweep_later(world)
    after = machine_of(world, user)
    assert (after.id, after.state) == (machine.id, "started")
    assert find_differences(world.row(user), after) == set()


def test_an_unreachable_host_proves_no_drift(world):
    """Fly shows an incomplete config then."""
    (user,) = have_healthy_users(world, 1)
    world.control("PUT", f"machines/{machine_of(world, user).id}", {"host_status": "unreachable"})
    assert sweep_later(world).drifted == 0
