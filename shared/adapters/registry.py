"""Asks an image's registry what a tag means: its digest, and whether it runs on Fly's machines.

Docs: docs/releases.md. Source: the OCI distribution and image specifications 1.1 and Docker's image manifest v2, schema 2.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.adapters.http_client import is_loopback
from shared.adapters.registry_transport import Answer, NotReadableError, RegistrySession
from shared.domain.image_reference import ImageReference, MalformedReferenceError, parse_image_reference
from shared.domain.release_image import PLATFORM, ImageLookup
from shared.observability.redaction import cut_excerpt
from shared.settings.validators import LookupScope

FLY_REGISTRY = "registry.fly.io"
DEADLINE_S = 20.0
_MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MOST_UNNAMED = 4
_MOST_SHOWN = 6
_EXCERPT_CHARS = 100
_GONE = (httpx.codes.NOT_FOUND, httpx.codes.GONE)


class _MissingError(Exception):
    """The image, or a part of it, is not in the registry."""


@dataclass(frozen=True)
class Registry:
    """Looks images up. `scope` says which registries are asked: all, only those on this machine, or none.

    `credentials` are user and password by registry. `transport` replaces the network in tests.
    """

    scope: LookupScope
    credentials: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    deadline_s: float = DEADLINE_S
    transport: httpx.BaseTransport | None = None

    def look_up(self, image: str) -> ImageLookup:
        """What the registry says about `image`, within `deadline_s`. It raises nothing."""
        try:
            reference = parse_image_reference(image)
        except MalformedReferenceError as error:
            if self.scope != "all":
                return ImageLookup("not_looked_up")  # the database alone judges the name
            return ImageLookup("missing", said=f"the name is not valid ({error})")
        is_local = is_loopback(f"http://{reference.api_host}")
        if self.scope == "off" or (self.scope == "loopback" and not is_local):
            return ImageLookup("not_looked_up", reference.registry)
        return self._look_up_in_time(reference)

    def _look_up_in_time(self, reference: ImageReference) -> ImageLookup:
        """The time-outs of an HTTP client cover neither a slow name server nor headers that trickle in; this does."""
        session = RegistrySession(reference, self.credentials, time.monotonic() + self.deadline_s, self.transport)
        found: Future[ImageLookup] = Future()

        def run() -> None:
            try:
                found.set_result(_look_up(session))
            except BaseException as error:  # noqa: BLE001  it is raised where the result is read
                found.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            return found.result(self.deadline_s + 1)
        except FutureTimeoutError:
            return ImageLookup("not_readable", reference.registry, said="no answer in time")


def make_registry(scope: LookupScope, fly_token: str | None, transport: httpx.BaseTransport | None = None) -> Registry:
    """The registry client of an installation. The Fly token opens Fly's registry only, as flyctl uses it for Docker."""
    token = (fly_token or "").removeprefix("FlyV1 ").strip()
    return Registry(scope, {FLY_REGISTRY: ("x", token)} if token else {}, transport=transport)


def choose_scope(configured: LookupScope | None, supabase_url: str) -> LookupScope:
    """Which registries may be asked. Without a setting a local installation asks only registries on its own machine."""
    return configured or ("loopback" if is_loopback(supabase_url) else "all")


def _look_up(session: RegistrySession) -> ImageLookup:
    registry = session.reference.registry
    try:
        digest, document = _read_manifest(session, session.reference.wanted)
        found = _list_platforms(session, digest, document)
        platforms = tuple(found)
        if PLATFORM in found and found[PLATFORM] != digest:
            # Fly shows the digest of what it runs, which is this manifest and not the index. It must be there, too.
            _read_manifest(session, found[PLATFORM])
    except _MissingError as missing:
        return ImageLookup("missing", registry, said=session.hide_credentials(str(missing)))
    except NotReadableError as reason:
        return ImageLookup("not_readable", registry, said=session.hide_credentials(str(reason)))
    if PLATFORM not in platforms:
        shown = session.hide_credentials(", ".join(platforms[:_MOST_SHOWN]) or "no platform")
        return ImageLookup("wrong_architecture", registry, None, platforms, f"the registry offers {shown}")
    return ImageLookup(
        "resolved", registry, found[PLATFORM], platforms, index=digest if found[PLATFORM] != digest else None
    )


