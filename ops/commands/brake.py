"""`hangar brake`: how many apps were stopped or destroyed in the last hour, the limit, and releasing the brake."""

from collections.abc import Mapping
from typing import Any

import click

from ops.cli_support import (
    ask_reason,
    confirm,
    echo,
    get_actor,
    json_option,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
    yes_option,
)
from ops.exit_codes import EXIT_USAGE
from shared.domain.status_text import (
    UNKNOWN_APPS_ADVICE,
    format_brake_count,
    format_brake_release,
    format_host_loss,
)

RELEASE_COMMAND = 'hangar brake --release --reason "…"'


@click.command()
@click.option("--release", is_flag=True, help="Restart the count at zero. Deletions that waited are due at once.")
@reason_option
@yes_option
@json_option
@report_errors
def brake(release: bool, reason: str | None, yes: bool, as_json: bool) -> None:
    """Show or release the brake, the limit on deletions.

    It shows how many apps were stopped or destroyed in the last hour, and how many may be. A release says what it lets go,
    and at a terminal it asks first.
    """
    for option, given in (("--reason", reason), ("--yes", yes)):
        if given and not release:
            stop(EXIT_USAGE, f"{option} needs --release")
    if release:
        reason = ask_reason(reason, is_required=True)
    database = open_installation().database
    state = database.read_brake()
    if release:
        let_go = _list_what_goes(state)
        echo(*let_go, err=True)
        if let_go:
            confirm("They are destroyed with all their data. Continue?", yes=yes, without_terminal=True)
        database.release_brake(actor=get_actor(), reason=reason)
        state = database.read_brake()
    if as_json:
        print_json(state)
        return
    echo(format_brake(state))
    if loss := state["host_loss"]:
        echo(f"HELD: {format_host_loss(loss)}: {RELEASE_COMMAND}")
    if release:
        echo("Released: the count restarts at zero, and what waited for it is due now")
    elif state["tripped"]:
        echo(*_list_next_steps(state), format_brake_release(state))


def _list_what_goes(brake: Mapping[str, Any]) -> list[str]:
    """What a release lets Hangar remove, a line for each cause; nothing if nothing waits."""
    held = [f"A release obeys the host: {format_host_loss(loss)}"] if (loss := brake["host_loss"]) else []
    waits = int(brake["waiting_apps"]) or int(brake["lost_apps"])
    return held + ([format_brake_release(brake)] if waits else [])


def format_brake(brake: Mapping[str, Any]) -> str:
    """The brake on one line, from `read_brake`."""
    state = "Brake off"
    if brake["tripped"]:
        state = (
            "Brake ON, nothing is destroyed"
            if brake["why"] == "lost"
            else "Brake ON, no more apps are stopped or destroyed"
        )
    unknown = f"; apps that this database has no record of: {brake['lost_apps']}" if brake["lost_apps"] else ""
    return f"{state}; {format_brake_count(brake)}{unknown}"


def _list_next_steps(brake: Mapping[str, Any]) -> list[str]:
    if brake["why"] == "lost":
        return [*UNKNOWN_APPS_ADVICE.splitlines(), f"List them: hangar orphans. Release: {RELEASE_COMMAND}"]
    return [
        f"List what was destroyed: hangar events --type action --since 1h. If it was intended, release: {RELEASE_COMMAND}"
    ]
