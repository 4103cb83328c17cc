"""`hangar operators`: the people who may call the functions and use the dashboard with their own sign-in."""

from uuid import UUID

import click

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
from ops.exit_codes import EXIT_USAGE
from ops.tables import make_list
from shared.adapters.procedures_operator import OperatorChange
from shared.domain.moments import format_second


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def operators(context: click.Context, as_json: bool) -> None:
    """Show or change who may operate Hangar by signing in."""
    if context.invoked_subcommand is None:
        context.invoke(list_operators, as_json=as_json)


@operators.command("list")
@json_option
@report_errors
def list_operators(as_json: bool) -> None:
    """Show every operator."""
    found = open_installation().database.list_operators()
    if as_json:
        print_json(found)
        return
    rows = [
        {
            "user": operator["email"] or operator["user_id"],
            "user id": operator["user_id"],
            "added by": operator["added_by"],
            "added at": format_second(operator["added_at"]),
            "may sign in": "yes" if operator["operator"] else "no: the user is deleted or banned",
        }
        for operator in found
    ]
    make_console().print(make_list("Operators", rows, ("user", "user id", "added by", "added at", "may sign in")))


@operators.command("add")
@click.argument("user")
@reason_option
@json_option
@report_errors
def add_operator(user: str, reason: str | None, as_json: bool) -> None:
    """Allow USER (uuid or e-mail) to operate Hangar."""
    installation = open_installation()
    user_id = _find_account(installation, user)
    reason = ask_reason(reason, is_required=False)
    change = installation.database.add_operator(user_id, actor=get_actor(), reason=reason)
    when = "now" if change.changed else "already"
    _print_result(change, user_id, f"{change.email or user_id} is {when} an operator", as_json=as_json)


@operators.command("remove")
@click.argument("user")
@reason_option
@json_option
@report_errors
def remove_operator(user: str, reason: str | None, as_json: bool) -> None:
    """Remove USER (uuid or e-mail) from the operators. Their next call is refused."""
    installation = open_installation()
    user_id = _find_account(installation, user)
    reason = ask_reason(reason, is_required=False)
    change = installation.database.remove_operator(user_id, actor=get_actor(), reason=reason)
    done = "is no longer an operator: the next call is refused" if change.changed else "was not an operator"
    _print_result(change, user_id, f"{change.email or user_id} {done}", as_json=as_json)


def _find_account(installation: Installation, typed: str) -> UUID:
    """The user. An e-mail must be that of the account too, because the host may let users write their own profile."""
    user_id = installation.find_user(typed)
    if "@" in typed:
        account_email = installation.database.find_operator(user_id).email or "no e-mail"
        if account_email.lower() != typed.lower():
            stop(
                EXIT_USAGE,
                f"the profile of user {user_id} has {typed}, but that user signs in with {account_email}: "
                "give the id of the user you mean",
            )
    return user_id


def _print_result(change: OperatorChange, user_id: UUID, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"user_id": str(user_id), **change.as_json()})
    else:
        echo(sentence)
