"""The Fly client against the simulator over real HTTP: lifecycle, lost responses, foreign apps, paging."""

import logging
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from local.fly.server import FlyServer
from local.fly.simulator import FlySim
from local.fly.state.latency_profiles import Unkindness
from shared.domain import errors
from shared.fly.client import FlyClient, RetryPolicy
from tests.support.loopback import LOOPBACK

TOKEN = "fm2_canaryToken"
ORG = "acme"
MACHINES = "/v1/apps/*/machines"
CONFIG = {
    "image": "registry.fly.io/backend@sha256:" + "0" * 64,
    "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
    "metadata": {"hangar_row": "row-1"},
    "env": {"USER_ID": "user-1"},
}
QUICK = RetryPolicy(waits_s=(0.01, 0.02, 0.04), settle_step_s=0.02)


@pytest.fixture
def server():
    with FlyServer(FlySim(time.time, seed=7, token=TOKEN, org=ORG)) as running:
        yield running


@pytest.fixture
def fly(server):
    with FlyClient(server.url, TOKEN, org_slug=ORG, policy=QUICK) as client:
        yield client


@pytest.fixture
def order(server):
    """Sets faults in the simulator."""

    def put(*faults):
        LOOPBACK.put(f"{server.url}/_sim/faults", json=list(faults)).raise_for_status()

    return put


def make_name():
    return f"vyx-user-{uuid.uuid4().hex[:8]}"


def world_of(server):
    return LOOPBACK.get(f"{server.url}/_sim/world").raise_for_status().json()


def until(reached, seconds=20):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def test_the_whole_lifecycle(server, fly):
    """Create, secrets, machine, wait, read, update, stop, start, destroy, delete: each has its effect."""
    app = make_name()
    fly.create_app(app, "net-1", f"{app}-key")
    found = fly.get_app(app)
    assert (found.name, found.org_slug, found.network, found.machine_count) == (app, ORG, "net-1", 0)
    version = fly.set_secrets(app, {"SUPABASE_USER_TOKEN": "secret-value", "OTHER": "x"})
    assert fly.set_secrets(app, {"OTHER": None}) > version
    made = fly.create_machine(app, f"{app}-main", "fra", CONFIG, version)
    assert (made.name, made.region, made.cpus, made.memory_mb) == (f"{app}-main", "fra", 2, 512)
    assert fly.wait_machine(app, made.id, "started", made.version, 10)
    machine = fly.get_machine(app, made.id)
    assert (machine.state, machine.host_status, machine.incomplete) == ("started", "ok", False)
    assert machine.metadata == {"hangar_row": "row-1"}
    assert machine.created_at is not None
    assert machine.last_event is not None
    assert [each.id for each in fly.list_machines(app)] == [made.id]
    changed = fly.update_machine(app, made.id, CONFIG | {"env": {"A": "1"}}, machine.version)
    assert changed.version != machine.version
    with pytest.raises(errors.TransientError) as busy:
        fly.update_machine(app, made.id, CONFIG, machine.version)
    assert busy.value.code == "leased"
    assert fly.wait_machine(app, made.id, "started", changed.version, 10)
    fly.stop_machine(app, made.id, signal="SIGTERM", timeout_s=5)
    assert fly.wait_machine(app, made.id, "stopped", changed.version, 10)
    fly.start_machine(app, made.id)
    fly.start_machine(app, made.id)
    assert fly.wait_machine(app, made.id, "started", None, 10)
    (shown,) = world_of(server)["apps"]
    assert (shown["secrets"], [each["state"] for each in shown["machines"]]) == (["SUPABASE_USER_TOKEN"], ["started"])
    fly.destroy_machine(app, made.id)
    assert fly.wait_machine(app, made.id, "destroyed", None, 10)
    fly.destroy_machine(app, made.id)
    fly.delete_app(app)
    until(lambda: not world_of(server)["apps"])
    fly.delete_app(app)
    with pytest.raises(errors.NotFound):
        fly.get_app(app)


