"""Faults of `/_sim`, time that passes inside calls, rate limits, and the controls."""

import httpx
import pytest

from local.fly.simulator import FlySim
from local.fly.state.latency_profiles import Unkindness
from local.fly.times import VirtualClock
from local.fly.transport import open_client

CONFIG = {"image": "backend:1"}
MACHINES = "/v1/apps/app-one/machines"


class Fly:
    """A simulator with one app, its client and its clock."""

    def __init__(self, **settings):
        self.clock = VirtualClock()
        self.sim = FlySim(self.clock, **{"seed": 5, **settings})
        self.http = open_client(self.sim, self.clock.advance)
        self.http.post("/v1/apps?wait=true", json={"app_name": "app-one", "org_slug": "personal"})

    def create(self, name="main"):
        return self.http.post(MACHINES, json={"name": name, "config": CONFIG})

    def faults(self, *faults):
        answer = self.http.put("/_sim/faults", json=list(faults))
        assert answer.status_code == 200, answer.text

    def world(self):
        return self.http.get("/_sim/world").json()

    def machine_names(self):
        return [machine["name"] for app in self.world()["apps"] for machine in app["machines"]]


@pytest.fixture
def fly():
    return Fly()


def test_a_fault_before_has_no_effect(fly):
    """The request is answered by the fault and not executed."""
    fly.faults({"method": "POST", "path": "/v1/apps/*/machines", "status": 503, "body": {"error": "no"}, "times": 1})
    answer = fly.create()
    assert (answer.status_code, answer.json()) == (503, {"error": "no"})
    assert answer.headers["fly-request-id"]
    assert fly.machine_names() == []
    assert fly.create().status_code == 200


def test_a_fault_after_changes_only_the_response(fly):
    """The request is executed and its response replaced."""
    fault = {"method": "POST", "path": "/v1/apps/*/machines", "when": "after", "status": 502, "text": "<html>bad"}
    fly.faults({**fault, "headers": {"Retry-After": "7"}, "times": 1})
    answer = fly.create()
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (502, "<html>bad", "7")
    assert fly.machine_names() == ["main"]
    assert fly.create().status_code == 409


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["main"])])
def test_a_cut_connection_is_a_read_error(fly, when, left):
    """`disconnect` before the effect changes nothing, after it everything."""
    fly.faults({"method": "POST", "path": "/v1/apps/*/machines", "when": when, "disconnect": True, "times": 1})
    with pytest.raises(httpx.ReadError):
        fly.create()
    assert fly.machine_names() == left


def test_first_match_wins_and_times_run_out(fly):
    """A used-up fault is removed."""
    fly.faults(
        {"method": "GET", "path": "/v1/apps/*", "status": 500, "times": 2},
        {"method": "*", "path": "/v1/apps/app-one", "status": 504},
    )
    assert [fly.http.get("/v1/apps/app-one").status_code for _ in range(4)] == [500, 500, 504, 504]
    assert fly.http.get(MACHINES).status_code == 200, "a star matches one segment"
    fly.faults()
    assert fly.http.get("/v1/apps/app-one").status_code == 200


def test_faulted_calls_are_counted_by_template(fly):
    """`requests` counts failed calls too."""
    fly.faults({"method": "GET", "path": "/v1/apps/*", "status": 500, "times": 1})
    fly.http.get("/v1/apps/app-one")
    fly.http.get("/v1/apps/other")
    fly.http.get("/v1/nowhere")
    requests = fly.world()["requests"]
    assert requests == {"GET /v1/apps/{app_name}": 2, "GET other": 1, "POST /v1/apps": 1}


def test_a_delay_passes_virtual_time_and_the_real_response_follows(fly):
    """A fault with `delay_s` only makes the call slow."""
    fly.faults({"method": "POST", "path": "/v1/apps/*/machines", "delay_s": 12, "times": 1})
    before = fly.clock()
    assert fly.create().status_code == 200
    assert fly.clock() - before == 12


