"""The logs of an app, in the simulator and as `LogReader` reads them."""

import httpx
import pytest

from local.fly.runtime.runner import MachineRunner
from local.fly.simulator import FlySim
from local.fly.times import VirtualClock
from local.fly.transport import SimTransport
from shared.domain.errors import HangarError
from shared.fly.app_logs import LogReader

AUTH = {"Authorization": "Bearer x"}
CONFIG = {"image": "app:1", "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}}


class Printing(MachineRunner):
    """The output of every machine's process."""

    def __init__(self):
        self.output = b""

    def read_output(self, machine_id, start):
        return self.output[start:]


@pytest.fixture
def runner():
    return Printing()


@pytest.fixture
def fly(runner):
    sim = FlySim(VirtualClock(), machines=runner)
    with httpx.Client(transport=SimTransport(sim), base_url="http://fly.test", headers=AUTH) as client:
        client.post("/v1/apps", json={"app_name": "one", "org_slug": "personal"}).raise_for_status()
        made = client.post("/v1/apps/one/machines", json={"name": "m", "config": CONFIG, "region": "sin"}).json()
        client.machine_id = made["id"]
        client.sim = sim
        yield client


def read(fly, **params):
    response = fly.get("/api/v1/apps/one/logs", params=params)
    assert response.status_code == 200, response.text
    body = response.json()
    return [each["attributes"]["message"] for each in body["data"]], body["meta"]["next_token"]


def say(fly, *lines):
    fly.post(f"/_sim/machines/{fly.machine_id}/logs", json={"lines": lines}).raise_for_status()


def test_without_a_token_the_newest_hundred_lines_of_a_day_are_shown(fly):
    say(fly, *(str(number) for number in range(150)))
    lines, token = read(fly)
    assert lines == [str(number) for number in range(50, 150)]
    assert read(fly, next_token=token) == ([], token)
    fly.sim.advance(86_400 + 1)
    assert read(fly)[0] == []
    assert len(read(fly, next_token="0")[0]) == 100  # kept for a week
    fly.sim.advance(7 * 86_400)
    assert read(fly, next_token="0")[0] == []


def test_a_token_leads_from_page_to_page_without_a_gap(fly):
    say(fly, *(str(number) for number in range(250)))
    seen, token = [], "0"
    while page := read(fly, next_token=token):
        lines, token = page
        if not lines:
            break
        seen += lines
    assert [line for line in seen if line.isdecimal()] == [str(number) for number in range(250)]
    assert "Machine started" in seen


def test_the_output_of_a_process_is_read_in_whole_lines_and_once(fly, runner):
    runner.output = b"first\nhal"
    assert read(fly)[0][-1] == "first"
    runner.output += b"f\n\xff\n"
    assert read(fly)[0][-3:] == ["first", "half", "\ufffd"]


def test_an_exit_is_logged_as_an_error_with_its_code(fly):
    fly.post(f"/_sim/machines/{fly.machine_id}/crash").raise_for_status()
    [line] = [each["attributes"] for each in fly.get("/api/v1/apps/one/logs").json()["data"] if "exited" in str(each)]
    assert (line["level"], line["message"], line["instance"]) == (
        "error",
        "Main child exited with code: 1",
        fly.machine_id,
    )
    assert read(fly, instance="nobody")[0] == []
    assert read(fly, region="ams")[0] == []


def test_wrong_calls_are_answered_as_fly_answers_them(fly):
    assert fly.get("/api/v1/apps/two/logs").status_code == 404
    fly.put("/_sim/foreign-apps", json=["theirs"])
    assert fly.get("/api/v1/apps/theirs/logs").status_code == 403
    assert fly.get("/api/v1/apps/one/logs", params={"next_token": "x"}).status_code == 400
    assert fly.post("/api/v1/apps/one/logs").status_code == 405
    assert httpx.Client(transport=SimTransport(fly.sim)).get("http://fly.test/api/v1/apps/one/logs").status_code == 401
    for body in ({}, {"lines": "x"}, {"lines": [1]}, {"lines": [], "more": 1}):
        assert fly.post(f"/_sim/machines/{fly.machine_id}/logs", json=body).status_code == 400


def test_the_reader_asks_the_host_of_the_logs_and_a_simulator_where_it_is():
    """Fly's logs are not at the Machines API."""
    asked = []

    def respond(request):
        asked.append(str(request.url))
        return httpx.Response(
            200, json={"data": [{"id": "a", "attributes": {"message": "hi", "level": 7}}, None], "meta": {}}
        )

    for url in ("https://api.machines.dev", "https://api.machines.dev/v1/", "http://127.0.0.1:4280"):
        page = LogReader(url, "token", transport=httpx.MockTransport(respond)).read("one", machine_id="m1")
        assert [line.message for line in page.lines] == ["hi", ""]
        assert page.cursor is None
    assert asked == [
        "https://api.fly.io/api/v1/apps/one/logs?instance=m1",
        "https://api.fly.io/api/v1/apps/one/logs?instance=m1",
        "http://127.0.0.1:4280/api/v1/apps/one/logs?instance=m1",
    ]


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json={"data": {}}), httpx.Response(401, json={})]
)
def test_an_answer_that_is_not_a_page_of_logs_is_an_error(answer):
    reader = LogReader("http://127.0.0.1:4280", "token", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(HangarError):
        reader.read("one")
    with pytest.raises(HangarError):
        reader.read("one/../two")