@pytest.mark.parametrize(
    "loss", [{"disconnect": True}, {"status": 504}, {"status": 502, "text": "<html>bad gateway</html>"}]
)
def test_a_lost_response_to_create_machine_names_the_machine_to_adopt(server, fly, order, loss):
    """The machine exists although the response was lost. The second request names it, and there is only one."""
    app, seen = make_name(), []
    fly.create_app(app, "net-1", "k")
    order({"method": "POST", "path": MACHINES, "when": "after", "times": 1, **loss})
    with pytest.raises(errors.Conflict) as caught:
        fly.create_machine(
            app, f"{app}-main", "fra", CONFIG, attempts=lambda n, error, _: seen.append((n, type(error)))
        )
    assert seen == [(1, errors.OutcomeUnknown)]
    adopted = fly.get_machine(app, caught.value.machine_id)
    assert (adopted.name, adopted.metadata["hangar_row"]) == (f"{app}-main", "row-1")
    (shown,) = world_of(server)["apps"]
    assert [each["id"] for each in shown["machines"]] == [adopted.id]


def test_a_lost_response_to_create_app_is_repeated_with_its_key(server, fly, order):
    """The idempotency key makes the second request return what the first one made."""
    app = make_name()
    order({"method": "POST", "path": "/v1/apps", "when": "after", "disconnect": True, "times": 1})
    fly.create_app(app, "net-1", "key-1")
    assert [each["name"] for each in world_of(server)["apps"]] == [app]
    with pytest.raises(errors.NameTaken):
        fly.create_app(app, "net-1", "another-key")


def test_a_delete_succeeds_the_second_time_after_a_lost_response(server, fly, order):
    """404 for the second request means that the first one deleted it."""
    app = make_name()
    fly.create_app(app, "net-1", "k")
    order({"method": "DELETE", "path": "/v1/apps/*", "when": "after", "disconnect": True, "times": 1})
    fly.delete_app(app)
    until(lambda: not world_of(server)["apps"])


def test_a_strangers_app_is_taken_and_foreign(server, fly):
    """Creating it is `taken`, reading it is `not_owned`, and it is not deleted."""
    LOOPBACK.put(f"{server.url}/_sim/foreign-apps", json=["strangers-app"]).raise_for_status()
    with pytest.raises(errors.NameTaken):
        fly.create_app("strangers-app", "net-1", "k")
    for act in (fly.get_app, fly.delete_app):
        with pytest.raises(errors.NotOwned):
            act("strangers-app")
    assert world_of(server)["foreign_apps"] == ["strangers-app"]


