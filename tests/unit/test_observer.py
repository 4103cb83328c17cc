"""What Fly's checks mean for health."""

import pytest

from shared.fly.models import parse_machine
from shared.reconcile.observer import judge_health, to_observation


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
    assert to_observation(machine(config=None, incomplete_config={"image": "app"})).host_ok is False
    assert to_observation(machine()).host_ok is True
