"""`hangar adopt` against a whole local cloud: what Fly says decides, and the decision is recorded."""

import signal
import threading
import time
import uuid

import psycopg
import pytest

from ops.json_shapes import JSON_SHAPES
from tests.http.running_operator import open_operator
from tests.support.loopback import LOOPBACK

IMAGE = "registry.fly.io/vyx-app:original"
NEEDED = {"hangar_row", "hangar_user", "hangar_installation"}


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        operator.env |= {"FLY_API_TOKEN": operator.fly_token, "FLY_API_URL": operator.fly_url}
        operator.sql("update hangar.settings set live = true, token_renewal_share = 0, drift_share = 0")
        yield operator


def fly(operator, method, path, body=None):
    headers = {"Authorization": f"Bearer {operator.fly_token}"}
    response = LOOPBACK.request(method, operator.fly_url + path, json=body, headers=headers)
    response.raise_for_status()
    return response.json() if response.content else None


def make_app(operator, name, machines=1, *, user=None, metadata=None, org=None, network=None):
    """An app as the original system made it. Returns the ids of its machines."""
    body = {"app_name": name, "org_slug": org or operator.org, **({"network": network} if network else {})}
    fly(operator, "POST", "/v1/apps", body)
    config = {
        "image": IMAGE,
        "guest": {"cpu_kind": "shared", "cpus": 4, "memory_mb": 1024},
        "env": {"RUN_MODE": "user_dedicated", **({"USER_ID": str(user)} if user else {})},
        **({"metadata": metadata} if metadata else {}),
    }
    made = [
        fly(
            operator,
            "POST",
            f"/v1/apps/{name}/machines",
            {"name": f"{name}-main-{nr}", "region": "sin", "config": config},
        )
        for nr in range(machines)
    ]
    return [each["id"] for each in made]


def add_legacy(operator, status="active", *, tier="pro", machine_id=None, org=None):
    """A user and a row as `hangar install` leaves one of the original system."""
    [user] = operator.add_users(1, "free")  # the tier follows the row, otherwise a drain creates an app before it
    row, name = uuid.uuid4(), f"vyx-user-{user.hex[:8]}"
    operator.sql(
        "insert into public.user_fly_apps (id, user_id, fly_app_name, fly_org_slug, status, region, docker_image, network,"
        " generation, next_attempt_at, desired_state, monthly_cost_estimate_usd, created_at, deleted_at)"
        " select %s, %s, %s, %s, %s, 'sin', %s, hangar.network_name(installation_id, %s), 0, null, %s, 6, '2025-11-15',"
        " case when %s = 'deleted' then now() end from hangar.settings",
        row, user, name, org or operator.org, status, IMAGE, row, "absent" if status == "deleted" else "legacy", status,
    )  # fmt: skip
    operator.sql(
        "insert into hangar.original_apps (row_id, original) values (%s, jsonb_build_object('status', %s::text))",
        row,
        status,
    )
    operator.sql("update public.user_subscriptions set tier = %s where user_id = %s", tier, user)
    if machine_id:
        operator.sql(
            "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)"
            " values (%s, %s, 'provision_completed', 'succeeded', jsonb_build_object('machine_id', %s::text))",
            row, user, machine_id,
        )  # fmt: skip
    return user, row, name


def world_of(operator):
    """Every app and machine with its version and its marks."""
    return [
        (app["name"], [(each["id"], each["state"], each.get("config", {}).get("metadata")) for each in app["machines"]])
        for app in operator.fly_apps()
    ]


def row_of(operator, row):
    with operator.database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute("select * from public.user_fly_apps where id = %s", (row,)).fetchone()


def machine_of(operator, name):
    [machine] = fly(operator, "GET", f"/v1/apps/{name}/machines")
    return machine


def look(operator, user, *arguments, exits=0):
    [found] = operator.json("adopt", str(user), *arguments, exits=exits)["apps"]
    return found


def apply(operator, *users, exits=0):
    return operator.json("adopt", *map(str, users), "--apply", "--reason", "taking over", exits=exits)["apps"]


