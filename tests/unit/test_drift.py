"""What counts as drift, from Fly's own description of a machine."""

import copy
from uuid import UUID

import pytest

from shared.domain.drift import RunningSpec, digest_env, find_drift, find_listed_drift, pin_image
from shared.domain.drift_text import format_fleet_drift, format_next_repair, is_repairable, list_drift
from shared.domain.machine_config import build_config
from shared.domain.models import Row

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ROW = Row(
    id=UUID(int=1),
    user_id=UUID(int=2),
    fly_app_name="vyx-user-0badc0de",
    fly_org_slug="hangar",
    network="n",
    status="active",
    desired_state="present",
    generation=1,
    observed_generation=1,
    region="iad",
    docker_image="registry.fly.io:443/app:v1",
    cpu_kind="shared",
    cpu_count=2,
    memory_mb=512,
)
ENV = {"USER_ID": str(ROW.user_id), "LOG": "info"}


def kinds(row=ROW, *, region="iad", digest="", today=ENV, **changes):
    wanted = build_config(row, installation_id=UUID(int=3), env=today)
    runs = copy.deepcopy(build_config(row, installation_id=UUID(int=3), env=ENV)) | changes
    return {each.kind for each in find_drift(row, wanted, RunningSpec(region, digest, runs))}


def having(**changes):
    return ROW.model_copy(update=changes)


@pytest.mark.parametrize(
    ("row", "image", "digest", "drifts"),
    [
        (ROW, ROW.docker_image, A, False),  # nothing is known of what the tag was
        (ROW, "registry.fly.io:443/app:v2", A, True),
        (having(image_digest=A), ROW.docker_image, A, False),
        (having(image_digest=A), ROW.docker_image, B, True),  # the same tag, pushed again
        (having(image_digest=A), f"{ROW.docker_image}@{A}", A, False),  # pinned by a repair
        # The row names an index, and Fly shows its image for amd64: what was shown first is right.
        (having(docker_image=f"app:v1@{A}"), f"app:v1@{A}", B, False),
        (having(docker_image=f"app:v1@{A}", image_digest=B), f"app:v1@{A}", B, False),
        (having(docker_image=f"app:v1@{A}", image_digest=B), f"app:v1@{A}", "sha256:" + "c" * 64, True),
        (having(docker_image=f"app:v1@{A}", image_digest=B), f"app:v2@{B}", B, True),  # put there by hand
        (having(image_digest=A), "registry.fly.io:443/app:v2", A, False),  # another tag of the same image
        (having(image_digest=A), "registry.fly.io:443/other:v1", A, True),
        (having(docker_image=f"app@{A}"), f"app@{A}", A, False),
        (having(docker_image=f"app@{A}"), f"app@{A}", "", False),  # Fly's listing resolves nothing
        (having(docker_image=f"app@{A}"), "app", "", True),  # the listing names a tag, and the row a digest
        (having(docker_image=f"app@{A}"), "app:v1", A, False),
        (having(docker_image=f"app@{A}"), "app:v1", B, True),
        (having(docker_image=f"app@{A}"), f"app@{B}", B, True),
        (ROW, "", "", True),
        (ROW, None, "", True),
    ],
)
def test_an_image_is_known_by_its_digest(row, image, digest, drifts):
    assert ("image" in kinds(row, image=image, digest=digest)) is drifts


@pytest.mark.parametrize(
    ("allowed", "region", "drifts"),
    [
        ("iad", "iad", False),
        ("iad", "nrt", True),
        ("sin,nrt,hkg", "hkg", False),
        ("sin, nrt", "nrt", False),
        ("sin,nrt", "iad", True),
        ("sin,any", "gru", False),
        ("lhr,eu", "ams", False),
        ("iad", "", False),
    ],
)
def test_a_region_is_one_of_the_rows_list(allowed, region, drifts):
    assert ("region" in kinds(having(region=allowed), region=region)) is drifts


@pytest.mark.parametrize(("runs", "drifts"), [(3, set()), (2, {"secrets"}), (None, set())])
def test_older_secrets_are_drift_and_a_version_that_nobody_wrote_down_is_not(runs, drifts):
    """A machine that was made before the version was written down would otherwise be restarted by an upgrade of Hangar."""
    config = build_config(having(secrets_version=runs), installation_id=UUID(int=3), env=ENV)
    assert kinds(having(secrets_version=3), metadata=config["metadata"]) == drifts


