"""`hangar apps`, `app`, `grant`, `deny`, `remove-override`, `restart` and `retry --cause` against a whole local cloud."""

import json
import os
import pty
import select
import subprocess
import sys
import time
import uuid

import pytest

from ops.client import Installation
from ops.connection import load_target
from ops.json_shapes import JSON_SHAPES
from tests.http.running_operator import DEADLINE_S, open_operator


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield operator


def give_apps(operator, count=2, tier="pro"):
    users = operator.add_users(count, tier)
    operator.hangar("migrate-users", "--apply")
    return users


def app_of(operator, user):
    [[name]] = operator.sql("select fly_app_name from user_fly_apps where user_id = %s and deleted_at is null", user)
    return name


def run_at_terminal(operator, *arguments, answers="", **env):
    """Exit code and output of a process whose three streams are a terminal."""
    main, child = pty.openpty()
    command = [sys.executable, "-c", "from ops.cli import main; main()", *arguments]
    environ = {**operator.env, "TERM": "xterm", "COLUMNS": "200", **env}
    process = subprocess.Popen(command, cwd=operator.folder, env=environ, stdin=child, stdout=child, stderr=child)
    os.close(child)
    os.write(main, answers.encode())
    seen, ends_at = b"", time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        if select.select([main], [], [], 0.2)[0]:
            try:
                seen += os.read(main, 65536)
            except OSError:  # the other side is closed
                break
        elif process.poll() is not None:
            break
    os.close(main)
    return process.wait(DEADLINE_S), seen.decode()


@pytest.mark.slow
def test_apps_are_filtered_paged_and_shown_in_lines(operator):
    """An unknown value names the allowed ones. A page leads to the next one."""
    first, second, third = give_apps(operator, 3)
    names = {app_of(operator, user) for user in (first, second, third)}
    assert {row["fly_app_name"] for row in operator.json("apps")["apps"]} == names
    page = operator.json("apps", "--limit", "2", "--sort", "app")
    rest = operator.json("apps", "--limit", "2", "--sort", "app", "--after", page["next"])
    assert [row["fly_app_name"] for row in (*page["apps"], *rest["apps"])] == sorted(names)
    assert rest["next"] is None
    [found] = operator.json("apps", "--search", operator.email(second), "--tier", "pro", "--status", "active")["apps"]
    assert found["user_id"] == str(second)
    assert operator.json("apps", "--region", found["region"].upper())["apps"]
    out, err = operator.hangar("apps", "--limit", "1")
    head, row = out.splitlines()
    assert head.split("\t")[:4] == ["app", "user", "tier", "status"]
    assert row.split("\t")[2:4] == ["pro", "active"]
    assert "--after" in err
    for option, value, allowed in (
        ("--tier", "gold", "pro"),
        ("--status", "bogus", "active"),
        ("--region", "xxx", found["region"]),
        ("--sort", "colour", "created"),
    ):
        _, err = operator.hangar("apps", option, value, exits=2)
        assert value in err
        assert allowed in err
    for invalid in (("--limit", "0"), ("--after", "x"), ("--tier", " "), ("--search", "")):
        operator.hangar("apps", *invalid, exits=2)


