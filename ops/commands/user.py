"""`hangar user`: what an operator fixes for one user, so that releases respect it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from ops.cli_support import (
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
from ops.exit_codes import EXIT_USAGE
from ops.release_options import check_env_name, read_env, read_moment
from ops.tables import make_facts
from shared.domain.cost import format_size_of
from shared.domain.credential_text import format_secrets, format_token
from shared.domain.moments import format_moment
from shared.domain.release_text import (
    format_pin,
    format_user_release,
    is_in_force,
    list_pinned,
    shorten_image,
)

_NO_SIZE = {"cpu_kind": None, "cpu_count": None, "memory_mb": None}


@click.group()
def user() -> None:
    """Change one user: pin image or size, hold releases back, set variables or secrets, revoke tokens."""


def _read_pin(known: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The user's pin as long as it has not ended. Empty if there is none."""
    pin = known["pin"]
    return dict(pin) if pin and is_in_force(pin, now) else {}


def open_user(typed: str) -> tuple[Installation, UUID, dict[str, Any], datetime]:
    """The installation, the user, what is known of the user, and the database's time. An unknown user ends the command."""
    installation = open_installation()
    user_id = installation.find_user(typed)
    status = installation.database.read_user_status(user_id)
    if not status.is_known:
        stop(EXIT_USAGE, f"no user {typed} in this installation")
    return installation, user_id, status.document, installation.database.read_overview().now


@user.command("pin")
@click.argument("user")
@click.option("--image", metavar="REF", help="The image that the user keeps.")
@click.option("--cpu-kind", type=click.Choice(["shared", "performance"]), help="The kind of vCPU.")
@click.option("--cpu", "cpu_count", type=click.IntRange(1, 1024), metavar="N", help="The number of vCPUs.")
@click.option("--memory", "memory_mb", type=click.IntRange(1, 10_000_000), metavar="MB", help="The memory in MB.")
@click.option("--until", metavar="DATE", help="When the pin ends: a date, an ISO time (UTC), or a span like 7d.")
@reason_option
@json_option
@report_errors
def pin_user(*, user: str, until: str | None, reason: str | None, as_json: bool, **fixed: Any) -> None:
    """Fix image or size of one USER (uuid, e-mail or app name). No release changes what is pinned.

    Without --until the pin lasts until `hangar user unpin`. A later pin adds to an earlier one.
    """
    installation, user_id, known, now = open_user(user)
    pin = {key: value for key, value in fixed.items() if value is not None}
    if not pin and until is None:
        stop(EXIT_USAGE, "a pin needs --image, --cpu-kind, --cpu or --memory, or --until for a pin that exists")
    if not pin and not _read_pin(known, now):
        stop(EXIT_USAGE, f"{user} has no pin whose end --until could change; name --image or a size")
    if until is not None:
        pin["ends_at"] = read_moment("--until", until, now).isoformat()
    changed = installation.database.set_user_pin(user_id, pin, actor=get_actor(), reason=reason)
    _print_result(user, known, changed, now, as_json=as_json)


@user.command("unpin")
@click.argument("user")
@reason_option
@json_option
@report_errors
def unpin_user(user: str, reason: str | None, as_json: bool) -> None:
    """Let USER (uuid, e-mail or app name) follow plans and releases again.

    It removes image, size, end and hold-back. The user's own environment stays: see `hangar user env`.
    """
    installation, user_id, known, now = open_user(user)
    if not known["pin"] or _list_fixed(_read_pin(known, now)) == ["env"]:
        _print_unchanged(user, known, as_json=as_json)
        return
    pin = (
        {"image": None, **_NO_SIZE, "held_back_until": None, "ends_at": None}
        if _read_pin(known, now).get("env")
        else None
    )
    changed = installation.database.set_user_pin(user_id, pin, actor=get_actor(), reason=reason)
    _print_result(user, known, changed, now, as_json=as_json)


def _list_fixed(pin: Mapping[str, Any]) -> list[str]:
    return [key for key in ("image", "cpu_count", "env", "held_back_until", "ends_at") if pin.get(key)]


@user.command("hold-back")
@click.argument("user")
@click.option(
    "--until", metavar="DATE", required=True, help="No release before: a date, an ISO time (UTC), or a span like 7d."
)
@reason_option
@json_option
@report_errors
def hold_back(user: str, until: str, reason: str | None, as_json: bool) -> None:
    """Keep releases away from one USER (uuid, e-mail or app name) until a date."""
    installation, user_id, known, now = open_user(user)
    moment = read_moment("--until", until, now)
    ends_at = _read_pin(known, now).get("ends_at")
    if ends_at and datetime.fromisoformat(ends_at) < moment:
        end = format_moment(ends_at)
        stop(EXIT_USAGE, f"the pin of {user} ends before that, at {end}: first move its end with `hangar user pin`")
    pin = {"held_back_until": moment.isoformat()}
    changed = installation.database.set_user_pin(user_id, pin, actor=get_actor(), reason=reason)
    _print_result(user, known, changed, now, as_json=as_json)


