"""The procedures behind `hangar archive`. `OperatorDatabase` inherits them; docs/database.md lists the keys."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json

_BATCHES_PER_CALL = 500
_LINES_PER_CALL = 1000


class ArchiveProcedures(Caller):
    """What the archiver asks of the database. Every call is safe to repeat."""

    def plan_archive_batch(self, source: str, bucket: str, prefix: str, at: datetime, *, actor: str) -> Json:
        """The unfinished or a new batch of a source as `batch`; null with `why` "no_retention" or "nothing_due".

        `at` is the archiver's time. Raises Refused when it is far from the database's.
        """
        answer: Json = self._call(
            "fly_archive_plan", source=source, bucket=bucket, prefix=prefix, at=at.isoformat(), actor=actor
        )
        return answer

    def read_archive_lines(self, batch_id: int) -> tuple[list[str], str]:
        """The rows of a batch as JSON, in the order of their numbers, and the batch's state after the last of them was read."""
        lines: list[str] = []
        after = "-1"
        while True:
            page = self._call("fly_archive_read", batch=batch_id, after=after, limit=_LINES_PER_CALL)
            lines += page["lines"]
            if len(page["lines"]) < _LINES_PER_CALL:
                return lines, str(page["state"])
            after = page["last"]

    def record_archive_step(self, batch_id: int, bucket: str, state: str, sha256: str, size: int) -> Json:
        """A batch is `written` to its bucket, or `verified` there. The batch as it is now."""
        answer: Json = self._call(
            "fly_archive_record", batch=batch_id, bucket=bucket, state=state, sha256=sha256, bytes=size, problem=None
        )
        return answer

    def record_archive_problem(self, batch_id: int, bucket: str, problem: str) -> None:
        """Why the work on a batch ended early. `hangar status` shows it."""
        self._call(
            "fly_archive_record", batch=batch_id, bucket=bucket, state=None, sha256=None, bytes=None, problem=problem
        )

    def delete_archived_rows(self, batch_id: int, bucket: str, sha256: str) -> str | None:
        """Delete the rows of a verified batch. None if they are gone, otherwise why not, as a code."""
        answer: Json = self._call("fly_archive_delete", batch=batch_id, bucket=bucket, sha256=sha256)
        return None if answer["deleted"] else str(answer["why"])

    def list_archive_batches(self) -> Iterator[Json]:
        """All batches, the oldest first."""
        after = "0"
        while True:
            page = self._call("fly_archive_batches", after=after, limit=_BATCHES_PER_CALL)["batches"]
            yield from page
            if len(page) < _BATCHES_PER_CALL:
                return
            after = page[-1]["id"]

    def export_user(self, user_id: UUID) -> Json:
        """Everything that Hangar holds about one user, without the events and without values of an environment."""
        answer: Json = self._call("fly_user_export", user=str(user_id))
        return answer
