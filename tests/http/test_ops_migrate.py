"""`hangar migrate-users` against a whole local cloud that is not live, with 25 users who pay already."""

import json
import signal
import time

import pytest

from shared.domain.naming import app_name
from tests.http.running_operator import DEADLINE_S, open_operator

USERS = 25
FAST = ("--per-minute", "6000")


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield operator


def test_a_dry_run_shows_users_and_cost_and_changes_nothing(operator):
    """25 users, 150.00 USD by the estimate. No row, no call to Fly, not live."""
    users = operator.add_users(USERS)
    out, _ = operator.hangar("migrate-users")
    assert all(operator.email(user) in out for user in users)
    assert "25 users, 150.00 USD a month" in out
    assert "--apply" in out
    plan = operator.json("migrate-users", "--limit", "2")
    assert (plan["applied"], plan["live"], plan["total"]["users"]) == (False, False, 2)
    assert plan["total"]["monthly_cost_estimate_usd"] == "12.00"
    assert [user["user_id"] for user in plan["users"]] == [str(user) for user in users[:2]]
    assert operator.statuses() == {}
    assert operator.apps_on_fly() == []


@pytest.mark.slow
def test_after_ctrl_c_it_finishes_the_users_in_progress_and_a_second_run_continues(operator):
    """Ctrl-C ends with 130 and says how to continue. The second run processes the users who are left, each once."""
    users = operator.add_users(USERS)
    operator.set_faults({"method": "POST", "path": "/v1/apps/*/machines", "delay_s": 0.3})
    child = operator.start("migrate-users", "--apply", "--workers", "3", "--batch", "5", *FAST)
    lines = [child.stdout.readline() for _ in range(4)]
    child.send_signal(signal.SIGINT)
    # Not `communicate`, which would lose a fifth line that came together with the fourth.
    with child:
        out, err = child.stdout.read(), child.stderr.read()
    assert child.returncode == 130, out + err
    assert all("  active  " in line for line in lines)
    assert "run the same command again" in out
    assert "finishing the users in progress" in err
    done = operator.statuses()
    active = [user for user, status in done.items() if status == "active"]
    assert 4 <= len(active) < USERS
    assert out.count("  active  ") + len(lines) == len(active)
    assert len(done) - len(active) <= 5
    assert not operator.sql("select 1 from user_fly_apps where lease_expires_at > now() and deleted_at is null")

    operator.set_faults()
    report = operator.json("migrate-users", "--apply", "--report", "report.json", *FAST)
    assert report["totals"] == {"active": USERS - len(active)}
    assert json.loads((operator.folder / "report.json").read_text()) == report
    assert operator.statuses() == dict.fromkeys(users, "active")
    assert operator.apps_on_fly() == sorted(app_name("vyx-user", user, 0) for user in users)
    assert not operator.is_live()
    out, _ = operator.hangar("migrate-users", "--apply", "--no-go-live")
    assert "no user was processed" in out


@pytest.mark.slow
def test_a_failed_user_is_listed_with_what_to_do_and_the_others_are_active(operator):
    """Exit 1 with one failure in 25. When the cause is fixed, the same command processes that user only and goes live."""
    users = operator.add_users(USERS)
    failing = users[7]
    operator.refuse_machine_of(failing)
    out, _ = operator.hangar("migrate-users", "--apply", "--report", "report.json", *FAST, exits=1)
    assert "24 active, 1 failed" in out
    report = json.loads((operator.folder / "report.json").read_text())
    [failed] = [user for user in report["users"] if user["outcome"] == "failed"]
    assert (failed["user_id"], failed["error_code"]) == (str(failing), "image")
    assert "image not found" in failed["detail"]
    assert "hangar retry" in failed["advice"]
    assert len(report["users"]) == USERS
    assert operator.sql("select status from fly_failures f join user_fly_apps a on a.id = f.fly_app_id") == [("error",)]

    operator.hangar("migrate-users", "--apply", exits=1)
    operator.set_faults()
    report = operator.json("migrate-users", "--apply", "--go-live")
    assert [(user["user_id"], user["outcome"]) for user in report["users"]] == [(str(failing), "active")]
    assert report["live"] is True
    assert operator.is_live()
    assert operator.statuses() == dict.fromkeys(users, "active")
    [(metadata,)] = operator.sql(
        "select metadata from user_fly_app_events where event_type = 'settings_changed' order by seq desc limit 1"
    )
    assert metadata["actor"].startswith("cli:")
    assert metadata["reason"] == "migrate-users --go-live"


