"""What may be destroyed and what may not: orphans, strays, the brake, incidents, outages, restores."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from local.fly.transport import open_client
from shared.domain.errors import TransientError
from shared.domain.remediation import format_next_step
from tests.support.worker import ORG

MINUTES = 60


def have_active_users(world, count):
    users = [world.add_user("pro") for _ in range(count)]
    world.sweep(drain_only=True)
    assert {world.row(user)["status"] for user in users} == {"active"}
    world.clock.advance(60)
    return users


def make_app(world, name, network, **metadata):
    """An app on Fly that our database does not know, with a machine if metadata is given."""
    with open_client(world.sim) as fly:
        fly.post("/v1/apps", json={"app_name": name, "org_slug": ORG, "network": network}).raise_for_status()
        if metadata:
            config = {
                "image": "app",
                "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
                "metadata": metadata,
            }
            fly.post(f"/v1/apps/{name}/machines", json={"name": f"{name}-main", "config": config}).raise_for_status()


def our_network(world, row_hex="0" * 32):
    return f"hangar-{world.installation_id.hex[:12]}-{row_hex}"


def sweep_for(world, minutes):
    """A sweep every five minutes for so long."""
    for _ in range(minutes // 5):
        world.clock.advance(5 * MINUTES)
        world.sweep()


def event_types(world):
    return [row[0] for row in world.sql("select event_type from public.user_fly_app_events order by seq")]


def test_an_orphan_is_removed_when_it_is_old_enough_and_not_before(world):
    """I3: two checks are required, age and a direct read. The audit log has intent, outcome, found and removed."""
    make_app(world, "orphan", our_network(world))
    world.sweep()
    assert "orphan" in world.apps()
    sweep_for(world, 10)
    assert "orphan" in world.apps()
    sweep_for(world, 15)
    assert "orphan" not in world.apps()
    kinds = event_types(world)
    assert kinds.count("orphan_found") == kinds.count("orphan_removed") == 1
    actions = world.sql("select status from public.user_fly_app_events where event_type = 'action' order by seq")
    assert actions == [("intent",), ("succeeded",)]
    assert world.open_alerts() == set()


@pytest.mark.parametrize("network", ["default", f"hangar-{'f' * 12}-{'0' * 32}", "hangar-nonsense"])
def test_a_strangers_app_is_left_alone_for_ever(world, network):
    """I4."""
    make_app(world, "stranger", network, hangar_user="x")
    sweep_for(world, 60)
    assert "stranger" in world.apps()
    assert [call for call in world.boundaries.trace if "stranger" in call] == []


def test_an_approved_orphan_need_not_age(world):
    make_app(world, "orphan", our_network(world))
    world.sweep()
    assert world.sql("select public.fly_approve_orphan('orphan', 'test')")[0][0] == {"approved": True}
    world.sweep()
    world.clock.advance(60)
    assert "orphan" not in world.apps()


@pytest.mark.parametrize("what", ["paused", "deletes_paused"])
def test_nothing_is_removed_while_it_is_forbidden(world, what):
    make_app(world, "orphan", our_network(world))
    world.sql(f"update hangar.settings set {what} = true")
    sweep_for(world, 30)
    assert "orphan" in world.apps()
    assert ("orphans", "fleet") in world.open_alerts()
    world.sql(f"update hangar.settings set {what} = false")
    sweep_for(world, 10)
    assert "orphan" not in world.apps()


def test_after_a_restore_an_entitled_users_app_is_readopted_never_destroyed(world):
    """I5: a restored database lacks the row. The app's user is entitled, so the row is re-adopted."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    world.sql("alter table public.user_fly_app_events disable trigger append_only")
    world.sql("delete from public.user_fly_app_events")
    world.sql("delete from public.fly_cost_intervals")
    world.sql("update hangar.settings set live = false")
    world.sql("delete from public.user_fly_apps")
    sweep_for(world, 30)
    after = world.row(user)
    assert (after["id"], after["fly_app_name"], after["machine_id"]) == (
        row["id"],
        row["fly_app_name"],
        row["machine_id"],
    )
    assert after["status"] == "active"
    assert list(world.apps()) == [row["fly_app_name"]]


def test_after_a_restore_a_live_installation_ends_with_one_app_for_each_user(world):
    """Sync creates a new row for the user first, so the old app is surplus and is removed."""
    (user,) = have_active_users(world, 1)
    world.sql("alter table public.user_fly_app_events disable trigger append_only")
    world.sql("delete from public.user_fly_app_events")
    world.sql("delete from public.fly_cost_intervals")
    world.sql("delete from public.user_fly_apps")
    sweep_for(world, 40)
    assert {name: len(machines) for name, machines in world.apps().items()} == {world.row(user)["fly_app_name"]: 1}
    assert world.row(user)["status"] == "active"


