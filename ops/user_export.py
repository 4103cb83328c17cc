"""Everything that Hangar holds about one person: from the database, and from the archive if a bucket is given."""

import json
from collections.abc import Iterator
from uuid import UUID

from ops.archive.bucket import Bucket
from ops.archive.places import list_other_places
from ops.archive.restore import read_batches
from ops.archive.run import SOURCES
from ops.client import Installation
from shared.domain.models import Json

_PAGE = 1000  # PostgREST returns no more rows at once
_NUMBERS_PER_CALL = 200  # they stand in the address


def export_user(installation: Installation, user_id: UUID, bucket: Bucket | None) -> Json:
    """Rows, money, decisions and events of a user, and the events of others that name the user (`mentions`).

    `archived` holds what is in the bucket, and `elsewhere` where more of the archive is; null if the bucket was not read.
    """
    database = installation.database
    known = database.export_user(user_id)
    archived = elsewhere = None
    if bucket is not None:
        settings = database.read_overview().settings
        folder = f"{bucket.location.prefix}{settings['installation_id']}"
        archived = [each for source in SOURCES for each in _find_archived(bucket, f"{folder}/{source}/", str(user_id))]
        elsewhere = list_other_places(database.list_archive_batches(), bucket.location)
    events = list(_read_events(installation, user_id))
    own = {str(event["seq"]) for event in events}
    named, _ = database.search_log(user_id, None)
    mentions = list(_read_numbered(installation, [seq for seq in named if seq not in own]))
    return known | {"events": events, "mentions": mentions, "archived": archived, "elsewhere": elsewhere}


def _read_events(installation: Installation, user_id: UUID) -> Iterator[Json]:
    after = 0
    while True:
        query = {"user_id": f"eq.{user_id}", "seq": f"gt.{after}"}
        page = installation.read_rows("user_fly_app_events", limit=_PAGE, order="seq.asc", **query)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]


def _read_numbered(installation: Installation, numbers: list[str]) -> Iterator[Json]:
    for start in range(0, len(numbers), _NUMBERS_PER_CALL):
        some = ",".join(numbers[start : start + _NUMBERS_PER_CALL])
        yield from installation.read_rows("user_fly_app_events", limit=_PAGE, order="seq.asc", seq=f"in.({some})")


def _find_archived(bucket: Bucket, below: str, user_id: str) -> Iterator[Json]:
    """Every archived row that names the user, also in its metadata, with the object that holds it."""
    for key, lines in read_batches(bucket, below):
        for line in lines:
            if user_id in line:
                yield json.loads(line) | {"object": key}
