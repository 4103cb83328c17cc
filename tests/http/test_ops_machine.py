"""`hangar logs`, `checks` and `exec` against a whole local cloud."""

import contextlib
import csv
import io
import json
import os
import signal
import time

import pytest

from ops.json_shapes import JSON_SHAPES
from tests.http.running_operator import DEADLINE_S, open_operator
from tests.support.loopback import LOOPBACK


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        operator.env |= {"FLY_API_TOKEN": operator.fly_token, "FLY_API_URL": operator.fly_url}
        yield operator


@pytest.fixture
def user(operator):
    """A user with a running app."""
    [user] = operator.add_users(1)
    operator.hangar("migrate-users", "--apply")
    return user


def machine_of(operator, user):
    query = "select fly_app_name, machine_id from user_fly_apps where user_id = %s and deleted_at is null"
    return operator.sql(query, user)[0]


def log(operator, machine_id, *lines, level="info"):
    url = f"{operator.fly_url}/_sim/machines/{machine_id}/logs"
    LOOPBACK.post(url, json={"lines": lines, "level": level}).raise_for_status()


def commands_on_record(operator, user):
    return operator.sql(
        "select status, metadata from user_fly_app_events where user_id = %s and event_type = 'command_run' order by seq",
        user,
    )


def test_logs_show_what_the_machine_said_on_one_line_each(operator, user):
    """The newest lines of a day, or everything since a time. Nothing is stored."""
    app, machine_id = machine_of(operator, user)
    log(operator, machine_id, *(f"line {number}" for number in range(250)), "\x1b[31mred\nsecond\ttab", level="error")
    before = operator.sql("select count(*) from user_fly_app_events")
    out, _ = operator.hangar("logs", app)
    assert len(out.splitlines()) == 100
    assert "\x1b" not in out
    assert out.splitlines()[-1].endswith("\\x1b[31mred second tab")
    assert "  error  " in out.splitlines()[-1]
    assert len(operator.hangar("logs", app, "--limit", "3")[0].splitlines()) == 3
    lines = [json.loads(line) for line in operator.hangar("logs", str(user), "--since", "1h", "--json")[0].splitlines()]
    assert [line["message"] for line in lines if line["message"].startswith("line ")] == [
        f"line {n}" for n in range(250)
    ]
    assert "Machine started" in {line["message"] for line in lines}
    assert set(lines[0]) == set(JSON_SHAPES["logs"].keys)
    assert lines == sorted(lines, key=lambda line: line["at"])
    assert operator.sql("select count(*) from user_fly_app_events") == before
    for invalid in (("--since", "yesterday"), ("--limit", "0")):
        operator.hangar("logs", app, *invalid, exits=2)


@pytest.mark.slow
def test_following_logs_prints_each_new_line_once_also_through_failures(operator, user):
    app, machine_id = machine_of(operator, user)
    child = operator.start("logs", app, "-f")
    try:
        os.set_blocking(child.stdout.fileno(), False)
        log(operator, machine_id, "before")
        _wait_for(child, "before")
        operator.set_faults({"method": "GET", "path": "/api/v1/apps/*/logs", "status": 503, "times": 2})
        log(operator, machine_id, "after")
        assert _wait_for(child, "after").count("before") == 0
    finally:
        operator.set_faults()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 130
    assert "asking again" in err


def _wait_for(child, word):
    seen, ends_at = "", time.monotonic() + DEADLINE_S
    while word not in seen and time.monotonic() < ends_at:
        with contextlib.suppress(BlockingIOError):
            seen += os.read(child.stdout.fileno(), 65536).decode()
        time.sleep(0.05)
    assert word in seen
    return seen


def test_checks_show_the_output_of_each_check(operator, user):
    app, machine_id = machine_of(operator, user)
    [machine] = operator.fly_apps()[0]["machines"]
    name = min(machine["config"]["checks"])
    body = {"checks": {name: {"status": "critical", "output": "500\x1b[2J\nboom"}}}
    LOOPBACK.put(f"{operator.fly_url}/_sim/machines/{machine_id}", json=body).raise_for_status()
    shown = operator.json("checks", app)
    assert set(shown) == set(JSON_SHAPES["checks"].keys)
    [check] = [each for each in shown["checks"] if each["name"] == name]
    assert (check["status"], check["output"]) == ("critical", "500\x1b[2J\nboom")
    out, _ = operator.hangar("checks", operator.email(user))
    assert f"{name}\tcritical\t500\\x1b[2J boom" in out.splitlines()


def test_exec_runs_a_command_on_record(operator, user):
    """Intent before, outcome after, with reason, actor and exit code; the output is not stored."""
    app, machine_id = machine_of(operator, user)
    out, _ = operator.hangar("exec", app, "--reason", "ticket 7", "--", "printenv", "USER_ID")
    assert out == f"{user}\n"
    code, printed, err = operator.run_here(
        ["exec", str(user), "--json", "--reason", "ticket 8", "--", "printenv", "NOBODY"]
    )
    assert code == 1
    assert json.loads(printed)["exit_code"] == 1
    assert set(json.loads(printed)) == set(JSON_SHAPES["exec"].keys)
    assert "exit code 1" in err
    found = commands_on_record(operator, user)
    assert [(status, metadata.get("exit_code"), metadata["reason"]) for status, metadata in found] == [
        ("intent", None, "ticket 7"),
        ("succeeded", 0, "ticket 7"),
        ("intent", None, "ticket 8"),
        ("failed", 1, "ticket 8"),
    ]
    assert {metadata["machine_id"] for _, metadata in found} == {machine_id}
    assert found[0][1]["command"] == "printenv USER_ID"
    assert all(metadata["actor"].startswith("cli:") for _, metadata in found)
    assert str(user) not in json.dumps([metadata.get("stdout") for _, metadata in found])
    assert "ticket 7" in operator.hangar("events", "--type", "command_run")[0]


