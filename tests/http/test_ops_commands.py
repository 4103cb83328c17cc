"""The operator's commands, except migrate-users, against a whole local cloud."""

import json
import signal
import time
import uuid
from decimal import Decimal

import psycopg
import pytest

from tests.http.running_operator import DEADLINE_S, open_operator
from tests.support.loopback import LOOPBACK


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield operator


def test_operators_are_added_listed_and_removed_by_email_or_id(operator):
    """A repeated command reports that nothing changed. The audit log has actor and reason."""
    user, other = operator.add_users(2)
    email = operator.email(user)
    assert operator.hangar("operators", "add", email, "--reason", "on call")[0] == f"{email} is now an operator\n"
    assert operator.json("operators", "add", str(user)) == {
        "user_id": str(user),
        "operator": True,
        "email": email,
        "changed": False,
    }
    assert email in operator.hangar("operators")[0]
    assert str(user) in {each["user_id"] for each in operator.json("operators", "list")}
    assert "was not an operator" in operator.hangar("operators", "remove", str(other))[0]
    assert "is no longer an operator" in operator.hangar("operators", "remove", email)[0]
    assert str(user) not in {each["user_id"] for each in operator.json("operators", "list")}
    [[metadata]] = operator.sql(
        "select metadata from public.user_fly_app_events where metadata -> 'changes' ->> 'operator_added' = %s",
        str(user),
    )
    assert (metadata["reason"], metadata["actor"].split(":")[0], metadata["email"]) == ("on call", "cli", email)


def test_an_email_that_only_the_profile_has_is_refused(operator):
    """A host may let users write their own profile. The account's e-mail belongs to Supabase."""
    [user] = operator.add_users(1)
    operator.sql("update public.user_profiles set email = 'boss@example.test' where id = %s", user)
    _, err = operator.hangar("operators", "add", "boss@example.test", exits=2)
    assert str(user) in err
    operator.hangar("operators", "add", str(uuid.uuid4()), exits=2)
    assert str(user) not in {each["user_id"] for each in operator.json("operators", "list")}


def give_apps(operator, count=2):
    users = operator.add_users(count)
    operator.hangar("migrate-users", "--apply")
    return users


def make_orphan(operator, name, row=None, **metadata):
    """A Fly app with this installation's proof and no row. With metadata it also has a machine."""
    [[installation]] = operator.sql("select installation_id from hangar.settings")
    network = f"hangar-{installation.hex[:12]}-{(row or uuid.uuid4()).hex}"
    body = {"app_name": name, "org_slug": operator.org, "network": network}
    headers = {"Authorization": f"Bearer {operator.fly_token}"}
    LOOPBACK.post(f"{operator.fly_url}/v1/apps?wait=true", json=body, headers=headers).raise_for_status()
    if metadata:
        guest = {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}
        machine = {"name": f"{name}-main", "config": {"image": "app", "guest": guest, "metadata": metadata}}
        url = f"{operator.fly_url}/v1/apps/{name}/machines"
        LOOPBACK.post(url, json=machine, headers=headers).raise_for_status()


@pytest.mark.slow
def test_status_shows_the_fleet_as_tables_and_as_json(operator):
    """State, fleet, health, alerts, failures, events and cost. Money is text. In a process, as into a pipe."""
    users = give_apps(operator)
    operator.hangar("sweep")
    out, _ = operator.hangar_process("status")
    for text in (
        "NOT LIVE",
        "Brake off",
        "last complete sweep ended",
        "12.00 USD a month",
        "Fleet",
        "Health",
        "Failures",
        "Events of",
    ):
        assert text in out
    report = json.loads(operator.hangar_process("status", "--json")[0])
    [fleet] = report["fleet_summary"]
    assert (fleet["status"], fleet["apps"], fleet["monthly_cost_estimate_usd"]) == ("active", len(users), "12.00")
    assert report["failures"] == []
    assert report["settings"]["live"] is False
    assert report["sweep"]["completed_at"] is not None


@pytest.mark.slow
def test_a_failure_is_shown_with_what_to_do_and_a_retry_fixes_it(operator):
    """status, status USER and retry agree. A setting corrected since the failure reaches the row."""
    [user] = operator.add_users(1)
    email = operator.email(user)
    operator.refuse_machine_of(user)
    operator.hangar("migrate-users", "--apply", exits=1)
    out, _ = operator.hangar("status")
    assert "image not found" in out
    assert f"hangar retry {email}" in out
    [failure] = operator.json("status")["failures"]
    assert failure["email"] == email
    assert f"hangar retry {user}" in operator.json("status", email)["next"]
    _, err = operator.hangar("retry", email, exits=1)
    assert "image not found" in err
    operator.set_faults()
    operator.hangar("settings", "set", "default_image=registry.fly.io/good:2", "--reason", "the right image")
    out, _ = operator.hangar("retry", email)
    assert "active" in out
    assert operator.sql("select docker_image, status from user_fly_apps where user_id = %s", user) == [
        ("registry.fly.io/good:2", "active")
    ]
    assert operator.json("status", str(user))["next"].startswith("up to date")


