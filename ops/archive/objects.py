"""The objects of one batch: the rows as compressed JSON lines, and a manifest that says what they are."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.domain.errors import Refused

FORMAT = 1
LINES_TYPE = "application/gzip"
MANIFEST_TYPE = "application/json"
MANIFEST_END = ".manifest.json"
OBJECT_END = ".jsonl.gz"
# What of a manifest must agree with the batch. The rest is for people.
_COMPARED = ("source", "seqs", "rows", "content_sha256", "object_sha256", "schema_version")


class DamagedObject(Refused):
    """An object is not what its batch or its manifest says. The message names it."""

    default_code = "archive_object"


@dataclass(frozen=True)
class Batch:
    """One batch as the database has it. `sha256` is that of the object, null before it was written."""

    id: int
    source: str
    state: str
    object: str
    bucket: str
    rows: int
    content_sha256: str
    sha256: str | None
    document: dict[str, Any]

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Batch":
        """The batch of the database's JSON."""
        return cls(
            id=int(document["id"]),
            source=document["source"],
            state=document["state"],
            object=document["object"],
            bucket=document["bucket"],
            rows=document["rows"],
            content_sha256=document["content_sha256"],
            sha256=document["object_sha256"],
            document=document,
        )

    @property
    def range(self) -> str:
        """`events/1-10000`: how a command names it."""
        return f"{self.source}/{self.document['first_seq']}-{self.document['last_seq']}"

    @property
    def place(self) -> tuple[str, str]:
        """The bucket and the object in it."""
        return self.bucket, self.object

    @property
    def manifest_key(self) -> str:
        return self.object.removesuffix(OBJECT_END) + MANIFEST_END


def hash_bytes(content: bytes) -> str:
    """The SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def encode_lines(lines: Iterable[str]) -> bytes:
    """The content of an object before it is compressed. The database computes the same."""
    return "".join(f"{line}\n" for line in lines).encode()


def compress(content: bytes) -> bytes:
    """The same bytes at every call: the header has no time."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def decompress(key: str, data: bytes) -> bytes:
    """The content of an object. Raises DamagedObject."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedObject(f"the object {key} cannot be decompressed ({type(error).__name__})") from error


def make_manifest(batch: Batch, sha256: str, size: int) -> bytes:
    """The manifest of a batch whose object has this checksum and size. The same bytes at every call."""
    known = batch.document
    manifest = {
        "format": FORMAT,
        "schema_version": known["schema_version"],
        "installation_id": known["installation_id"],
        "source": batch.source,
        "first_seq": known["first_seq"],
        "last_seq": known["last_seq"],
        "seqs": known["seqs"],
        "rows": batch.rows,
        "older_than": known["cutoff"],
        "content_bytes": known["content_bytes"],
        "content_sha256": batch.content_sha256,
        "object": batch.object,
        "object_bytes": size,
        "object_sha256": sha256,
    }
    return (json.dumps(manifest, indent=2) + "\n").encode()


def read_manifest(key: str, data: bytes) -> dict[str, Any]:
    """A manifest. Raises DamagedObject."""
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise DamagedObject(f"the manifest {key} is not JSON ({error})") from error
    if not isinstance(manifest, dict) or not {"format", "object", *_COMPARED} <= manifest.keys():
        raise DamagedObject(f"the manifest {key} lacks keys that every manifest has")
    if manifest["format"] != FORMAT:
        raise DamagedObject(f"the manifest {key} has format {manifest['format']}, and this version reads {FORMAT}")
    return manifest


def check_manifest(batch: Batch, data: bytes, sha256: str) -> None:
    """Raise DamagedObject unless this manifest describes the batch."""
    found = read_manifest(batch.manifest_key, data)
    wanted = read_manifest(batch.manifest_key, make_manifest(batch, sha256, 0))
    differing = [name for name in _COMPARED if found[name] != wanted[name]]
    if differing:
        raise DamagedObject(f"the manifest {batch.manifest_key} says something else about: {', '.join(differing)}")


def check_object(batch: Batch, data: bytes) -> None:
    """Raise DamagedObject unless these bytes hold exactly the rows of the batch."""
    if batch.sha256 is not None and hash_bytes(data) != batch.sha256:
        raise DamagedObject(f"the object {batch.object} was changed: its SHA-256 is not that of {batch.range}")
    if hash_bytes(decompress(batch.object, data)) != batch.content_sha256:
        raise DamagedObject(f"the object {batch.object} does not hold the rows of {batch.range}")