def test_a_dry_run_shows_what_fly_has_and_changes_nothing(operator):
    user, row, name = add_legacy(operator, machine_id="148e000000000a")
    [machine] = make_app(operator, name, user=user)
    rows, world = operator.sql("select * from public.user_fly_apps order by id"), world_of(operator)
    events = operator.sql("select count(*) from public.user_fly_app_events")
    document = operator.json("adopt")
    assert set(document) == set(JSON_SHAPES["adopt"].keys)
    [found] = document["apps"]
    assert (found["verdict"], found["code"], found["machine_id"], found["cpu_count"]) == ("adopt", "ready", machine, 4)
    assert "148e000000000a" in found["notes"][0]  # the log names another machine
    assert any(each.startswith("guest:") for each in found["drift"])
    assert float(found["cost_now_usd"]) > float(found["cost_after_usd"]) > 0
    printed, said = operator.hangar("adopt", str(user))
    assert name in printed
    assert "nothing was changed" in said
    assert operator.sql("select * from public.user_fly_apps order by id") == rows
    assert world_of(operator) == world
    assert operator.sql("select count(*) from public.user_fly_app_events") == events
    operator.hangar("adopt", "--apply", exits=2)  # no reason
    assert row_of(operator, row)["desired_state"] == "legacy"


@pytest.mark.slow
def test_an_adopted_app_runs_on_and_is_managed_as_any_other(operator):
    """Marked without a restart, seen by a sweep, restarted on request, removed when the user stops paying."""
    user, row, name = add_legacy(operator)
    [machine] = make_app(operator, name, user=user)
    before = machine_of(operator, name)
    [done] = apply(operator, user)
    assert done["outcome"] == "adopted"
    after, found = machine_of(operator, name), row_of(operator, row)
    assert after["config"]["metadata"].keys() >= NEEDED
    assert after["config"]["metadata"]["hangar_row"] == str(row)
    assert after["instance_id"] == before["instance_id"]
    assert [each["type"] for each in after["events"]] == [each["type"] for each in before["events"]]
    assert (found["status"], found["desired_state"], found["machine_id"], found["generation"]) == (
        "active",
        "present",
        machine,
        1,
    )
    assert operator.sql(
        "select count(*) from public.fly_cost_intervals where fly_app_id = %s and ended_at is null", row
    ) == [(1,)]
    [[decision]] = operator.sql(
        "select metadata from public.user_fly_app_events where fly_app_id = %s and event_type = 'adoption'"
        " and status = 'succeeded'",
        row,
    )
    assert decision["reason"] == "taking over"
    assert decision["actor"].startswith("cli:")
    operator.hangar("sweep")
    swept = row_of(operator, row)
    assert (swept["status"], swept["error_code"], swept["machine_id"]) == ("active", None, machine)
    assert swept["drift"]  # it runs another image and size than its plan says
    assert operator.apps_on_fly() == [name]
    operator.hangar("restart", str(user))
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
    _sweep_until(operator, lambda: name not in operator.apps_on_fly())
    _sweep_until(operator, lambda: row_of(operator, row)["status"] == "deleted")


@pytest.mark.slow
def test_a_repair_of_an_adopted_app_gives_it_secrets_first(operator):
    """What the original system deployed has none of ours. Hangar's config without them would be a backend that is never ready."""
    user, row, name = add_legacy(operator)
    [machine] = make_app(operator, name, user=user)
    apply(operator, user)
    operator.hangar("sweep")
    operator.hangar("retry", str(user))
    found, shown = row_of(operator, row), machine_of(operator, name)
    assert found["secrets_version"] is not None
    assert (found["status"], found["machine_id"]) == ("active", machine)
    assert shown["config"]["guest"]["cpus"] == found["cpu_count"] == 2
    assert shown["config"]["metadata"]["hangar_secrets"] == str(found["secrets_version"])


@pytest.mark.slow
def test_a_machine_that_somebody_replaced_by_hand_is_taken_and_never_gets_a_second_one_beside_it(operator):
    """Hangar knows neither its id nor its name. Of two it takes none, says so, and takes the one that is left."""
    user, row, name = add_legacy(operator)
    [machine] = make_app(operator, name, user=user)
    apply(operator, user)
    config = machine_of(operator, name)["config"]
    operator.hangar("pause", "--reason", "a worker that looks in between would see one machine or none")
    fly(operator, "DELETE", f"/v1/apps/{name}/machines/{machine}?force=true")
    by_hand = [
        fly(operator, "POST", f"/v1/apps/{name}/machines", {"name": each, "region": "sin", "config": config})["id"]
        for each in ("crimson-leaf-1", "silent-river-2")
    ]
    operator.hangar("resume")
    operator.hangar("retry", str(user), exits=1)
    found = row_of(operator, row)
    assert (found["status"], found["error_code"]) == ("error", "two_machines")
    assert all(each in found["error_message"] for each in by_hand)
    assert {each["id"] for each in fly(operator, "GET", f"/v1/apps/{name}/machines")} == set(by_hand)
    fly(operator, "DELETE", f"/v1/apps/{name}/machines/{by_hand[1]}?force=true")
    operator.hangar("retry", str(user))
    assert machine_of(operator, name)["id"] == by_hand[0]
    found = row_of(operator, row)
    assert (found["status"], found["error_code"], found["machine_id"]) == ("active", None, by_hand[0])


