"""Which bucket the archive is in, from its variables. Credentials are those of boto3 and are not read here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from ops.connection import TargetError

DEFAULT_PREFIX = "hangar"
DEFAULT_REGION = "us-east-1"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{0,200}")
_REGION = re.compile(r"[a-z0-9-]{2,40}")


@dataclass(frozen=True)
class Location:
    """A bucket, and the prefix of every object in it. `prefix` is empty or ends with a slash."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str

    @property
    def address(self) -> str:
        """The bucket with the service that holds it, as the database records it."""
        if self.endpoint is None:
            return f"s3://{self.bucket}"
        url = httpx.URL(self.endpoint)
        return f"{url.scheme}://{url.netloc.decode()}{url.path.rstrip('/')}/{self.bucket}"


def load_location(environ: Mapping[str, str]) -> Location:
    """The location that `environ` names. Raises TargetError, which names the variable and its form."""
    bucket = environ.get("HANGAR_ARCHIVE_BUCKET", "").strip()
    if not bucket:
        raise TargetError(
            "no archive is configured: set HANGAR_ARCHIVE_BUCKET, here or in .env.hangar, to an S3 bucket (docs/archive.md). "
            "Without one, nothing is archived and nothing is deleted"
        )
    if not _BUCKET.fullmatch(bucket):
        raise TargetError(
            f"HANGAR_ARCHIVE_BUCKET {bucket!r} is not the name of a bucket: 3 to 63 lower-case letters, digits, dots and "
            "hyphens, without s3://"
        )
    prefix = environ.get("HANGAR_ARCHIVE_PREFIX", DEFAULT_PREFIX).strip().strip("/")
    if not _PREFIX.fullmatch(prefix):
        raise TargetError(
            f"HANGAR_ARCHIVE_PREFIX {prefix!r} must be letters, digits, slashes and !_.*'()-, up to 200 characters"
        )
    region = (environ.get("HANGAR_ARCHIVE_REGION") or environ.get("AWS_REGION") or DEFAULT_REGION).strip()
    if not _REGION.fullmatch(region):
        raise TargetError(f"HANGAR_ARCHIVE_REGION {region!r} is not a region such as eu-central-1 or auto")
    return Location(bucket, f"{prefix}/" if prefix else "", _read_endpoint(environ), region)


def _read_endpoint(environ: Mapping[str, str]) -> str | None:
    text = environ.get("HANGAR_ARCHIVE_ENDPOINT", "").strip().rstrip("/")
    if not text:
        return None
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        raise TargetError(
            "HANGAR_ARCHIVE_ENDPOINT must be the URL of an S3-compatible service, like https://s3.example.com"
        )
    return text
