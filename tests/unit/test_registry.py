"""What a registry's answers mean: against a registry on this machine that answers well, badly, slowly and wrongly."""

import gzip
import socket
import threading
import time

import httpx
import pytest

from local.http_server import Response
from shared.adapters.registry import Registry, choose_scope, make_registry
from shared.adapters.registry_transport import MOST_BYTES
from shared.domain.errors import Refused
from shared.domain.release_image import check_release_image
from tests.support.registry import INDEX, MANIFEST, LoopbackRegistry, digest_of

NAME = "team/app:v2"


@pytest.fixture
def registry():
    with LoopbackRegistry() as registry:
        yield registry


def look_up(registry, name=NAME, **settings):
    return Registry("all", **settings).look_up(f"{registry.host}/{name}")


def test_a_tag_is_resolved_to_the_digest_of_its_content(registry):
    digest = registry.push(NAME)
    found = look_up(registry)
    assert (found.outcome, found.digest, found.platforms) == ("resolved", digest, ("amd64/linux",))
    assert {MANIFEST, INDEX} <= set(registry.requests[0].headers["accept"].split(", "))
    assert registry.list_carried() == []


def test_without_a_digest_header_the_content_decides(registry):
    digest = registry.push(NAME)
    registry.headers = {"Docker-Content-Digest": None}
    assert look_up(registry).digest == digest


def test_an_index_is_resolved_to_its_image_for_our_platform(registry):
    """That is the digest which Fly shows for a machine. It is the same by the tag and by the digest of the index."""
    index = registry.push_index(NAME, "arm64/linux", "amd64/linux", "unknown/unknown")
    image = registry.push(f"{NAME}-amd64", "amd64/linux")
    for name in (NAME, f"{NAME}@{index}"):
        found = look_up(registry, name)
        assert (found.outcome, found.digest, found.index) == ("resolved", image, index)
        assert found.platforms == ("arm64/linux", "amd64/linux")
    assert look_up(registry, f"{NAME}@{image}").index is None


def test_an_index_whose_image_is_not_in_the_registry_is_missing(registry):
    """Half of a push: the list is there, and what it names is not."""
    registry.push_index(NAME, "amd64/linux")
    gone = registry.push(f"{NAME}-amd64", "amd64/linux")
    for reference in [each for each in registry.manifests if each.endswith((gone, "-amd64"))]:
        del registry.manifests[reference]
    found = look_up(registry)
    assert found.outcome == "missing"
    assert gone in found.said


def test_of_several_images_for_our_platform_the_one_for_every_processor_counts(registry):
    plain, newer = registry.push("team/app:plain"), registry.push("team/app:newer")
    platform = {"architecture": "amd64", "os": "linux"}
    entries = [
        {"mediaType": MANIFEST, "digest": newer, "size": 1, "platform": {**platform, "variant": "v3"}},
        {"mediaType": MANIFEST, "digest": plain, "size": 1, "platform": platform},
    ]
    registry.put(NAME, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    assert look_up(registry).digest == plain


def test_an_index_that_names_no_platform_is_read_entry_by_entry(registry):
    index = registry.push_index(NAME, "arm64/linux", "amd64/linux", named=False)
    found = look_up(registry)
    assert (found.digest, found.index) == (registry.push(f"{NAME}-amd64", "amd64/linux"), index)
    registry.push_index("team/app:v3", "arm64/linux", "arm/linux", named=False)
    assert look_up(registry, "team/app:v3").outcome == "wrong_architecture"


@pytest.mark.parametrize("platform", ["arm64/linux", "amd64/windows", "386/linux"])
def test_another_platform_is_refused_by_name(registry, platform):
    registry.push(NAME, platform)
    found = look_up(registry)
    assert (found.outcome, found.digest) == ("wrong_architecture", None)
    assert platform in found.said


@pytest.mark.parametrize("platforms", [("arm64/linux", "arm/linux"), ("unknown/unknown",), ()])
def test_an_index_without_our_platform_is_refused(registry, platforms):
    registry.push_index(NAME, *platforms)
    assert look_up(registry).outcome == "wrong_architecture"


def test_a_missing_tag_or_repository_is_missing(registry):
    registry.push(NAME)
    for name in ("team/app:v3", "team/other:v2", f"team/app@sha256:{'ab' * 32}"):
        found = look_up(registry, name)
        assert found.outcome == "missing"
        assert "404 MANIFEST_UNKNOWN" in found.said


def test_an_image_whose_configuration_is_gone_is_missing(registry):
    registry.push(NAME)
    registry.blobs.clear()
    assert look_up(registry).outcome == "missing"


def test_a_given_digest_is_checked_for_existence_and_content(registry):
    """Also beside a tag that points elsewhere by now: the digest decides."""
    old = registry.push(NAME)
    registry.push(f"{NAME}-new")
    registry.manifests["team/app/v2"] = registry.manifests["team/app/v2-new"]
    for name in (f"team/app@{old}", f"team/app:v2@{old}"):
        found = look_up(registry, name)
        assert (found.outcome, found.digest) == ("resolved", old)
    registry.manifests[f"team/app/{old}"] = registry.manifests["team/app/v2-new"]
    assert look_up(registry, f"team/app@{old}").outcome == "missing"


def test_a_given_digest_that_the_registry_calls_otherwise_is_missing(registry):
    digest = registry.push(NAME)
    registry.headers = {"Docker-Content-Digest": digest_of(b"other")}
    assert look_up(registry, f"team/app@{digest}").outcome == "missing"


@pytest.mark.parametrize("told", [digest_of(b"other"), "sha256:abc", "md5:abc", "x", "sha256:" + "zz" * 32])
def test_a_digest_that_lies_is_never_used(registry, told):
    registry.push(NAME)
    registry.headers = {"Docker-Content-Digest": told}
    found = look_up(registry)
    assert (found.outcome, found.digest) == ("not_readable", None)
    assert "not its digest" in found.said


def test_a_configuration_with_other_content_is_not_believed(registry):
    registry.push(NAME)
    [digest] = registry.blobs
    registry.blobs[digest] = b'{"architecture":"amd64","os":"linux"}'
    assert look_up(registry).outcome == "not_readable"


@pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 429, 500, 502, 503, 204])
def test_an_answer_without_access_refuses_nothing(registry, status):
    registry.answer_all = Response(status, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}')
    found = look_up(registry)
    assert found.outcome == "not_readable"
    assert str(status) in found.said


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"[" * 50_000, b"\xff", b'{"schemaVersion":1}', b'{"config":{"digest":"../../x"}}']
)
def test_an_answer_that_is_no_manifest_refuses_nothing(registry, body):
    registry.answer_all = Response(200, body)
    assert look_up(registry).outcome == "not_readable"