@pytest.mark.slow
def test_a_machine_that_fly_did_not_list_at_adoption_is_taken_later(operator):
    user, row, name = add_legacy(operator)
    [machine] = make_app(operator, name, user=user)
    operator.set_faults({"method": "GET", "path": f"/v1/apps/{name}/machines", "status": 200, "body": [], "times": 1})
    [done] = apply(operator, user)
    operator.set_faults()
    assert (done["code"], done["outcome"]) == ("no_machine", "adopted")
    _sweep_until(operator, lambda: row_of(operator, row)["status"] == "active")
    assert row_of(operator, row)["machine_id"] == machine_of(operator, name)["id"] == machine


def _sweep_until(operator, is_done):
    for _ in range(20):
        operator.hangar("sweep")
        if is_done():
            return
        time.sleep(0.2)
    pytest.fail("it never happened")


@pytest.mark.slow
def test_a_user_who_stopped_paying_loses_the_app_only_after_adoption(operator):
    user, row, name = add_legacy(operator, tier="free")
    make_app(operator, name, user=user)
    operator.hangar("sweep")
    assert operator.apps_on_fly() == [name]
    alerts = operator.sql("select message from hangar.alerts where kind = 'legacy_unpaid' and resolved_at is null")
    assert len(alerts) == 1
    assert "not entitled" in look(operator, user)["afterwards"]
    apply(operator, user)
    assert operator.sql("select 1 from hangar.alerts where kind = 'legacy_unpaid' and resolved_at is null") == []
    _sweep_until(operator, lambda: operator.apps_on_fly() == [])
    _sweep_until(operator, lambda: row_of(operator, row)["status"] == "deleted")


@pytest.mark.slow
def test_what_follows_names_no_hold_or_grace_that_does_not_exist(operator):
    """A deleted user has neither, a denied one no hold, and without a machine nothing could be kept running."""
    operator.sql("update public.fly_plans set grace_s = 3600 where tier = 'pro'")
    users = {}
    for case in ("ended", "denied", "deleted", "no machine"):
        user, row, name = add_legacy(operator, tier="pro" if case == "denied" else "free")
        make_app(operator, name, 0 if case == "no machine" else 1, user=user)
        operator.sql(
            "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)"
            " values (%s, %s, 'provision_started', 'info', '{\"tier\": \"pro\"}')",
            row, user,
        )  # fmt: skip
        users[case] = str(user)
    operator.hangar("deny", users["denied"], "--reason", "abuse")
    operator.sql("delete from auth.users where id = %s", users["deleted"])
    said = {case: look(operator, user)["afterwards"].split(": ")[1] for case, user in users.items()}
    operator.sql("update public.fly_plans set grace_s = 0 where tier = 'pro'")
    assert said["ended"].startswith("Hangar removes the app after the removal hold and the grace of ")
    assert said["denied"].startswith("Hangar removes the app after the grace of ")
    assert said["no machine"].startswith("Hangar removes the app after the grace of ")
    assert said["deleted"] == "Hangar removes the app at once"


@pytest.mark.slow
@pytest.mark.parametrize("status", ["provisioning", "active", "error", "deprovisioning"])
def test_an_app_that_is_gone_has_its_row_closed_and_a_paying_user_gets_a_new_one(operator, status):
    user, row, name = add_legacy(operator, status)
    found = look(operator, user)
    assert (found["verdict"], found["code"]) == ("close", "gone")
    operator.hangar("sweep")
    assert operator.apps_on_fly() == []
    assert apply(operator, user)[0]["outcome"] == "closed"
    assert row_of(operator, row)["status"] == "deleted"
    _sweep_until(operator, lambda: len(operator.apps_on_fly()) == 1)
    assert name not in operator.apps_on_fly()


@pytest.mark.parametrize("status", ["provisioning", "active", "error", "deprovisioning"])
def test_an_app_without_a_machine_gets_one(operator, status):
    """The original system left the app behind when it could not create its machine."""
    user, row, name = add_legacy(operator, status)
    make_app(operator, name, machines=0)
    assert look(operator, user)["code"] == "no_machine"
    assert apply(operator, user)[0]["outcome"] == "adopted"
    _sweep_until(operator, lambda: row_of(operator, row)["status"] == "active")
    assert operator.apps_on_fly() == [name]
    assert row_of(operator, row)["machine_id"] == machine_of(operator, name)["id"]


