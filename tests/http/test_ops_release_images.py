"""`hangar release create` and the registry of its image: what is refused, what is stored, and what the machines then run."""

import json

import pytest

from local.http_server import Response
from tests.http.running_operator import open_operator
from tests.http.test_ops_releases import FAST, count_releases, finish, fleet_of
from tests.support.loopback import LOOPBACK
from tests.support.registry import LoopbackRegistry, digest_of

NAME = "vyx-app:v2"


@pytest.fixture
def operator(cloud, tmp_path):
    with open_operator(cloud, tmp_path) as operator:
        yield fleet_of(operator, 2)


@pytest.fixture
def registry():
    with LoopbackRegistry() as registry:
        yield registry


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--start",), ("--json",)])
def test_a_missing_image_is_refused_and_nothing_is_planned(operator, registry, options):
    image = f"{registry.host}/{NAME}"
    out, err = operator.hangar("release", "create", "--image", image, *options, exits=2)
    assert out == ""
    assert err == (
        f"hangar: the image {image} does not exist: {registry.host} answered 404 MANIFEST_UNKNOWN for v2. "
        "Push it, or correct the name, tag or digest\n"
    )
    assert count_releases(operator) == 0


def test_an_image_for_arm_is_refused_and_nothing_is_planned(operator, registry):
    registry.push(NAME, "arm64/linux")
    image = f"{registry.host}/{NAME}"
    _, err = operator.hangar("release", "create", "--image", image, exits=2)
    assert f"hangar: the image {image} cannot run on Fly, whose machines need amd64/linux" in err
    assert "the registry offers arm64/linux" in err
    assert "docker build --platform linux/amd64" in err
    assert count_releases(operator) == 0


def test_a_digest_that_does_not_exist_is_refused(operator, registry):
    registry.push(NAME)
    image = f"{registry.host}/vyx-app@{digest_of(b'another build')}"
    _, err = operator.hangar("release", "create", "--image", image, exits=2)
    assert f"the image {image} does not exist" in err
    assert count_releases(operator) == 0


@pytest.mark.slow
@pytest.mark.parametrize("given", ["tag", "digest", "both"])
def test_the_digest_of_the_registry_is_stored_shown_and_run(operator, registry, given):
    """Every machine gets the digest, although the tag points elsewhere before the first one moves."""
    digest = registry.push(NAME)
    image = f"{registry.host}/" + {"tag": NAME, "digest": f"vyx-app@{digest}", "both": f"{NAME}@{digest}"}[given]
    release = operator.json("release", "create", "--image", image, *FAST)["id"]
    registry.push_index(NAME, "amd64/linux")
    assert f"Digest: {digest}\n" in operator.hangar("release", "status")[0]
    assert operator.json("release", "status", str(release))["changes"]["image_digest"] == digest
    assert operator.sql("select image_digest from hangar.releases where id = %s", release) == [(digest,)]
    operator.hangar("release", "start", str(release))
    assert finish(operator, release)["state"] == "completed"
    machines = [machine for app in operator.fly_apps() for machine in app["machines"]]
    assert [machine["config"]["image"].partition("@")[2] for machine in machines] == [digest] * 2


@pytest.mark.slow
@pytest.mark.parametrize("given", ["tag", "digest"])
def test_an_image_for_several_platforms_moves_as_what_fly_shows_for_it(operator, registry, given):
    """Fly shows the digest of the image for its own platform, and no machine that runs it counts as wrong."""
    index = registry.push_index(NAME, "arm64/linux", "amd64/linux")
    ours = registry.push(f"{NAME}-amd64", "amd64/linux")
    name = f"{registry.host}/{NAME}"
    show_image(operator, {name: {"digest": index, "runs": ours}, index: {"digest": index, "runs": ours}})
    image = name if given == "tag" else f"{name}@{index}"
    _, notices = operator.hangar("release", "create", "--image", image, *FAST)
    assert (f"{index} is an index for several platforms" in notices) == (given == "digest")
    [(release,)] = operator.sql("select max(id) from hangar.releases")
    assert operator.json("release", "status", str(release))["changes"]["image_digest"] == ours
    operator.hangar("release", "start", str(release))
    assert finish(operator, release)["state"] == "completed"
    assert {machine["image_digest"] for app in operator.fly_apps() for machine in app["machines"]} == {ours}


def test_another_image_than_the_one_of_the_index_is_refused(operator, registry):
    """The machine shows the digest of the index's image for another platform."""
    index = registry.push_index(NAME, "arm64/linux", "amd64/linux")
    other, ours = (registry.push(f"{NAME}-{name}", f"{name}/linux") for name in ("arm64", "amd64"))
    show_image(operator, {ours: {"digest": ours, "runs": other}})
    release = operator.json("release", "create", "--image", f"{registry.host}/{NAME}@{index}", *FAST)["id"]
    operator.hangar("release", "start", str(release))
    ended = finish(operator, release)
    assert ended["state"] == "paused"
    assert f"runs the digest {other}, and should run {ours}" in json.dumps(ended)


def show_image(operator, images):
    url = f"{operator.fly_url}/_sim/images"
    LOOPBACK.put(url, json=images).raise_for_status()


def test_a_registry_that_cannot_be_read_refuses_nothing(operator, registry):
    """The draft is made without a digest, and the operator reads why."""
    registry.push(NAME)
    registry.answer_all = Response(503)
    image = f"{registry.host}/{NAME}"
    sentence = (
        f"hangar: the registry {registry.host} could not be read (it answered 503); the canary decides the digest\n"
    )
    out, err = operator.hangar("release", "create", "--image", image, *FAST)
    assert (err, "is a draft" in out) == (sentence, True)
    found = operator.json("release", "status")
    assert (found["state"], "image_digest" in found["changes"]) == ("draft", False)
    operator.hangar("release", "start", str(found["id"]))
    assert finish(operator, found["id"])["changes"]["image_digest"].startswith("sha256:")


def test_the_registry_of_another_host_is_not_asked_by_a_local_cloud(operator):
    """Neither the name that the local cloud uses nor any other leads to a request."""
    for image in ("registry.fly.io/vyx-app:v2", "registry.example.test/team/app:v2"):
        _, err = operator.hangar("release", "create", "--image", image, "--dry-run")
        assert err == ""


def test_the_look_up_can_be_turned_off(operator, registry):
    image = f"{registry.host}/{NAME}"
    operator.hangar("release", "create", "--image", image, "--dry-run", HANGAR_IMAGE_LOOKUP="off")
    assert registry.requests == []
    _, err = operator.hangar("release", "create", "--image", image, exits=2, HANGAR_IMAGE_LOOKUP="sometimes")
    assert "HANGAR_IMAGE_LOOKUP is wrong: expected all, loopback or off" in err


def test_create_shows_the_digest(operator, registry):
    digest = registry.push(NAME)
    out, err = operator.hangar("release", "create", "--image", f"{registry.host}/{NAME}")
    assert (f"\nDigest: {digest}\n" in out, err) == (True, "")
