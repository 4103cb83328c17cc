"""Bugs planted in the look-up of images: whose content is believed, and who receives a credential."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_ANSWERS, _ACCESS = "tests/unit/test_registry.py", "tests/unit/test_registry_access.py"
_TRANSPORT, _REGISTRY = "shared.adapters.registry_transport", "shared.adapters.registry"

BUGS = (
    PlantedBug(
        "release-of-an-index-keeps-the-digest-of-the-index",
        Python(_REGISTRY, "_look_up"),
        exactly('"resolved", registry, found[PLATFORM], platforms'),
        '"resolved", registry, digest, platforms',
        "I13: a machine that runs the image of an index does not count as wrong",
        (_ANSWERS,),
    ),
    PlantedBug(
        "any-digest-of-a-pinned-image-is-right",
        Python("shared.domain.drift", "_compare_image"),
        exactly("same = runs_digest in (wanted_pinned, row.image_digest or runs_digest)"),
        "same = True",
        "a machine that runs another image than the pinned one differs",
        ("tests/unit/test_drift.py",),
    ),
    PlantedBug(
        "image-digest-not-verified",
        Python(_REGISTRY, "_is_digest_of"),
        exactly("return _is_known(digest) and digest =="),
        "return _is_known(digest) or digest ==",
        "I13: the digest of a release is the digest of what the registry serves",
        (_ANSWERS,),
    ),
    PlantedBug(
        "token-follows-a-redirect",
        Python(_TRANSPORT, "RegistrySession._follow"),
        exactly("authorization is not None and _get_origin(url) == begin"),
        "authorization is not None",
        "I9: a registry's credential is sent to no other host",
        (_ACCESS,),
    ),
    PlantedBug(
        "password-for-any-token-service",
        Python(_TRANSPORT, "RegistrySession._basic_for"),
        exactly("if known is None or _get_origin(url) != _get_origin(httpx.URL(self.base_url)):"),
        "if known is None:",
        "I9: a registry's credential is sent to no other host",
        (_ACCESS,),
    ),
    PlantedBug(
        "registry-leads-to-this-machine",
        Python(_TRANSPORT, "RegistrySession._parse_target"),
        exactly("if is_loopback(str(url)) != is_local:"),
        "if False:",
        "I9: a registry elsewhere leads no request to this machine",
        (_ACCESS,),
    ),
    PlantedBug(
        "image-for-arm-accepted",
        Python(_REGISTRY, "_look_up"),
        exactly("if PLATFORM not in platforms:"),
        "if not platforms:",
        "I13: an image that cannot run on Fly becomes no release",
        (_ANSWERS,),
    ),
    PlantedBug(
        "unread-registry-refuses",
        Python("shared.domain.release_image", "check_release_image"),
        exactly('if found.outcome == "missing":'),
        'if found.outcome in ("missing", "not_readable"):',
        "I13: a registry that cannot be read stops no release",
        (_ANSWERS,),
    ),
)