@pytest.mark.slow
def test_what_hangar_cannot_prove_is_not_adopted(operator):
    """Each with its code; nothing is changed, and the command says so by its exit code."""
    cases = {}
    user, _, name = add_legacy(operator)
    make_app(operator, name, machines=2, user=user)
    cases[user] = "two_machines"
    user, _, name = add_legacy(operator)
    make_app(operator, name, user=user, metadata={"hangar_row": str(uuid.uuid4()), "hangar_installation": "another"})
    cases[user] = "foreign_metadata"
    user, _, name = add_legacy(operator)
    make_app(operator, name, user=uuid.uuid4())
    cases[user] = "other_user"
    user, _, name = add_legacy(operator)
    make_app(operator, name, user=user, network="hangar-0123456789ab-" + "0" * 32)
    cases[user] = "foreign_network"
    user, _, _ = add_legacy(operator, org="somebody-else")
    cases[user] = "other_org"
    world = world_of(operator)
    found = {uuid.UUID(each["user_id"]): each for each in apply(operator, *cases, exits=1)}
    assert {user: each["code"] for user, each in found.items()} == cases
    assert {each["outcome"] for each in found.values()} == {"cannot"}
    assert world_of(operator) == world
    assert operator.sql("select count(*) from public.user_fly_apps where desired_state = 'legacy'") == [(5,)]
    # The operator knows that the app is gone there too.
    [gone] = operator.json("adopt", str(user), "--gone", "--apply", "--reason", "seen")["apps"]
    assert gone["outcome"] == "closed"


def test_another_organisations_app_of_the_same_name_is_never_touched(operator):
    user, _, name = add_legacy(operator)
    LOOPBACK.put(f"{operator.fly_url}/_sim/foreign-apps", json=[name]).raise_for_status()
    assert look(operator, user)["code"] == "other_org"
    assert apply(operator, user, exits=1)[0]["outcome"] == "cannot"


def test_an_app_that_fly_lists_and_denies_is_not_closed(operator):
    user, row, name = add_legacy(operator)
    make_app(operator, name, user=user)
    operator.set_faults({"method": "GET", "path": f"/v1/apps/{name}", "status": 404, "body": {"error": "not found"}})
    assert apply(operator, user, exits=1)[0]["code"] == "contradiction"
    operator.set_faults()
    assert row_of(operator, row)["desired_state"] == "legacy"


def test_a_row_that_was_closed_is_shown_only_while_its_app_is_still_there(operator):
    user, _, name = add_legacy(operator, "deleted", tier="free")
    gone, _, _ = add_legacy(operator, "deleted", tier="free")
    make_app(operator, name, user=user)
    [found] = operator.json("adopt")["apps"]
    assert (found["user_id"], found["code"]) == (str(user), "closed_but_exists")
    assert operator.json("adopt", str(gone))["apps"] == []


@pytest.mark.slow
def test_a_fly_that_does_not_answer_closes_nothing(operator):
    user, row, name = add_legacy(operator)
    other, other_row, other_name = add_legacy(operator)
    make_app(operator, name, user=user)
    make_app(operator, other_name, user=other)
    operator.set_faults({"method": "GET", "path": f"/v1/apps/{name}/machines", "status": 500})
    found = {each["user_id"]: each for each in apply(operator, user, other, exits=1)}
    operator.set_faults()
    assert found[str(user)]["outcome"] == "failed"
    assert found[str(other)]["outcome"] == "adopted"  # the others go on
    assert (row_of(operator, row)["desired_state"], row_of(operator, other_row)["desired_state"]) == (
        "legacy",
        "present",
    )