@pytest.mark.slow
def test_text_of_other_people_stays_on_its_line(operator):
    """An e-mail with an escape sequence, a tab and a line end. The hosts let users write their own profile."""
    [user] = give_apps(operator, 1)
    evil = "\x1b]0;owned\x07\t\n\x1b[31mroot@example.test"
    operator.sql("update public.user_profiles set email = %s where id = %s", evil, user)
    for command in (["apps"], ["app", str(user)], ["status"], ["status", str(user)], ["events"], ["cost"]):
        out, err = operator.hangar(*command)
        assert "\x1b" not in out + err
        assert "\x07" not in out + err
    assert len(operator.hangar("apps")[0].splitlines()) == 2
    code, out = run_at_terminal(operator, "apps", NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in out


@pytest.mark.slow
def test_at_a_terminal_columns_and_no_color_are_honoured(operator):
    [user] = give_apps(operator, 1)
    email = operator.email(user)
    _, wide = run_at_terminal(operator, "apps", COLUMNS="220")
    assert "┃" in wide
    assert "\x1b[32mactive" in wide
    _, narrow = run_at_terminal(operator, "apps", COLUMNS="60", NO_COLOR="1")
    assert "\x1b" not in narrow
    assert email in narrow
    assert max(map(len, narrow.splitlines())) <= 60


def test_app_shows_everything_about_one_user(operator):
    """By id, e-mail or app name, as every command takes it."""
    [user] = give_apps(operator, 1)
    name = app_of(operator, user)
    shown = operator.json("app", name)
    other = operator.json("app", operator.email(user))
    # A sweep may come between the two calls.
    assert {*shown, *shown["row"]} == {*other, *other["row"]}
    assert [shown[key] for key in ("user_id", "email", "subscription", "lives")] == [
        other[key] for key in ("user_id", "email", "subscription", "lives")
    ]
    assert (shown["user_id"], shown["row"]["fly_app_name"]) == (str(user), name)
    out, _ = operator.hangar("app", str(user))
    assert all(word in out for word in (name, operator.email(user), "# Newest events", "# Cost", "next\tup to date"))
    assert operator.json("status", name)["user_id"] == str(user)
    assert operator.json("status", f" {name.upper()} ")["user_id"] == str(user)
    assert {event["user_id"] for event in operator.json("events", "--app", name.upper())} == {str(user)}
    operator.hangar("app", str(uuid.uuid4()), exits=2)
    _, err = operator.hangar("app", "nobody", exits=2)
    assert "'nobody' is neither a user id" in err


@pytest.mark.slow
def test_grant_deny_and_remove_override_decide_for_one_user(operator):
    """Recorded with actor and reason, and carried out at once. A plan that does not exist names those that do."""
    [user] = operator.add_users(1, "free")
    email = operator.email(user)
    _, err = operator.hangar("grant", email, "gold", "--reason", "a friend", exits=2)
    assert "Dedicated plans: " in err
    assert "pro" in err
    granted = operator.json("grant", email, "pro", "--until", "7d", "--reason", "a friend")
    assert (granted["override"], granted["plan"], granted["entitled"]) == ("grant", "pro", True)
    assert granted["outcome"] in ("done", "accepted")  # the database's own wake-up call may have come first
    operator.hangar("sweep", "--drain")
    name = app_of(operator, user)
    assert operator.apps_on_fly() == [name]
    out, _ = operator.hangar("deny", name, "--reason", "abuse", "--yes")
    assert out.startswith(f"{name}: denied")
    operator.hangar("sweep", "--drain")
    assert operator.apps_on_fly() == []
    assert operator.json("remove-override", email, "--reason", "settled")["override"] is None
    assert operator.json("remove-override", email)["outcome"] == "unchanged"
    assert operator.sql("select 1 from fly_overrides where user_id = %s", user) == []
    found = operator.sql(
        "select metadata ->> 'override', metadata ->> 'reason', metadata ->> 'actor' from user_fly_app_events"
        " where user_id = %s and event_type = 'override_set' order by seq",
        user,
    )
    assert [row[:2] for row in found] == [("grant", "a friend"), ("deny", "abuse"), ("none", "settled")]
    assert all(actor.startswith("cli:") for _, _, actor in found)


def test_a_decision_needs_a_reason_and_a_known_user(operator):
    """Without a terminal a missing reason is wrong usage, and nothing is changed."""
    [user] = give_apps(operator, 1)
    for arguments in (
        ("deny", str(user)),
        ("grant", str(user), "pro"),
        ("deny", str(user), "--reason", "  "),
        ("deny", str(user), "--reason", "x" * 501),
        ("deny", str(user), "--reason", "x", "--until", "yesterday"),
        ("deny", str(uuid.uuid4()), "--reason", "x"),
        ("grant", str(user), "free", "--reason", "x"),
    ):
        _, err = operator.hangar(*arguments, exits=2)
        assert len(err.strip().splitlines()) == 1, err
    assert operator.sql("select 1 from fly_overrides where user_id = %s", user) == []
    assert operator.sql(
        "select count(*) from user_fly_app_events where event_type = 'override_set' and user_id = %s", user
    ) == [(0,)]


@pytest.mark.slow
def test_at_a_terminal_deny_asks_for_the_reason_and_says_what_goes(operator):
    [user] = give_apps(operator, 1)
    name = app_of(operator, user)
    code, out = run_at_terminal(operator, "deny", str(user), answers="abuse\nn\n")
    assert code == 3, out
    assert f"its app {name} and all its data are destroyed" in out
    assert operator.sql("select 1 from fly_overrides where user_id = %s", user) == []
    code, out = run_at_terminal(operator, "deny", str(user), answers="abuse\ny\n")
    assert code == 0, out
    assert operator.sql("select override, reason from fly_overrides where user_id = %s", user) == [("deny", "abuse")]


@pytest.mark.slow
def test_pause_asks_at_a_terminal_and_works_without_a_reason_elsewhere(operator):
    code, out = run_at_terminal(operator, "pause", answers="incident 12\n")
    assert code == 0, out
    [[reason]] = operator.sql(
        "select metadata ->> 'reason' from user_fly_app_events where event_type = 'settings_changed' order by seq desc limit 1"
    )
    assert reason == "incident 12"
    assert operator.json("resume") == {"paused": False, "changed": True, "unrecorded": None}
    assert operator.json("pause") == {"paused": True, "changed": True, "unrecorded": None}
    operator.hangar("resume")


@pytest.mark.slow
def test_restart_has_the_guards_of_the_dashboard(operator):
    """Refused before anything is done while Hangar is paused and when no machine runs."""
    running, without = operator.add_users(2)
    operator.hangar("migrate-users", "--apply", "--only", str(running))
    name = app_of(operator, running)
    before = operator.sql("select count(*) from user_fly_app_events")
    operator.hangar("pause")
    # The function is not even called.
    _, err = operator.hangar("restart", name, exits=3, HANGAR_FUNCTIONS_URL="http://127.0.0.1:9")
    assert "paused" in err
    operator.hangar("resume")
    _, err = operator.hangar("restart", str(without), exits=3)
    assert "there is no app" in err
    operator.hangar("restart", "nobody", exits=2)
    operator.hangar("restart", name, exits=2, HANGAR_FUNCTIONS_URL="")
    assert operator.sql("select count(*) from user_fly_app_events") == [(before[0][0] + 2,)]  # the pause and its end
    restarted = operator.json("restart", name)
    assert (restarted["restarted"], restarted["outcome"], restarted["status"]) == (True, "done", "active")
    [[actor]] = operator.sql(
        "select metadata ->> 'actor' from user_fly_app_events where user_id = %s"
        " and metadata ->> 'action' = 'restart_machine' and status = 'succeeded'",
        running,
    )
    assert actor.startswith("cli:")
    assert "less than a minute ago" in operator.hangar("restart", name)[0]
    [app] = operator.fly_apps()
    assert [machine["state"] for machine in app["machines"]] == ["started"]


@pytest.mark.slow
def test_retry_by_cause_shows_what_it_hits_and_needs_a_yes(operator):
    """Only the apps with that cause become due. An unknown cause names those that exist."""
    broken, size, well = operator.add_users(3)
    operator.refuse_machine_of(broken)
    operator.hangar("migrate-users", "--apply", exits=1)
    operator.sql("update user_fly_apps set next_attempt_at = null where user_id = %s", broken)
    operator.sql(
        "update user_fly_apps set status = 'error', error_code = 'size', next_attempt_at = null where user_id = %s",
        size,
    )
    name = app_of(operator, broken)
    _, err = operator.hangar("retry", "--cause", "nonsense", exits=2)
    assert "'nonsense'" in err
    assert "image (1)" in err
    assert "size (1)" in err
    operator.hangar("retry", "--cause", "image", "--yes", "--reason", " ", exits=2)
    operator.hangar("retry", name, "--reason", " ", exits=2)
    out, err = operator.hangar("retry", "--cause", "image", exits=2)
    assert name in out
    assert "--yes" in err
    assert operator.sql("select next_attempt_at from user_fly_apps where user_id = %s", broken) == [(None,)]
    operator.hangar("retry", exits=2)
    operator.hangar("retry", str(broken), "--cause", "image", exits=2)
    operator.hangar("pause")
    operator.hangar("retry", "--cause", "image", "--yes", exits=3)
    operator.hangar("resume")
    operator.set_faults()
    done = operator.json("retry", "--cause", "image", "--yes", "--reason", "the registry is back")
    assert (done["due"], done["drained"], done["not_retried"]) == (1, True, [])
    assert operator.statuses() == {broken: "active", size: "error", well: "active"}
    operator.hangar("retry", str(size), "--reason", "as asked")
    asked = "select user_id, metadata ->> 'reason' from user_fly_app_events where metadata ->> 'source' = 'retry'"
    assert operator.sql(f"{asked} order by seq") == [(broken, "the registry is back"), (size, "as asked")]


def test_plans_are_listed_and_changed_with_a_reason(operator):
    """All values or none; an unknown plan, column or value names the allowed ones."""
    before = {plan["tier"]: plan for plan in operator.json("plans", "list")}
    assert before["pro"]["dedicated"] is True
    changed = operator.json("plans", "set", "pro", "grace_s=60", "price_usd=31.50", "--reason", "new prices")
    assert set(changed["changed"]) == {"grace_s", "price_usd"}
    out, _ = operator.hangar("plans", "list")
    header, *rows = [line.split("\t") for line in out.splitlines()]
    [pro] = [dict(zip(header, row, strict=True)) for row in rows if row[0] == "pro"]
    assert (pro["grace, s"], pro["price, USD"]) == ("60", "31.50")
    [[reason]] = operator.sql("select metadata ->> 'reason' from user_fly_app_events where event_type = 'plan_changed'")
    assert reason == "new prices"
    for arguments, named in (
        (["gold", "rank=1"], "the plans are: "),
        (["pro", "rank=1", "power=sometimes"], "always_on or on_demand"),
        (["pro", "colour=red"], "unknown plan key: colour. Known: cpu_count"),
        (["pro", "dedicated=none"], 'dedicated must be true or false, not "none"'),
        (["pro", "memory_mb"], "KEY=VALUE"),
        (["pro", "region=moon"], "region"),
        (["pro", "memory_mb=300"], "300 MB"),
        (["pro"], "nothing to change"),
        (["pro", "env=A"], "--env NAME=VALUE"),
        (["pro", "--env", "s3cr3t"], "number 1 has no ="),
        (["pro", "rank=1", "--env", "USER_ID=x"], "what Hangar sets itself: USER_ID"),
        (["pro", "--env", "A=x", "--unset-env", "A"], "twice"),
        (["pro", "--unset-env", "NOPE"], "it has: none"),
    ):
        _, err = operator.hangar("plans", "set", *arguments, exits=2)
        assert named in err, err
    assert [plan["rank"] for plan in operator.json("plans", "list") if plan["tier"] == "pro"] == [before["pro"]["rank"]]
    out, _ = operator.hangar("plans", "set", "pro", "--env", "MODE=s3cr3t", "--env", "B=c")
    assert out.splitlines()[0] == "pro: the variables are now B, MODE (values are not shown)"
    assert "s3cr3t" not in out
    out, _ = operator.hangar("plans", "set", "pro", "--unset-env", "MODE", "--unset-env", "B")
    assert "the variables are now none" in out
    operator.hangar("plans", "set", "pro", "--create", "rank=1", exits=3)
    try:
        out, _ = operator.hangar("plans", "set", "gold", "--create")
        assert out.splitlines()[0] == "gold is added: an app of 2 shared vCPU, 512 MB"
        out, _ = operator.hangar("plans", "set", "club", "--create", "dedicated=no")
        assert out.splitlines() == ["club is added: no app", "club: dedicated is now no"]
    finally:
        operator.sql("delete from public.fly_plans where tier in ('gold', 'club')")
    operator.hangar("plans", "set", "pro", f"grace_s={before['pro']['grace_s']}")


def test_alerts_are_listed_acknowledged_and_snoozed(operator):
    operator.sql("update hangar.alerts set resolved_at = now() where resolved_at is null")
    operator.sql("select public.fly_raise_alert('test', 'a', E'a is broken\\x1b[31m')")
    [alert] = operator.json("alerts", "list")["alerts"]
    out, _ = operator.hangar("alerts")
    assert len(out.splitlines()) == 2
    assert operator.json("alerts")["open"] == 1
    done = operator.json("alerts", "ack", alert["id"][:8], "--reason", "mine")
    assert (done["handling"]["state"], done["handling"]["reason"], done["id"]) == ("acknowledged", "mine", alert["id"])
    assert set(done) == set(JSON_SHAPES["alerts ack"].keys) == set(alert)
    assert "acknowledged by cli:" in operator.hangar("alerts", "list")[0]
    assert operator.json("alerts", "snooze", alert["id"], "--until", "4h")["handling"]["state"] == "snoozed"
    assert operator.json("alerts", "wake", alert["id"], "--reason", "not mine")["handling"] is None
    for arguments in (
        ["ack", "zz"],
        ["wake", "zz"],
        ["ack", str(uuid.uuid4())],
        ["snooze", alert["id"], "--until", "yesterday"],
        ["snooze", alert["id"], "--until", "90d"],
        ["snooze", alert["id"]],
        ["ack", alert["id"], "--reason", " "],
    ):
        operator.hangar("alerts", *arguments, exits=2)
    _, err = operator.hangar("alerts", "ack", "00000000", exits=2)
    assert f"{alert['id'][:8]} (test)" in err
    operator.sql("select public.fly_resolve_alert('test', 'a')")
    assert operator.json("alerts", "list") == {"open": 0, "alerts": []}


@pytest.mark.slow
def test_json_has_the_documented_keys(operator):
    """What docs/commands.md promises, for every command that is run without changing much."""
    [user] = give_apps(operator, 1)
    name = app_of(operator, user)
    runs = {
        "status": [],
        "apps": [],
        "app": [name],
        "explain": [name],
        "events": [],
        "cost": [],
        "orphans": [],
        "brake": [],
        "settings set": ["max_apps=none"],
        "operators add": [str(user)],
        "operators list": [],
        "operators": [],
        "operators remove": [str(user)],
        "retry": [name],
        "restart": [name],
        "grant": [name, "pro", "--reason", "x"],
        "remove-override": [name, "--reason", "x"],
        "deny": [name, "--reason", "x", "--yes"],
        "pause": [],
        "resume": [],
        "credentials": [],
        "credentials renew": ["--reason", "x"],
        "user revoke": [str(user), "--reason", "x"],
        "plans list": [],
        "plans set": ["pro", "rank=3"],
        "release list": [],
        "user show": [str(user)],
        "user pin": [str(user), "--image", "registry.fly.io/good:2"],
        "user hold-back": [str(user), "--until", "7d"],
        "user unpin": [str(user)],
        "migrate-users": [],
    }
    wrong = {}
    for command, arguments in runs.items():
        printed = operator.json(*command.split(), *arguments)
        shape = JSON_SHAPES[command]
        documents = printed if shape.kind == "list" else [printed]
        assert isinstance(documents, list), command
        assert documents, command
        if differing := {key for each in documents for key in set(each) ^ set(shape.keys)}:
            wrong[command] = differing
    assert wrong == {}


def test_explain_has_json_and_an_unknown_user_no_tables(operator):
    [user] = give_apps(operator, 1)
    assert operator.json("explain", str(user)) == {
        "user_id": str(user),
        "next": operator.json("status", str(user))["next"],
        "releases": [],
    }
    out, err = operator.hangar("status", str(uuid.uuid4()), exits=2)
    assert out == ""
    assert "no user" in err


@pytest.mark.slow
def test_a_closed_pipe_ends_a_command_quietly(operator):
    """`hangar events | head -1`."""
    give_apps(operator, 2)
    script = f"{sys.executable} -c 'from ops.cli import main; main()' events --limit 1000 --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=operator.folder,
        env=operator.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "141"
    assert done.stderr == ""


def test_signed_calls_may_not_pass_for_a_signed_in_operator(operator):
    """The actor of a signed call begins with `cli:`; without one a restart is refused as before."""
    [user] = give_apps(operator, 1)
    installation = Installation(load_target(operator.env))
    for actor in ("boss@example.test", "cli:", "cli:a b", 7):
        status, answer = installation.call_function("health", {"user_id": str(user), "restart": True, "actor": actor})
        assert (status, answer["code"]) == (400, "actor"), json.dumps(answer)


def test_status_says_how_many_failures_and_alerts_it_does_not_show(operator):
    """60 apps fail for two causes: the 50 that are shown do not look like all of them. The same holds for 120 alerts."""
    operator.sql(
        "insert into user_fly_apps (user_id, fly_app_name, fly_org_slug, network, region, docker_image, status, error_code,"
        " error_message, next_attempt_at) select gen_random_uuid(), 'failing-' || n, 'x', 'n-' || n, 'sin', 'i', 'error',"
        " case when n <= 45 then 'image' else 'quota' end, 'It fails', null from generate_series(1, 60) n"
    )
    operator.sql(
        "insert into hangar.alerts (kind, key, message)"
        " select 'crash_loop', 'crowd-' || n, 'crashes' from generate_series(1, 120) n"
    )
    out, _ = operator.hangar("status")
    assert "Failures (50 of 60)" in out
    assert "By cause: image 45, quota 15. All of them: hangar apps --status error" in out
    assert "Open alerts (the 100 most urgent of 120)" in out
    report = operator.json("status")
    assert report["failure_causes"] == {"image": 45, "quota": 15}
    operator.sql("delete from user_fly_apps where fly_app_name ~ '^failing-' and fly_app_name <> 'failing-1'")
    out, _ = operator.hangar("status")
    assert "Failures (1)" in out
    assert "By cause" not in out
