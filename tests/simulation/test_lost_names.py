"""The name of an app that was deleted outside Hangar is taken by another organisation: an operator decides, Fly's lists prove.

Nothing of the other organisation is touched. What a wrong or narrowed token shows is the same 403, and must make no second app.
"""

import pytest

from local.fly.transport import open_client
from shared.domain.naming import app_name
from shared.reconcile.reconciler import attempt_reconcile
from tests.simulation.test_lost_apps import delete_by_hand
from tests.support.health import alerts, have_healthy_users, sweeps
from tests.support.worker import ORG

FORBIDDEN = {"when": "before", "status": 403, "body": {"error": "unauthorized"}}


def take_name(world, user):
    app = world.row(user)["fly_app_name"]
    world.control("POST", f"apps/{app}/take", None)
    return app


def decide(world, user, reason="deleted by hand"):
    return world.sql("select public.fly_request_new_name(%s, 'operator', %s)", user, reason)


def reconcile(world, user):
    """One run for this user, however it ends."""
    return attempt_reconcile(world.reconciler, user, world.clock() + 100)


def rows(world, user):
    return world.sql(
        "select fly_app_name, status, new_name_request from public.user_fly_apps where user_id = %s order by created_at",
        user,
    )


@pytest.fixture
def lost(world):
    """A paying user whose app's name another organisation has, and three others. The sweeps have raised the alert."""
    user, *others = have_healthy_users(world, 4)
    app = take_name(world, user)
    sweeps(world)
    return world, user, others, app


def test_without_a_decision_the_name_is_kept_and_the_alert_names_the_command(lost):
    world, user, _, app = lost
    message = alerts(world, user)["unknown_health"]
    assert f"hangar retry {user} --new-name" in message
    world.sql("select public.fly_retry(%s, 'operator')", user)
    reconcile(world, user)
    world.settle()
    assert [name for name, _, _ in rows(world, user)] == [app]
    assert world.row(user)["error_code"] == "not_owned"
    assert f"hangar retry {user} --new-name" in alerts(world, user)["provision_failed"]


def test_the_user_gets_the_next_name(lost):
    """The former row is closed with its reason, the user's new app runs, and no alert stays."""
    world, user, others, app = lost
    before = {world.row(other)["fly_app_name"] for other in others}
    decide(world, user)
    calls = world.watch_calls()
    reconcile(world, user)
    assert rows(world, user) == [(app, "deleted", None), (app_name("vyx-user", user, 1), "active", None)]
    assert set(world.apps()) == before | {app_name("vyx-user", user, 1)}
    assert [call for call in calls if call[0] != "GET" and call[1].startswith(f"/v1/apps/{app}")] == []
    (closed,) = [data for kind, _, data in world.events(user) if data.get("action") == "name_lost"]
    assert closed.items() >= {"old_name": app, "actor": "operator", "reason": "deleted by hand"}.items()
    sweeps(world)
    assert world.open_alerts() == set()


def test_a_failed_row_gets_the_next_name(lost):
    """The row is in error, as after a retry, and waits for its next attempt."""
    world, user, _, _ = lost
    world.sql("select public.fly_retry(%s, 'operator')", user)
    reconcile(world, user)
    world.settle()
    decide(world, user)
    world.sweep(drain_only=True)
    assert world.row(user)["fly_app_name"] == app_name("vyx-user", user, 1)
    sweeps(world)
    assert world.open_alerts() == set()


@pytest.mark.parametrize("way", ["denied", "in the hold", "in the grace", "after both"])
def test_the_row_of_a_user_who_left_ends(lost, way):
    world, user, _, app = lost
    world.sql("update hangar.settings set removal_hold_s = 600")
    world.sql("update public.fly_plans set grace_s = 600")
    world.sql("update public.user_fly_apps set grace_s = 600")
    if way == "denied":
        world.sql("select public.fly_set_override(%s, 'deny', null, 'operator', 'fraud')", user)
    else:
        world.set_tier(user, "free")
        world.sweep(drain_only=True)
        world.clock.advance({"in the hold": 60, "in the grace": 800, "after both": 2000}[way])
        world.sweep(drain_only=True)
    decide(world, user)
    world.sweep(drain_only=True)
    assert rows(world, user) == [(app, "deleted", None)]
    sweeps(world)
    assert world.open_alerts() == set()


def fault_lists(world, change):
    """Fly's list of apps, changed."""
    with open_client(world.sim) as fly:
        body = fly.get(f"/v1/apps?org_slug={ORG}").json()
    change(body)
    return {"method": "GET", "path": "/v1/apps", "when": "before", "status": 200, "body": body}


def empty(body):
    body |= {"apps": [], "total_apps": 0}


def drop_two(body):
    body |= {"apps": body["apps"][:1], "total_apps": 1}


def send_a_part(body):
    body |= {"apps": body["apps"][:2]}


def forget_networks(body):
    body |= {"apps": [{**app, "network": "default"} for app in body["apps"]]}


