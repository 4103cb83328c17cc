"""An app that fails, over real sockets: what the command line says, from the first bad sample to the person who has to look."""

import time

import pytest

from tests.http.running_operator import open_operator
from tests.support.loopback import LOOPBACK


@pytest.fixture
def operator(cloud, tmp_path):
    """Every sweep takes a sample, however soon after the last one."""
    with open_operator(cloud, tmp_path) as operator:
        operator.sql("update hangar.settings set bad_sample_gap_s = 0")
        yield operator


def give_app(operator):
    [user] = operator.add_users(1)
    operator.hangar("migrate-users", "--apply")
    return user


def hurt(operator, user, what):
    [[machine]] = operator.sql(
        "select machine_id from public.user_fly_apps where user_id = %s and deleted_at is null", user
    )
    url = f"{operator.fly_url}/_sim/machines/{machine}"
    LOOPBACK.put(url, json=what).raise_for_status()


def sweep(operator, times):
    for _ in range(times):
        operator.hangar("sweep")


def explain(operator, user):
    return operator.hangar("explain", str(user))[0]


@pytest.mark.slow
def test_a_critical_check_is_said_everywhere_until_a_person_is_asked(operator):
    """`explain`, `status` of the user and of the fleet, as text and as JSON. None of them says that the app is up to date."""
    operator.sql("update public.fly_plans set on_unhealthy = 'restart'")
    user = give_app(operator)
    hurt(operator, user, {"checks": {"alive": {"status": "critical", "output": "500 database is locked"}}})
    sweep(operator, 1)
    first = explain(operator, user)
    assert "the check 'alive' is critical: 500 database is locked" in first
    assert "the next 2 sweeps" in first
    sweep(operator, 2)
    assert "restarts the machine now" in explain(operator, user)
    fleet = operator.hangar("status")[0]
    assert "1 app is unhealthy or cannot be judged: 1 check critical" in fleet
    document = operator.json("status")
    assert document["unhealthy"] == {"apps": 1, "symptoms": {"check_critical": 1}}
    [alert] = [alert for alert in document["alerts"] if alert["kind"] == "unhealthy"]
    assert "database is locked" in alert["message"]
    sweep(operator, 5)
    last = explain(operator, user)
    assert "Hangar restarted the machine at" in last
    assert "a person has to look" in last
    assert f"hangar retry {user}" in last
    assert "up to date" not in last
    one = operator.json("status", str(user))
    assert (one["symptom"]["code"], one["symptom"]["next"]) == ("check_critical", "person")
    assert "check_critical" in operator.hangar("status", str(user))[0]
    operator.hangar("retry", str(user))
    assert "restarts the machine" in explain(operator, user)
    hurt(operator, user, {"checks": {}})
    time.sleep(1)
    sweep(operator, 2)
    assert "up to date" in explain(operator, user)
    assert operator.sql("select kind from hangar.alerts where kind = 'unhealthy' and resolved_at is null") == []


@pytest.mark.slow
def test_an_unreachable_host_is_said_and_nothing_is_done(operator):
    user = give_app(operator)
    hurt(operator, user, {"host_status": "unreachable"})
    sweep(operator, 3)
    told = explain(operator, user)
    assert "the app cannot be judged" in told
    assert "Fly cannot reach the host" in told
    assert "status page" in told
    assert "up to date" not in told
    hurt(operator, user, {"host_status": "ok"})
    sweep(operator, 2)
    assert operator.sql("select kind from hangar.alerts where kind = 'unknown_health' and resolved_at is null") == []
