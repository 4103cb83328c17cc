"""`hangar adopt`: apps of the original system, shown with what Fly says about them, and taken over by a recorded decision."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ops.adoption.adopt import Adopter, Examined
from ops.adoption.judge import describe_machine
from ops.cli_support import (
    ask_reason,
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
)
from ops.client import Installation
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED
from ops.fly_access import open_fly
from ops.release_options import read_user_file
from ops.tables import make_list
from shared.adapters.procedures_adoption import LegacyApp, LegacyFleet

_COLUMNS = ("user", "app", "decision", "code", "entitled", "on Fly", "USD now", "USD after", "why, and what follows")


@click.command()
@click.argument("users", nargs=-1, metavar="[USER]…")
@click.option(
    "--users",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only the users in this file, one on each line (uuid, e-mail or app name).",
)
@click.option("--apply", is_flag=True, help="Decide. Without this option nothing changes.")
@click.option("--gone", is_flag=True, help="Apps that the rows place in another organisation are gone there too.")
@reason_option
@json_option
@report_errors
def adopt(
    *, users: tuple[str, ...], file: Path | None, apply: bool, gone: bool, reason: str | None, as_json: bool
) -> None:
    """Take over apps of the original system: all of them, or those of these USERs (uuid, e-mail or app name).

    By default this is a dry run that reads Fly and shows for each app whether it can be adopted, why not, and what follows.
    --apply needs a reason. It marks the machine on Fly, which does not restart it, and records the decision. An app that is
    gone from Fly has its row closed. From then on Hangar manages the app as any other. Run the same command again to continue.
    """
    installation = open_installation()
    fleet = installation.database.list_legacy_apps()
    chosen = _choose(installation, fleet, _read_names(users, file))
    why = ask_reason(reason, is_required=True) if apply else None
    if apply and fleet.settings.paused:
        stop(EXIT_REFUSED, "Hangar is paused, so nothing was adopted; run `hangar resume` first")
    with open_fly(installation) as fly:
        adopter = Adopter(installation.database, fly, fleet, get_actor(), why, is_known_gone=gone)
        adopter.read_list()
        # A row that the original system closed matters only if its app is still there.
        shown = [adopter.examine(each) for each in chosen if not each.is_closed or adopter.is_on_fly(each)]
    document = [_describe(each) for each in shown]
    if as_json:
        print_json({"applied": apply, "apps": document})
    else:
        _print(document, is_applied=apply)
    if any(each.outcome in ("failed", "cannot") for each in shown):
        counts = Counter(each.outcome for each in shown)
        stop(
            EXIT_SOME_FAILED,
            f"{counts['cannot']} app(s) could not be adopted, {counts['failed']} failed; the reasons are above",
        )


def _read_names(users: tuple[str, ...], file: Path | None) -> list[str] | None:
    """The users that are named, or None for all."""
    if file is None:
        return list(users) or None
    return [*users, *read_user_file(file, takes_app_names=True)]


def _choose(installation: Installation, fleet: LegacyFleet, names: Sequence[str] | None) -> list[LegacyApp]:
    """The apps of these users. A user without one ends the command before anything is done."""
    if names is None:
        return list(fleet.apps)
    by_user = {app.row.user_id: app for app in fleet.apps}
    users = dict.fromkeys((name, installation.find_user(name)) for name in names)
    missing = [name for name, user in users if user not in by_user]
    if missing:
        stop(
            EXIT_REFUSED,
            f"no app of the original system waits for a decision for {', '.join(missing[:5])}; `hangar adopt` lists those "
            "that do. Nothing was changed",
        )
    return list({user: by_user[user] for _, user in users}.values())


def _describe(found: Examined) -> dict[str, Any]:
    legacy, judged, machine = found.legacy, found.judgement, found.machine
    return {
        "user_id": str(legacy.row.user_id),
        "email": legacy.email,
        "app": legacy.row.fly_app_name,
        "status": legacy.row.status,
        "verdict": judged.verdict,
        "code": judged.code,
        "reason": judged.reason,
        "notes": list(judged.notes),
        "entitled": legacy.entitled,
        "why": legacy.why,
        "plan": legacy.plan,
        "network": found.look.app.network if found.look.app else None,
        "machine_id": machine.id if machine else None,
        "event_machine_id": legacy.event_machine_id,
        "machine_state": machine.state if machine else None,
        "region": machine.region if machine else None,
        "image": machine.image if machine else None,
        "cpu_kind": machine.cpu_kind if machine else None,
        "cpu_count": machine.cpus if machine else None,
        "memory_mb": machine.memory_mb if machine else None,
        "machine": describe_machine(machine) if machine else None,
        "drift": list(judged.drift),
        "cost_now_usd": judged.cost_now_usd,
        "cost_after_usd": judged.cost_after_usd,
        "afterwards": judged.afterwards or None,
        "outcome": found.outcome,
        "detail": found.detail,
    }


def _print(document: Sequence[dict[str, Any]], *, is_applied: bool) -> None:
    if not document:
        echo("No app of the original system waits for a decision.")
        return
    rows = [
        {
            "user": each["email"] or each["user_id"],
            "app": each["app"],
            "decision": each["outcome"] if is_applied else each["verdict"],
            "code": each["code"],
            "entitled": {True: "yes", False: "no", None: "unknown"}[each["entitled"]],
            "on Fly": each["machine"] or "no machine",
            "USD now": each["cost_now_usd"],
            "USD after": each["cost_after_usd"],
            "why, and what follows": ". ".join(
                filter(None, (each["detail"] or each["reason"], *each["notes"], *each["drift"], each["afterwards"]))
            ),
        }
        for each in document
    ]
    make_console().print(make_list("Apps of the original system", rows, _COLUMNS))
    if not is_applied:
        echo('hangar: nothing was changed; to decide: hangar adopt [USER]… --apply --reason "…"', err=True)
