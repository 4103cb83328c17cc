"""`hangar credentials`, `hangar user secret` and `hangar user revoke`: what machines show to the database and to others."""

import re
import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import click

from ops.cli_support import (
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
)
from ops.commands.user import open_user, user
from ops.exit_codes import EXIT_SOME_FAILED, EXIT_USAGE
from ops.fly_access import open_fly
from ops.tables import make_facts, make_table
from ops.user_secrets import SecretChange, change_user_secret
from shared.domain.credential_text import format_renewal, format_secret_state
from shared.domain.errors import OutcomeUnknown
from shared.domain.moments import format_moment, format_second

_MOST_BYTES = 32 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
@report_errors
def credentials(context: click.Context, as_json: bool) -> None:
    """Show the tokens of machines: how many end soon, what is renewed, and what stops the renewal."""
    if context.invoked_subcommand is None:
        _print_credentials(open_installation().database.read_credentials(), as_json=as_json)


@credentials.command("renew")
@reason_option
@json_option
@report_errors
def renew(reason: str | None, as_json: bool) -> None:
    """Renew every token that was issued before now, a few apps an hour. Use it after a new signing key or new secrets."""
    _print_credentials(open_installation().database.renew_tokens(actor=get_actor(), reason=reason), as_json=as_json)


def _print_credentials(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    facts: dict[str, Any] = {
        "apps": found["apps"],
        "to be renewed": found["due"],
        "end within 3 days": f"{found['lapsing']}, of which {found['ended']} have ended",
        "renewed in the last hour": found["renewed_last_hour"],
        "first end": format_moment(found["first_end"]) if found["first_end"] else "none is known yet",
    }
    if key := found["signing_key"]:
        state = "accepted by the project" if key["published"] else "NOT published by the project, which refuses it"
        facts["signing key"] = f"{key['id']}, {state} (read at {format_moment(key['read_at'])})"
    if found["refused"]:
        facts["refused"] = f"{found['refused']}, signed with a key that the project does not accept any more"
    if found["renew_from"]:
        facts["issued before"] = f"{found['older_than_renew_from']} before {format_moment(found['renew_from'])}"
    facts["next"] = format_renewal(found)
    make_console().print(make_facts("Tokens of machines", facts))


@user.command("revoke")
@click.argument("user")
@reason_option
@json_option
@report_errors
def revoke(user: str, reason: str | None, as_json: bool) -> None:
    """Refuse the token in the machine of USER (uuid, e-mail or app name) from now on, and give the machine a new one.

    Your own tables refuse it only if their policies ask hangar.token_is_valid(): see docs/credentials.md.
    """
    installation, user_id, known, _ = open_user(user)
    changed = installation.database.revoke_user(user_id, actor=get_actor(), reason=reason)
    renews = _is_updated(known, changed)
    if as_json:
        print_json({"revoked_at": changed["revoked_at"], "updates_machine": renews})
        return
    click.echo(f"{user}: tokens that were issued up to {format_second(changed['revoked_at'])} UTC are refused")
    if renews:
        app = changed["row"]["fly_app_name"]
        click.echo(f"Hangar gives {app} a new token with the next drain, within a minute; its machine restarts")
    else:
        click.echo("No running app needs a new token now; the next machine of this user gets one")


@user.command("secret")
@click.argument("user")
@click.argument("action", type=click.Choice(["set", "remove", "list"]))
@click.argument("name", required=False)
@reason_option
@json_option
@report_errors
def user_secret(user: str, action: str, name: str | None, reason: str | None, as_json: bool) -> None:
    """Set, remove or list secrets of one USER (uuid, e-mail or app name) at Fly. Hangar does not store their values.

    The value comes from standard input, or from a prompt. A change updates the machine, which restarts it.
    """
    if (action == "list") == (name is not None):
        stop(EXIT_USAGE, f"secret {action} {'takes no name' if action == 'list' else 'needs the name of a secret'}")
    if name is not None and not _NAME.fullmatch(name):
        shown, equals, _ = name.partition("=")  # what follows an = may be the value
        stop(
            EXIT_USAGE,
            f"{shown[:60]!r} cannot be the name of a secret: letters, digits and _, at most 128, and no digit first"
            + (". Give the name alone; the value comes from standard input or a prompt" if equals else ""),
        )
    installation, user_id, known, _ = open_user(user)
    if name is None:
        _print_secrets(user, known["secrets"], as_json=as_json)
        return
    with open_fly(installation) as fly:
        value = _read_value(name) if action == "set" else None
        change = SecretChange(user_id, name, value, uuid4(), get_actor(), reason)
        try:
            done = change_user_secret(installation.database, fly, change)
        except OutcomeUnknown as error:
            stop(EXIT_SOME_FAILED, f"{error}. It is unknown whether Fly did it. Run the same command again")
    _print_changed(user, name, action, known, done, as_json=as_json)


def _read_value(name: str) -> str:
    """The value, from a prompt at a terminal, else from standard input without the line break at its end."""
    if sys.stdin.isatty():
        raw = str(click.prompt(f"Value of {name} (not shown)", hide_input=True)).encode()
    else:
        raw = sys.stdin.buffer.read(_MOST_BYTES + 3)
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not raw:
        stop(EXIT_USAGE, f"no value for {name}: give it on standard input, or remove the secret")
    if len(raw) > _MOST_BYTES or b"\0" in raw:
        stop(EXIT_USAGE, f"the value of {name} must have at most {_MOST_BYTES} bytes and no NUL character")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        stop(EXIT_USAGE, f"the value of {name} is not UTF-8 text; encode binary values, for example with base64")


def _print_secrets(user: str, secrets: list[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"secrets": secrets})
        return
    if not secrets:
        click.echo(f"{user} has no secret of its own")
        return
    rows = [
        {
            "name": each["name"],
            "state": format_secret_state(each),
            "digest": each.get("digest", "-"),
            "version": each.get("version", "-"),
            "at": format_moment(each["at"]),
            "by": each["actor"],
            "reason": each.get("reason", "-"),
        }
        for each in secrets
    ]
    make_console().print(make_table(f"Secrets of {user} (values are at Fly only)", rows))


def _print_changed(
    user: str, name: str, action: str, known: Mapping[str, Any], done: Mapping[str, Any], *, as_json: bool
) -> None:
    updates = _is_updated(known, done)
    if as_json:
        print_json({"secrets": done["secrets"], "updates_machine": updates})
        return
    if done["version"] is None:
        click.echo(f"{user}: Fly had lost {name} already; Hangar no longer expects it")
    elif action == "set":
        click.echo(f"{user}: {name} is set at Fly (digest {done['digest'] or 'unknown'}, version {done['version']})")
    else:
        click.echo(f"{user}: {name} is removed at Fly (version {done['version']})")
    if updates:
        app = done["row"]["fly_app_name"]
        click.echo(f"Hangar updates {app} with the next drain, within a minute; its machine restarts")


def _is_updated(known: Mapping[str, Any], changed: Mapping[str, Any]) -> bool:
    before, after = known["row"] or {}, changed["row"] or {}
    return bool(before.get("generation") != after.get("generation"))
