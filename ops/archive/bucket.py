"""The bucket over the S3 protocol: create an object once, read it, list objects. The only module that imports boto3."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ops.archive.location import Location
from ops.connection import TargetError
from shared.adapters.http_client import is_loopback
from shared.domain.errors import HangarError, Refused, TransientError
from shared.observability.redaction import cut_excerpt

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_ATTEMPTS = 4
_CONFLICT_PAUSE_S = 1.0
_ABSENT = ("NoSuchKey", "404", "NotFound")
_EXISTS = ("PreconditionFailed", "412")
_CONFLICT = ("ConditionalRequestConflict", "409", "OperationAborted")
# What is wrong, by S3's code: the first words of the message, and what to do.
_REFUSALS = {
    "NoSuchBucket": ("does not exist", "Create it, or correct HANGAR_ARCHIVE_BUCKET or HANGAR_ARCHIVE_ENDPOINT"),
    "InvalidAccessKeyId": ("does not know the access key", "Correct AWS_ACCESS_KEY_ID or the profile"),
    "SignatureDoesNotMatch": ("rejects the secret key", "Correct AWS_SECRET_ACCESS_KEY or the profile"),
    "AccessDenied": ("refuses access", "Allow s3:PutObject, s3:GetObject and s3:ListBucket on it"),
    "403": ("refuses access", "Allow s3:PutObject, s3:GetObject and s3:ListBucket on it"),
    "ExpiredToken": ("says that the credentials have expired", "Sign in again"),
    "RequestTimeTooSkewed": ("says that this machine's clock is wrong", "Correct the clock"),
    "NotImplemented": ("does not support conditional writes", "Use a service that supports If-None-Match on PutObject"),
    "QuotaExceeded": ("is full", "Free space in it or enlarge it"),
    "EntityTooLarge": ("refuses an object of this size", "Allow objects of 16 MB in it"),
}
_FULL = ("InsufficientStorage", "XMinioStorageFull", "507")


class Bucket:
    """One bucket. Its calls raise Refused (an operator must change something) or TransientError (try again)."""

    def __init__(
        self,
        location: Location,
        *,
        sleep: Callable[[float], None] = time.sleep,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        """`credentials`: variables of boto3 that are not in the environment, by name."""
        self.location = location
        self._sleep = sleep
        self._client = _make_client(location, credentials or {})

    def create(self, key: str, body: bytes, content_type: str) -> bool:
        """Write an object that does not exist yet. False if one exists, which is never overwritten.

        A repetition after a lost answer finds the object of the first attempt: read it and compare.
        """
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        for attempt in range(1, _ATTEMPTS + 1):
            code = self._put(key, body, content_type, digest)
            if code is None:
                return True
            if code in _EXISTS:
                return False
            if attempt < _ATTEMPTS:  # another archiver writes the same object at this moment
                self._sleep(_CONFLICT_PAUSE_S)
        raise TransientError(f"another writer holds the object {key} in {self.location.address}")

    def _put(self, key: str, body: bytes, content_type: str, digest: str) -> str | None:
        code: str | None = None

        def put() -> None:
            nonlocal code
            from botocore.exceptions import ClientError  # noqa: PLC0415  see _make_client

            try:
                self._client.put_object(
                    Bucket=self.location.bucket,
                    Key=key,
                    Body=body,
                    ContentType=content_type,
                    ContentMD5=digest,
                    IfNoneMatch="*",
                )
            except ClientError as error:
                code = _read_code(error)
                if code not in _EXISTS + _CONFLICT:
                    raise

        self._call(f"write {key}", put)
        return code

    def read(self, key: str) -> bytes | None:
        """The content of an object; None if there is none."""
        found: bytes | None = None

        def get() -> None:
            nonlocal found
            from botocore.exceptions import ClientError  # noqa: PLC0415  see _make_client

            try:
                found = self._client.get_object(Bucket=self.location.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if _read_code(error) not in _ABSENT:
                    raise

        self._call(f"read {key}", get)
        return found

    def list_keys(self, prefix: str) -> Iterator[str]:
        """The names of all objects below a prefix, in their order."""
        token: dict[str, str] = {}
        while True:
            page = self._list_page(prefix, token)
            yield from (entry["Key"] for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _list_page(self, prefix: str, token: dict[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = {}

        def list_objects() -> None:
            page.update(self._client.list_objects_v2(Bucket=self.location.bucket, Prefix=prefix, **token))

        self._call(f"list {prefix}", list_objects)
        return page

    def check(self) -> None:
        """Raise what a first call would: the bucket is missing, or the credentials are wrong."""
        next(self.list_keys(self.location.prefix), None)

    def _call(self, what: str, call: Callable[[], None]) -> None:
        from botocore import exceptions  # noqa: PLC0415  see _make_client

        try:
            call()
        except exceptions.ClientError as error:
            raise self._explain(what, error) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
            raise TargetError(_explain_setup(self.location, error)) from error
        except (exceptions.BotoCoreError, OSError) as error:
            raise TransientError(
                f"{self.location.address} gave no answer to: {what} ({type(error).__name__})",
                code="archive_unreachable",
            ) from error

    def _explain(self, what: str, error: "ClientError") -> HangarError:
        code = _read_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        place = f"the bucket {self.location.address}"
        if code in _REFUSALS:
            says, advice = _REFUSALS[code]
            return Refused(f"{place} {says} (to {what}: {code})", code="archive", advice=advice)
        if code in _FULL or status == 507:
            return Refused(f"{place} is full (to {what}: {code})", code="archive", advice=_REFUSALS["QuotaExceeded"][1])
        detail = cut_excerpt(str(error.response.get("Error", {}).get("Message", "")))
        if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
            return TransientError(f"{place} could not {what} now ({code}: {detail})", code="archive_unreachable")
        return Refused(f"{place} refuses to {what} ({code}: {detail})", code="archive")


def _read_code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _make_client(location: Location, credentials: Mapping[str, str]) -> Any:
    """A client of boto3, which is imported here: it takes 0.3 s, and is installed only where the archive runs."""
    try:
        import boto3  # noqa: PLC0415  see above
        from botocore.config import Config  # noqa: PLC0415  see above
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415  see above
    except ImportError:
        _stop_without_boto3()
    proxies: dict[str, str] | None = {} if location.endpoint and is_loopback(location.endpoint) else None
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        # Services other than AWS do not know the newer checksums; Content-MD5 is sent instead.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Virtual hosts need a name for each bucket, which an endpoint of its own rarely has.
        s3={"addressing_style": "path" if location.endpoint else "auto"},
        proxies=proxies,
    )
    try:
        # Not the default session, which threads may not share while it is made.
        session = boto3.Session(
            aws_access_key_id=credentials.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=credentials.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
            profile_name=credentials.get("AWS_PROFILE"),
        )
        return session.client("s3", endpoint_url=location.endpoint, region_name=location.region, config=config)
    except (BotoCoreError, ValueError) as error:  # a profile that does not exist, half of a pair of keys, a broken file
        raise TargetError(_explain_setup(location, error)) from error


def _explain_setup(location: Location, error: Exception) -> str:
    return (
        f"boto3 finds no credentials for {location.address} ({type(error).__name__}): set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a profile that exists"
    )


def _stop_without_boto3() -> NoReturn:
    raise TargetError("the archive needs boto3, which is not installed: pip install 'hangar[ops,archive]'")
