"""Apps of the original system that nobody has decided about, or whose closed rows hide them: doctor and going live name them."""

import json

import pytest

from tests.http.running_operator import open_operator
from tests.http.test_ops_adopt import add_legacy, make_app
from tests.support.loopback import LOOPBACK


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        operator.env |= {"FLY_API_TOKEN": operator.fly_token, "FLY_API_URL": operator.fly_url}
        yield operator


def examine(operator, **env):
    _, out, _ = operator.run_here(["doctor", "--json"], env)
    return {check["name"]: check for check in json.loads(out)["checks"]}


@pytest.mark.slow
def test_apps_that_wait_for_a_decision_are_counted_with_the_command(operator):
    assert examine(operator)["legacy_apps"]["state"] == "ok"
    names = sorted(add_legacy(operator)[2] for _ in range(4))
    for name in names:
        make_app(operator, name)
    found = examine(operator)["legacy_apps"]
    assert found["state"] == "warning"
    assert f"4 app(s) of the original system wait for a decision: {', '.join(names[:3])}, …" in found["found"]
    operator.hangar("adopt", "--apply", "--reason", found["remedy"].partition('--reason "')[2].partition('"')[0])
    assert examine(operator)["legacy_apps"]["state"] == "ok"


@pytest.mark.slow
def test_an_app_that_runs_although_its_row_is_closed_is_named_and_destroying_it_ends_that(operator):
    _, _, gone = add_legacy(operator, "deleted")
    assert examine(operator)["closed_apps"]["state"] == "ok"
    _, _, name = add_legacy(operator, "deleted")
    make_app(operator, name)
    found = examine(operator)["closed_apps"]
    assert found["state"] == "wrong"
    assert name in found["found"]
    assert gone not in found["found"]
    assert found["remedy"] == f"fly apps destroy {name}"
    headers = {"Authorization": f"Bearer {operator.fly_token}"}
    LOOPBACK.delete(f"{operator.fly_url}/v1/apps/{name}?force=true", headers=headers).raise_for_status()
    assert examine(operator)["closed_apps"]["state"] == "ok"


@pytest.mark.slow
def test_rows_of_another_organisation_and_a_list_that_fails_are_not_called_ok_silently(operator):
    add_legacy(operator, "deleted", org="personal")
    assert "1 of the rows name another organisation" in examine(operator)["closed_apps"]["found"]
    operator.set_faults({"method": "GET", "path": "/v1/apps", "status": 403, "body": {"error": "unauthorized"}})
    found = examine(operator)["closed_apps"]
    assert (found["state"], found["found"].startswith("not checked")) == ("warning", True)


def test_going_live_warns_of_both_and_goes_live(operator):
    _, _, waiting = add_legacy(operator)
    _, _, closed = add_legacy(operator, "deleted")
    make_app(operator, closed)
    _, said = operator.hangar("settings", "set", "live=true")
    assert operator.is_live()
    assert waiting in said
    assert "`hangar adopt --apply`" in said
    assert f"fly apps destroy {closed}" in said
    _, said = operator.hangar("settings", "set", "live=true", "max_apps=900")  # it is live already
    assert "warning" not in said


def test_going_live_at_the_end_of_a_migration_warns_too(operator):
    _, _, waiting = add_legacy(operator, tier="free")
    _, said = operator.hangar("migrate-users", "--apply", "--go-live")
    assert operator.is_live()
    assert waiting in said


def test_going_live_without_a_fly_token_says_what_was_not_checked(operator):
    add_legacy(operator, "deleted")
    for name in ("FLY_API_TOKEN", "FLY_API_URL"):
        del operator.env[name]
    _, said = operator.hangar("settings", "set", "live=true")
    assert operator.is_live()
    assert "not checked whether the apps of 1 closed rows are still on Fly: FLY_API_TOKEN is not set" in said
