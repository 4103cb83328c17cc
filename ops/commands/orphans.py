"""`hangar orphans`: Fly apps of this installation that no live row owns, and approving their removal."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import click

from ops.cli_support import (
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    report_errors,
    stop,
)
from ops.commands.brake import RELEASE_COMMAND
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from ops.tables import make_list
from shared.domain.remediation import format_duration, format_time
from shared.domain.status_text import UNKNOWN_APPS_ADVICE

_MOST_NAMED = 20


@click.command()
@click.option("--approve", multiple=True, metavar="APP", help="Let the next sweep remove this orphan. May be repeated.")
@json_option
@report_errors
def orphans(approve: tuple[str, ...], as_json: bool) -> None:
    """List Fly apps of this installation without a live row.

    The last column says what the next sweep does with each.

    Without --approve nothing changes. If one of the names is unknown, none is approved. An approved orphan need not reach
    the minimum age. The sweep still checks it on Fly before it removes it.
    """
    database = open_installation().database
    overview = database.read_overview()
    if approve and (reason := _why_deletions_wait(overview.settings)):
        stop(EXIT_REFUSED, f"{reason}, so nothing was approved")
    found = database.read_orphans()
    missing = [app for app in approve if app not in {orphan["app"] for orphan in found}]
    is_refused = bool(missing)
    if not is_refused:  # all or none; a name is missing afterwards only if a sweep has removed the orphan meanwhile
        missing = [app for app in approve if not database.approve_orphan(app, actor=get_actor())]
        found = database.read_orphans() if approve else found
    for orphan in found:
        orphan["next_sweep"] = _format_next_sweep(orphan, overview.settings)
    if as_json:
        print_json({"orphans": found, "not_found": missing})
    elif not is_refused:
        _print_orphans(found, overview.now, is_brake_on=database.read_brake()["tripped"])
        if found and not approve:
            echo("Nothing was changed. To let the next sweep remove one: hangar orphans --approve APP")
        elif set(approve) - set(missing):
            echo("Approved: the next sweep removes them (`hangar sweep` runs one now)")
    if missing:
        _stop_as_missing(missing, found, is_refused=is_refused)


def _stop_as_missing(missing: Sequence[str], found: Sequence[Mapping[str, Any]], *, is_refused: bool) -> NoReturn:
    known = ", ".join(str(orphan["app"]) for orphan in found[:_MOST_NAMED]) or "none"
    more = ", …" if len(found) > _MOST_NAMED else ""
    stop(
        EXIT_USAGE if is_refused else EXIT_SOME_FAILED,
        f"the last sweep found no orphan named {', '.join(map(repr, missing))}"
        + ("; nothing was approved" if is_refused else "")
        + f". The orphans are: {known}{more}. `hangar sweep` lists Fly again",
    )


def _print_orphans(found: list[dict[str, Any]], now: datetime, *, is_brake_on: bool) -> None:
    rows = [
        {
            "app": orphan["app"],
            "first seen": format_time(orphan["first_seen_at"], now),
            "sightings": orphan["sightings"],
            "user": orphan["user_id"],
            "approved by": orphan["approved_by"],
            "next sweep": orphan["next_sweep"],
        }
        for orphan in found
    ]
    make_console().print(
        make_list("Orphans", rows, ("app", "first seen", "sightings", "user", "approved by", "next sweep"))
    )
    if any(orphan["awaits_word"] for orphan in found):
        echo(*UNKNOWN_APPS_ADVICE.splitlines(), *([f"Release: {RELEASE_COMMAND}"] if is_brake_on else []))


def _why_deletions_wait(settings: Mapping[str, Any]) -> str | None:
    if settings["paused"]:
        return "Hangar is paused (`hangar resume`)"
    if settings["deletes_paused"]:
        return "deletions are paused (`hangar settings set deletes_paused=false`)"
    return None


def _format_next_sweep(orphan: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if reason := _why_deletions_wait(settings):
        return f"keeps it: {reason}"
    if not orphan["listed"]:
        return "asks Fly directly whether it is gone, because the last listing did not show it"
    if orphan["awaits_word"]:
        return "keeps it until its user is entitled and gets it back, or an operator approves the removal"
    if orphan["ripe"]:
        return "removes it, unless its user is entitled: then it waits for the user's other app to run, or returns this one"
    age = f" and is {format_duration(float(settings['orphan_after_s']))} old" if "orphan_after_s" in settings else ""
    return f"keeps it until it was seen twice{age}"