@pytest.mark.slow
def test_an_empty_database_destroys_nothing_without_approval(world):
    """I5, worst case: all rows and subscriptions are gone. An operator must approve; then the brake limits."""
    world.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    have_active_users(world, 5)
    world.sql("alter table public.user_fly_app_events disable trigger append_only")
    for table in ("user_fly_app_events", "fly_cost_intervals", "user_fly_apps", "user_subscriptions"):
        world.sql(f"delete from public.{table}")
    sweep_for(world, 120)
    assert len(world.apps()) == 5
    assert ("brake", "database") in world.open_alerts()
    assert event_types(world).count("brake_tripped") == 1
    world.sql("select public.fly_release_brake('test', 'it is meant to be empty')")
    sweep_for(world, 10)
    assert len(world.apps()) == 3
    assert {("brake", "fleet")} == {alert for alert in world.open_alerts() if alert[0] == "brake"}
    world.clock.advance(3700)
    world.sweep()
    world.clock.advance(3700)
    sweep_for(world, 5)
    assert world.apps() == {}


def tell(world, user):
    """The operator alerts about this user."""
    told = world.sql("select public.fly_user_status(%s)", user)[0][0]
    settings = world.sql("select hangar.settings_json()")[0][0]
    return format_next_step(told, settings, datetime.fromtimestamp(world.clock(), UTC))


def test_allowing_deletions_again_makes_due_what_waited(world):
    """Those rows are due at once, not after five minutes. Rows in backoff or in grace keep their time."""
    going, failed, graced = users = have_active_users(world, 3)
    world.sql("update hangar.settings set deletes_paused = true")
    for user in users:
        world.set_tier(user, "free")
    world.sweep()
    assert "once somebody allows deletions again" in tell(world, going)
    world.sql("update public.user_fly_apps set error_code = 'x', error_message = 'x' where user_id = %s", failed)
    later = "update public.user_fly_apps set delete_after = hangar.now() + interval '1 hour' where user_id = %s"
    world.sql(later, graced)
    change = "select public.fly_set_settings(%s::jsonb, 'test')"
    world.sql(change, '{"max_apps": 9}')
    assert world.sql("select count(*) from public.user_fly_apps where next_attempt_at <= hangar.now()") == [(0,)]
    world.sql(change, '{"deletes_paused": false}')
    assert world.sql("select user_id from public.user_fly_apps where next_attempt_at <= hangar.now()") == [(going,)]
    world.sweep(drain_only=True)
    assert world.row(going)["status"] == "deleted"


def test_only_users_who_wait_for_the_brake_are_shown_it(world):
    users = have_active_users(world, 3)
    world.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    for user in users[1:]:
        world.set_tier(user, "free")
    world.sweep()
    (waits,) = [user for user in users[1:] if world.row(user)["status"] != "deleted"]
    assert "the brake is on (too many apps" in tell(world, waits)
    assert "brake" not in tell(world, users[0])
    world.clock.advance(1)
    world.sql("select public.fly_release_brake('test', 'wanted')")
    assert "the next drain removes the app" in tell(world, waits)


@pytest.mark.slow
def test_the_brake_stops_a_mass_downgrade_and_an_operator_releases_it(world):
    users = have_active_users(world, 6)
    world.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    world.sql("update public.user_subscriptions set tier = 'free'")
    world.sweep()
    assert len(world.apps()) == 4
    assert ("brake", "fleet") in world.open_alerts()
    assert "brake_tripped" in event_types(world)
    sweep_for(world, 20)
    assert len(world.apps()) == 4
    world.sql("select public.fly_release_brake('test', 'wanted')")
    world.sweep()
    assert len(world.apps()) == 2
    world.clock.advance(3700)
    sweep_for(world, 10)
    assert len(world.apps()) == 0
    assert {world.row(user)["status"] for user in users} == {"deleted"}
    world.clock.advance(3700)
    world.sweep()
    assert world.open_alerts() == set()