@pytest.mark.slow
def test_status_of_a_user_shows_desired_observed_and_next(operator):
    """By id or e-mail. An unknown user is exit 1, anything else is exit 2."""
    [paying] = operator.add_users(1)
    out, _ = operator.hangar("status", operator.email(paying))
    assert "migrate-users --apply --only" in " ".join(out.replace("│", " ").split())
    give_apps(operator, 1)
    out, _ = operator.hangar("status", str(paying))
    assert all(word in out for word in ("desired", "observed", "next", "provision_completed"))
    operator.hangar("status", str(uuid.uuid4()), exits=2)
    operator.hangar("status", "nobody", exits=2)
    operator.hangar("retry", str(uuid.uuid4()), exits=2)


def test_explain_prints_only_the_next_step_of_status(operator):
    [user] = operator.add_users(1)
    out, _ = operator.hangar("explain", operator.email(user))
    report = operator.json("status", str(user))
    assert out == f"{operator.email(user)}: {report['next']}\n"
    _, err = operator.hangar("explain", "99999999-9999-4999-8999-999999999999", exits=2)
    assert "no user" in err


def test_events_are_filtered_by_user_app_type_status_and_time(operator):
    """Oldest first. JSON is a list."""
    first, second = give_apps(operator)
    [[name]] = operator.sql("select fly_app_name from user_fly_apps where user_id = %s and deleted_at is null", first)
    mine = operator.json("events", "--user", operator.email(first))
    assert {event["user_id"] for event in mine} == {str(first)}
    assert mine == sorted(mine, key=lambda event: (event["created_at"], event["seq"]))
    assert operator.json("events", "--app", name) == mine
    actions = operator.json("events", "--user", str(second), "--type", "action", "--status", "intent", "--since", "1h")
    assert [event["metadata"]["action"] for event in actions] == ["create_app", "set_secrets", "create_machine"]
    assert len(operator.json("events", "--limit", "3")) == 3
    operator.hangar("events", "--since", "2099-01-01", exits=2)
    out, _ = operator.hangar("events", "--user", str(first))
    assert "create_machine" in out
    for invalid in (("--since", "yesterday"), ("--type", "a;b"), ("--user", "x")):
        operator.hangar("events", *invalid, exits=2)


@pytest.mark.slow
def test_following_events_prints_each_new_event_once_until_ctrl_c(operator):
    """One JSON object on each line. Ctrl-C ends with 130."""
    [user] = operator.add_users(1)
    operator.set_faults({"method": "POST", "path": "/v1/apps/*/machines", "delay_s": 2.5})  # longer than one poll
    child = operator.start("events", "--follow", "--json", "--user", str(user))
    operator.hangar("migrate-users", "--apply")
    lines = []
    while not lines or lines[-1]["event_type"] != "provision_completed":
        lines.append(json.loads(child.stdout.readline()))
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 130
    rows = operator.sql("select id::text from user_fly_app_events where user_id = %s order by created_at, seq", user)
    ids = [id_ for (id_,) in rows]
    since = ids.index(lines[0]["id"])  # only events after the command was ready
    assert [line["id"] for line in lines] == ids[since : since + len(lines)]


def test_cost_shows_estimate_list_price_projection_and_savings(operator):
    """60 / 300 / 600 / 3,000 USD by the formula, with Fly's price beside it. Sizes that Fly refuses save nothing."""
    give_apps(operator)
    report = operator.json("cost")
    assert (report["total"]["apps"], report["total"]["monthly_cost_estimate_usd"]) == (2, "12.00")
    assert report["total"]["monthly_list_price_usd"] == "11.14"
    assert [line["monthly_cost_estimate_usd"] for line in report["projections"]] == [
        "60.00",
        "300.00",
        "600.00",
        "3000.00",
    ]
    savings = {line["change"]: line for line in report["savings"]}
    assert savings["256 MB, vCPUs as they are"]["apps"] == 0
    assert "at least 512 MB" in savings["256 MB, vCPUs as they are"]["note"]
    assert Decimal(savings["1 vCPU and 256 MB"]["saves_list_price_usd"]) > 0
    out, _ = operator.hangar("cost", "--projection", "7")
    assert all(text in out for text in ("42.00", "Most expensive users", "Potential savings"))
    operator.hangar("cost", "--projection", "many", exits=2)


