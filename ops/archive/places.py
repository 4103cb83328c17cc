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
        prefix = batch.object.partition(f"{batch.document['installation_id']}/")[0]
        if batch.state != "planned" and (batch.bucket, prefix) != (location.address, location.prefix):
            found[batch.bucket, prefix] += batch.rows
    return [{"bucket": bucket, "prefix": prefix, "rows": rows} for (bucket, prefix), rows in sorted(found.items())]


def describe_place(place: Json) -> str:
    """Which rows are where."""
    below = f" below {place['prefix']}" if place["prefix"] else ""
    return f"{place['rows']} archived rows of all users are in {place['bucket']}{below}"