def test_a_second_machine_is_destroyed_and_the_first_one_kept(world):
    """I2: a stray costs money. It is destroyed after a direct read shows its age; the known machine is kept."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    with open_client(world.sim) as fly:
        config = {"image": "app", "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}}
        fly.post(
            f"/v1/apps/{row['fly_app_name']}/machines", json={"name": "by-hand", "config": config}
        ).raise_for_status()
    world.clock.advance(60)
    world.sweep()
    assert len(world.apps()[row["fly_app_name"]]) == 2
    sweep_for(world, 20)
    assert [machine.id for machine in world.apps()[row["fly_app_name"]]] == [row["machine_id"]]
    after = world.row(user)
    assert (after["status"], after["machine_id"], after["machine_state"]) == ("active", row["machine_id"], "started")


def stop_machines(world, users):
    with open_client(world.sim) as fly:
        for user in users:
            row = world.row(user)
            fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/stop").raise_for_status()
    world.clock.advance(60)


def started(world):
    return sum(machine.state == "started" for machines in world.apps().values() for machine in machines)


@pytest.mark.slow
def test_many_broken_at_once_are_one_incident_with_one_alert(world):
    """No mass repair: the first sweep repairs none, each later one up to the floor, and there is one alert."""
    users = have_active_users(world, 8)
    world.sql("update hangar.settings set incident_floor = 2, incident_share = 0.3")
    world.sweep()
    stop_machines(world, users[:5])
    world.sweep()
    assert started(world) == 3
    assert world.open_alerts() == {("incident", "fleet")}
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert started(world) == 5
    sweep_for(world, 15)
    assert started(world) == 8
    assert world.open_alerts() == set()


def test_a_few_broken_are_repaired_at_once(world):
    users = have_active_users(world, 8)
    stop_machines(world, users[:3])
    assert world.sweep().repaired == 3


def test_an_outage_makes_all_unknown_and_its_end_makes_the_waiting_due(world):
    """Fly out of reach is unknown for everybody; a listing that succeeds again does not wait for the backoff."""
    users = have_active_users(world, 2)
    world.sweep()
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}
    world.control(
        "PUT",
        "faults",
        [
            {"method": method, "path": path, "when": "before", "status": 503}
            for method, path in (("GET", "/v1/orgs/*/machines"), ("POST", "/v1/apps"))
        ],
    )
    late = world.add_user("pro")
    with pytest.raises(TransientError):
        world.sweep()
    assert {world.row(user)["health_status"] for user in users} == {"unknown"}
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert world.row(late)["status"] == "error"
    assert ("fly_unreachable", "listing") in world.open_alerts()
    world.control("PUT", "faults", [])
    world.clock.advance(10)
    world.sweep()
    assert world.row(late)["status"] == "active"
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}
    assert world.open_alerts() == set()


def test_an_unreadable_region_is_unknown_and_nothing_is_done(world):
    """error_regions: its machines are missing from the list and are neither gone nor unhealthy."""
    users = have_active_users(world, 3)
    world.sweep()
    before = len([call for call in world.boundaries.trace if "/v1/" in call])
    world.control("PUT", "regions/iad", {"error": True})
    world.fault(method="GET", path="/v1/apps/*/machines/*", when="before", status=503)
    for _ in range(4):
        world.clock.advance(5 * MINUTES)
        world.sweep()
    assert {world.row(user)["health_status"] for user in users} == {"unknown"}
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert len([call for call in world.boundaries.trace if "/v1/" in call]) == before


def test_bad_checks_make_unhealthy_only_when_they_stay_bad(world):
    """K of N samples at least four minutes apart; one event per transition; it never causes a repair."""
    (user,) = have_active_users(world, 1)
    world.sweep()
    row = world.row(user)
    world.control("PUT", f"machines/{row['machine_id']}", {"checks": {"ready": "critical"}})
    seen = []
    for _ in range(4):
        world.clock.advance(5 * MINUTES)
        world.sweep()
        seen.append(world.row(user)["health_status"])
    assert seen == ["healthy", "healthy", "unhealthy", "unhealthy"]
    world.control("PUT", f"machines/{row['machine_id']}", {"checks": {}})
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert world.row(user)["health_status"] == "healthy"
    transitions = [
        (each.get("from"), each["to"]) for kind, _, each in world.events(user) if kind.startswith("health_check")
    ]
    assert transitions == [(None, "healthy"), ("healthy", "unhealthy"), ("unhealthy", "healthy")]
    assert started(world) == 1


@pytest.mark.parametrize(("column", "value"), [("max_apps", 1), ("max_monthly_cost_usd", 6)])
def test_a_spend_cap_holds_new_apps_back_and_says_so(world, column, value):
    have_active_users(world, 1)
    world.sql(f"update hangar.settings set {column} = {value}")
    late = world.add_user("pro")
    outcome = world.reconciler.reconcile(late, 240)
    assert outcome.state == "pending"
    assert column in outcome.detail
    assert len(world.apps()) == 1
    world.sql(f"update hangar.settings set {column} = null")
    world.settle()
    assert world.row(late)["status"] == "active"


def test_one_false_404_does_not_end_a_row_whose_app_runs(world):
    """Fly once answers 404 for an existing app. Our app is still deleted before it counts as gone."""
    (user,) = have_active_users(world, 1)
    told = {"error": "app not found"}
    world.fault(method="GET", path="/v1/apps/*", when="before", status=404, body=told, times=1)
    world.set_tier(user, "free")
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "deleted"
    assert world.apps() == {}


def test_a_denied_app_that_was_never_confirmed_as_ours_is_read_twice(world):
    """The app exists without secrets and the user left. One false 404 must not make it an orphan."""
    user = world.add_user("pro")
    world.fault(method="POST", path="/v1/apps/*/secrets", when="before", status=503, times=4)
    with pytest.raises(TransientError):
        world.reconciler.reconcile(user, 240)
    assert len(world.apps()) == 1
    told = {"error": "app not found"}
    world.fault(method="GET", path="/v1/apps/*", when="before", status=404, body=told, times=1)
    world.set_tier(user, "free")
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "deleted"
    assert world.apps() == {}


def test_an_app_whose_machines_are_not_found_is_not_gone(world):
    """200 for the app and 404 for its machines contradict each other, so both are read again later."""
    user = world.add_user("pro")
    world.fault(method="POST", path="/v1/apps/*/secrets", when="before", status=503, times=4)
    with pytest.raises(TransientError):
        world.reconciler.reconcile(user, 240)
    told = {"error": "app not found"}
    world.fault(method="GET", path="/v1/apps/*/machines", when="before", status=404, body=told, times=1)
    world.set_tier(user, "free")
    with pytest.raises(TransientError, match="answers 404 for its machines"):
        world.reconciler.reconcile(user, 240)
    assert world.row(user)["deleted_at"] is None
    world.settle()
    assert world.row(user)["status"] == "deleted"
    assert world.apps() == {}


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 422])
@pytest.mark.parametrize("tier", ["pro", "free"])
@pytest.mark.parametrize(
    ("when", "method", "path"),
    [
        ("before", "GET", "/v1/apps/*"),
        ("before", "GET", "/v1/apps/*/machines/*"),
        ("before", "POST", "/v1/apps/*/machines"),
        ("before", "POST", "/v1/apps/*/machines/*/stop"),
        ("before", "DELETE", "/v1/apps/*"),
        ("after", "POST", "/v1/apps/*/machines"),
        ("after", "POST", "/v1/apps/*/machines/*/stop"),
        ("after", "DELETE", "/v1/apps/*"),
    ],
)
def test_one_unexplained_answer_blocks_no_user(world, method, path, status, tier, when):
    """I8: an unexplained 4xx is retried automatically, for every call."""
    user = world.add_user("pro")
    if tier == "free":
        world.reconciler.reconcile(user, 240)
        world.set_tier(user, "free")
    world.fault(method=method, path=path, when=when, status=status, body={"error": "strange"}, times=1)
    with suppress(TransientError):
        world.reconciler.reconcile(user, 240)
    world.control("PUT", "faults", [])
    world.settle(3)
    row = world.row(user)
    expected = {row["fly_app_name"]: [row["machine_id"]]} if tier == "pro" else {}
    assert {name: [machine.id for machine in machines] for name, machines in world.apps().items()} == expected
    assert row["status"] == ("active" if tier == "pro" else "deleted")


def test_a_listing_that_is_refused_is_an_outage_like_any_other(world):
    """401 to the listing: every app is unknown, one alert, and the response says that Fly cannot be reached."""
    (user,) = have_active_users(world, 1)
    told = {"error": "Authenticate: token validation error"}
    world.fault(method="GET", path="/v1/orgs/*/machines", when="before", status=401, body=told)
    with pytest.raises(TransientError, match="could not be listed"):
        world.sweep()
    assert world.row(user)["health_status"] == "unknown"


def test_the_health_counts_add_up(world):
    """Every app is counted once: active, failed or never observed."""
    have_active_users(world, 2)
    world.fault(method="POST", path="/v1/apps", when="before", status=503)
    world.add_user("pro")
    world.add_user("pro")
    report = world.sweep()
    assert report.apps == 4
    assert report.healthy + report.unhealthy + report.unknown == 4
