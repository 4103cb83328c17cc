"""What Fly's checks mean for health."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.fly.parsing import parse_machine
from shared.reconcile.observed_machine import judge_health, to_observation

NONE = timedelta(0)


def machine(state="started", host_status="ok", checks=(("alive", "passing"), ("ready", "passing")), **more):
    checks_json = [{"name": name, "status": status} for name, status in checks]
    config = {"image": "app", "guest": {}, "metadata": {"hangar_spec": "s"}}
    return parse_machine(
        {
            "id": "m1",
            "name": "a-main",
            "state": state,
            "host_status": host_status,
            "checks": checks_json,
            "config": config,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (machine(), "healthy"),
        (machine(checks=()), "unknown"),
        (machine(checks=[("alive", "passing"), ("ready", "critical")]), "bad"),
        (machine(checks=[("alive", "passing"), ("ready", "warning")]), "unknown"),
        (machine(checks=[("servicecheck-00-http-8080", "passing")]), "unknown"),
        (machine(checks=[("bg_deployments_compat_1", "passing")]), "unknown"),
        (machine(state="stopped"), "bad"),
        (machine(state="failed"), "bad"),
        (machine(state="starting"), "unknown"),
        (machine(state="hibernating"), "unknown"),
        (machine(host_status="unreachable", state="stopped"), "unknown"),
        (machine(config=None, incomplete_config={"image": "app"}), "unknown"),
    ],
)
def test_health_needs_a_result_and_never_guesses(seen, expected):
    assert judge_health(seen) == expected


def test_an_incomplete_machine_is_not_drift():
    """Its host cannot be reached, so its spec and size do not prove drift."""
    assert to_observation(machine(config=None, incomplete_config={"image": "app"}), NONE).host_ok is False
    assert to_observation(machine(), NONE).host_ok is True


@pytest.mark.parametrize(("lead_s", "minutes"), [(0, 0), (720, -12), (-720, 12)])
def test_a_time_of_fly_is_shown_by_the_databases_clock(lead_s, minutes):
    """C10: whatever Fly's clock is ahead is taken off."""
    seen = to_observation(machine(updated_at="2026-11-22T10:00:00Z"), timedelta(seconds=lead_s))
    assert seen.changed_at == datetime(2026, 11, 22, 10, tzinfo=UTC) + timedelta(minutes=minutes)


def test_without_a_common_clock_no_age_is_known():
    assert to_observation(machine(updated_at="2026-11-22T10:00:00Z"), None).changed_at is None
