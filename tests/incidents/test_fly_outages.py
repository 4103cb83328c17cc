"""Incidents in which Fly did not answer, answered wrongly, or could not run a machine, for hours or days."""

import pytest

from tests.incidents.fleet import HOUR, MINUTE, act_after, answer, answer_everything, have_fleet

UNREACHABLE = {"host_status": "unreachable"}


@pytest.mark.slow
def test_the_api_answers_5xx_for_three_hours(fleet):
    """From 04:45 to 07:45 the region iad, and with it Fly's API, was out of reach.

    Source: https://fly.io/infra-log/2025-02-22 (16 February 2025).

    Health is unknown and nothing is repaired. Users who sign up, upgrade or leave meanwhile are served after the end.
    The operator sees two alerts: `fly_unreachable`, and one for the four users who wait. It has the kind of the app that
    failed first, and which of the four is served first is chance.
    """
    world, leaves = fleet.world, fleet.users.pop()
    del fleet.before[leaves]
    world.set_faults(*answer_everything(status=503, text="<html>Service Unavailable</html>"))
    new = world.add_users(["pro", "pro"])
    world.set_tier(leaves, "free")
    world.set_tier(fleet.users[0], "elite")
    fleet.pass_time(3, 15 * MINUTE)
    [(kind, cause)] = fleet.alerts - {("fly_unreachable", "listing")}
    assert (kind in {"provision_failed", "deprovision_failed"}, cause) == (True, "fly_unavailable")
    assert fleet.read_message(kind).startswith("4 apps fail for the same reason")
    assert {world.row(user)["health_status"] for user in fleet.users} == {"unknown"}
    fleet.assert_untouched()
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()
    assert {world.row(user)["status"] for user in new} == {"active"}
    assert leaves not in fleet.read_machines()


def test_calls_about_one_host_answer_408(fleet):
    """A host had failed, and the Machines API answered 408 to calls about its machines.

    Source: https://fly.io/infra-log/2025-05-17 (14 May 2025).

    Here two of four apps answer 408 to every call while the lists still show them. Hangar makes no replacement and
    looks after the others as always. The operator sees `unknown_health` for each of the two.
    """
    world = fleet.world
    apps = [world.row(user)["fly_app_name"] for user in fleet.users[:2]]
    world.set_faults(
        *(
            answer("*", f"/v1/apps/{app}/{rest}", status=408, text="")
            for app in apps
            for rest in ("machines", "machines/*")
        )
    )
    fleet.pass_time(1)
    assert fleet.alerts == {("unknown_health", world.row(user)["id"]) for user in fleet.users[:2]}
    fleet.assert_untouched()
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()


@pytest.mark.slow
def test_a_host_is_unreachable_for_days(fleet):
    """Hosts failed together, and some stayed under repair for several days.

    Source: https://community.fly.io/t/host-issue-notifications/19789.

    Fly's autoscaler counts only machines on reachable hosts and makes new ones (superfly/fly-autoscaler,
    `reconciler.go`). Hangar does not: the machine may still run, and would then run twice. It stays as it is for three
    days, and the operator sees one `unknown_health`. When the host returns, the user has the same machine.
    """
    world, user = fleet.world, fleet.users[0]
    _, machine = fleet.before[user]
    world.control("PUT", f"machines/{machine}", UNREACHABLE)
    fleet.pass_time(72, 3 * HOUR)
    assert fleet.alerts == {("unknown_health", world.row(user)["id"])}
    assert "cannot reach the host" in fleet.read_message("unknown_health")
    fleet.assert_untouched()
    world.control("PUT", f"machines/{machine}", {"host_status": "ok"})
    fleet.assert_well()
    fleet.assert_untouched()


def test_a_user_leaves_and_another_returns_while_the_host_is_unreachable(fleet):
    """Two users change their minds while the host of their machines is out of reach.

    Source: https://community.fly.io/t/host-issue-notifications/19789.

    The one who leaves loses the app: deleting it needs no host. The one who leaves and returns within the removal hold
    keeps it. The operator sees `unknown_health` for that one only.
    """
    world = fleet.world
    leaves, returns = fleet.users[:2]
    world.sql("update hangar.settings set removal_hold_s = 600")
    for user in (leaves, returns):
        world.control("PUT", f"machines/{fleet.before[user][1]}", UNREACHABLE)
        world.set_tier(user, "free")
    fleet.pass_time(1 / 12, 5 * MINUTE)
    world.set_tier(returns, "pro")
    fleet.pass_time(0.5)
    fleet.users.remove(leaves)
    del fleet.before[leaves]
    assert world.row(leaves)["status"] == "deleted"
    assert world.open_alerts() == {("unknown_health", world.row(returns)["id"])}
    fleet.assert_untouched()
    world.control("PUT", f"machines/{fleet.before[returns][1]}", {"host_status": "ok"})
    fleet.assert_well()
    fleet.assert_untouched()


