"""Images with behaviours: what a machine does, shows and says about itself when its image is not what it should be."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from local.fly.state.images import BEHAVIOURS
from tests.unit.fly_sim import Fly, error_of

USER = "6d0f2f3e-63c2-4c2f-9a0d-0f3a0f1c7a11"
OLD = "registry.fly.io/backend:v1"
CHECKS = {
    "alive": {"type": "http", "port": 8080, "path": "/health", "grace_period": "10s"},
    "ready": {"type": "http", "port": 8080, "path": "/ready", "grace_period": "30s"},
    "port": {"type": "tcp", "port": 8080},
}


def config_of(image, **more):
    env = {"USER_ID": USER, "RUN_MODE": "user_dedicated"}
    return {"image": image, "env": env, "checks": CHECKS, "restart": {"policy": "always", "max_retries": 3}, **more}


class Images(Fly):
    """One app, whose machine takes one image after the other."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.app()

    def create(self, image, **more):
        return f"/v1/apps/app-one/machines/{self.machine(config=config_of(image, **more)).json()['id']}"

    def update(self, path, image, **more):
        response = self.http.post(path, json={"config": config_of(image, **more)})
        assert response.status_code == 200, response.text
        return response.json()

    def read(self, path):
        return self.http.get(path).json()

    def checks(self, path):
        return {check["name"]: check["status"] for check in self.read(path)["checks"]}

    def ready(self, path):
        outputs = {check["name"]: check["output"] for check in self.read(path)["checks"]}
        assert len(outputs["ready"]) <= 400
        return json.loads(outputs["ready"])

    def exits(self, path):
        events = self.http.get(f"{path}/events?limit=50").json()
        return [event["request"]["exit_event"] for event in events if event["type"] == "exit"]


@pytest.fixture
def fly():
    return Images()


def tag(word):
    return f"registry.fly.io/backend:v2-{word}"


ALL_PASS = {"alive": "passing", "ready": "passing", "port": "passing"}


def test_a_good_image_is_ready_and_says_what_it_is(fly):
    path = fly.create(OLD)
    assert fly.checks(path) == ALL_PASS
    ready = {"status": "ready", "reason": None, "run_mode": "user_dedicated", "user_id": USER}
    assert fly.ready(path) == ready | {"loaded": 0, "expected": 0, "image": OLD, "version": "v1"}
    fly.update(path, OLD, env={"USER_ID": USER, "VERSION": "2026-11"})
    assert fly.ready(path)["version"] == "2026-11"


@pytest.mark.parametrize(
    ("image", "behaviour"),
    [
        ("registry.fly.io/backend:crash-at-start", "crash-at-start"),
        ("registry.fly.io/backend:v7-crash-at-start", "crash-at-start"),
        ("registry.fly.io/backend:v7-entrypoint-missing", "entrypoint-missing"),
        ("registry.fly.io/acme/never-ready:v7", "never-ready"),
        ("never-ready", "never-ready"),
        ("localhost:5000/backend:flaps", "flaps"),
        ("registry.fly.io/flaps/backend:v7", "good"),
        ("registry.fly.io/backend:v7-with-flaps-fixed", "good"),
        ("registry.fly.io/backend:notmissing", "good"),
        ("registry.fly.io/backend:crash-at-start@sha256:" + "b" * 64, "crash-at-start"),
    ],
)
def test_the_name_decides_how_an_image_behaves(fly, image, behaviour):
    assert fly.sim.world.images.find(image).behaviour.name == behaviour


@pytest.mark.parametrize(
    ("word", "code", "oom", "restarts"),
    [
        ("crash-at-start", 1, False, 3),
        ("exit-0", 0, False, 3),
        ("oom-at-boot", 137, True, 3),
        ("wrong-architecture", 1, False, 3),
    ],
)
def test_what_exits_at_once_is_restarted_until_its_retries_are_used_up(fly, word, code, oom, restarts):
    """It is `started` for a moment each time, no check ever has a result, and it ends `stopped`."""
    path = fly.create(tag(word))
    assert (fly.state(path), fly.checks(path)) == ("started", {})
    for _ in range(40):
        fly.clock.advance(0.25)
        assert not {"passing", "critical"} & set(fly.checks(path).values())
    assert fly.state(path) == "stopped"
    exits = fly.exits(path)
    assert {(each["exit_code"], each["oom_killed"], each["requested_stop"]) for each in exits} == {(code, oom, False)}
    assert [each["restarting"] for each in exits] == [False] + [True] * restarts
    assert fly.http.get(f"{path}/events").json()[0]["request"]["restart_count"] == restarts
    assert ("exec format error" in exits[0]["error"]) == (word == "wrong-architecture")


