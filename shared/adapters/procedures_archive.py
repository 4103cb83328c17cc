"""The procedures behind `hangar archive`. `OperatorDatabase` inherits them; docs/database.md lists the keys."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json

_BATCHES_PER_CALL = 500
_LINES_PER_CALL = 1000
_LOG_ROWS_PER_CALL = 20000


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

    def record_archive_step(self, batch_id: int, place: tuple[str, str], state: str, sha256: str, size: int) -> Json:
        """A batch is `written` to its place, a bucket and an object, or `verified` there. The batch as it is now."""
        return self._record_archive(batch_id, place, state=state, sha256=sha256, bytes=size, problem=None)

    def record_archive_problem(self, batch_id: int, place: tuple[str, str], problem: str) -> None:
        """Why the work on a batch ended early. `hangar status` shows it."""
        self._record_archive(batch_id, place, state=None, sha256=None, bytes=None, problem=problem)

    def _record_archive(self, batch_id: int, place: tuple[str, str], **known: str | int | None) -> Json:
        answer: Json = self._call("fly_archive_record", batch=batch_id, bucket=place[0], object=place[1], **known)
        return answer

    def delete_archived_rows(self, batch_id: int, place: tuple[str, str], sha256: str) -> str | None:
        """Delete the rows of a verified batch. None if they are gone, otherwise why not, as a code."""
        answer: Json = self._call("fly_archive_delete", batch=batch_id, bucket=place[0], object=place[1], sha256=sha256)
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

    def list_erased_users(self) -> tuple[str, list[Json]]:
        """The installation, and everybody who was erased: hashes, pseudonym and time."""
        erased: list[Json] = []
        while True:
            answer = self._call(
                "fly_erased_users", after=erased[-1]["user_hash"] if erased else "", limit=_BATCHES_PER_CALL
            )
            erased += answer["erased"]
            if len(answer["erased"]) < _BATCHES_PER_CALL:
                return str(answer["installation_id"]), erased

    def search_log(self, user_id: UUID, email: str | None) -> tuple[list[str], str]:
        """The numbers of all events that name the user, by id or e-mail address, and the last number that was read."""
        mentions: list[str] = []
        last = "0"
        while True:
            page = self._call("fly_search_log", user=str(user_id), email=email, after=last, limit=_LOG_ROWS_PER_CALL)
            mentions += page["mentions"]
            last = page["last"] or last
            if page["read"] < _LOG_ROWS_PER_CALL:
                return mentions, last

    def erase_user(
        self,
        user_id: UUID,
        email: str | None,
        searched: tuple[list[str], str],
        *,
        actor: str,
        reason: str | None,
        apply: bool,
    ) -> Json:
        """Erase a person, or without `apply` say what that would change. `searched` is the answer of `search_log`.

        Raises Conflict when something must happen first.
        """
        mentions, read_to = searched
        answer: Json = self._call(
            "fly_erase_user",
            user=str(user_id),
            actor=actor,
            reason=reason,
            email=email,
            mentions=mentions,
            read_to=read_to,
            apply=apply,
        )
        return answer

    def export_user(self, user_id: UUID) -> Json:
        """Everything that Hangar holds about one user, without the events and without values of an environment."""
        answer: Json = self._call("fly_user_export", user=str(user_id))
        return answer
