"""Erases one person from what Hangar holds, and says which objects of the archive still have the person."""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

from ops.archive.bucket import Bucket
from ops.archive.erasures import write_erasures
from ops.archive.objects import MANIFEST_END, OBJECT_END
from ops.archive.places import list_other_places
from ops.archive.restore import read_batches
from ops.archive.run import SOURCES
from ops.client import Installation
from shared.domain.models import Json


@dataclass
class Erasure:
    """One person at one installation. `email` is an address that the host no longer has, or null."""

    installation: Installation
    user_id: UUID
    email: str | None
    actor: str

    def preview(self) -> Json:
        """What erasing would change now, and what must happen first. It reads the whole log."""
        return self._erase(None, apply=False)

    def apply(self, reason: str) -> Json:
        """Erase the person in one transaction. Raises Conflict when something must happen first."""
        return self._erase(reason, apply=True)

    def _erase(self, reason: str | None, *, apply: bool) -> Json:
        database = self.installation.database
        searched = database.search_log(self.user_id, self.email)
        return database.erase_user(self.user_id, self.email, searched, actor=self.actor, reason=reason, apply=apply)

    def list_archived(self, bucket: Bucket, addresses: list[str]) -> list[dict[str, Any]]:
        """The objects of the archive that name the person, by id or address. Reads every object."""
        settings = self.installation.database.read_overview().settings
        texts = [str(self.user_id), *addresses, *(quote(address).lower() for address in addresses)]
        found: Counter[str] = Counter()
        for source in SOURCES:
            below = f"{bucket.location.prefix}{settings['installation_id']}/{source}/"
            for key, lines in read_batches(bucket, below):
                found[key] += sum(any(text in line.lower() for text in texts) for line in lines)
        return [
            {"object": key, "manifest": key.removesuffix(OBJECT_END) + MANIFEST_END, "rows": rows}
            for key, rows in sorted(found.items())
            if rows
        ]

    def list_other_places(self, bucket: Bucket) -> list[Json]:
        """The buckets and prefixes of the archive beside this one. They have to be searched, and told, on their own."""
        return list_other_places(self.installation.database.list_archive_batches(), bucket.location)

    def record_in_archive(self, bucket: Bucket) -> list[str]:
        """Let every restore leave erased persons out. The names of the objects that were written now."""
        return write_erasures(bucket, *self.installation.database.list_erased_users())