@pytest.mark.slow
def test_many_hosts_are_unreachable_at_once(world):
    """The hosts of almost the whole fleet fail within a short time.

    Source: https://community.fly.io/t/host-issue-notifications/19789.

    Eleven of twelve apps cannot be judged: the operator sees one `incident` instead of eleven alerts. Nothing is
    restarted or replaced.
    """
    fleet = have_fleet(world, 12)
    for user in fleet.users[:11]:
        world.control("PUT", f"machines/{fleet.before[user][1]}", UNREACHABLE)
    fleet.pass_time(1, 10 * MINUTE)
    assert fleet.alerts == {("incident", "health")}
    fleet.assert_untouched()
    for user in fleet.users[:11]:
        world.control("PUT", f"machines/{fleet.before[user][1]}", {"host_status": "ok"})
    fleet.assert_well()
    fleet.assert_untouched()


def test_a_machine_is_created_for_two_hours(fleet):
    """One machine stayed `created` for 2 h 20 min, while others made minutes later started in seconds.

    Source: https://community.fly.io/t/machine-stuck-in-created-for-2h20m-before-booting-iad-sibling-machines-started-in-seconds/28143
    (22 June 2026).

    Hangar waits ten minutes, then replaces it: the user has an app within twenty minutes instead of two hours, and
    never two machines. Others are provisioned meanwhile. No alert: three samples would take longer than that.
    """
    world = fleet.world
    stuck: list[str] = []

    def hang() -> None:
        [machine] = [each for each in world.sim.machines() if each.id not in {id_ for _, id_ in fleet.before.values()}]
        world.control("PUT", f"machines/{machine.id}", {"state": "created"})
        stuck.append(machine.id)

    act_after(fleet, "/machines", hang)
    slow = world.add_user("pro")
    fleet.call_health(drain_only=True)
    quick = world.add_user("pro")
    since = world.clock()
    while world.row(slow)["status"] != "active":
        fleet.pass_time(1 / 12, 5 * MINUTE)
        assert world.clock() - since < 20 * MINUTE
    assert world.row(quick)["status"] == "active"
    assert stuck
    assert world.row(slow)["machine_id"] not in stuck
    assert fleet.alerts == set()
    # The only call that took a machine from a paying user is the one that removed the machine that never ran.
    assert {taken.user for taken in fleet.watch.find_wrong_calls()} == {str(slow)}
    fleet.watch.taken.clear()
    fleet.assert_well()
    fleet.assert_untouched()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "alerts"),
    [("app", {"provision_failed"}), ("machine", {"unknown_health"}), ("all", {"provision_failed", "unknown_health"})],
)
def test_existing_apps_are_answered_404(fleet, what, alerts):
    """In the middle of a deploy Fly answered `invalid machine ID` for a machine that existed and ran.

    Source: https://github.com/gitcoinco/grants-stack-indexer/issues/295 (20 September 2023).

    Here direct reads answer 404 for an hour while the lists show everything. Two answers of Fly contradict each other,
    so Hangar makes nothing new, keeps every name, and closes no row. The operator sees `unknown_health` for each app
    whose machine is denied, and `provision_failed` for a user whose change waits.
    """
    world, told = fleet.world, {"status": 404, "body": {"error": "invalid machine ID"}}
    app, machine = answer("GET", "/v1/apps/*", **told), answer("GET", "/v1/apps/*/machines/*", **told)
    own = answer("GET", "/v1/apps/*/machines", **told)
    world.set_faults(*{"app": [app], "machine": [machine], "all": [app, own, machine]}[what])
    world.set_tier(fleet.users[0], "elite")
    fleet.pass_time(1, 10 * MINUTE)
    assert fleet.kinds == alerts
    fleet.assert_untouched()
    world.set_faults()
    fleet.assert_well(hours=1.5)
    fleet.assert_untouched()


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{}, {"retry-after": "30"}], ids=["without-retry-after", "with-retry-after"])
def test_every_call_is_answered_429_for_an_hour(fleet, headers):
    """Clients met limits that Fly had not published, for example one request a second for each action.

    Source: https://github.com/superfly/docs/pull/1630 (1 July 2024), and the thread that it names,
    https://community.fly.io/t/understanding-fly-io-api-rate-hard-limits/20636.

    Hangar sends fewer calls, not more. Users who sign up wait, and nobody loses anything. The operator sees
    `fly_unreachable`, and `provision_failed` for the users who wait, or `provisioning_slow` when Fly says how long they
    should.
    """
    world = fleet.world
    world.set_faults(*answer_everything(status=429, body={"error": "rate limit exceeded"}, headers=headers))
    new = world.add_users(["pro"] * 3)
    world.sim.world.requests.clear()
    fleet.pass_time(1)
    assert sum(world.sim.world.requests.values()) < 600
    fleet.assert_untouched()
    waits = ("provisioning_slow", "fleet") if headers else ("provision_failed", "fly_unavailable")
    assert fleet.alerts == {("fly_unreachable", "listing"), waits}
    world.set_faults()
    fleet.assert_well()
    fleet.assert_untouched()
    assert {world.row(user)["status"] for user in new} == {"active"}