def test_a_delay_beyond_the_read_timeout_is_a_timeout_with_effect(fly):
    """The client times out and the effect still happens."""
    fly.faults({"method": "POST", "path": "/v1/apps/*/machines", "when": "after", "delay_s": 30, "times": 1})
    before = fly.clock()
    with pytest.raises(httpx.ReadTimeout):
        fly.http.post(MACHINES, json={"name": "main", "config": CONFIG}, timeout=5)
    assert fly.clock() - before == 5
    assert fly.machine_names() == ["main"]


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"path": "/x"}, "method"),
        ({"method": "GET"}, "path"),
        ({"method": "GET", "path": "x"}, "path"),
        ({"method": "GET", "path": "/x", "when": "during"}, "when"),
        ({"method": "GET", "path": "/x", "status": "500"}, "status"),
        ({"method": "GET", "path": "/x", "status": 42}, "status"),
        ({"method": "GET", "path": "/x", "times": 0}, "times"),
        ({"method": "GET", "path": "/x", "delay_s": -1}, "delay_s"),
        ({"method": "GET", "path": "/x", "disconnect": 1}, "disconnect"),
        ({"method": "GET", "path": "/x", "headers": {"a": 1}}, "headers"),
        ({"method": "GET", "path": "/x", "stauts": 500}, "stauts"),
        ("GET", "object"),
    ],
)
def test_wrong_faults_are_400_and_keep_the_old_list(fly, fault, word):
    """The message names the fault and its field."""
    fly.faults({"method": "GET", "path": "/v1/apps/*", "status": 500})
    answer = fly.http.put("/_sim/faults", json=[fault])
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert "fault 0" in answer.json()["error"]
    assert len(fly.http.get("/_sim/faults").json()) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/_sim/latency", {"profile": "warp"}, 400),
        ("PUT", "/_sim/latency", {"profile": ["instant"]}, 400),
        ("PUT", "/_sim/foreign-apps", {"a": 1}, 400),
        ("PUT", "/_sim/foreign-apps", ["app-one"], 400),
        ("PUT", "/_sim/regions/iad", {"error": "yes"}, 400),
        ("PUT", "/_sim/regions/xxx", {"error": True}, 400),
        ("POST", "/_sim/clock", {"advance_s": -1}, 400),
        ("POST", "/_sim/clock", {}, 400),
        ("POST", "/_sim/reset", {"seed": "x"}, 400),
        ("POST", "/_sim/machines/none/crash", None, 404),
        ("GET", "/_sim/reset", None, 405),
        ("GET", "/_sim/nonsense", None, 404),
        ("PUT", "/_sim/faults", {}, 400),
    ],
)
def test_wrong_control_calls_name_the_fault(fly, method, path, body, status):
    """400, 404 or 405 with one sentence."""
    before = fly.world()
    answer = fly.http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert fly.world() == before


def test_the_clock_control_applies_what_falls_due(fly):
    """Leases expire and timers fire."""
    fly.http.put("/_sim/latency", json={"profile": "typical"})
    fly.create()
    assert fly.world()["apps"][0]["machines"][0]["state"] == "created"
    assert fly.http.post("/_sim/clock", json={"advance_s": 200}).json()["offset_s"] == 200
    assert fly.world()["apps"][0]["machines"][0]["state"] == "started"


def test_reset_keeps_only_the_settings(fly):
    """Apps, faults and the clock return to the start."""
    fly.create()
    fly.faults({"method": "*", "path": "/v1/apps", "status": 500})
    fly.http.put("/_sim/latency", json={"profile": "typical"})
    fly.http.post("/_sim/reset")
    world = fly.world()
    assert (world["apps"], world["requests"], world["destroyed"], world["profile"]) == ([], {}, [], "instant")
    assert fly.http.post("/v1/apps", json={"name": "app-one", "org_slug": "o"}).status_code == 201


