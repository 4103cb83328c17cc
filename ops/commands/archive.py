"""`hangar archive`: move old rows to a bucket, show and verify what is there, and rebuild the log from it."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ops.archive.check import OK, verify_batches
from ops.archive.objects import Batch
from ops.archive.restore import check_new_file, restore_rows
from ops.archive.run import SETTINGS, SOURCES, Archiver, SourceReport
from ops.archive.settings import open_bucket
from ops.cli_support import (
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    report_errors,
    stop,
)
from ops.client import Installation
from ops.exit_codes import EXIT_SOME_FAILED, EXIT_USAGE
from ops.tables import make_facts, make_list
from shared.domain.moments import format_second

_RANGE = re.compile(r"(?:(\w+)/)?(\d{1,19})-(\d{1,19})", re.ASCII)
_ROW = re.compile(r"\d{1,19}", re.ASCII)
source_option = click.option("--source", type=click.Choice(SOURCES), help="Only rows of this kind.")


@click.group()
def archive() -> None:
    """Move old rows to a bucket, and show, verify or restore what is there.

    The bucket is HANGAR_ARCHIVE_BUCKET, in the environment or in .env.hangar, or `bucket` under [archive] in hangar.toml.
    Without one nothing is archived and nothing is deleted.
    """


@archive.command("run")
@source_option
@click.option("--max-batches", type=click.IntRange(1), metavar="N", help="Stop after N batches of each kind of rows.")
@json_option
@report_errors
def run_archive(source: str | None, max_batches: int | None, as_json: bool) -> None:
    """Archive and delete every row that is older than its retention.

    Rows are deleted only after the bucket was read back. It is safe to stop the command, to repeat it, and to run it twice.
    """
    installation, bucket = open_installation(), open_bucket(os.environ)
    archiver = Archiver(
        installation.database,
        bucket,
        get_actor(),
        clock=lambda: datetime.now(UTC),
        say=lambda line: click.echo(line, err=as_json),
    )
    done = archiver.run((source,) if source else SOURCES, max_batches)
    if as_json:
        print_json({"bucket": bucket.location.address} | {name: asdict(report) for name, report in done.items()})
        return
    for name, report in done.items():
        click.echo(_format_report(name, report))


def _format_report(source: str, report: SourceReport) -> str:
    ended = {
        "no_retention": f"kept for ever: {SETTINGS[source]} is not set",
        "nothing_due": "nothing older than the retention is left",
        "limit": "more may be due: --max-batches ended the run",
        "retention": f"the last batch stays in the database too: {SETTINGS[source]} was raised or removed meanwhile",
    }[report.ended]
    return f"{source}: {report.rows} rows archived in {report.batches} batches ({report.object_bytes} bytes); {ended}"


def _list_batches(installation: Installation, source: str | None = None) -> list[Batch]:
    batches = [Batch.read(document) for document in installation.database.list_archive_batches()]
    return [batch for batch in batches if source in (None, batch.source)]


@archive.command("list")
@source_option
@json_option
@report_errors
def list_archive(source: str | None, as_json: bool) -> None:
    """List the batches, the oldest first: range, state and object."""
    batches = _list_batches(open_installation(), source)
    if as_json:
        print_json([batch.document for batch in batches])
        return
    rows = [
        {
            "range": batch.range,
            "rows": batch.rows,
            "state": batch.state,
            "bytes": batch.document["object_bytes"],
            "deleted": _cut_time(batch.document["deleted_at"]),
            "object": batch.object,
        }
        for batch in batches
    ]
    make_console().print(make_list("Archive", rows, ("range", "rows", "state", "bytes", "deleted", "object")))


def _cut_time(text: str | None) -> str | None:
    return format_second(text) if text else None


@archive.command("show")
@click.argument("batch_range", metavar="RANGE")
@json_option
@report_errors
def show_archive(batch_range: str, as_json: bool) -> None:
    """Show one batch. RANGE is as `hangar archive list` prints it: events/1-10000. Or the number of a row: 812."""
    installation = open_installation()
    batch = _find_batch(_list_batches(installation), batch_range)
    if batch is None:
        stop(EXIT_USAGE, f"no batch {batch_range}; list them with `hangar archive list`")
    if as_json:
        print_json(batch.document)
        return
    make_console().print(make_facts(batch.range, _describe(batch.document)))


def _find_batch(batches: list[Batch], typed: str) -> Batch | None:
    """The batch with this range, or the one of the log that holds this row."""
    if _ROW.fullmatch(typed):
        return next((batch for batch in batches if batch.source == "events" and _holds(batch, int(typed))), None)
    if not (match := _RANGE.fullmatch(typed)):
        stop(EXIT_USAGE, f"{typed!r} is not a range; write it like events/1-10000, 1-10000 or 812")
    wanted = f"{match[1] or 'events'}/{int(match[2])}-{int(match[3])}"
    return next((batch for batch in batches if batch.range == wanted), None)


def _holds(batch: Batch, seq: int) -> bool:
    spans = re.findall(r"\[(\d+),(\d+)\)", batch.document["seqs"])
    return any(int(first) <= seq < int(end) for first, end in spans)


def _describe(known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": known["state"],
        "rows": known["rows"],
        "numbers": known["seqs"],
        "older than": _cut_time(known["cutoff"]),
        "bucket": known["bucket"],
        "object": known["object"],
        "bytes": known["object_bytes"],
        "SHA-256 of the object": known["object_sha256"],
        "SHA-256 of the lines": known["content_sha256"],
        "planned": f"{_cut_time(known['planned_at'])} by {known['planned_by']}",
        "written": _cut_time(known["written_at"]),
        "verified": _cut_time(known["verified_at"]),
        "deleted from the database": _cut_time(known["deleted_at"]),
        "problem": known["problem"],
    }


@archive.command("verify")
@source_option
@json_option
@report_errors
def verify_archive(source: str | None, as_json: bool) -> None:
    """Read every object from the bucket and compare it with the database's record. Exits with 1 if anything differs."""
    installation, bucket = open_installation(), open_bucket(os.environ)
    bucket.check()
    batches = _list_batches(installation)
    found = verify_batches(bucket, batches, installation.database.read_overview().settings["installation_id"])
    findings = [each for each in found if source is None or each.range.startswith(f"{source}/") or not each.range]
    bad = [each for each in findings if each.state != OK]
    if as_json:
        print_json({"checked": len(findings), "bad": len(bad), "findings": [asdict(each) for each in findings]})
    else:
        for each in bad:
            click.echo(f"{each.range or each.object}: {each.state}: {each.what}")
        click.echo(f"{len(findings) - len(bad)} of {len(findings)} objects hold what the database recorded")
    if bad:
        stop(EXIT_SOME_FAILED, f"{len(bad)} objects are not as recorded (docs/archive.md says what to do)")


@archive.command("restore")
@click.option(
    "--into", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new file of JSON lines."
)
@click.option("--source", type=click.Choice(SOURCES), default="events", show_default=True, help="Which rows.")
@click.option("--installation", metavar="ID", help="Which installation, if the bucket holds several.")
@report_errors
def restore_archive(into: Path, source: str, installation: str | None) -> None:
    """Write every archived row to FILE, in the order of its number. Needs only the bucket, and changes no database."""
    check_new_file(into)
    bucket = open_bucket(os.environ)
    bucket.check()
    count = restore_rows(bucket, source, into, installation)
    click.echo(f"{count} rows of {source} are in {into}")