def test_settings_are_shown_and_changed_with_an_audit_entry_and_unknown_ones_refused(operator):
    """All changes or none. The refusal of an unknown key lists the settings."""
    out, _ = operator.hangar("settings", "set", "max_apps=500", "max_monthly_cost_usd=3000.50", "--reason", "budget")
    assert "max_apps is now 500" in out
    assert "max_monthly_cost_usd is now 3000.50" in out
    assert operator.json("settings", "show")["max_monthly_cost_usd"] == "3000.50"
    assert "500" in operator.hangar("settings")[0]
    [(metadata,)] = operator.sql(
        "select metadata from user_fly_app_events where event_type = 'settings_changed' order by seq desc limit 1"
    )
    assert metadata["reason"] == "budget"
    operator.hangar("settings", "set", "max_apps=none", "max_monthly_cost_usd=none")
    assert "brake_floor" in operator.hangar("settings", "set", "no_such=1", exits=2)[1]
    for changes, sentence in {
        "no_such=1": "there is no setting 'no_such'",
        "installation_id=1": "there is no setting 'installation_id' to change",
        "live=perhaps": "live must be true or false, not 'perhaps'",
        "max_apps=-1": 'max_apps must be a whole number from 0 to 1000000, or null for no limit, not "-1"',
        "brake_floor=abc": 'brake_floor must be a whole number from 0 to 1000000, not "abc"',
        "retry_base_s=-5": 'retry_base_s must be a number from 1 to 604800, not "-5"',
        "retry_base_s=3600": "retry_cap_s (30) must be at least retry_base_s (3600)",
        "default_image=nonsense": "default_image must be an image with a tag or a digest, like registry.fly.io/my-app:v1, not ",
        "paused": "does not have the form KEY=VALUE",
    }.items():
        _, err = operator.hangar("settings", "set", changes, exits=2)
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
        assert not any(word in err for word in ("22023", "report", "database", "try again"))


def test_a_setting_that_somebody_else_has_changed_is_not_written_over(operator):
    """`--expect` compares before it sets: exit code 3, and the sentence says what the value is by now."""
    operator.hangar("settings", "set", "brake_floor=25", "--expect", "brake_floor=20")
    _, err = operator.hangar("settings", "set", "brake_floor=30", "max_apps=1", "--expect", "brake_floor=20", exits=3)
    assert "nothing was changed: brake_floor is 25 by now, not 20" in err
    assert operator.json("settings", "show")["max_apps"] is None
    operator.hangar("settings", "set", "brake_floor=20")


@pytest.mark.slow
def test_orphans_are_listed_and_the_next_sweep_removes_an_approved_one(operator):
    """A dry run by default. Approval replaces the minimum age, for that app only."""
    make_orphan(operator, "left-behind")
    make_orphan(operator, "left-behind-too")
    operator.hangar("sweep")
    [first, _] = operator.json("orphans")["orphans"]
    assert (first["app"], first["sightings"], first["ripe"]) == ("left-behind", 1, False)
    assert "seen twice" in first["next_sweep"]
    out, _ = operator.hangar("orphans")
    assert "Nothing was changed" in out
    assert "left-behind" in operator.apps_on_fly()
    out, _ = operator.hangar("orphans", "--approve", "left-behind")
    assert "cli:" in out
    operator.hangar("sweep")
    assert operator.apps_on_fly() == ["left-behind-too"]
    operator.hangar("orphans", "--approve", "no-such", exits=2)
    operator.hangar("pause")
    operator.hangar("orphans", "--approve", "left-behind-too", exits=3)


@pytest.mark.slow
def test_the_brake_shows_its_count_and_is_released_with_a_reason(operator):
    """While it is on, no app is stopped or destroyed. A release needs a reason, restarts the count and resumes deletions."""
    users = give_apps(operator, 2)
    operator.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = any(%s)", users)
    operator.hangar("sweep")
    assert operator.json("brake")["tripped"] is True
    assert "Brake ON" in operator.hangar("brake")[0]
    operator.hangar("brake", "--release", exits=2)
    out, _ = operator.hangar("brake", "--release", "--reason", "meant")
    assert "Brake off; 0 apps were stopped or destroyed since the release at " in out
    operator.sql("update hangar.settings set brake_floor = 20, brake_share = 0.05")
    ends_at = time.monotonic() + 30
    while operator.apps_on_fly() and time.monotonic() < ends_at:
        operator.hangar("sweep", "--drain")
    assert operator.apps_on_fly() == []


