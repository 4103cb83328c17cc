"""The simulator on a real port: concurrent calls, cut connections, waits that wake up."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from local.fly.server import FlyServer
from local.fly.simulator import FlySim

AUTH = {"Authorization": "Bearer any"}
MACHINES = "/v1/apps/app-one/machines"


@pytest.fixture
def fly():
    with FlyServer(FlySim(time.time, seed=1)) as server, httpx.Client(base_url=server.url, headers=AUTH) as http:
        http.post("/v1/apps?wait=true", json={"app_name": "app-one", "org_slug": "personal"})
        yield http


def test_a_machine_lifecycle_over_http(fly):
    created = fly.post(MACHINES, json={"name": "main", "config": {"image": "x"}}).json()
    path = f"{MACHINES}/{created['id']}"
    assert fly.get(f"{path}/wait?state=started").json()["ok"] is True
    assert fly.post(f"{path}/stop").json() == {"ok": True}
    assert fly.get(f"{path}/wait?state=stopped").status_code == 200
    assert fly.delete(path).status_code == 200
    assert fly.delete("/v1/apps/app-one").status_code == 202
    assert fly.get("/v1/apps/app-one").status_code == 404


def test_a_bad_image_fails_in_real_time_too(fly):
    config = {"image": "x:crash-at-start", "restart": {"policy": "on-failure", "max_retries": 1}}
    path = f"{MACHINES}/{fly.post(MACHINES, json={'name': 'main', 'config': config}).json()['id']}"
    assert fly.get(f"{path}/wait?state=started").status_code == 200
    assert fly.get(f"{path}/wait?state=stopped&timeout=30").status_code == 200
    assert [event["type"] for event in fly.get(f"{path}/events").json()].count("exit") == 2


def test_ten_creates_of_one_name_at_once_make_one_machine(fly):
    def create(_):
        return fly.post(MACHINES, json={"name": "main", "config": {"image": "x"}})

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(create, range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    created = next(answer.json()["id"] for answer in answers if answer.status_code == 200)
    assert all(created in answer.json()["error"] for answer in answers if answer.status_code == 409)


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_cut_connection_is_cut_on_the_wire(fly, when, left):
    fault = {"method": "POST", "path": MACHINES, "when": when, "disconnect": True, "times": 1}
    assert fly.put("/_sim/faults", json=[fault]).status_code == 200
    with pytest.raises(httpx.TransportError):
        fly.post(MACHINES, json={"name": "main", "config": {"image": "x"}})
    assert len(fly.get("/_sim/world").json()["apps"][0]["machines"]) == left


def test_a_delayed_call_does_not_delay_others(fly):
    """The delayed call is cut after the others have ended, so it cannot have ended before them."""
    fault = {"method": "GET", "path": "/v1/apps/app-one", "delay_s": 600}
    fly.put("/_sim/faults", json=[fault])
    entered, ended = threading.Event(), threading.Event()

    def ask():
        entered.set()
        with pytest.raises(httpx.TransportError):
            fly.get("/v1/apps/app-one", timeout=1)
        ended.set()

    asking = threading.Thread(target=ask)
    asking.start()
    entered.wait(5)
    while "GET /v1/apps/{app_name}" not in fly.get("/_sim/world").json()["requests"]:
        pass
    assert fly.get(MACHINES).status_code == 200
    assert not ended.is_set()
    asking.join()


def test_a_wait_wakes_when_control_moves_the_clock(fly):
    fly.put("/_sim/latency", json={"profile": "typical"})
    path = f"{MACHINES}/{fly.post(MACHINES, json={'name': 'main', 'config': {'image': 'x'}}).json()['id']}"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fly.get, f"{path}/wait?state=started&timeout=60", timeout=70)
        fly.post("/_sim/clock", json={"advance_s": 150})
        # 150 s is later than every boot and than the wait's own limit, so the wait ends at once in either case.
        assert waiting.result(timeout=10).status_code in (200, 408)
    assert fly.get(path).json()["state"] == "started"


def test_bodies_without_content_have_no_content(fly):
    answer = fly.delete("/v1/apps/app-one?force=true")
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["fly-request-id"]


def test_the_world_is_readable_without_a_token(fly):
    world = httpx.get(f"{fly.base_url}/_sim/world").json()
    assert [app["name"] for app in world["apps"]] == ["app-one"]
    assert json.dumps(world)
