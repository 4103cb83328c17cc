"""`hangar user erase`: takes one person out of everything that Hangar holds."""

import os
import re
from typing import Any

import click

from ops.archive.bucket import Bucket
from ops.archive.places import describe_place
from ops.archive.settings import has_archive, open_bucket
from ops.cli_support import (
    ask_reason,
    can_ask,
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
    yes_option,
)
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from ops.plain_text import one_line
from ops.tables import make_list
from ops.user_erase import Erasure
from shared.domain.errors import HangarError
from shared.domain.models import Json

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@click.command("erase")
@click.argument("user")
@click.option(
    "--email", metavar="ADDRESS", help="Also erase this address, if the host no longer has it or has another."
)
@click.option("--archive", "with_archive", is_flag=True, help="Also search every object of the archive.")
@click.option("--apply", "is_applied", is_flag=True, help="Erase. Without it the command only shows what it would do.")
@reason_option
@yes_option
@json_option
@report_errors
def erase_user_data(
    *, user: str, email: str | None, with_archive: bool, is_applied: bool, reason: str | None, yes: bool, as_json: bool
) -> None:
    """Erase the person USER (uuid, e-mail or app name) from what Hangar holds.

    Pins, overrides and other decisions about the user are deleted. The audit log, costs and closed apps stay under a
    pseudonym. Your own tables are not touched. The user must have no app and no subscription. With --apply it asks for
    the user's e-mail address, or, without one, for the id; --yes does not ask.
    """
    if email is not None and not _EMAIL.fullmatch(email.strip()):
        stop(EXIT_USAGE, f"--email must be an e-mail address, not {email!r}")
    installation = open_installation()
    erasure = Erasure(installation, installation.find_user(user), email, get_actor())
    bucket = open_bucket(os.environ) if with_archive or (is_applied and has_archive(os.environ)) else None
    plan = erasure.preview()
    archived = erasure.list_archived(bucket, plan["searched"]) if bucket and with_archive else None
    plan["elsewhere"] = elsewhere = erasure.list_other_places(bucket) if bucket else None
    if not as_json or is_applied:
        _show(user, plan, archived, to_stderr=as_json)
    if not is_applied:
        if as_json:
            print_json(plan | {"archived": archived, "recorded": []})
        _end_dry_run(plan, as_json=as_json)
        return
    _stop_if_refused(plan)
    if plan["changes"]:
        reason = ask_reason(reason, is_required=True)
        _confirm(plan, yes=yes)
        plan = erasure.apply(reason or "") | {"elsewhere": elsewhere}
        echo(_describe_done(user, plan), err=as_json)
    recorded = _record(erasure, bucket, plan)
    if as_json:
        print_json(plan | {"archived": archived, "recorded": recorded})


def _show(user: str, plan: Json, archived: list[dict[str, Any]] | None, *, to_stderr: bool) -> None:
    if not plan["changes"] and not plan["remains"]:
        echo(f"{user}: Hangar's database holds nothing about this person", err=to_stderr)
    elif plan["changes"]:
        title = f"Erasing {user} ({plan['email'] or 'no e-mail address is known'})"
        make_console(to_stderr=to_stderr).print(make_list(title, plan["changes"], ("table", "what", "rows")))
        money = plan["money"]
        echo(
            f"Kept under the pseudonym: {money['intervals']} cost intervals of {money['usd']} USD; closed apps, because "
            "they prove that an app was Hangar's; type and time of each event. Your own tables are not touched",
            err=to_stderr,
        )
    if plan["email"] and plan["email"].strip().lower() not in plan["searched"]:
        echo(
            f"{plan['email']!r} is no e-mail address that texts could be searched for; only the id is searched",
            err=to_stderr,
        )
    for each in plan["remains"]:
        echo(
            f"Stays: {each['rows']} row(s) of {each['table']} name the person in your column {each['column']}, because "
            f"{each['why']}. Change or delete the value yourself",
            err=to_stderr,
        )
    for line in _describe_archive(plan, archived):
        echo(line, err=to_stderr)
    for place in plan["elsewhere"] or ():
        echo(
            f"{describe_place(place)}: not searched, and a restore from there has the person until this command was run "
            "with that HANGAR_ARCHIVE_BUCKET and HANGAR_ARCHIVE_PREFIX as well",
            err=to_stderr,
        )
    for refusal in plan["refusals"]:
        echo(f"First: {refusal['message']}", err=to_stderr)


def _describe_archive(plan: Json, archived: list[dict[str, Any]] | None) -> list[str]:
    if plan["archived_rows"] == "0" and not archived:
        return []
    if archived is None:
        return [f"The archive ({plan['archived_rows']} rows of all users) was not searched: --archive searches it"]
    lines = [
        f"{each['object']}: {each['rows']} rows name the person (manifest {each['manifest']})" for each in archived
    ]
    if lines:
        lines.append(
            "These objects cannot be changed: `hangar archive restore` leaves the person out (docs/erasure.md)"
        )
    return lines


def _end_dry_run(plan: Json, *, as_json: bool) -> None:
    if plan["refusals"]:
        stop(EXIT_REFUSED, "the person cannot be erased yet; nothing was changed")
    if plan["changes"]:
        echo("Nothing was changed. To erase the person, add --apply", err=as_json)


def _stop_if_refused(plan: Json) -> None:
    if plan["refusals"]:
        stop(EXIT_REFUSED, f"nothing was erased: {'; '.join(refusal['message'] for refusal in plan['refusals'])}")


def _confirm(plan: Json, *, yes: bool) -> None:
    """Asks for the address or the id, so that nobody erases another person by mistake."""
    if yes:
        return
    if not can_ask():
        stop(EXIT_USAGE, "nothing was erased: without a terminal this needs --yes")
    expected = plan["email"] or plan["user_id"]
    typed = click.prompt(one_line(f"This cannot be undone. Type {expected} to erase this person"), err=True).strip()
    if typed.lower() != expected.lower():
        stop(EXIT_REFUSED, f"{typed!r} is not {expected}; nothing was erased")


def _describe_done(user: str, plan: Json) -> str:
    rows = sum(change["rows"] for change in plan["changes"])
    columns = ", ".join(f"{each['table']}.{each['column']}" for each in plan["remains"])
    rest = f". What stays, and is yours to change: {columns}" if columns else ""
    return f"{user} is erased: {rows} rows changed or deleted. The pseudonym is {plan['pseudonym']}{rest}"


def _record(erasure: Erasure, bucket: Bucket | None, plan: Json) -> list[str]:
    """The bucket learns of the erasure. If it cannot now, the next run of the archiver tells it."""
    if bucket is None:
        if plan["archived_rows"] != "0":
            echo(
                "hangar: no bucket is configured here, so a restore from the archive does not leave the person out yet: "
                "run `hangar archive run` where it is",
                err=True,
            )
        return []
    try:
        return erasure.record_in_archive(bucket)
    except HangarError as error:
        stop(
            EXIT_SOME_FAILED,
            f"the database is done, but the bucket did not take the note about the erasure: {error}. Repeat this command, or "
            "run `hangar archive run`: until then a restore from the archive does not leave the person out",
        )