def _read_manifest(session: RegistrySession, wanted: str) -> tuple[str, dict[str, Any]]:
    """The digest of a manifest or index, proved by its content, and the document."""
    answer = session.get(f"manifests/{wanted}", ", ".join(_MANIFEST_TYPES))
    if answer.status in _GONE:
        raise _MissingError(f"{session.reference.registry} answered {_format_error(answer)} for {wanted}")
    _expect_ok(answer)
    told = answer.headers.get("docker-content-digest") or ""
    if ":" in wanted:
        _expect_content(answer.body, wanted)
        if told and not _is_digest_of(told, answer.body):
            raise _MissingError(f"asked for {wanted}, the registry has {_quote(told)}")
        return wanted, _read_document(answer.body)
    if told and not _is_digest_of(told, answer.body):
        raise NotReadableError(f"it calls the content {_quote(told)}, which is not its digest")
    return told or _digest_of(answer.body), _read_document(answer.body)


def _list_platforms(session: RegistrySession, digest: str, document: dict[str, Any]) -> dict[str, str]:
    """The digest of the manifest for each platform (`architecture/system`), in the order of the registry, without attestations.

    An index may have several entries for a platform, for newer processors. One without a variant runs everywhere.
    """
    if not isinstance(document.get("manifests"), list):
        return {_read_platform(session, document): digest}
    entries = [each for each in document["manifests"] if isinstance(each, dict) and _has_digest(each)]
    named = [each for each in entries if isinstance(each.get("platform"), dict)]
    found: dict[str, str] = {}
    for each in sorted(named, key=lambda each: bool(each["platform"].get("variant"))):
        found.setdefault(_name_platform(each["platform"]), each["digest"])
    found = {platform: found[platform] for platform in (_name_platform(each["platform"]) for each in named)}
    if PLATFORM not in found:
        # An index need not name the platform of an entry. The entry's own configuration does.
        unnamed = [each["digest"] for each in entries if not isinstance(each.get("platform"), dict)]
        for each in unnamed[:_MOST_UNNAMED]:
            found.setdefault(_read_platform(session, _read_manifest(session, each)[1]), each)
    return {platform: each for platform, each in found.items() if platform != "unknown/unknown"}


def _has_digest(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("digest"), str) and _is_known(entry["digest"])


def _read_platform(session: RegistrySession, manifest: dict[str, Any]) -> str:
    """The platform in the configuration of one image."""
    config = manifest.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(digest, str) or not _is_known(digest):
        raise NotReadableError("its answer is not the manifest of an image")
    answer = session.get(f"blobs/{digest}", "application/octet-stream, */*")
    if answer.status in _GONE:
        raise _MissingError(f"the registry has its manifest, and not its configuration {digest}")
    _expect_ok(answer)
    if not _is_digest_of(digest, answer.body):
        raise NotReadableError(f"the configuration {digest} has other content")
    document = _read_document(answer.body)
    if not document.get("architecture"):
        raise NotReadableError("its configuration names no architecture")
    return _name_platform(document)


def _name_platform(platform: dict[str, Any]) -> str:
    architecture, system = platform.get("architecture") or "unknown", platform.get("os") or "unknown"
    return _quote(f"{architecture}/{system}")


def _expect_ok(answer: Answer) -> None:
    if answer.status != httpx.codes.OK:
        raise NotReadableError(f"it answered {_format_error(answer)}")


def _expect_content(body: bytes, digest: str) -> None:
    if not _is_digest_of(digest, body):
        raise _MissingError(f"asked for {digest}, the registry answered with other content ({_digest_of(body)})")


def _format_error(answer: Answer) -> str:
    """The status, and the code of the OCI error document if there is one."""
    try:
        code = json.loads(answer.body)["errors"][0]["code"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return str(answer.status)
    return f"{answer.status} {_quote(str(code))}"


def _quote(text: str) -> str:
    """A word of the registry for a message: short, on one line, without characters that a terminal obeys."""
    return cut_excerpt(re.sub(r"[^ -~]", "?", text), _EXCERPT_CHARS)


def _read_document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NotReadableError("its answer is not JSON of a registry")
    return document


def _is_known(digest: str) -> bool:
    algorithm, _, hex_digits = digest.partition(":")
    return {"sha256": 64, "sha512": 128}.get(algorithm) == len(hex_digits) and hex_digits.isalnum()


def _is_digest_of(digest: str, body: bytes) -> bool:
    return _is_known(digest) and digest == f"{digest[:6]}:{hashlib.new(digest[:6], body).hexdigest()}"


def _digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
