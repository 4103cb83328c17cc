"""What the dashboard reads about failures, the brake and alerts: causes, since when, names."""

import uuid

import pytest

pytestmark = pytest.mark.every_postgres


def fail(hangar, user, code="image", **patch):
    """The user's attempt ended in a failure. It waits for an operator unless `next_attempt_in_s` is given."""
    failure = {"status": "error", "error_code": code, "error_message": f"{code}!", "next_attempt_in_s": None}
    hangar.save(hangar.lease(user), release=True, retry_count=4, **{**failure, **patch})


def causes(hangar, **args):
    return {each["cause"]: each for each in hangar.rpc("fly_admin_failures", **args)["causes"]}


def since(hangar, user):
    rows = hangar.sql(
        "select f.since::text as since from hangar.failing_apps f join user_fly_apps a on a.id = f.fly_app_id"
        " where a.user_id = %s",
        user,
    )
    return rows[0]["since"] if rows else None


def test_failures_are_grouped_by_cause_with_number_and_since(hangar):
    """Those that wait for an operator come first, then the cause of the most apps; each names some apps."""
    users = [hangar.user("pro") for _ in range(6)]
    for user in users[:3]:
        fail(hangar, user, "region_full", next_attempt_in_s=600)
    for user in users[3:5]:
        fail(hangar, user)
    hangar.sql(
        "update hangar.failing_apps set since = now() - interval '3 hours' where fly_app_id = %s",
        hangar.live_row(users[4])["id"],
    )
    found = hangar.rpc("fly_admin_failures", apps=2)["causes"]
    assert [(each["cause"], each["apps"], each["stuck"], each["ready"]) for each in found] == [
        ("image", 2, 2, 2),
        ("region_full", 3, 0, 3),
    ]
    assert [len(each["some"]) for each in found] == [2, 2]
    assert found[0]["some"][0]["user_id"] == str(users[4])  # it has failed for the longest
    assert found[0]["since"] == found[0]["some"][0]["since"]
    assert since(hangar, users[4]).replace(" ", "T").removesuffix("+00") in found[0]["since"]
    assert found[0]["some"][0]["email"].startswith("user-")
    assert list(causes(hangar, cause="image")) == ["image"]
    assert causes(hangar, cause="none") == {}


def test_since_is_kept_while_the_cause_is_the_same_and_ends_with_the_failure(hangar):
    """Another attempt that fails alike does not begin a new episode; another cause does, and success ends it."""
    user = hangar.user("pro")
    fail(hangar, user, next_attempt_in_s=0)
    first = since(hangar, user)
    fail(hangar, user, next_attempt_in_s=0)
    assert since(hangar, user) == first
    fail(hangar, user, "size", next_attempt_in_s=0)
    second = since(hangar, user)
    assert second > first
    assert causes(hangar).keys() == {"size"}
    hangar.converge(user)
    assert since(hangar, user) is None
    assert causes(hangar) == {}


def test_an_app_that_is_due_or_at_work_is_not_ready(hangar):
    """A retry of its cause would change nothing for it."""
    due, working, waiting = (hangar.user("pro") for _ in range(3))
    fail(hangar, due, next_attempt_in_s=0)
    for user in (working, waiting):
        fail(hangar, user)
    hangar.lease(working)
    image = causes(hangar, apps=10)["image"]
    assert (image["apps"], image["ready"]) == (3, 1)
    assert (
        [each["user_id"] for each in image["some"] if each["ready"]] == [str(waiting)] == [image["some"][0]["user_id"]]
    )
    assert [each["user_id"] for each in image["some"] if each["working"]] == [str(working)]


def test_a_failure_without_a_code_is_a_cause_too_and_a_deleted_app_none(hangar):
    user, gone = hangar.user("pro"), hangar.user("pro")
    for each in (user, gone):
        fail(hangar, each)
    hangar.sql("update user_fly_apps set error_code = null where user_id = %s", user)
    hangar.sql("update user_fly_apps set deleted_at = now(), status = 'deleted' where user_id = %s", gone)
    assert {cause: each["apps"] for cause, each in causes(hangar).items()} == {"error": 1}
    assert since(hangar, gone) is None


