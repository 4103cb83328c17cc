"""`hangar operators`: who may call the functions and use the admin pages with their own sign-in."""

from typing import Any
from uuid import UUID

import click

from ops.cli_support import (
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
from ops.client import Installation
from ops.tables import make_table
from ops.users import find_user


@click.group(invoke_without_command=True)
@click.pass_context
def operators(context: click.Context) -> None:
    """Show or change who may operate Hangar by signing in."""
    if context.invoked_subcommand is None:
        context.invoke(list_operators, as_json=False)


@operators.command("list")
@json_option
@explained
def list_operators(as_json: bool) -> None:
    """Show every operator."""
    found: list[dict[str, Any]] = open_installation().database.rpc("fly_operators")["operators"]
    if as_json:
        print_json(found)
        return
    rows = [
        {
            "user": each["email"] or each["user_id"],
            "user id": each["user_id"],
            "added by": each["added_by"],
            "added at": each["added_at"][:19].replace("T", " "),
            "let in": "yes" if each["operator"] else "no: the user is gone or banned",
        }
        for each in found
    ]
    make_console().print(make_table("Operators", rows))


@operators.command("add")
@click.argument("user")
@reason_option
@json_option
@explained
def add_operator(user: str, reason: str | None, as_json: bool) -> None:
    """Let USER (uuid or e-mail) operate Hangar."""
    installation = open_installation()
    user_id = _find_account(installation, user)
    told = installation.database.rpc("fly_add_operator", user=str(user_id), actor=get_actor(), reason=reason)
    _tell(
        told, user_id, as_json, f"{told['email'] or user_id} is {'now' if told['changed'] else 'already'} an operator"
    )


@operators.command("remove")
@click.argument("user")
@reason_option
@json_option
@explained
def remove_operator(user: str, reason: str | None, as_json: bool) -> None:
    """End the right of USER (uuid or e-mail) to operate Hangar, from their next call on."""
    installation = open_installation()
    user_id = _find_account(installation, user)
    told = installation.database.rpc("fly_remove_operator", user=str(user_id), actor=get_actor(), reason=reason)
    done = "is no operator any more: the next call is refused" if told["changed"] else "was no operator"
    _tell(told, user_id, as_json, f"{told['email'] or user_id} {done}")


def _find_account(installation: Installation, typed: str) -> UUID:
    """The user; by e-mail only where the profile and the account agree, for a profile may be its user's own to write."""
    user_id = find_user(installation, typed)
    if "@" in typed:
        known = installation.database.rpc("fly_operator", user=str(user_id))["email"] or "no e-mail"
        if known.lower() != typed.lower():
            stop(
                EXIT_USAGE,
                f"the profile of user {user_id} says {typed}, but that user signs in with {known}: give the right user's id",
            )
    return user_id


def _tell(told: dict[str, Any], user_id: UUID, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json({"user_id": str(user_id), **told})
    else:
        click.echo(sentence)
