"""Names of images: which registry, repository, tag and digest each text means, and which texts name no image."""

import pytest

from shared.domain.image_reference import DEFAULT_REGISTRY, MalformedReferenceError, parse_image_reference

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("app", DEFAULT_REGISTRY, "library/app", "latest", None),
        ("app:v2", DEFAULT_REGISTRY, "library/app", "v2", None),
        ("team/app", DEFAULT_REGISTRY, "team/app", "latest", None),
        (f"{DEFAULT_REGISTRY}/app:v2", DEFAULT_REGISTRY, "library/app", "v2", None),
        (f"index.{DEFAULT_REGISTRY}/team/app:v2", DEFAULT_REGISTRY, "team/app", "v2", None),
        ("registry.fly.io/vyx-app:v2", "registry.fly.io", "vyx-app", "v2", None),
        (
            "Registry.Example.test/a/b/c_d__e--f.g:V2.0_x-1",
            "registry.example.test",
            "a/b/c_d__e--f.g",
            "V2.0_x-1",
            None,
        ),
        ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", "latest", None),
        ("localhost/app:v2", "localhost", "app", "v2", None),
        ("localhost:5000/app:v2", "localhost:5000", "app", "v2", None),
        ("[::1]:5000/app:v2", "[::1]:5000", "app", "v2", None),
        ("[2001:db8::1]/team/app", "[2001:db8::1]", "team/app", "latest", None),
        (f"registry.example.test:443/app@{DIGEST}", "registry.example.test:443", "app", None, DIGEST),
        (f"registry.example.test/app:v2@{DIGEST}", "registry.example.test", "app", "v2", DIGEST),
        (f"app@sha512:{'cd' * 64}", DEFAULT_REGISTRY, "library/app", None, f"sha512:{'cd' * 64}"),
    ],
)
def test_every_part_is_found(text, registry, repository, tag, digest):
    found = parse_image_reference(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)
    assert found.wanted == (digest or tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":v2",
        "@" + DIGEST,
        "registry.example.test/",
        "registry.example.test:5000/:v2",
        "App:v2",
        "registry.example.test/Team/app:v2",
        "registry.example.test/team//app:v2",
        "registry.example.test/../app:v2",
        "registry.example.test/app?x=1:v2",
        "registry.example.test/app:",
        "registry.example.test/app:-v2",
        f"registry.example.test/app:{'v' * 129}",
        "registry.example.test/app@",
        "registry.example.test/app@sha256:abc",
        f"registry.example.test/app@{DIGEST.upper()}",
        f"registry.example.test/app@md5:{'ab' * 16}",
        f"registry.example.test/app@{DIGEST}@{DIGEST}",
        "registry.example.test:0/app:v2",
        "registry.example.test:65536/app:v2",
        "registry.example.test:port/app:v2",
        "[::1/app:v2",
        "user:word@registry.example.test/app:v2",
        "https://registry.example.test/app:v2",
        "registry.example.test/app:v2\n",
        f"registry.example.test/{'a' * 256}:v2",
        "registry.example.test/äpp:v2",
    ],
)
def test_other_texts_name_no_image(text):
    with pytest.raises(MalformedReferenceError):
        parse_image_reference(text)


def test_the_digest_decides_what_the_registry_is_asked_for():
    assert parse_image_reference(f"registry.example.test/app:v2@{DIGEST}").wanted == DIGEST