@pytest.mark.slow
def test_killed_between_fly_and_the_database_the_next_run_finishes(operator):
    """The machine carries the marks and the row is still a legacy one: Hangar does nothing, and the command continues."""
    user, row, name = add_legacy(operator)
    make_app(operator, name, user=user)
    operator.sql("begin")
    operator.sql("select 1 from public.user_fly_apps where id = %s", row)
    operator.sql("rollback")
    blocker = psycopg.connect(operator.database.info.dsn, password=operator.database.info.password)
    child = operator.start("adopt", str(user), "--apply", "--reason", "taking over")
    deadline = time.monotonic() + 60
    while "hangar_row" not in (machine_of(operator, name)["config"].get("metadata") or {}):
        # From its intent on, the row is held, so that the decision cannot be recorded.
        if operator.sql(
            "select 1 from public.user_fly_app_events where fly_app_id = %s and event_type = 'adoption'", row
        ):
            blocker.execute("select 1 from public.user_fly_apps where id = %s for update", (row,))
        assert time.monotonic() < deadline, child.communicate()
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    # A statement that waits for the row outlives its client, and would decide after the look below.
    blocker.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))"
    )
    blocker.rollback()
    blocker.close()
    if row_of(operator, row)["desired_state"] == "legacy":
        operator.hangar("sweep")
        assert operator.apps_on_fly() == [name]
        assert "marks already" in " ".join(look(operator, user)["notes"])
        assert apply(operator, user)[0]["outcome"] == "adopted"
    assert row_of(operator, row)["desired_state"] == "present"
    assert operator.hangar("adopt", str(user), exits=3)


@pytest.mark.slow
def test_two_at_a_time_decide_once(operator):
    user, row, name = add_legacy(operator)
    make_app(operator, name, user=user)
    children = [operator.start("adopt", str(user), "--apply", "--reason", f"run {nr}", "--json") for nr in range(3)]
    threads = [threading.Thread(target=child.communicate) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {child.returncode for child in children} <= {0, 3}
    decided = operator.sql(
        "select count(*) from public.user_fly_app_events where fly_app_id = %s and event_type = 'adoption'"
        " and status = 'succeeded'",
        row,
    )
    assert decided == [(1,)]
    assert len(operator.sql("select 1 from public.fly_cost_intervals where fly_app_id = %s", row)) == 1


@pytest.mark.slow
def test_an_app_that_is_made_again_under_the_same_name_is_not_ours(operator):
    """Destruction needs the id that Fly gave the adopted app, because the network is not ours."""
    user, row, name = add_legacy(operator)
    make_app(operator, name, user=user)
    apply(operator, user)
    operator.hangar("pause", "--reason", "otherwise Hangar creates the app again first")
    fly(operator, "DELETE", f"/v1/apps/{name}?force=true")
    deadline = time.monotonic() + 60
    while name in operator.apps_on_fly():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    fly(operator, "POST", "/_sim/clock", {"advance_s": 120})  # Fly holds the name of a deleted app for a minute
    make_app(operator, name, user=user)
    operator.hangar("resume")
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
    ended, deadline = (), time.monotonic() + 60
    while ended not in (("deleted", None), ("error", "not_owned")):
        assert time.monotonic() < deadline, ended
        operator.start("sweep").communicate()  # it ends with 1 when the app has failed
        now = row_of(operator, row)
        ended = (now["status"], now["error_code"])
    operator.start("sweep").communicate()
    assert operator.apps_on_fly() == [name]


def test_users_are_named_in_a_file_and_unknown_ones_end_the_command(operator, tmp_path):
    first, _, name = add_legacy(operator)
    second, _, _ = add_legacy(operator)
    make_app(operator, name, user=first)
    file = tmp_path / "users.txt"
    file.write_text(f"# the first\n{name}\n\n{operator.email(second)}\n")
    assert {each["user_id"] for each in operator.json("adopt", "--users", str(file))["apps"]} == {
        str(first),
        str(second),
    }
    file.write_text("# nobody\n")
    operator.hangar("adopt", "--users", str(file), exits=2)
    [stranger] = operator.add_users(1)
    _, said = operator.hangar("adopt", str(stranger), str(first), "--apply", "--reason", "x", exits=3)
    assert str(stranger) in said
    assert operator.sql("select count(*) from public.user_fly_apps where desired_state = 'legacy'") == [(2,)]


def test_nothing_is_adopted_while_hangar_is_paused(operator):
    user, row, name = add_legacy(operator)
    make_app(operator, name, user=user)
    operator.hangar("pause", "--reason", "test")
    operator.hangar("adopt", str(user), "--apply", "--reason", "x", exits=3)
    operator.hangar("resume")
    assert row_of(operator, row)["desired_state"] == "legacy"


def test_the_other_commands_say_what_a_legacy_app_is(operator):
    user, _, name = add_legacy(operator, "error")
    assert "hangar adopt" in operator.hangar("explain", str(user))[0]
    assert operator.json("status")["legacy"] == 1
    assert "1 app of the original system waits" in operator.hangar("status")[0]
    assert "legacy (error)" in operator.hangar("apps")[0]
    assert "hangar adopt" in operator.hangar("retry", name, exits=3)[1]
    operator.hangar("restart", name, exits=3)