def test_an_unknown_event_type_or_status_is_refused_with_the_allowed_ones(operator):
    """An empty table would say that nothing happened."""
    for option, word, allowed in (
        ("--type", "nope", "brake_tripped"),
        ("--type", "action,nope", "action"),
        ("--type", "action,", "brake_tripped"),
        ("--status", "nope", "unknown"),
    ):
        _, err = operator.hangar("events", option, word, exits=2)
        assert ("'nope'" if "nope" in word else "''") in err
        assert allowed in err
    assert operator.json("events", "--type", "settings_changed, ACTION", "--status", "Info", "--limit", "1")


def test_pause_and_resume_report_whether_anything_changed(operator):
    """A second pause changes nothing."""
    assert "now paused" in operator.hangar("pause", "--reason", "testing")[0]
    assert "already paused" in operator.hangar("pause")[0]
    assert "PAUSED" in operator.hangar("status")[0]
    assert "now running" in operator.hangar("resume")[0]


@pytest.mark.slow
def test_a_pause_that_the_log_cannot_have_is_in_force_and_said_loudly(operator):
    """The audit log is locked by somebody. The exit code is 1, and the text says that Hangar is paused all the same."""
    with psycopg.connect(operator.database.info.dsn) as other:
        other.execute("lock table public.user_fly_app_events in share row exclusive mode")
        out, err = operator.hangar("pause", "--reason", "stop it", exits=1)
        assert "now paused" in out
        assert "It is in force, but the audit log could not be written: canceling statement due to lock timeout" in err
        assert operator.sql("select paused from hangar.settings") == [(True,)]
        _, err = operator.hangar("resume", exits=1)
        assert "lock timeout" in err
        change = operator.json("settings", "set", "deletes_paused=true", exits=1)
        assert (change["changed"], "lock timeout" in change["unrecorded"]) == (["deletes_paused"], True)
    assert "log_unwritable" in operator.hangar("alerts")[0]
    assert "cli:" in operator.json("alerts")["alerts"][0]["message"]


@pytest.mark.slow
def test_an_installation_that_does_not_answer_is_one_line_on_standard_error(operator):
    """Nothing listens at the address."""
    child = operator.start("status", SUPABASE_URL="http://127.0.0.1:9")
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 1
    assert "cannot be reached" in err or "no answer" in err
    assert len(err.strip().splitlines()) == 1, out


@pytest.mark.slow
def test_a_restored_database_is_reported_by_status_brake_and_orphans(operator):
    """They name the cause and what to do. After a release, apps that no user is entitled to are removed."""
    users = [uuid.uuid4() for _ in range(4)]
    for user in users:
        row = uuid.uuid4()
        operator.sql("insert into auth.users (id, email) values (%s, %s)", user, f"{user.hex}@example.test")
        make_orphan(operator, f"lost-{user.hex[:8]}", row, hangar_row=str(row), hangar_user=str(user))
    operator.hangar("sweep")
    [alert] = [each for each in operator.json("status")["alerts"] if each["kind"] == "brake"]
    assert alert["key"] == "database"
    out, _ = operator.hangar("brake")
    assert "no record of: 4" in out
    assert "bring user_subscriptions up to date" in out
    assert "A release lets Hangar remove 4 apps that this database has no record of, at most 20 in the next hour" in out
    out, _ = operator.hangar("orphans")
    assert "this database has no record of" in out
    assert "Release: hangar brake --release" in out
    assert "operator approves" in operator.json("orphans")["orphans"][0]["next_sweep"]
    operator.sql("update public.user_subscriptions set tier = 'pro' where user_id = %s", users[0])
    operator.hangar("sweep")
    assert operator.sql("select fly_app_name from user_fly_apps where deleted_at is null") == [
        (f"lost-{users[0].hex[:8]}",)
    ]
    assert operator.json("brake")["tripped"] is False  # three lost apps do not hold the brake
    out, _ = operator.hangar("orphans")
    assert "this database has no record of" in out
    assert "--release" not in out
    operator.hangar("brake", "--release", "--reason", "billing is up to date")
    operator.sql("update hangar.settings set orphan_after_s = 0")
    try:
        operator.hangar("sweep")
    finally:
        operator.sql("update hangar.settings set orphan_after_s = 900")
    assert operator.apps_on_fly() == [f"lost-{users[0].hex[:8]}"]