NOT_LISTED = "does not let FLY_API_TOKEN list"
NO_OTHERS = "show no other app of this installation"
EVERYTHING = ("/v1/apps", "/v1/apps/*", "/v1/apps/*/machines", "/v1/orgs/*/machines")
REFUSED = {
    "a token that may not list apps": (lambda _: [{"method": "GET", "path": "/v1/apps", **FORBIDDEN}], NOT_LISTED),
    "a token that may not list machines": (
        lambda _: [{"method": "GET", "path": "/v1/orgs/*/machines", **FORBIDDEN}],
        NOT_LISTED,
    ),
    "403 for everything": (lambda _: [{"method": "*", "path": path, **FORBIDDEN} for path in EVERYTHING], NOT_LISTED),
    "lists of another organisation": (lambda world: [fault_lists(world, empty)], NO_OTHERS),
    "apps of another installation": (lambda world: [fault_lists(world, forget_networks)], NO_OTHERS),
    "a token for one app": (lambda world: [fault_lists(world, drop_two)], "only 1 of the 3 other apps"),
    "an incomplete list": (
        lambda world: [fault_lists(world, send_a_part)],
        "1 of the apps that it counts were missing",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_without_proof_nothing_changes_and_the_refusal_says_what_was_seen(lost, case):
    """I4, I5: no second app. The decision is spent: a later attempt needs another one."""
    world, user, _, app = lost
    make_rules, words = REFUSED[case]
    before = set(world.apps())
    decide(world, user)
    world.set_faults(*make_rules(world))
    calls = world.watch_calls()
    reconcile(world, user)
    row = world.row(user)
    assert (row["error_code"], row["fly_app_name"], row["new_name_request"]) == ("not_owned", app, None)
    assert words in row["error_message"]
    assert [call for call in calls if call[0] != "GET"] == []
    world.set_faults()
    world.settle()
    assert set(world.apps()) == before
    assert [name for name, _, _ in rows(world, user)] == [app]


def test_a_region_that_cannot_be_listed_proves_nothing(lost):
    world, user, _, app = lost
    world.control("PUT", "regions/nrt", {"error": True})
    decide(world, user)
    reconcile(world, user)
    assert "could not list the machines of nrt" in world.row(user)["error_message"]
    assert [name for name, _, _ in rows(world, user)] == [app]


def test_an_app_of_the_same_name_in_our_organisation_is_named(world):
    """Somebody created the app again by hand: it is neither touched nor left behind as if it were another organisation's."""
    user, *_ = have_healthy_users(world, 3)
    app = world.row(user)["fly_app_name"]
    delete_by_hand(world, app)
    world.clock.advance(120)
    with open_client(world.sim) as fly:
        fly.post("/v1/apps", json={"app_name": app, "org_slug": ORG, "network": "by-hand"}).raise_for_status()
    decide(world, user)
    reconcile(world, user)
    assert f"show an app of this name in our own organisation {ORG}" in world.row(user)["error_message"]
    assert app in world.apps()


@pytest.mark.parametrize("times", [1, None])
def test_an_app_that_comes_back_is_kept(world, times):
    """One false 403, or a direct read that denies what the lists show as ours: nothing is given up."""
    user, *_ = have_healthy_users(world, 3)
    app = world.row(user)["fly_app_name"]
    before = set(world.apps())
    rule = {"method": "GET", "path": f"/v1/apps/{app}", **FORBIDDEN}
    world.fault(**rule, **({"times": times} if times else {}))
    decide(world, user)
    reconcile(world, user)
    world.set_faults()
    world.settle()
    assert set(world.apps()) == before
    assert [(name, status, request) for name, status, request in rows(world, user)] == [(app, "active", None)]


def test_one_403_beside_lagging_lists_gives_up_nothing(world):
    """The lists lack the app for a moment and one direct read denies it: it is read twice."""
    user, *_ = have_healthy_users(world, 3)
    app = world.row(user)["fly_app_name"]

    def drop(body):
        body["apps"] = [each for each in body["apps"] if each["name"] != app]
        body["total_apps"] -= 1

    machines = {
        "method": "GET",
        "path": "/v1/orgs/*/machines",
        "when": "before",
        "status": 200,
        "body": {"machines": []},
    }
    world.set_faults(
        {"method": "GET", "path": f"/v1/apps/{app}", **FORBIDDEN, "times": 1}, fault_lists(world, drop), machines
    )
    decide(world, user)
    reconcile(world, user)
    assert [(name, status) for name, status, _ in rows(world, user)] == [(app, "active")]


def test_an_old_decision_is_not_followed(lost):
    """Fly could not be listed for hours: what an operator decided then is not done later without being seen."""
    world, user, _, app = lost
    decide(world, user)
    world.fault(method="GET", path="/v1/apps", when="before", status=503, body={"error": "unavailable"})
    reconcile(world, user)
    world.clock.advance(4000)
    world.set_faults()
    world.settle()
    assert [name for name, _, _ in rows(world, user)] == [app]
    assert world.row(user)["new_name_request"] is None


def test_a_decision_during_an_outage_is_followed_after_it(lost):
    world, user, _, _ = lost
    decide(world, user)
    world.fault(method="GET", path="/v1/apps", when="before", status=503, body={"error": "unavailable"})
    reconcile(world, user)
    world.set_faults()
    world.clock.advance(900)
    world.sweep(drain_only=True)
    assert world.row(user)["fly_app_name"] == app_name("vyx-user", user, 1)


def test_several_names_lost_at_once_are_each_given_up(world):
    """An outage took two of four apps: the two that are left are proof enough for each."""
    users = have_healthy_users(world, 4)
    for user in users[:2]:
        take_name(world, user)
    for user in users[:2]:
        decide(world, user)
        reconcile(world, user)
    assert [world.row(user)["fly_app_name"] for user in users[:2]] == [
        app_name("vyx-user", user, 1) for user in users[:2]
    ]
    assert len(world.apps()) == 4
