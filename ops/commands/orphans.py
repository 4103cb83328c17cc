"""`hangar orphans` and `hangar brake`: what would be removed, and what holds removals back."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from ops.cli_support import (
    EXIT_REFUSED,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    explained,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    stop,
)
from ops.tables import make_table
from shared.domain.remediation import format_duration, format_time

_LOST_MEMORY = (
    "Was the database restored from an older copy, or emptied, or does a second Hangar run with the same HANGAR_INSTALLATION_ID? "
    "First bring user_subscriptions up to date: whoever is entitled gets their app back. If what is then left may go: "
    'hangar brake --release --reason "…"'
)


@click.command()
@click.option("--approve", multiple=True, metavar="APP", help="Let the next sweep remove this orphan; may be repeated.")
@json_option
@explained
def orphans(approve: tuple[str, ...], as_json: bool) -> None:
    """List Fly apps that carry our proof and belong to no live row, and what the next sweep does with each.

    Without --approve nothing changes. An approved one need not age; the sweep still looks at it directly before it goes.
    """
    database = open_installation().database
    overview = database.rpc("fly_overview")
    if approve and (held := _held_back(overview["settings"])):
        stop(EXIT_REFUSED, f"{held}, so nothing was approved")
    missing = [app for app in approve if not database.rpc("fly_approve_orphan", app=app, actor=get_actor())["approved"]]
    found = database.rpc("fly_list_orphans")["orphans"]
    for each in found:
        each["next_sweep"] = _format_fate(each, overview["settings"])
    if as_json:
        print_json({"orphans": found, "not_found": missing})
    else:
        now = datetime.fromisoformat(overview["now"])
        rows = [
            {
                "app": each["app"],
                "first seen": format_time(each["first_seen_at"], now),
                "sightings": each["sightings"],
                "user": each["user_id"],
                "approved by": each["approved_by"],
                "next sweep": each["next_sweep"],
            }
            for each in found
        ]
        make_console().print(make_table("Orphans", rows))
        if any(each["awaits_word"] for each in found):
            click.echo(f"Of those that wait for a person this database never had a row. {_LOST_MEMORY}")
        if rows and not approve:
            click.echo("Nothing was changed. To let one go with the next sweep: hangar orphans --approve APP")
        elif set(approve) - set(missing):
            click.echo("Approved: the next sweep removes them (`hangar sweep` runs one now)")
    if missing:
        stop(
            EXIT_SOME_FAILED,
            f"no orphan of the last sweep has the name {', '.join(missing)}; `hangar sweep` looks anew",
        )


def _held_back(settings: dict[str, Any]) -> str | None:
    if settings["paused"]:
        return "Hangar is paused (`hangar resume`)"
    if settings["deletes_paused"]:
        return "deletions are paused (`hangar settings set deletes_paused=false`)"
    return None


def _format_fate(orphan: dict[str, Any], settings: dict[str, Any]) -> str:
    if held := _held_back(settings):
        return f"keeps it: {held}"
    if orphan["awaits_word"]:
        return "keeps it until its user is entitled (then it is theirs again) or a person lets it go"
    if orphan["ripe"]:
        return "removes it once its user, when entitled, has another app that runs; one who has none gets it back"
    after = f" and is {format_duration(float(settings['orphan_after_s']))} old" if "orphan_after_s" in settings else ""
    return f"keeps it until it was seen twice{after}"


@click.command()
@click.option("--release", is_flag=True, help="Count anew from now; what was held back is due at once.")
@reason_option
@json_option
@explained
def brake(release: bool, reason: str | None, as_json: bool) -> None:
    """Show how many apps went in the last hour against the bound, or release the brake."""
    if reason and not release:
        stop(EXIT_USAGE, "--reason goes with --release")
    if release and not reason:
        stop(EXIT_USAGE, "--release needs --reason: it stays in the audit log")
    database = open_installation().database
    if release:
        database.rpc("fly_release_brake", actor=get_actor(), reason=reason)
    told = database.rpc("fly_brake_status")
    if as_json:
        print_json(told)
        return
    click.echo(format_brake(told))
    if release:
        click.echo("Released: what waited for the brake is due now, and the count begins anew")
    elif told["tripped"]:
        click.echo(_format_way_out(told))


def format_brake(told: dict[str, Any]) -> str:
    """The brake on one line."""
    most = Decimal(told["most"]).normalize()
    word = "ON, no more are destroyed" if told["tripped"] else "off"
    lost = f"; apps whose rows this database never had: {told['lost_apps']}" if told["lost_apps"] else ""
    return f"Brake {word}; apps destroyed in the last hour: {told['destroyed_last_hour']}, the bound is {most:f}{lost}"


def _format_way_out(told: dict[str, Any]) -> str:
    if told["why"] == "lost":
        return f"{_LOST_MEMORY} See which: hangar orphans"
    return (
        'See what went: hangar events --type action --since 1h. If that was meant: hangar brake --release --reason "…"'
    )
