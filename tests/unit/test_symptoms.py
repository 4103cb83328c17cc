"""What one look at Fly says is wrong with an app, and the sentences that an operator reads about it."""

import pytest

from local.fly.state.checks import STATUSES
from shared.domain.health_text import explain_symptom, format_unhealthy
from shared.domain.symptom import Symptom, SymptomCode, confirms_step
from shared.fly.parsing import parse_machine
from shared.reconcile.symptom_finder import find_symptom

SECRET = "sb_secret_0123456789abcdef"
PASSING = [{"name": name, "status": "passing", "output": "ok"} for name in ("alive", "ready")]
ROW = {"user_id": "u1", "fly_app_name": "app-1", "status": "active"}


def machine(state="started", checks=PASSING, host_status="ok", **more):
    config = {"image": "app", "guest": {}, "metadata": {}, "checks": {"alive": {}, "ready": {}}}
    return parse_machine(
        {"id": "m1", "state": state, "host_status": host_status, "checks": checks, "config": config, **more}
    )


def check(name, status, output=""):
    return {"name": name, "status": status, "output": output}


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (machine(), None),
        (machine(checks=[*PASSING, check("servicecheck-00-http-8080", "critical")]), None),
        (machine(checks=[check("alive", "critical"), check("ready", "warning")]), SymptomCode.CHECK_CRITICAL),
        (machine(checks=[check("alive", "critical")]), SymptomCode.CHECK_CRITICAL),
        (machine(checks=[check("alive", "passing")]), SymptomCode.CHECK_MISSING),
        (machine(checks=[]), SymptomCode.CHECK_MISSING),
        (machine(config={"image": "app", "guest": {}}, checks=[]), SymptomCode.CHECK_MISSING),
        (machine(checks=[check("alive", "passing"), check("ready", "warning")]), SymptomCode.CHECK_WARNING),
        (machine(checks=[check("alive", "passing"), check("ready", "a new word")]), SymptomCode.CHECK_WARNING),
        *[(machine(state), SymptomCode.NOT_RUNNING) for state in ("stopped", "suspended", "failed")],
        *[(machine(state), SymptomCode.NOT_READY) for state in ("created", "starting", "restarting", "launch_failed")],
        (machine("hibernating"), SymptomCode.UNKNOWN_STATE),
        (machine(None), SymptomCode.UNKNOWN_STATE),
        (machine(host_status="unreachable"), SymptomCode.HOST_UNREACHABLE),
        (machine(host_status="a new word"), SymptomCode.HOST_UNREACHABLE),
        (machine(config=None, incomplete_config={"image": "app"}), SymptomCode.HOST_UNREACHABLE),
    ],
)
def test_a_look_finds_the_most_telling_symptom(seen, code):
    """Proxy checks are no results of the backend, and a status that Fly newly introduces is never taken for passing."""
    found = find_symptom(seen)
    assert (found.code if found else None) == code


def test_every_status_that_fly_documents_is_known():
    assert {
        find_symptom(machine(checks=[check("alive", status), check("ready", status)])) is None for status in STATUSES
    } == {
        True,
        False,
    }


def test_a_symptom_says_what_the_check_answered_and_how_the_app_last_ended():
    """The output is cut and on one line, and a credential in it is masked."""
    ended = {"exit_code": 137, "oom_killed": True, "requested_stop": False, "exited_at": "2026-11-27T03:00:00Z"}
    events = [{"type": "exit", "status": "stopped", "timestamp": 1795748400000, "request": {"exit_event": ended}}]
    output = f"500 key {SECRET} \n refused " + "x" * 500
    detail = find_symptom(machine(checks=[check("alive", "critical", output)], events=events)).detail
    assert "the check 'alive' is critical: 500 key [redacted] refused xxx" in detail
    assert SECRET not in detail
    assert "out of memory, exit code 137" in detail
    assert "Fly's last event: exit stopped at 2026-11-27" in detail
    assert len(detail) < 500


def test_fly_s_own_word_for_a_state_is_kept():
    assert "'hibernating'" in find_symptom(machine("hibernating")).detail


@pytest.mark.parametrize("code", SymptomCode)
def test_only_a_failing_check_lets_a_machine_be_replaced(code):
    """Unknown is not unhealthy: nothing that cannot be judged is ever destroyed."""
    symptom = Symptom(code, "")
    assert confirms_step("replace", symptom) == (code == SymptomCode.CHECK_CRITICAL)
    assert confirms_step("restart", symptom) == (code in (SymptomCode.CHECK_CRITICAL, SymptomCode.CHECK_MISSING))
    assert not confirms_step("replace", None)


def told(code="check_critical", **more):
    known = {"code": code, "detail": "the check fails", "samples": 3, "needed": 3, "next": "restart", "judged": True}
    return known | {"incident": False, "says": "Hangar restarts the machine now, once."} | more


@pytest.mark.parametrize("code", SymptomCode)
def test_every_symptom_has_an_advice_and_the_dashboard_names_no_command(code):
    for step in ("watch", "restart", "replace", "wait", "person"):
        shown = explain_symptom(told(code, next=step), ROW, "5 min ago", "dashboard")
        assert "`" not in shown
        assert "What you can do: " in shown
        assert "look at the app at Fly" not in shown
        assert explain_symptom(told(code, next=step), ROW, "5 min ago", "cli")


def test_what_is_said_follows_the_samples():
    """Before the alert, with it, in an incident, and when a person has to look."""
    assert "If the next 2 sweeps find the same" in explain_symptom(told(samples=1, next="watch"), ROW, "now", "cli")
    assert "If the next sweep finds the same" in explain_symptom(told(samples=2, next="watch"), ROW, "now", "cli")
    assert "restarts the machine now" in explain_symptom(told(), ROW, "now", "cli")
    assert "one incident" in explain_symptom(told(incident=True), ROW, "now", "cli")
    person = explain_symptom(told(next="person", says="A person has to look."), ROW, "now", "cli")
    assert "`hangar retry u1`" in person
    assert "`hangar logs u1`" in person
    assert explain_symptom(told(), ROW | {"status": "error"}, "now", "cli") is None
    assert explain_symptom(None, ROW, "now", "cli") is None


def test_the_line_about_the_fleet_counts_by_symptom():
    assert format_unhealthy({"apps": 0, "symptoms": {}}) is None
    line = format_unhealthy({"apps": 3, "symptoms": {"host_unreachable": 1, "check_critical": 2}})
    assert line == "3 apps are unhealthy or cannot be judged: 2 check critical, 1 host unreachable"
