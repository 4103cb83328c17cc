"""Everything that Hangar holds about one person: from the database, and from the archive if a bucket is given."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from ops.archive.bucket import Bucket
from ops.archive.restore import read_batches
from ops.archive.run import SOURCES
from ops.client import Installation

_PAGE = 1000  # PostgREST returns no more rows at once


def export_user(installation: Installation, user_id: UUID, bucket: Bucket | None) -> dict[str, Any]:
    """Rows, money, decisions and events of a user. `archived` holds what is in the bucket; null if it was not read."""
    known = installation.database.export_user(user_id)
    archived = None
    if bucket is not None:
        settings = installation.database.read_overview().settings
        folder = f"{bucket.location.prefix}{settings['installation_id']}"
        archived = [each for source in SOURCES for each in _find_archived(bucket, f"{folder}/{source}/", str(user_id))]
    own = {"user_id": f"eq.{user_id}"}
    as_operator = {
        "event_type": "eq.settings_changed",
        "or": f"(metadata->changes->>operator_added.eq.{user_id},metadata->changes->>operator_removed.eq.{user_id})",
    }
    events = {event["seq"]: event for query in (own, as_operator) for event in _read_events(installation, query)}
    return known | {"events": [events[seq] for seq in sorted(events)], "archived": archived}


def _read_events(installation: Installation, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = installation.read_rows("user_fly_app_events", limit=_PAGE, order="seq.asc", seq=f"gt.{after}", **query)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]


def _find_archived(bucket: Bucket, below: str, user_id: str) -> Iterator[dict[str, Any]]:
    """Every archived row that names the user, also in its metadata, with the object that holds it."""
    for key, lines in read_batches(bucket, below):
        for line in lines:
            if user_id in line:
                yield json.loads(line) | {"object": key}