def differences(row, runs, *, today=ENV):
    """Every difference between what the row wants today and exactly this config, by kind."""
    wanted = build_config(row, installation_id=UUID(int=3), env=today)
    return {each.kind: each.text for each in find_drift(row, wanted, RunningSpec("iad", "", runs))}


def as_deployed(row=ROW):
    return copy.deepcopy(build_config(row, installation_id=UUID(int=3), env=ENV))


def test_fly_may_write_the_same_value_in_another_way():
    """Durations, the booleans of autostop, defaults that Fly adds, and false values that it omits."""
    row = having(public_service=True)
    runs = as_deployed(row)
    runs["stop_config"]["timeout"] = "0m30s"
    runs["checks"]["alive"] |= {"interval": "15000ms", "kind": "informational"}
    runs["services"][0] |= {"autostop": False, "concurrency": {"type": "connections"}}
    del runs["services"][0]["autostart"], runs["auto_destroy"]
    runs["init"] = {}
    assert differences(row, runs) == {}


@pytest.mark.parametrize(("written", "means"), [("1m", "60s"), ("2h", "7200s"), ("1h30m", "5400s"), ("0.5s", "500ms")])
def test_a_duration_is_the_same_in_every_unit(written, means):
    wanted = as_deployed() | {"stop_config": {"signal": "SIGTERM", "timeout": means}}
    for timeout, drifts in ((written, set()), ("61s", {"stop"})):
        runs = wanted | {"stop_config": {"signal": "SIGTERM", "timeout": timeout}}
        assert {each.kind for each in find_drift(ROW, wanted, RunningSpec("iad", "", runs))} == drifts


def edit(config, kind):
    match kind:
        case "restart":
            config["auto_destroy"] = True
        case "stop":
            config["stop_config"]["signal"] = "SIGKILL"
        case "checks":
            config["checks"]["ready"]["path"] = "/"
        case "services":
            config["services"][0]["ports"].pop()
    return config


@pytest.mark.parametrize("kind", ["restart", "stop", "checks", "services"])
def test_each_part_that_hangar_sets_is_compared(kind):
    """A machine that destroys itself, another stop signal, another path of a check, and a port that is missing."""
    row = having(public_service=True)
    assert set(differences(row, edit(as_deployed(row), kind))) == {kind}


def test_more_public_services_than_hangar_has_set_are_told_by_their_number():
    row = having(public_service=True)
    runs = as_deployed(row)
    runs["services"] *= 2
    assert differences(row, runs) == {"services": "runs 2 public services; should run 1 public services"}
    assert differences(ROW, runs)["services"] == "runs 2 public services; should run 0 public services"


def test_a_check_that_is_missing_is_told_apart_from_one_that_was_changed():
    runs = as_deployed()
    del runs["checks"]["alive"]
    assert differences(ROW, runs)["checks"].startswith("runs health checks without alive;")
    runs["checks"]["ready"]["path"] = "/"
    assert differences(ROW, runs)["checks"].startswith("runs health checks with other values of alive, ready;")


def test_a_machine_that_has_exactly_what_is_wanted_today_does_not_drift():
    """Although Hangar's record is of what it sent before, for example because somebody updated the machine by hand."""
    assert differences(having(env_digest=digest_env({"OLD": "1"})), as_deployed()) == {}


def test_variables_of_a_plan_that_have_changed_are_wanted_in_the_machine():
    """The fingerprint of what was sent before is no excuse, since the row has asked for other variables."""
    row = having(env_version="2", env_version_deployed="1", extra_env={"NEW": "1"}, env_digest=digest_env(ENV))
    assert differences(row, as_deployed(), today={**ENV, "NEW": "1"}) == {
        "env": "runs an environment without NEW; should run the environment that Hangar set"
    }
    assert differences(row, as_deployed() | {"env": {**ENV, "NEW": "1"}}, today={**ENV, "NEW": "1"}) == {}


def test_a_reader_that_does_not_know_the_variables_ends_and_finds_no_difference():
    """A sweep is not told the values. It repeats what a worker that was told has described."""
    told = {"env": "runs an environment without NEW; should run the environment that Hangar set"}
    untold = having(env_version="2", env_version_deployed="1", env_digest=digest_env(ENV))
    assert differences(untold, as_deployed()) == {}
    assert differences(untold.model_copy(update={"drift": told}), as_deployed()) == told