@pytest.mark.slow
def test_going_live_says_how_many_users_it_affects(operator):
    """With two of five users migrated it affects the other three, whom the next sweep provisions."""
    operator.add_users(5)
    out, _ = operator.hangar("migrate-users", "--apply", "--limit", "2", *FAST)
    assert "3 entitled users without an app (18.00 USD a month)" in out
    assert not operator.is_live()
    out, _ = operator.hangar("migrate-users", "--apply", "--limit", "1", "--go-live", *FAST)
    assert "live now" in out
    assert "2 entitled users" in out
    assert operator.is_live()
    out, _ = operator.hangar("migrate-users")
    assert "live already" in out
    operator.hangar("sweep")
    assert sorted(operator.statuses().values()) == ["active"] * 5


@pytest.mark.slow
def test_only_selects_users_by_id_or_email_and_skips_those_who_need_nothing(operator):
    """Only the selected users are changed. Active and not entitled users are skipped with a reason."""
    users = operator.add_users(3)
    [free] = operator.add_users(1, tier="free")
    report = operator.json("migrate-users", "--apply", "--only", str(users[0]))
    assert report["totals"] == {"active": 1}
    only = f"{operator.email(users[0])},{operator.email(users[1])}"
    report = operator.json("migrate-users", "--apply", "--only", only, "--only", str(free))
    outcomes = {user["user_id"]: (user["outcome"], user["detail"]) for user in report["users"]}
    assert outcomes[str(users[0])] == ("skipped", "already active")
    assert outcomes[str(users[1])][0] == "active"
    assert outcomes[str(free)] == ("skipped", "not entitled (plan_not_dedicated)")
    assert operator.statuses() == dict.fromkeys(users[:2], "active")
    _, err = operator.hangar("migrate-users", "--only", "nobody@example.test", exits=2)
    assert "nobody@example.test" in err


def test_a_paused_installation_refuses_with_3(operator):
    """Before any user is admitted, and for a retry."""
    [user] = operator.add_users(1)
    operator.hangar("pause", "--reason", "testing")
    _, err = operator.hangar("migrate-users", "--apply", exits=3)
    assert "hangar resume" in err
    assert operator.statuses() == {}
    _, err = operator.hangar("retry", str(user), exits=3)
    assert "hangar resume" in err


@pytest.mark.slow
def test_a_pause_during_a_migration_ends_it(operator):
    """No more users are started, admitted users wait, and the exit code is 3."""
    operator.add_users(6)
    operator.set_faults({"method": "POST", "path": "/v1/apps/*/machines", "delay_s": 0.3})
    child = operator.start("migrate-users", "--apply", "--batch", "1", *FAST)
    child.stdout.readline()
    operator.sql("update hangar.settings set paused = true")
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 3, out + err
    assert "paused" in err
    assert "not begun" in out
    assert len(operator.statuses()) < 6


@pytest.mark.slow
def test_ten_users_in_a_row_with_the_same_failure_end_it(operator):
    """The cause is not in the users then."""
    operator.add_users(USERS)
    operator.set_faults({"method": "POST", "path": "/v1/apps", "status": 422, "body": {"error": "invalid image"}})
    out, err = operator.hangar("migrate-users", "--apply", "--workers", "2", "--batch", "3", *FAST, exits=1)
    assert "10 users in a row failed with 'image'" in err
    assert "not begun" in out
    assert len(operator.statuses()) < USERS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "env", "text"),
    [
        (("--go-live",), {}, "--go-live needs --apply"),
        (("--batch", "501"), {}, "501"),
        (("--apply", "--report", "no/such/folder/r.json"), {}, "no/such/folder"),
        (("--apply",), {"HANGAR_WEBHOOK_SECRET": "whsec_" + "q83v" * 8}, "rejected our signature"),
        (("--apply",), {"HANGAR_FUNCTIONS_URL": ""}, "HANGAR_FUNCTIONS_URL"),
        ((), {"SUPABASE_SECRET_KEY": "sb_secret_wrong"}, "SUPABASE_SECRET_KEY"),
    ],
)
def test_wrong_usage_or_settings_end_with_2_before_any_user_is_admitted(operator, arguments, env, text):
    """One line names what is wrong."""
    operator.add_users(1)
    child = operator.start("migrate-users", *arguments, **env)
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 2, out + err
    assert text in err
    assert "Traceback" not in err
    assert operator.statuses() == {}


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(operator):
    """Nothing is lost, because the function continues."""
    [user] = operator.add_users(1)
    operator.set_faults({"method": "POST", "path": "/v1/apps/*/machines", "delay_s": 3})
    child = operator.start("migrate-users", "--apply", *FAST)
    deadline = time.monotonic() + DEADLINE_S
    making = "select 1 from user_fly_apps where deleted_at is null and open_intent ->> 'action' = 'create_machine'"
    while not operator.sql(making):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    assert "finishing" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 130
    assert "nothing is lost" in err
    while operator.statuses()[user] != "active":
        assert time.monotonic() < deadline
        time.sleep(0.05)
