"""Gaps of listings: lag, short and empty pages, disorder, regions that cannot be read."""

from dataclasses import replace

import pytest

from local.fly.simulator import FlySim
from local.fly.state.latency_profiles import UNKIND, Unkindness
from local.fly.times import VirtualClock
from local.fly.transport import open_client

LAG = Unkindness(list_lag_s=(2.0, 2.0), short_pages=0, empty_pages=0, error_regions=0, lost_answers=0, unordered=False)
PAGES = Unkindness(list_lag_s=(0.0, 0.0), short_pages=0.5, empty_pages=0.2, error_regions=0, lost_answers=0)


class Fly:
    """A simulator with machines in two regions, one app each."""

    def __init__(self, count=0, **settings):
        self.clock = VirtualClock()
        self.sim = FlySim(self.clock, **{"seed": 1, "rate_limits": False, **settings})
        self.http = open_client(self.sim, self.clock.advance)
        for number in range(count):
            self.add(number)
            self.clock.advance(0.1)

    def add(self, number):
        self.http.post("/v1/apps?wait=true", json={"app_name": f"app-{number}", "org_slug": "acme"})
        body = {"name": "main", "region": ("iad", "fra")[number % 2], "config": {"image": "x"}}
        return self.http.post(f"/v1/apps/app-{number}/machines", json=body).json()["id"]

    def page(self, **query):
        answer = self.http.get("/v1/orgs/acme/machines", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pages(self, **query):
        found, cursor = [], None
        while True:
            page = self.page(**query, **({"cursor": cursor} if cursor else {}))
            found.append(page)
            cursor = page.get("next_cursor")
            if not cursor:
                return found

    def everything(self, **query):
        return [machine for page in self.pages(**query) for machine in page["machines"]]


def test_an_org_machine_shows_no_env_checks_or_events():
    fly = Fly(1)
    (machine,) = fly.page()["machines"]
    assert machine["app_name"] == "app-0"
    assert set(machine["config"]) == {"image", "guest", "metadata"}
    assert not {"checks", "events", "host_status"} & set(machine)
    (machine,) = fly.page(summary="true")["machines"]
    assert "config" not in machine


def test_machines_appear_and_change_in_lists_only_after_the_lag():
    fly = Fly(unkind=LAG)
    machine_id = fly.add(0)
    path = f"/v1/apps/app-0/machines/{machine_id}"
    assert fly.http.get(path).status_code == 200, "a direct read shows it at once"
    assert fly.page()["machines"] == []
    assert fly.http.get("/v1/apps/app-0/machines").json() == []
    fly.clock.advance(5)
    assert [each["state"] for each in fly.page()["machines"]] == ["started"]
    fly.http.delete(f"{path}?force=true")
    fly.http.get(f"{path}/wait?state=destroyed")
    assert [each["id"] for each in fly.page()["machines"]] == [machine_id]
    fly.clock.advance(3)
    assert fly.page()["machines"] == []
    assert [each["state"] for each in fly.page(include_deleted="true")["machines"]] == ["destroyed"]


def test_an_app_is_invisible_for_the_lag_unless_created_with_wait():
    fly = Fly(unkind=LAG)
    fly.http.post("/v1/apps", json={"app_name": "soon", "org_slug": "acme"})
    assert fly.http.get("/v1/apps/soon").status_code == 404
    fly.clock.advance(2.1)
    assert fly.http.get("/v1/apps/soon").status_code == 200
    fly.http.post("/v1/apps?wait=true", json={"app_name": "now", "org_slug": "acme"})
    assert fly.http.get("/v1/apps/now").status_code == 200
    assert [app["name"] for app in fly.http.get("/v1/apps?org_slug=acme").json()["apps"]] == ["soon"]


def test_short_and_empty_pages_still_reach_everything_once():
    fly = Fly(60, unkind=PAGES)
    pages = fly.pages(limit=4)
    sizes = [len(page["machines"]) for page in pages]
    assert 0 in sizes[:-1]
    assert any(0 < size < 4 for size in sizes[:-1])
    ids = [machine["id"] for page in pages for machine in page["machines"]]
    assert len(ids) == len(set(ids)) == 60


def test_order_is_by_change_with_exceptions():
    kind = [machine["updated_at"] for machine in Fly(40).everything()]
    unkind = [machine["updated_at"] for machine in Fly(40, unkind=PAGES).everything()]
    assert kind == sorted(kind)
    assert unkind != sorted(unkind)


def test_a_region_that_cannot_be_read_is_named_and_its_machines_are_missing():
    fly = Fly(10)
    fly.http.put("/_sim/regions/fra", json={"error": True})
    page = fly.page()
    assert page["error_regions"] == ["fra"]
    assert {machine["region"] for machine in page["machines"]} == {"iad"}
    fly.http.put("/_sim/regions/fra", json={"error": False})
    page = fly.page()
    assert (page["error_regions"], len(page["machines"])) == ([], 10)


def test_unkind_listings_name_every_region_they_leave_out():
    fly = Fly(20, unkind=Unkindness(error_regions=0.5, lost_answers=0, list_lag_s=(0.0, 0.0)))
    seen_errors = 0
    for _ in range(30):
        pages = fly.pages(limit=5)
        silent = {region for page in pages for region in page["error_regions"]}
        regions = {machine["region"] for page in pages for machine in page["machines"]}
        assert regions | silent == {"iad", "fra"}
        seen_errors += bool(silent)
    assert seen_errors > 0


def test_filters_by_state_region_and_time():
    fly = Fly(4)
    path = f"/v1/apps/app-0/machines/{fly.everything()[0]['id']}"
    moment = fly.everything()[-1]["updated_at"]
    fly.clock.advance(1)
    fly.http.post(f"{path}/stop")
    assert [each["app_name"] for each in fly.everything(state="stopped,suspended")] == ["app-0"]
    assert len(fly.everything(region="fra")) == 2
    assert [each["app_name"] for each in fly.everything(updated_after=moment)] == ["app-0"]


def test_another_organisation_sees_nothing():
    fly = Fly(2)
    assert fly.http.get("/v1/orgs/other/machines").json()["machines"] == []
    strict = Fly(org="acme")
    assert strict.http.get("/v1/orgs/other/machines").status_code == 404
    assert strict.http.get("/v1/orgs/personal/machines").status_code == 200


def test_app_pages_hold_what_existed_at_the_first_page():
    fly = Fly(7)
    first = fly.http.get("/v1/apps?org_slug=acme&limit=3").json()
    fly.add(99)
    names, page = [app["name"] for app in first["apps"]], first
    while "next_cursor" in page:
        page = fly.http.get("/v1/apps", params={"org_slug": "acme", "limit": 3, "cursor": page["next_cursor"]}).json()
        names += [app["name"] for app in page["apps"]]
        assert page["total_apps"] == 7
    assert sorted(names) == [f"app-{number}" for number in range(7)]
    assert len(fly.http.get("/v1/apps?org_slug=acme").json()["apps"]) == 8


def test_cursors_expire_after_30_minutes():
    fly = Fly(5)
    cursor = fly.page(limit=2)["next_cursor"]
    assert fly.page(limit=2, cursor=cursor)["machines"] == fly.page(limit=2, cursor=cursor)["machines"]
    fly.clock.advance(1801)
    assert fly.http.get("/v1/orgs/acme/machines", params={"cursor": cursor}).status_code == 400


def test_machine_pages_continue_by_a_header():
    fly = Fly(1)
    for number in range(5):
        fly.http.post("/v1/apps/app-0/machines", json={"name": f"m{number}", "config": {"image": "x"}})
    names, cursor = [], None
    while True:
        answer = fly.http.get("/v1/apps/app-0/machines", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        names += [machine["name"] for machine in answer.json()]
        cursor = answer.headers.get("fly-next-cursor")
        if cursor is None:
            break
    assert sorted(names) == ["m0", "m1", "m2", "m3", "m4", "main"]


@pytest.mark.parametrize("seed", range(5))
def test_unkind_listings_are_complete_once_nothing_changes(seed):
    """Gaps are delays only: once nothing changes, reading all pages finds exactly what exists."""
    fly = Fly(15, seed=seed, profile="typical", unkind=replace(UNKIND, lost_answers=0))
    fly.clock.advance(300)
    truth = {machine.id for machine in fly.sim.machines()}
    for _ in range(20):
        pages = fly.pages(limit=4)
        if not any(page["error_regions"] for page in pages):
            assert {machine["id"] for page in pages for machine in page["machines"]} == truth
            return
    pytest.fail("no listing without an unread region in 20 tries")
