"""Compares what the bucket holds with what the database says was archived."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ops.archive.bucket import Bucket
from ops.archive.erasures import FOLDER
from ops.archive.objects import Batch, DamagedObject, check_manifest, check_object, hash_bytes

OK, ELSEWHERE, MISSING, CHANGED, UNKNOWN = "ok", "elsewhere", "missing", "changed", "unknown"


@dataclass(frozen=True)
class Finding:
    """One batch, or one object without a batch. `what` is empty when all is well."""

    range: str
    object: str
    state: str
    what: str = ""


def verify_batches(bucket: Bucket, batches: Iterable[Batch], installation_id: str) -> Iterator[Finding]:
    """Every batch that was written, read from the bucket and compared; then every object that no batch names."""
    known = set()
    for batch in batches:
        known |= {batch.object, batch.manifest_key}
        if batch.state != "planned":
            yield _verify(bucket, batch)
    below = f"{bucket.location.prefix}{installation_id}/"
    for key in bucket.list_keys(below):
        if key not in known and not key.startswith(f"{below}{FOLDER}"):
            yield Finding("", key, UNKNOWN, "no batch of this installation names this object")


def _verify(bucket: Bucket, batch: Batch) -> Finding:
    if batch.bucket != bucket.location.address:
        return Finding(batch.range, batch.object, ELSEWHERE, f"it is in {batch.bucket}, which was not read")
    data = bucket.read(batch.object)
    if data is None:
        return Finding(batch.range, batch.object, MISSING, "the object is not in the bucket")
    try:
        check_object(batch, data)
        manifest = bucket.read(batch.manifest_key)
        if manifest is None:
            return Finding(
                batch.range, batch.object, MISSING, f"the manifest {batch.manifest_key} is not in the bucket"
            )
        check_manifest(batch, manifest, hash_bytes(data))
    except DamagedObject as error:
        return Finding(batch.range, batch.object, CHANGED, error.message)
    return Finding(batch.range, batch.object, OK)