def test_refusals_of_fly_are_classified(server, fly):
    """Size, name, credential, full region, quota: permanent and temporary refusals differ."""
    app = make_name()
    fly.create_app(app, "net-1", "k")
    too_small = CONFIG | {"guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 256}}
    with pytest.raises(errors.Refused) as size:
        fly.create_machine(app, "m", "fra", too_small)
    with pytest.raises(errors.Refused) as name:
        fly.create_app("Upper-Case", "net-1", "k2")
    with (
        FlyClient(server.url, "fm2_another", org_slug=ORG, policy=QUICK) as stranger,
        pytest.raises(errors.Refused) as auth,
    ):
        stranger.get_app(app)
    LOOPBACK.put(f"{server.url}/_sim/regions/fra", json={"full": True}).raise_for_status()
    with pytest.raises(errors.Capacity) as full:
        fly.create_machine(app, "m", "fra", CONFIG)
    LOOPBACK.put(f"{server.url}/_sim/regions/fra", json={"quota_mb": 256}).raise_for_status()
    with pytest.raises(errors.Capacity) as quota:
        fly.create_machine(app, "m", "fra", CONFIG)
    refusals = [each.value for each in (size, name, auth, full, quota)]
    assert [each.code for each in refusals] == ["size", "name", "token", "region_full", "quota"]
    assert all(each.advice and each.fly_request_id for each in refusals)
    assert fly.create_machine(app, "m", ("fra", "any"), CONFIG).region != "fra"


def test_a_slow_boot_is_not_yet_and_start_waits_until_it_settles():
    """`wait` returns "not yet" after one second. A start is retried until the machine has settled."""
    with (
        FlyServer(FlySim(time.time, seed=3, profile="typical", rate_limits=False)) as server,
        FlyClient(server.url, TOKEN, org_slug=ORG, policy=QUICK) as fly,
    ):
        server.sim.world.timing = replace(server.sim.world.timing, boot_s=(300.0, 300.0), cold_share=0.0)
        app = make_name()
        fly.create_app(app, "net-1", "k")
        machine = fly.create_machine(app, f"{app}-main", "fra", CONFIG)
        assert fly.wait_machine(app, machine.id, "started", machine.version, 1) is False
        with pytest.raises(errors.TransientError) as caught:
            fly.start_machine(app, machine.id, budget_s=0.1)
        assert caught.value.code == "settling"
        server.sim.advance(600)
        assert fly.wait_machine(app, machine.id, "started", machine.version, 1) is True
        fly.stop_machine(app, machine.id)
        server.sim.advance(600)
        assert fly.wait_machine(app, machine.id, "stopped", machine.version, 1) is True


def test_rate_limits_are_waited_for():
    """Fly allows bursts of three per action. A client that exceeds them waits and succeeds."""
    policy = RetryPolicy(waits_s=(0.6, 0.6, 0.6))
    with (
        FlyServer(FlySim(time.time, seed=5, rate_limits=True)) as server,
        FlyClient(server.url, TOKEN, org_slug=ORG, policy=policy) as fly,
        FlyClient(server.url, TOKEN, org_slug=ORG, policy=policy) as other_process,
    ):
        app, seen = make_name(), []
        fly.create_app(app, "net-1", "k")
        machine = fly.create_machine(app, f"{app}-main", "fra", CONFIG)
        assert fly.wait_machine(app, machine.id, "started", None, 5)

        def start():
            fly.start_machine(app, machine.id)
            other_process.start_machine(app, machine.id, attempts=lambda _n, error, _w: seen.append(error.code))
            return seen

        until(start)
        assert set(seen) == {"rate_limited"}


def test_both_listings_reach_everything_through_short_and_empty_pages():
    """Pages may be short or empty, unreadable regions are named, and all pages together are complete."""
    unkind = Unkindness((0.0, 0.0), 0.5, 0.3, 0.0, 0.0, unordered=True)
    with (
        FlyServer(FlySim(time.time, seed=11, unkind=unkind, rate_limits=False)) as server,
        FlyClient(server.url, TOKEN, org_slug=ORG, policy=QUICK) as fly,
    ):
        names = {f"vyx-user-{number:08x}" for number in range(40)}

        def make(name):
            fly.create_app(name, f"net-{name}", name)
            return fly.create_machine(name, f"{name}-main", "fra", CONFIG).id

        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(make, sorted(names)))
        pages = list(fly.list_org_machines())
        assert {each.id for page in pages for each in page.machines} == ids
        assert {each.app_name for page in pages for each in page.machines} == names
        assert {each.metadata["hangar_row"] for page in pages for each in page.machines} == {"row-1"}
        apps = [each for page in fly.list_apps() for each in page.apps]
        assert {each.name: each.network for each in apps} == {name: f"net-{name}" for name in names}
        LOOPBACK.put(f"{server.url}/_sim/regions/fra", json={"error": True}).raise_for_status()
        pages = list(fly.list_org_machines())
        assert not any(page.machines for page in pages)
        assert {region for page in pages for region in page.error_regions} == {"fra"}


def test_two_at_once_make_one_machine(server, fly):
    """Of ten simultaneous creates one makes the machine; the nine others get its id."""
    app = make_name()
    fly.create_app(app, "net-1", "k")

    def make(_):
        try:
            return fly.create_machine(app, f"{app}-main", "fra", CONFIG).id
        except errors.Conflict as conflict:
            return conflict.machine_id

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(make, range(10)))) == 1
    assert len(world_of(server)["apps"][0]["machines"]) == 1


def test_a_cut_connection_shows_no_token_even_with_variables(fly, order, caplog):
    """The stack frames of the HTTP library hold the raw header. An error report with variables must not show it."""
    caplog.set_level(logging.DEBUG)
    order({"method": "*", "path": "/v1/apps/*", "disconnect": True})
    with pytest.raises(errors.TransientError) as caught:
        fly.get_app("some-app")
    assert isinstance(caught.value.__cause__, httpx.HTTPError)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "canary" not in shown + caplog.text


def test_a_proxy_of_the_environment_is_not_used(server, monkeypatch):
    """Requests to 127.0.0.1 do not go through a developer's proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with FlyClient(server.url, TOKEN, org_slug=ORG, policy=QUICK) as fly:
        assert list(fly.list_apps())[-1].next_cursor is None
