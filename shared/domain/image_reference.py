"""Parses the name of an image into registry, repository, tag and digest. Grammar: distribution/reference (Docker, OCI)."""

import re
from dataclasses import dataclass

# The registry of a name that names none. It answers the registry API under another host name.
DEFAULT_REGISTRY = "docker.io"
DEFAULT_REGISTRY_API = "registry-1.docker.io"
_LONGEST_REPOSITORY_CHARS = 255
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_HIGHEST_PORT = 65_535


class MalformedReferenceError(ValueError):
    """The text names no image. The message says which part is wrong and never more than that part."""


@dataclass(frozen=True)
class ImageReference:
    """One image. `registry` is a host with an optional port, in lower case. `tag` is None beside a digest if none was given."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest if there is one, because it decides, else the tag."""
        return self.digest or self.tag or "latest"

    @property
    def api_host(self) -> str:
        """The host, with its port, that answers the registry API."""
        return DEFAULT_REGISTRY_API if self.registry == DEFAULT_REGISTRY else self.registry


def parse_image_reference(text: str) -> ImageReference:
    """The image that `text` names. Without a registry it is Docker's own, without tag and digest the tag is `latest`.

    Raises MalformedReferenceError.
    """
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise MalformedReferenceError("a digest is sha256: and 64 hex digits in lower case")
    name, tag = _split_tag(name)
    registry, repository = _split_registry(name)
    if not repository:
        raise MalformedReferenceError("it names no repository")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST_REPOSITORY_CHARS:
        raise MalformedReferenceError(
            "the name of a repository has lower-case letters and digits, separated by single . _ - or /"
        )
    if tag is None and not at:
        tag = "latest"
    return ImageReference(registry, repository, tag, digest if at else None)


def _split_tag(name: str) -> tuple[str, str | None]:
    """The name without its tag, and the tag. A colon before the last slash belongs to a port."""
    before, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or "]" in tag:
        return name, None
    if not _TAG.fullmatch(tag):
        raise MalformedReferenceError("a tag has at most 128 letters, digits, dots, hyphens and underscores")
    return before, tag


def _split_registry(name: str) -> tuple[str, str]:
    """The registry and the repository. The first part is a registry if it has a dot or a port, or is `localhost`."""
    first, slash, rest = name.partition("/")
    is_registry = slash and (any(sign in first for sign in ".:[") or first == "localhost" or first != first.lower())
    registry, repository = (first.lower(), rest) if is_registry else (DEFAULT_REGISTRY, name)
    host = _HOST.fullmatch(registry)
    if host is None or (host["port"] is not None and not 0 < int(host["port"]) <= _HIGHEST_PORT):
        raise MalformedReferenceError("its registry is not a host name with an optional port")
    if registry in (f"index.{DEFAULT_REGISTRY}", DEFAULT_REGISTRY_API):
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository and repository:
        repository = f"library/{repository}"
    return registry, repository