def test_a_machine_without_its_variables_drifts_also_for_a_reader_that_does_not_know_them():
    """What that reader would send lacks the variables too, and the fingerprint of what was sent decides."""
    deployed = having(env_version="2", env_version_deployed="2", env_digest=digest_env({**ENV, "NEW": "1"}))
    assert set(differences(deployed, as_deployed())) == {"env"}
    assert differences(deployed.model_copy(update={"extra_env": {}}), as_deployed()) == {}


def test_the_fingerprint_of_an_environment_does_not_depend_on_the_order_of_its_names():
    assert digest_env({"A": "1", "B": "2"}) == digest_env({"B": "2", "A": "1"}) != digest_env({"A": "2", "B": "1"})


def test_the_environment_is_what_hangar_sent_whatever_it_would_send_today():
    sent = having(env_digest=digest_env(ENV))
    assert kinds(sent, today={**ENV, "LOG": "debug"}) == set()
    assert kinds(sent, today={**ENV, "NEW": "1"}) == set()
    wanted = build_config(sent, installation_id=UUID(int=3), env=ENV)
    for runs in ({}, {"USER_ID": "x"}, {**ENV, "MORE": "1"}, {**ENV, "LOG": "debug"}):
        found = find_drift(sent, wanted, RunningSpec("iad", "", wanted | {"env": runs}))
        assert [each.kind for each in found] == ["env"]
        assert "debug" not in found[0].text


def test_an_unknown_environment_is_accepted_unless_it_lacks_a_name_or_is_another_users():
    wanted = build_config(ROW, installation_id=UUID(int=3), env=ENV)

    def drifts(env):
        return bool(find_drift(ROW, wanted, RunningSpec("iad", "", wanted | {"env": env})))

    assert [drifts({**ENV, "OLD": "1"}), drifts({}), drifts({**ENV, "USER_ID": "x"})] == [False, True, True]
    assert drifts({"USER_ID": ENV["USER_ID"]})


def test_the_listing_shows_size_image_and_region_only():
    guest = {"cpu_kind": "performance", "cpus": 8, "memory_mb": 16384}
    (found,) = find_listed_drift(ROW, ROW.docker_image, guest, "iad")
    assert found.text == "runs 8 performance vCPU, 16384 MB; should run 2 shared vCPU, 512 MB"


def test_a_repair_pins_the_digest_that_was_deployed():
    assert pin_image(ROW) == ROW.docker_image
    assert pin_image(having(image_digest=A)) == f"{ROW.docker_image}@{A}"
    assert pin_image(having(docker_image=f"app@{A}", image_digest=B)) == f"app@{A}"


DRIFTING = {
    "drift": {"guest": "runs big; should run small"},
    "drift_repairs": 0,
    "drift_repair": None,
    "drift_error": None,
}


@pytest.mark.parametrize(
    ("row", "held", "words"),
    [
        ({}, None, "A coming sweep updates it in place"),
        ({}, "paused", "because Hangar is paused"),
        ({"drift_repair": "operator"}, None, "The next drain updates it"),
        (
            {"drift_repairs": 3, "drift_error": "no room"},
            None,
            "waits for an operator. The last repair failed: no room.",
        ),
        ({"drift": {"region": "runs nrt; should run iad"}}, None, "Only a release moves a machine"),
    ],
)
def test_the_next_step_says_what_runs_what_should_run_and_what_hangar_does(row, held, words):
    text = format_next_repair(DRIFTING | row, held, "run `hangar retry USER`")
    assert words in text
    assert "should run" in text


def test_the_fleets_drift_is_one_line_by_kind():
    assert format_fleet_drift({"apps": 0, "kinds": {}, "held": None}) is None
    text = format_fleet_drift({"apps": 3, "kinds": {"env": 1, "guest": 2}, "held": "incident"})
    assert (
        text
        == "3 apps differ from what should run (guest 2, env 1); none is repaired now, because many apps are broken at once"
    )


def test_only_a_region_cannot_be_repaired():
    assert is_repairable(DRIFTING)
    assert not is_repairable({"drift": {"region": "x"}})
    assert (list_drift({"drift": None}), list_drift(DRIFTING)) == ([], ["guest: runs big; should run small"])