def test_a_huge_answer_is_cut(registry):
    registry.answer_all = Response(200, b" " * (MOST_BYTES + 1))
    found = look_up(registry)
    assert found.outcome == "not_readable"
    assert "larger than" in found.said


def test_a_compressed_answer_is_not_unpacked(registry):
    registry.answer_all = Response(200, gzip.compress(b" " * 10_000_000), {"Content-Encoding": "gzip"})
    assert look_up(registry).said == "its answer is compressed"


def test_a_slow_answer_ends_in_time(registry):
    registry.push(NAME)
    registry.wait_s = 3
    began = time.monotonic()
    found = look_up(registry, deadline_s=0.3)
    assert (found.outcome, found.said) == ("not_readable", "no answer in time")
    assert time.monotonic() - began < 2.5


def test_an_answer_that_trickles_in_ends_in_time():
    """Each byte is in time for the HTTP client, and the whole answer never comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def trickle():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        found = Registry("all", deadline_s=0.3).look_up(f"127.0.0.1:{server.getsockname()[1]}/app:v2")
        ended.set()
        thread.join()
    assert (found.outcome, found.said) == ("not_readable", "no answer in time")
    assert time.monotonic() - began < 4


def test_a_registry_that_is_not_there_refuses_nothing():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert Registry("all").look_up(f"127.0.0.1:{port}/app:v2").said == "no connection (ConnectError)"


@pytest.mark.parametrize(
    ("scope", "image"),
    [
        ("loopback", "registry.fly.io/vyx-app:v2"),
        ("loopback", "app:v2"),
        ("loopback", "Not/valid"),
        ("off", "127.0.0.1:1/a:v2"),
    ],
)
def test_the_setting_keeps_requests_on_this_machine(scope, image):
    def answer(request):
        raise AssertionError(request.url)

    found = make_registry(scope, "fly-token", httpx.MockTransport(answer)).look_up(image)
    assert found.outcome == "not_looked_up"


def test_a_local_installation_asks_only_registries_on_its_machine():
    assert choose_scope(None, "http://127.0.0.1:54321") == "loopback"
    assert choose_scope(None, "https://x.supabase.co") == "all"
    assert choose_scope("off", "https://x.supabase.co") == "off"
    assert choose_scope("all", "http://127.0.0.1:54321") == "all"


def test_a_release_gets_the_digest_a_refusal_or_a_notice(registry):
    digest = registry.push(NAME)
    registry.push("team/app:arm", "arm64/linux")
    look_up = Registry("all").look_up
    good = {"image": f"{registry.host}/{NAME}", "cpu_count": 1}
    assert check_release_image(good, look_up).release == {**good, "image_digest": digest}
    for name, words in (
        ("team/app:v3", "does not exist"),
        ("team/app:arm", "cannot run on Fly"),
        ("A:v2", "not valid"),
    ):
        with pytest.raises(Refused, match=words) as caught:
            check_release_image({"image": f"{registry.host}/{name}"}, look_up)
        assert caught.value.code == "invalid_value"
        assert f"{registry.host}/{name}" in str(caught.value)
    registry.answer_all = Response(429)
    checked = check_release_image(good, look_up)
    assert checked.release == good
    assert checked.notice == (
        f"the registry {registry.host} could not be read (it answered 429); the canary decides the digest"
    )


@pytest.mark.parametrize("release", [{"kind": "plan"}, {"image": ""}, {"image": None}, {"cpu_count": 2}])
def test_a_release_without_an_image_asks_no_registry(release):
    assert check_release_image(release, pytest.fail).release == release
