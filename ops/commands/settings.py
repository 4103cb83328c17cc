"""`hangar settings`: show hangar.settings, and change it with an entry in the audit log."""

from collections.abc import Mapping
from typing import Any

import click

from ops.adoption.go_live import warn_of_leftovers
from ops.cli_support import (
    ask_reason,
    collect_changes,
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
from ops.exit_codes import EXIT_SOME_FAILED, EXIT_USAGE
from ops.tables import make_list
from shared.domain.status_text import format_unrecorded

# Shown but not changed here: installation_id is changed by hand only, Hangar itself writes the others.
_READ_ONLY = ("installation_id", "updated_at", "brake_released_at", "renew_tokens_from", "incident_open")
_TRUE, _FALSE, _NONE = ("true", "yes", "on"), ("false", "no", "off"), ("none", "null")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def settings(context: click.Context, as_json: bool) -> None:
    """Show or change the settings of the installation."""
    if context.invoked_subcommand is None:
        context.invoke(show_settings, as_json=as_json)


@settings.command("show")
@json_option
@report_errors
def show_settings(as_json: bool) -> None:
    """Show every setting."""
    found = open_installation().database.read_overview().settings
    if as_json:
        print_json(found)
        return
    rows = [{"setting": key, "value": _format_value(value)} for key, value in sorted(found.items())]
    make_console().print(make_list("Settings", rows, ("setting", "value")))


@settings.command("set")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE…")
@click.option(
    "--expect", multiple=True, metavar="KEY=VALUE", help="Change nothing unless KEY has this value. May be repeated."
)
@reason_option
@json_option
@report_errors
def set_settings(changes: tuple[str, ...], expect: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Change settings, all of them or none.

    For example live=true, max_apps=500 or max_apps=none. Going live warns of apps of the original system that are left.
    """
    installation = open_installation()
    known = installation.database.read_overview().settings
    values = collect_changes(_read_change(change, known) for change in changes)
    expected = collect_changes(_read_change(value, known) for value in expect)
    reason = ask_reason(reason, is_required=False)
    change = installation.database.set_settings(values, actor=get_actor(), reason=reason, expected=expected)
    if "live" in change.changed and change.settings["live"]:
        warn_of_leftovers(installation)
    if as_json:
        print_json(change.as_json())
    else:
        for key in values:
            when = "now" if key in change.changed else "already"
            echo(f"{key} is {when} {_format_value(change.settings[key])}")
    if change.unrecorded:
        stop(EXIT_SOME_FAILED, format_unrecorded(change.unrecorded))


def _read_change(change: str, known: Mapping[str, Any]) -> tuple[str, Any]:
    """A key and its value for JSON. Numbers are sent as text, so that the database parses them by the column's type."""
    key, equals, value = change.partition("=")
    settable = sorted(set(known) - set(_READ_ONLY))
    if not equals:
        stop(EXIT_USAGE, f"{change!r} does not have the form KEY=VALUE")
    if key not in settable:
        stop(EXIT_USAGE, f"there is no setting {key!r} to change; the settings are: {', '.join(settable)}")
    if isinstance(known[key], bool):
        if value.lower() not in _TRUE + _FALSE:
            stop(EXIT_USAGE, f"{key} must be true or false, not {value!r}")
        return key, value.lower() in _TRUE
    return key, None if value.lower() in _NONE else value


def _format_value(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