def test_a_clean_exit_is_not_restarted_on_failure(fly):
    path = fly.create(tag("exit-0"), restart={"policy": "on-failure"})
    fly.clock.advance(1)
    assert (fly.state(path), len(fly.exits(path))) == ("stopped", 1)


@pytest.mark.parametrize(("word", "runs_s", "oom"), [("crash-after-60s", 60, False), ("oom-after-20m", 1200, True)])
def test_what_crashes_later_is_green_until_then(fly, word, runs_s, oom):
    path = fly.create(tag(word))
    fly.clock.advance(runs_s - 1)
    assert (fly.state(path), fly.checks(path), fly.exits(path)) == ("started", ALL_PASS, [])
    fly.clock.advance(1.5)
    assert (fly.state(path), fly.checks(path)) == ("started", ALL_PASS)
    [ended] = fly.exits(path)
    assert (ended["oom_killed"], ended["restarting"], ended["exit_code"]) == (oom, True, 137 if oom else 1)
    fly.clock.advance(60 * 10)
    assert fly.state(path) == ("started" if oom else "stopped")


@pytest.mark.parametrize(("policy", "state"), [("always", "started"), ("on-failure", "stopped"), ("no", "stopped")])
def test_a_crash_loop_passes_its_checks_between_crashes_and_obeys_the_policy_only(fly, policy, state):
    path = fly.create(tag("crash-loop"), restart={"policy": policy, "max_retries": 3})
    assert fly.checks(path) == ALL_PASS
    fly.clock.advance(500)
    while fly.state(path) == "restarting":
        fly.clock.advance(1)
    assert fly.state(path) == state
    exits = len(fly.exits(path))
    assert exits > 10 if policy == "always" else exits == {"on-failure": 4, "no": 1}[policy]


def test_never_ready_is_alive_and_its_ready_check_says_why(fly):
    path = fly.create(tag("never-ready"))
    assert fly.checks(path) == {"alive": "passing", "port": "passing"}, "failures of the grace period are not reported"
    fly.clock.advance(31)
    assert fly.checks(path) == {"alive": "passing", "ready": "critical", "port": "passing"}
    assert fly.ready(path)["status"] == "not_ready"
    assert fly.ready(path)["reason"]
    fly.clock.advance(86_400)
    assert fly.checks(path)["ready"] == "critical"


def test_never_ready_fails_every_check_of_a_config_that_asks_for_no_readiness(fly):
    path = fly.create(tag("never-ready"), checks={"port": CHECKS["port"]})
    fly.clock.advance(31)
    assert fly.checks(path) == {"port": "critical"}


def test_a_wrong_port_is_started_and_reachable_by_no_check(fly):
    path = fly.create(tag("wrong-port"))
    fly.clock.advance(31)
    assert (fly.state(path), set(fly.checks(path).values()), len(fly.checks(path))) == ("started", {"critical"}, 3)
    assert "refused" in fly.read(path)["checks"][0]["output"]


def test_no_checks_never_have_a_result(fly):
    path = fly.create(tag("no-checks"))
    fly.clock.advance(3600)
    assert (fly.state(path), fly.read(path)["checks"]) == ("started", [])


def test_a_flapping_check_changes_every_20_seconds(fly):
    path = fly.create(tag("flaps"))
    seen = []
    for _ in range(6):
        seen.append(fly.checks(path)["ready"])
        since = fly.read(path)["checks"][1]["updated_at"]
        fly.clock.advance(20)
        assert fly.read(path)["checks"][1]["updated_at"] != since, "each change has its time"
    assert seen == ["passing", "critical"] * 3
    assert fly.checks(path)["alive"] == "passing"


def test_a_slow_start_passes_after_90_seconds(fly):
    path = fly.create(tag("slow-start"))
    fly.clock.advance(89)
    assert set(fly.checks(path).values()) == {"critical"}
    fly.clock.advance(1)
    assert fly.checks(path) == ALL_PASS
    assert fly.ready(path)["status"] == "ready"


def test_a_slow_pull_stays_created_for_100_seconds(fly):
    path = fly.create(OLD)
    fly.update(path, tag("slow-pull"))
    fly.clock.advance(99)
    assert fly.state(path) == "created"
    fly.clock.advance(1)
    assert (fly.state(path), fly.checks(path)) == ("started", ALL_PASS)


