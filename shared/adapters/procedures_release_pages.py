"""The procedures behind the dashboard's pages about releases. `OperatorDatabase` inherits them.

Templates show the rows as they are, so the rows stay plain JSON; docs/database.md lists their keys.
"""

from dataclasses import dataclass

from shared.adapters.database import Caller
from shared.domain.models import Json


@dataclass(frozen=True)
class ReleaseList:
    """A page of releases, the latest first. `differ`: `apps` that differ from their plan, and three `examples`."""

    releases: list[Json]
    next: int | None
    differ: Json


class ReleasePageProcedures(Caller):
    """What the dashboard shows of releases."""

    def read_release_list(self, before: int | None, limit: int) -> ReleaseList:
        """The releases with a smaller number than `before`. Each has its `waves` by part, but no apps."""
        answer = self._call("fly_admin_releases", before=before, limit=limit)
        return ReleaseList(releases=answer["releases"], next=answer["next"], differ=answer["differ"])

    def read_release_page(
        self, release_id: int, filters: Json | None = None, after: list[str] | None = None, limit: int = 1
    ) -> Json | None:
        """One release with a page of its apps; a draft with its plan. None when there is no such release.

        The keys of `fly_release` without `targets`, and `parts`, `reasons`, `apps`, `next`, `plan`, `log`. `waves` are by part.
        """
        answer: Json = self._call("fly_admin_release", id=release_id, filter=filters or {}, after=after, limit=limit)
        return answer if answer["known"] else None