def test_exec_is_refused_without_reason_machine_or_token(operator, user):
    """Nothing runs and nothing is recorded."""
    [idle] = operator.add_users(1)
    app, machine_id = machine_of(operator, user)
    operator.hangar("exec", app, "--", "env", exits=2)
    operator.hangar("exec", app, "--reason", " ", "--", "env", exits=2)
    operator.hangar("exec", app, "--reason", "x", exits=2)
    operator.hangar("exec", app, "--reason", "x", "--timeout", "0", "--", "env", exits=2)
    operator.hangar("exec", str(idle), "--reason", "x", "--", "env", exits=3)
    operator.hangar("logs", str(idle), exits=3)
    operator.hangar("checks", str(idle), exits=3)
    for command in (["exec", app, "--reason", "x", "--", "env"], ["logs", app], ["checks", app]):
        _, err = operator.hangar(*command, exits=2, FLY_API_TOKEN="")
        assert "FLY_API_TOKEN" in err
    operator.sql("update user_fly_apps set machine_state = 'stopped' where machine_id = %s", machine_id)
    _, err = operator.hangar("exec", app, "--reason", "x", "--", "env", exits=3)
    assert "stopped" in err
    assert commands_on_record(operator, user) == []


def test_a_command_whose_answer_is_lost_is_recorded_as_unknown(operator, user):
    """It may have run, so it is not repeated."""
    app, _ = machine_of(operator, user)
    operator.set_faults({"method": "POST", "path": "/v1/apps/*/machines/*/exec", "when": "after", "disconnect": True})
    try:
        operator.hangar("exec", app, "--reason", "x", "--", "env", exits=1)
    finally:
        operator.set_faults()
    assert [status for status, _ in commands_on_record(operator, user)] == ["intent", "unknown"]
    requests = LOOPBACK.get(f"{operator.fly_url}/_sim/world").json()["requests"]
    assert requests["POST /v1/apps/{app_name}/machines/{machine_id}/exec"] == 1


def test_a_wrong_token_is_named(operator, user):
    app, _ = machine_of(operator, user)
    for token, named in (("wrong", "FLY_API_TOKEN"), ("fm2_other", "FLY_API_TOKEN")):
        for command in ("logs", "checks"):
            _, err = operator.hangar(command, app, exits=2, FLY_API_TOKEN=token)
            assert named in err
            assert len(err.strip().splitlines()) == 1, err


def test_export_writes_apps_costs_and_events_as_csv_or_json_lines(operator, user):
    """Every row once, also over several pages. A cell cannot run in a spreadsheet, and stays on its line."""
    operator.sql("update public.user_profiles set email = E'=1+1\\n\\x1b[31m@example.test' where id = %s", user)
    operator.sql(
        "update public.fly_cost_intervals set started_at = started_at - interval '1 hour', price_usd_per_s = 0.000002"
    )
    out, _ = operator.hangar("export", "apps")
    [row] = csv.DictReader(io.StringIO(out))
    assert (row["user_id"], row["status"]) == (str(user), "active")
    assert row["email"].startswith("'=1+1 \\x1b")
    assert len(out.splitlines()) == 2
    assert len(operator.hangar("export", "apps", "--status", "error")[0].splitlines()) == 1
    [app] = [json.loads(line) for line in operator.hangar("export", "apps", "--format", "jsonl")[0].splitlines()]
    assert tuple(app) == JSON_SHAPES["export apps"].keys
    costs = [json.loads(line) for line in operator.hangar("export", "costs", "--json")[0].splitlines()]
    [mine] = [cost for cost in costs if cost["user_id"] == str(user)]
    assert tuple(mine) == JSON_SHAPES["export costs"].keys
    assert float(mine["cost_usd"]) == pytest.approx(float(mine["seconds"]) * 0.000002, abs=1e-6)
    assert float(mine["seconds"]) >= 3600
    assert len(operator.hangar("export", "costs", "--since", "1h", "--json")[0].splitlines()) <= len(costs)
    operator.hangar("export", "events", "--since", "yesterday", exits=2)
    operator.hangar("export", "apps", "--tier", "gold", exits=2)
    operator.hangar("export", "apps", "--format", "xml", exits=2)


def test_export_reads_every_event_once_over_several_pages(operator, user):
    """Also when more than a page of them have the same time."""
    operator.sql(
        "insert into user_fly_app_events (user_id, event_type, status, created_at)"
        " select %s, 'error_occurred', 'info', now() + make_interval(secs => n / 1500) from generate_series(1, 3700) n",
        user,
    )
    [[count]] = operator.sql("select count(*) from user_fly_app_events")
    events = [json.loads(line) for line in operator.hangar("export", "events", "--json")[0].splitlines()]
    assert len(events) == count
    assert len({event["id"] for event in events}) == count
    assert [event["seq"] for event in events] == [
        row[0] for row in operator.sql("select seq from user_fly_app_events order by created_at, seq")
    ]
    assert tuple(events[0]) == JSON_SHAPES["export events"].keys
    assert len(operator.hangar("export", "events")[0].splitlines()) == count + 1
