"""`hangar release create --move-to` against a whole local cloud: real processes, and what runs where afterwards."""

import pytest

from tests.http.running_operator import open_operator
from tests.http.test_ops_releases import FAST, count_releases, create, finish, fleet_of


@pytest.fixture
def operator(cloud, tmp_path):
    """Three users with healthy apps in sin."""
    with open_operator(cloud, tmp_path) as operator:
        operator.sql("update hangar.settings set default_region = 'sin'")
        operator.sql("update public.fly_plans set region = null")
        yield fleet_of(operator, 3)


def places(operator):
    """Region and state of every machine, by Fly's own state."""
    return sorted((each["region"], each["state"]) for app in operator.fly_apps() for each in app["machines"])


def settle(operator, expected):
    for _ in range(20):
        operator.hangar("sweep", "--drain")
        if places(operator) == expected:
            return
    assert places(operator) == expected


def test_a_dry_run_shows_from_where_to_where_and_both_prices(operator):
    out, _ = operator.hangar("release", "create", "--move-to", "GRU, nrt", "--dry-run")
    plan = operator.json("release", "create", "--move-to", "gru,nrt", "--dry-run")
    assert "Regions, at Fly's list prices" in out
    assert "gru,nrt" in out
    (move,) = plan["moves"]
    assert (move["region"], move["to_region"], move["apps"]) == ("sin", "gru,nrt", 3)
    # Three machines of 2 shared vCPU and 512 MB: 5.57 in sin, 7.09 in gru a month.
    assert (move["before_usd"], move["after_usd"]) == ("16.71", "21.27")
    assert count_releases(operator) == 0
    assert places(operator) == [("sin", "started")] * 3


@pytest.mark.slow
def test_apps_move_and_status_names_the_regions(operator):
    before = {app["name"] for app in operator.fly_apps()}
    release = create(operator, "--move-to", "nrt", *FAST, "--start")
    found = finish(operator, release)
    assert (found["state"], found["changes"]["region"]) == ("completed", "nrt")
    assert {(each["previous_region"], each["region"], each["state"]) for each in found["targets"]} == {
        ("sin", "nrt", "done")
    }
    settle(operator, [("nrt", "started")] * 3)
    assert {app["name"] for app in operator.fly_apps()} == before
    out, _ = operator.hangar("release", "status", str(release))
    assert "Changes: moves to nrt" in out
    assert operator.sql("select default_region from hangar.settings") == [("nrt",)]
    operator.hangar("release", "rollback", str(release), "--reason", "test")
    assert finish(operator, release, until=("rolled_back",))["state"] == "rolled_back"
    settle(operator, [("sin", "started")] * 3)


@pytest.mark.parametrize("given", ["mars", "", " , ", "sin,bom"])
def test_a_region_that_does_not_exist_is_refused(operator, given):
    _, err = operator.hangar("release", "create", "--move-to", given, exits=2)
    assert "--move-to" in err
    assert count_releases(operator) == 0


def test_a_region_where_everybody_runs_needs_no_release(operator):
    _, err = operator.hangar("release", "create", "--move-to", "sin", exits=2)
    assert "no app needs this release" in err