@user.command("env")
@click.argument("user")
@click.argument("action", type=click.Choice(["set", "unset", "list"]))
@click.argument("variables", nargs=-1, metavar="[NAME=VALUE…|NAME…]")
@reason_option
@json_option
@report_errors
def user_env(user: str, action: str, variables: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Set, unset or list variables of one USER (uuid, e-mail or app name) beside those of plan and release.

    Values are never shown. A change updates the machine, which restarts it.
    """
    if (action == "list") == bool(variables):
        need = "takes no variable" if action == "list" else "needs at least one variable"
        stop(EXIT_USAGE, f"env {action} {need}")
    installation, user_id, known, now = open_user(user)
    names = _read_pin(known, now).get("env", [])
    if action == "list":
        _print_env(user, names, as_json=as_json)
        return
    env: dict[str, str | None] = {**read_env(variables, "env set")} if action == "set" else dict.fromkeys(variables)
    for name in env:
        check_env_name("env unset", name)
        if action == "unset" and name not in names:
            stop(EXIT_USAGE, f"{user} has no variable {name}; set are: {', '.join(names) or 'none'}")
    changed = installation.database.set_user_pin(user_id, {"env": env}, actor=get_actor(), reason=reason)
    _print_result(user, known, changed, now, as_json=as_json)


def _print_env(user: str, names: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"env": names})
    else:
        echo(f"{user}: {', '.join(names) or 'no variable of its own'} (values are not shown)")


@user.command("show")
@click.argument("user")
@json_option
@report_errors
def show_user(user: str, as_json: bool) -> None:
    """Show what is pinned for one USER (uuid, e-mail or app name), what runs, and the release that moves the app."""
    _, user_id, known, now = open_user(user)
    row, pin = known["row"], known["pin"]
    if as_json:
        shown = (
            "fly_app_name",
            "tier",
            "docker_image",
            "cpu_kind",
            "cpu_count",
            "memory_mb",
            "observed_spec",
            "status",
        )
        app = {key: row[key] for key in shown} if row else None
        shown_user = {"user_id": str(user_id), "pin": pin, "release": known["release"], "app": app}
        print_json({**shown_user, "secrets": known["secrets"], "revocation": known["revocation"]})
        return
    facts: dict[str, Any] = {"pin": format_pin(pin, now) or "none: the user follows plan and releases"}
    if pin:
        facts["since"] = format_moment(pin["created_at"])
    if row:
        runs = (row["observed_spec"] or {}).get("image") or row["docker_image"]
        facts["app"] = f"{row['fly_app_name']}, {row['tier']}, {row['status']}"
        facts["runs"] = f"{shorten_image(runs)}; should run {shorten_image(row['docker_image'])}"
        facts["size"] = format_size_of(row)
    if secrets := format_secrets(known["secrets"]):
        facts["secrets"] = secrets
    if token := format_token(known, now):
        facts["token"] = token
    facts["release"] = format_user_release(known["release"]) or "none moves this app now"
    make_console().print(make_facts(user, facts, is_only=True))


def _print_unchanged(user: str, known: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"pin": known["pin"], "changed": False})
    else:
        echo(f"{user} has no pin; nothing was changed")


def _print_result(
    user: str, known: Mapping[str, Any], changed: Mapping[str, Any], now: datetime, *, as_json: bool
) -> None:
    """The pin after a change, and whether the machine is updated because of it."""
    before, after = known["row"] or {}, changed["row"] or {}
    is_updated = before.get("generation") != after.get("generation")
    if as_json:
        print_json({"pin": changed["pin"], "changed": True, "updates_machine": is_updated})
        return
    pin = changed["pin"]
    echo(f"{user}: {'pinned: ' if pin else 'no pin any more'}{format_pin(pin, now) or ''}")
    if is_updated:
        echo(f"Hangar updates {after['fly_app_name']} with the next drain, within a minute; its machine restarts")
    elif after:
        echo(f"{after['fly_app_name']} stays as it is")
    else:
        echo("The user has no app now; the pin counts from the next one on")
    if pin and "ends_at" in pin and len(list_pinned(pin, now)) > 1:
        echo(f"Everything that is pinned ends at {format_moment(pin['ends_at'])}")
    if release := format_user_release(known["release"]):
        echo(f"Now under way: {release}")
