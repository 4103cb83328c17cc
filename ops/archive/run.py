"""The archiver: carries one batch after the other to the bucket, reads it back, and lets the database delete its rows.

    planned    the rows of the batch are fixed
    written    object and manifest are in the bucket; neither is ever overwritten
    verified   both were read back and hold exactly these rows
    deleted    the rows are gone, in the transaction that says so

A step that is repeated after a kill or a lost answer finds what the first attempt did. Two archivers at once take the same
steps on the same batch, and each step happens once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from ops.archive.bucket import Bucket
from ops.archive.erasures import write_erasures
from ops.archive.objects import (
    LINES_TYPE,
    MANIFEST_TYPE,
    Batch,
    DamagedObject,
    check_manifest,
    check_object,
    compress,
    encode_lines,
    hash_bytes,
    make_manifest,
)
from shared.adapters.procedures_archive import ArchiveProcedures
from shared.domain.errors import HangarError, Refused, TransientError

SOURCES = ("events", "samples", "closed_rows")
SETTINGS = {source: f"{source}_retention_days" for source in SOURCES}
_CHANGED_BY_HAND = "Somebody changed or deleted rows by hand: docs/archive.md says what to do"


class Left(Enum):
    """Why a run leaves a batch: its retention was raised or removed meanwhile, or another archiver has just finished it."""

    HELD = auto()
    TAKEN = auto()


HELD, TAKEN = Left.HELD, Left.TAKEN


@dataclass
class SourceReport:
    """What a run did about one source. `ended`: no_retention, nothing_due, limit or retention (it was raised meanwhile)."""

    batches: int = 0
    rows: int = 0
    object_bytes: int = 0
    ended: str = "limit"


@dataclass
class Archiver:
    """Archives what is older than its retention. `say` is told about each batch that has left the database."""

    database: ArchiveProcedures
    bucket: Bucket
    actor: str
    clock: Callable[[], datetime]
    say: Callable[[str], None] = field(default=lambda _: None)

    def run(self, sources: tuple[str, ...], most_batches: int | None = None) -> dict[str, SourceReport]:
        """Archive until nothing is due, or `most_batches` of each source are done.

        Raises the error that ended it early. Rows that are not in the bucket stay in the database, and the next run continues
        with the same batch.
        """
        self.bucket.check()
        write_erasures(self.bucket, *self.database.list_erased_users())
        return {source: self._run_source(source, most_batches) for source in sources}

    def _run_source(self, source: str, most_batches: int | None) -> SourceReport:
        report = SourceReport()
        place = self.bucket.location
        while most_batches is None or report.batches < most_batches:
            answer = self.database.plan_archive_batch(
                source, place.address, place.prefix, self.clock(), actor=self.actor
            )
            if answer["batch"] is None:
                report.ended = answer["why"]
                break
            batch = Batch.read(answer["batch"])
            size = self._carry(batch)
            if isinstance(size, Left):
                if size is TAKEN:
                    continue
                report.ended = "retention"
                break
            report.batches += 1
            report.rows += batch.rows
            report.object_bytes += size
            self.say(f"{batch.range}: {batch.rows} rows are in {batch.object} and no longer in the database")
        return report

    def _carry(self, batch: Batch) -> int | Left:
        """Bring a batch to its end. Returns the size of its object, or why its rows are left alone."""
        try:
            return self._take_steps(batch)
        except HangarError as error:
            try:
                self.database.record_archive_problem(batch.id, batch.place, str(error))
            except HangarError as second:  # the first one is the one to show
                self.say(f"{batch.range}: the database did not record the problem: {second}")
            raise

    def _take_steps(self, batch: Batch) -> int | Left:
        data = None if batch.state == "planned" else self.bucket.read(batch.object)
        if data is None or self.bucket.read(batch.manifest_key) is None:
            if not self._write(batch):
                return TAKEN
            data = self._read_back(batch.object)
        # Always in this run, however long ago an earlier one did so: what is deleted here must be there now.
        check_object(batch, data)
        sha256, size = hash_bytes(data), len(data)
        check_manifest(batch, self._read_back(batch.manifest_key), sha256)
        for state in ("written", "verified"):
            known = Batch.read(self.database.record_archive_step(batch.id, batch.place, state, sha256, size))
            if known.place != batch.place:
                raise Refused(
                    f"another archiver has moved {batch.range} to {known.bucket} as {known.object} meanwhile",
                    code="archive",
                    advice="Let both use the same bucket and prefix",
                )
        why = self.database.delete_archived_rows(batch.id, batch.place, sha256)
        if why == "rows_changed":
            raise Refused(
                f"the rows of {batch.range} are no longer those that were archived; none of them was deleted",
                code="archive",
                advice=_CHANGED_BY_HAND,
            )
        if why == "not_verified":
            raise TransientError(
                f"the rows of {batch.range} were not deleted: another archiver has taken the batch over"
            )
        return HELD if why else size

    def _write(self, batch: Batch) -> bool:
        """Write object and manifest, unless they are there. False if another archiver has deleted the rows meanwhile."""
        lines, state = self.database.read_archive_lines(batch.id)
        content = encode_lines(lines)
        if state == "deleted":
            return False
        if hash_bytes(content) != batch.content_sha256:
            raise Refused(
                f"the rows of {batch.range} are no longer those of the plan; nothing was archived or deleted",
                code="archive",
                advice=_CHANGED_BY_HAND,
            )
        data = compress(content)
        if not self.bucket.create(batch.object, data, LINES_TYPE):
            data = self._read_back(batch.object)
            check_object(batch, data)  # the first attempt of ours, or another's object, which stays
        manifest = make_manifest(batch, hash_bytes(data), len(data))
        if not self.bucket.create(batch.manifest_key, manifest, MANIFEST_TYPE):
            check_manifest(batch, self._read_back(batch.manifest_key), hash_bytes(data))
        return True

    def _read_back(self, key: str) -> bytes:
        data = self.bucket.read(key)
        if data is None:
            raise DamagedObject(f"the object {key} is not in the bucket, although it was just written")
        return data