def test_rate_limits_are_per_action_and_identifier():
    """Another machine or action has its own limit."""
    fly = Fly(rate_limits=True)
    fly.http.post("/v1/apps?wait=true", json={"app_name": "app-two", "org_slug": "personal"})
    assert [fly.http.get("/v1/apps/app-one").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert fly.http.get("/v1/apps/app-one").json() == {"error": "rate limit exceeded"}
    assert fly.http.get("/v1/apps/app-two").status_code == 200
    assert fly.http.get(MACHINES).status_code == 200
    fly.clock.advance(1.01)
    assert fly.http.get("/v1/apps/app-one").status_code == 200
    path = f"{MACHINES}/{fly.create().json()['id']}"
    assert [fly.http.get(path).status_code for _ in range(11)] == [200] * 10 + [429]


def test_app_deletions_are_limited_to_100_a_minute():
    """The 101st is 429."""
    fly = Fly(rate_limits=True)
    for number in range(101):
        fly.http.post("/v1/apps?wait=true", json={"app_name": f"a{number}", "org_slug": "personal"})
    statuses = [fly.http.delete(f"/v1/apps/a{number}").status_code for number in range(101)]
    assert statuses == [202] * 100 + [429]


def test_some_429s_have_a_retry_after_and_some_do_not():
    """Half of them by the seed."""
    fly = Fly(rate_limits=True)
    refused = [fly.http.get("/v1/apps/app-one") for _ in range(40)][3:]
    assert {answer.headers.get("retry-after") for answer in refused} == {"1", None}


def test_a_lost_response_is_a_write_that_happened():
    """Unkind: a reset or a 504 hides a successful write."""
    fly = Fly(rate_limits=False)
    fly.sim.world.unkindness = Unkindness(lost_answers=0.5)
    lost, created = 0, 0
    for number in range(40):
        try:
            status = fly.http.post(MACHINES, json={"name": f"m{number}", "config": CONFIG}).status_code
        except httpx.ReadError:
            status = 0
        lost += status in (0, 504)
        created += 1
    assert lost > 10
    assert len(fly.machine_names()) == created


def test_same_seed_same_world():
    """Two simulators with one seed and the same calls are equal."""

    def play(seed):
        fly = Fly(seed=seed, profile="typical", unkind=Unkindness(lost_answers=0), rate_limits=False)
        for number in range(10):
            fly.create(f"m{number}")
            fly.http.get("/v1/orgs/personal/machines?limit=3")
        fly.clock.advance(20)
        return fly.clock(), fly.http.get("/v1/orgs/personal/machines").json(), fly.world()

    assert play(1) == play(1)
    assert play(1) != play(2)


def test_a_wait_longer_than_the_read_timeout_ends_with_it():
    """The client stops waiting at its read timeout."""
    fly = Fly(profile="typical", rate_limits=False)
    path = f"{MACHINES}/{fly.create().json()['id']}"
    before = fly.clock()
    with pytest.raises(httpx.ReadTimeout):
        fly.http.get(f"{path}/wait?state=stopped&timeout=60", timeout=20)
    assert fly.clock() - before == pytest.approx(20)


CHECKED = {
    "image": "backend:1",
    "checks": {"alive": {"type": "http", "port": 8080}, "ready": {"type": "http", "port": 8080}},
}


@pytest.fixture
def machine(fly):
    """The address of a running machine with two checks that pass."""
    made = fly.http.post(MACHINES, json={"name": "main", "config": CHECKED}).json()
    fly.clock.advance(60)
    return made["id"]


def read(fly, machine):
    return fly.http.get(f"{MACHINES}/{machine}").json()


def test_a_check_can_be_without_a_result_or_say_what_it_found(fly, machine):
    url = f"/_sim/machines/{machine}"
    assert {check["status"] for check in read(fly, machine)["checks"]} == {"passing"}
    fly.http.put(
        url, json={"checks": {"alive": {"status": "critical", "output": "500"}, "ready": "none"}}
    ).raise_for_status()
    [shown] = read(fly, machine)["checks"]
    assert (shown["name"], shown["status"], shown["output"]) == ("alive", "critical", "500")
    fly.http.put(url, json={"checks": {}}).raise_for_status()
    assert len(read(fly, machine)["checks"]) == 2


def test_a_state_that_fly_newly_introduces_is_only_shown(fly, machine):
    """Reads and lists show the word; the machine runs on, and other controls leave the word as it is."""
    url = f"/_sim/machines/{machine}"
    fly.http.put(url, json={"reported_state": "hibernating"}).raise_for_status()
    fly.http.put(url, json={"checks": {}}).raise_for_status()
    listed = fly.http.get("/v1/orgs/personal/machines").json()["machines"]
    assert read(fly, machine)["state"] == "hibernating"
    assert [each["state"] for each in listed] == ["hibernating"]
    assert [each["state"] for each in fly.world()["apps"][0]["machines"]] == ["started"]
    fly.http.put(url, json={"reported_state": None}).raise_for_status()
    assert read(fly, machine)["state"] == "started"


@pytest.mark.parametrize(
    "body",
    [
        {"checks": {"alive": "odd"}},
        {"checks": {"alive": {"output": "x"}}},
        {"checks": {"alive": {"status": "none", "more": 1}}},
        {"checks": {"alive": {"status": "critical", "output": 5}}},
        {"checks": ["alive"]},
        {"reported_state": 7},
    ],
)
def test_a_wrong_way_to_hurt_a_machine_is_refused_and_changes_nothing(fly, machine, body):
    answer = fly.http.put(f"/_sim/machines/{machine}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert {check["status"] for check in read(fly, machine)["checks"]} == {"passing"}
    assert read(fly, machine)["state"] == "started"