@pytest.mark.parametrize("word", ["entrypoint-missing", "too-large"])
def test_what_cannot_be_launched_vanishes_when_new_and_is_failed_after_an_update(fly, word):
    path = fly.create(tag(word))
    fly.clock.advance(10 if word == "too-large" else 0)
    assert fly.state(path) == "launch_failed"
    assert fly.http.get(f"{path}/wait?state=started&timeout=2").status_code == 408
    fly.clock.advance(4)
    assert fly.state(path) == "destroyed"
    assert len(fly.world()["destroyed"]) == 1
    path = fly.create(OLD)
    fly.update(path, tag(word))
    fly.clock.advance(60)
    assert fly.state(path) == "failed"
    assert fly.exits(path)[0]["error"]


def test_a_wrong_digest_runs_something_else_than_the_registry_has(fly):
    good, other = fly.create(OLD), f"{OLD.partition(':')[0]}:wrong-digest"
    digest = fly.sim.world.images.find(other).digest
    fly.update(good, f"{other}@{digest}")
    shown = fly.read(good)
    assert (shown["state"], fly.checks(good)) == ("started", ALL_PASS)
    assert shown["image_ref"]["digest"] not in (digest, fly.sim.world.images.find(OLD).digest)
    assert shown["image_ref"]["digest"].startswith("sha256:")


def test_an_old_version_is_green_and_reports_what_ran_before(fly):
    path = fly.create(OLD)
    fly.update(path, tag("old-version"))
    assert fly.checks(path) == ALL_PASS
    assert (fly.ready(path)["version"], fly.ready(path)["image"]) == ("v1", OLD)
    assert fly.read(path)["image_ref"]["tag"] == "v2-old-version", "Fly itself shows the new image"


def test_a_new_machine_with_an_old_version_reports_another_image(fly):
    path = fly.create(tag("old-version"))
    assert fly.ready(path)["image"] != tag("old-version")
    assert fly.ready(path)["version"] != "v2-old-version"


def test_the_wrong_user_is_ready(fly):
    path = fly.create(tag("wrong-user"))
    ready = fly.ready(path)
    assert (ready["status"], fly.checks(path)) == ("ready", ALL_PASS)
    assert UUID(ready["user_id"]) != UUID(USER)


def test_a_pull_that_fails_reverts_to_the_version_before_with_green_checks(fly):
    """State, checks, config, version, digest and secrets are the old ones; only the new version's absence says so."""
    fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": "one"}})
    path = fly.create(OLD)
    before = fly.read(path)
    fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": "two"}})
    answered = fly.update(path, tag("pull-reverts"))
    assert answered["instance_id"] != before["instance_id"]
    assert answered["config"]["image"] == tag("pull-reverts")
    assert fly.state(path) == "created"
    fly.clock.advance(11)
    after = fly.read(path)
    assert (after["state"], fly.checks(path)) == ("started", ALL_PASS)
    for unchanged in ("config", "version", "instance_id", "image_ref"):
        assert after[unchanged] == before[unchanged]
    run = fly.http.post(f"{path}/exec", json={"command": ["printenv", "TOKEN"]}).json()
    assert run["stdout"] == "one\n"
    assert [each for each in fly.exits(path) if not each["requested_stop"]] == [], "no event gives the reason"
    version = answered["version"]
    assert fly.http.get(f"{path}/wait?version={version}&state=started").status_code == 409


def test_a_reverted_machine_that_was_stopped_stays_stopped(fly):
    path = fly.create(OLD)
    version = fly.read(path)["version"]
    fly.http.post(f"{path}/stop")
    fly.update(path, tag("pull-reverts"))
    fly.clock.advance(11)
    assert (fly.state(path), fly.read(path)["version"]) == ("stopped", version)


def test_a_new_machine_whose_pull_fails_is_failed(fly):
    path = fly.create(tag("pull-reverts"))
    fly.clock.advance(11)
    assert fly.state(path) == "failed"


def test_a_refused_image_changes_nothing(fly):
    path = fly.create(OLD)
    before = fly.read(path)
    response = fly.http.post(path, json={"config": config_of(tag("refused"))})
    assert error_of(response) == (400, f"failed to get manifest {tag('refused')}: unauthorized")
    assert fly.read(path) == before
    assert fly.machine("second", config=config_of(tag("refused"))).status_code == 400
    assert [machine["name"] for machine in fly.world()["apps"][0]["machines"]] == ["app-one-main"]


