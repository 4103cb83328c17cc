"""`hangar grant`, `deny` and `remove-override`: an operator's decision about one user, whatever the subscription says."""

import sys
from datetime import datetime
from typing import Any
from uuid import UUID

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
    yes_option,
)
from ops.client import Installation
from ops.function_calls import carry_out
from ops.release_options import read_moment
from shared.adapters.procedures_operator import UserStatus
from shared.domain.models import Json

_until_option = click.option(
    "--until", metavar="DATE", help="When it ends: a date, an ISO time (UTC), or a span like 7d."
)


@click.command()
@click.argument("user")
@click.argument("tier")
@_until_option
@reason_option
@json_option
@report_errors
def grant(user: str, tier: str, until: str | None, reason: str | None, as_json: bool) -> None:
    """Give USER (uuid, e-mail or app name) an app of the plan TIER, whatever the subscription says.

    The grant lasts until --until, or until `hangar remove-override`.
    """
    installation = open_installation()
    user_id, _ = installation.find_known_user(user)
    ends_at = _read_until(installation, until)
    reason = ask_reason(reason, is_required=True)
    _decide(installation, user, user_id, "grant", tier.strip(), ends_at, reason, as_json=as_json)


@click.command()
@click.argument("user")
@_until_option
@reason_option
@yes_option
@json_option
@report_errors
def deny(user: str, until: str | None, reason: str | None, yes: bool, as_json: bool) -> None:
    """Take the app of USER (uuid, e-mail or app name) away and give no other, whatever the subscription says.

    The machine is stopped, then the app and all its data are destroyed. At a terminal it asks first. The denial lasts until
    --until, or until `hangar remove-override`.
    """
    installation = open_installation()
    user_id, status = installation.find_known_user(user)
    ends_at = _read_until(installation, until)
    reason = ask_reason(reason, is_required=True)
    loss = f"its app {status.row['fly_app_name']} and all its data are destroyed" if status.row else "it has no app now"
    confirm(f"Deny {user}: {loss}. Continue?", yes=yes, without_terminal=True)
    _decide(installation, user, user_id, "deny", None, ends_at, reason, as_json=as_json)


@click.command("remove-override")
@click.argument("user")
@reason_option
@yes_option
@json_option
@report_errors
def remove_override(user: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Let the subscription of USER (uuid, e-mail or app name) decide again: it ends a grant or a denial.

    If a grant ends and the subscription entitles to no app, the app and all its data are destroyed. At a terminal it asks first.
    """
    installation = open_installation()
    user_id, status = installation.find_known_user(user)
    override = status.document["override"]
    if override is None:
        if as_json:
            print_json(_describe(user_id, None, None, None, status, {"outcome": "unchanged", "detail": "no override"}))
        else:
            echo(f"{user} has no override; nothing was changed")
        return
    reason = ask_reason(reason, is_required=True)
    if override["override"] == "grant" and status.row:
        app = status.row["fly_app_name"]
        loss = f"If it entitles {user} to no app, {app} and all its data are destroyed"
        confirm(f"The subscription decides again. {loss}. Continue?", yes=yes, without_terminal=True)
    _decide(installation, user, user_id, None, None, None, reason, as_json=as_json)


def _read_until(installation: Installation, until: str | None) -> datetime | None:
    return None if until is None else read_moment("--until", until, installation.database.read_overview().now)


def _decide(
    installation: Installation,
    user: str,
    user_id: UUID,
    override: str | None,
    tier: str | None,
    ends_at: datetime | None,
    reason: str | None,
    *,
    as_json: bool,
) -> None:
    """Record the decision, then have the function carry it out that the dashboard calls too."""
    is_entitled = installation.database.set_override(
        user_id, override, tier, actor=get_actor(), reason=reason, ends_at=ends_at.isoformat() if ends_at else None
    )
    report = carry_out(installation, "provision" if is_entitled else "deprovision", user_id)
    status = installation.database.read_user_status(user_id)
    if as_json:
        print_json(_describe(user_id, override, tier, ends_at, status, report.as_json()))
    else:
        end = f" until {ends_at:%Y-%m-%d %H:%M} UTC" if ends_at else ""
        said = {"grant": f"granted {tier}{end}", "deny": f"denied{end}"}.get(
            str(override), "the subscription decides again"
        )
        echo(f"{user}: {said}", f"{report.outcome}: {report.detail}")
    sys.exit(report.exit_code)


def _describe(
    user_id: UUID,
    override: str | None,
    tier: str | None,
    ends_at: datetime | None,
    status: UserStatus,
    report: Json,
) -> dict[str, Any]:
    return {
        "user_id": str(user_id),
        "override": override,
        "plan": tier,
        "ends_at": ends_at.isoformat() if ends_at else None,
        "entitled": status.is_entitled,
        **report,
    }