def test_a_retry_records_its_reason(hangar):
    user = hangar.user("pro")
    fail(hangar, user)
    hangar.rpc("fly_retry", user=user, actor="ann@example.test", reason=" image pushed ")
    [event] = hangar.sql(
        "select metadata from user_fly_app_events where event_type = 'recovery_attempted' and user_id = %s", user
    )
    assert event["metadata"] == {"actor": "ann@example.test", "source": "retry", "reason": "image pushed"}
    assert causes(hangar)["image"]["ready"] == 0


def test_the_brake_names_what_a_release_lets_go(hangar):
    """Apps of users who are no longer entitled, and orphans whose row this database never had. Not an app in its grace."""
    staying, leaving, graced = (hangar.user("pro") for _ in range(3))
    for user in (staying, leaving, graced):
        hangar.converge(user)
    for user in (leaving, graced):
        hangar.subscribe(user, tier="free")
    hangar.sql("update user_fly_apps set hold_until = null, delete_after = null where user_id = %s", leaving)
    hangar.sql(
        "update user_fly_apps set hold_until = null, delete_after = now() + interval '1 hour' where user_id = %s",
        graced,
    )
    hangar.sql("insert into fly_orphans (app, network, lost) values ('vyx-lost', 'n', true), ('vyx-known', 'n', false)")
    told = hangar.rpc("fly_admin_brake")
    assert [each["user_id"] for each in told["leaving"]] == [str(leaving)]
    assert told["leaving"][0]["fly_app_name"] == hangar.live_row(leaving)["fly_app_name"]
    assert [each["app"] for each in told["orphans"]] == ["vyx-lost"]
    assert (told["waiting_apps"], told["lost_apps"], told["losing"], told["losing_apps"]) == (1, 1, [], 0)


def test_the_brake_names_the_apps_of_a_mass_loss(hangar):
    """A release confirms the loss, so these apps go as well."""
    users = [hangar.user("pro") for _ in range(4)]
    for user in users:
        hangar.converge(user)
    hangar.sql("update hangar.host_state set held_since = now(), losing = 2, present = 4, reason = 'share'")
    hangar.sql("insert into hangar.host_losses (user_id, why) select u, 'expired' from unnest(%s::uuid[]) u", users[:2])
    told = hangar.rpc("fly_admin_brake", limit=1)
    assert told["losing_apps"] == 2
    assert [each["user_id"] in {str(user) for user in users[:2]} for each in told["losing"]] == [True]


def test_an_alert_names_the_users_and_apps_that_it_is_about(hangar):
    """By the row of its key, or by an id in its message; ids of nobody are no names."""
    user, stranger = hangar.user("pro"), uuid.uuid4()
    row = hangar.live_row(user)
    hangar.rpc("fly_raise_alert", kind="unhealthy", key=str(row["id"]), message="m")
    hangar.rpc("fly_raise_alert", kind="incident", key="fleet", message=f"users {user}, {stranger}")
    for alert in hangar.rpc("fly_overview")["alerts"]:
        [name] = alert["names"]
        assert (name["user_id"], name["app"]) == (str(user), row["fly_app_name"])
        assert name["email"] == f"user-{user.hex[:8]}@example.test"
        assert name["id"] == (str(row["id"]) if alert["kind"] == "unhealthy" else str(user))


def test_the_list_of_a_cause_has_the_apps_that_its_number_counts(hangar):
    """An app of the original system that was left in error fails for nothing that Hangar does, so neither of the two has it."""
    user = hangar.user("pro")
    fail(hangar, user, "error")
    hangar.sql(
        "insert into user_fly_apps (user_id, fly_app_name, fly_org_slug, network, region, docker_image, status, desired_state,"
        " generation, next_attempt_at) values (gen_random_uuid(), 'left-over', 'x', '', 'sin', 'i', 'error', 'legacy', 0, null)"
    )
    [cause] = hangar.rpc("fly_admin_failures")["causes"]
    listed = hangar.rpc("fly_admin_fleet", filter={"cause": "error"})["rows"]
    assert (cause["cause"], cause["apps"], [row["user_id"] for row in listed]) == ("error", 1, [str(user)])
