"""Where else the archive of an installation is, after its bucket or prefix was changed."""

from collections import Counter
from collections.abc import Iterable

from ops.archive.location import Location
from ops.archive.objects import Batch
from shared.domain.models import Json


def list_other_places(batches: Iterable[Json], location: Location) -> list[Json]:
    """The buckets and prefixes beside `location` that hold rows, as [{"bucket", "prefix", "rows"}]."""
    found: Counter[tuple[str, str]] = Counter()
    for batch in map(Batch.read, batches):
        # A copy of a database has another id than the one that wrote these batches: then the former id stays in the prefix.
        prefix = batch.object.rpartition(f"/{batch.source}/")[0].removesuffix(batch.document["installation_id"])
        if batch.state != "planned" and (batch.bucket, prefix) != (location.address, location.prefix):
            found[batch.bucket, prefix] += batch.rows
    return [{"bucket": bucket, "prefix": prefix, "rows": rows} for (bucket, prefix), rows in sorted(found.items())]


def describe_place(place: Json) -> str:
    """Which rows are where."""
    below = f" below {place['prefix']}" if place["prefix"] else ""
    return f"{place['rows']} archived rows of all users are in {place['bucket']}{below}"