@pytest.mark.parametrize("skip_launch", [False, True])
def test_a_missing_image_is_accepted_and_fails(fly, skip_launch):
    path = f"/v1/apps/app-one/machines/{fly.machine(config=config_of(tag('missing')), skip_launch=skip_launch).json()['id']}"
    assert (fly.state(path), fly.exits(path)[0]["error"]) == ("failed", "failed to pull image: not found")
    good = fly.machine("second", config=config_of(OLD)).json()["id"]
    good = f"/v1/apps/app-one/machines/{good}"
    fly.update(good, tag("missing"))
    assert fly.state(good) == "failed"


@pytest.mark.parametrize("how", ["stop", "suspend", "restart"])
def test_broken_on_cold_resume_is_fine_until_it_is_started_again(fly, how):
    path = fly.create(tag("cold-resume-broken"))
    fly.clock.advance(3600)
    assert fly.checks(path) == ALL_PASS
    fly.http.post(f"{path}/{how}")
    fly.http.post(f"{path}/start")
    fly.clock.advance(31)
    assert (fly.state(path), fly.checks(path)["ready"]) == ("started", "critical")
    fly.update(path, OLD)
    assert fly.checks(path) == ALL_PASS


def test_registered_images_say_what_their_name_does_not(fly):
    fixed, broken = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    images = {
        "registry.fly.io/backend:v2": {"behaviour": "never-ready", "digest": broken, "version": "2.0.0"},
        "v3": {"architecture": "arm64"},
        "registry.fly.io/backend:crash-at-start": {"behaviour": "good"},
    }
    assert fly.http.put("/_sim/images", json=images).json() == dict(sorted(images.items()))
    path = fly.create("registry.fly.io/backend:v2")
    fly.clock.advance(31)
    assert (fly.checks(path)["ready"], fly.ready(path)["version"]) == ("critical", "2.0.0")
    assert fly.read(path)["image_ref"]["digest"] == broken
    assert fly.world()["apps"][0]["machines"][0]["behaviour"] == "never-ready"
    fly.update(path, "registry.fly.io/backend:crash-at-start")
    assert fly.checks(path) == ALL_PASS
    fly.update(path, "registry.fly.io/other:v3")
    fly.clock.advance(20)
    assert fly.exits(path)[0]["error"] == "exec format error"
    # The tag moves to a good image; a machine that is pinned to the digest keeps the broken one.
    fly.http.put("/_sim/images", json={"registry.fly.io/backend:v2": fixed}).raise_for_status()
    find = fly.sim.world.images.find
    assert find("registry.fly.io/backend:v2").behaviour.name == "good"
    for pinned in (f"registry.fly.io/backend:v2@{broken}", f"registry.fly.io/backend@{broken}"):
        assert (find(pinned).behaviour.name, find(pinned).digest) == ("never-ready", broken)
    assert find(f"registry.fly.io/backend:v2@{fixed}").behaviour.name == "good"


def test_a_pin_to_the_digest_of_a_name_behaves_like_the_name(fly):
    path = fly.create(tag("no-checks"))
    digest = fly.read(path)["image_ref"]["digest"]
    assert fly.sim.world.images.find(f"registry.fly.io/backend@{digest}").behaviour.name == "no-checks"


def test_a_running_machine_keeps_the_image_it_was_updated_with(fly):
    path = fly.create(OLD)
    fly.http.put("/_sim/images", json={OLD: {"behaviour": "crash-at-start", "digest": "sha256:" + "3" * 64}})
    fly.http.post(f"{path}/restart")
    fly.clock.advance(60)
    assert (fly.state(path), fly.checks(path)) == ("started", ALL_PASS)


@pytest.mark.parametrize(
    "body",
    [
        ["app:1"],
        {"app:1": "latest"},
        {"app:1": {"behaviour": "explodes"}},
        {"app:1": {"digest": "abc"}},
        {"app:1": {"colour": "red"}},
        {"app:1": {"version": 2}},
        {"": {"version": "2"}},
    ],
)
def test_wrong_images_are_refused_and_change_nothing(fly, body):
    fly.http.put("/_sim/images", json={"app:1": {"behaviour": "flaps"}}).raise_for_status()
    answer = fly.http.put("/_sim/images", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert fly.http.get("/_sim/images").json() == {"app:1": {"behaviour": "flaps"}}


def test_the_ready_page_of_a_long_image_keeps_its_digest(fly):
    image = f"registry.fly.io/{'long/' * 80}backend:v1@sha256:{'c' * 64}"
    path = fly.create(image)
    assert fly.ready(path)["image"].endswith(f":v1@sha256:{'c' * 64}")


def test_every_behaviour_has_its_test():
    """Each name is in this file, so that a new behaviour is not added without one."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in BEHAVIOURS if name not in text] == []
