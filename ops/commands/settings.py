"""`hangar settings`: what stands in hangar.settings, and changing it with a trail."""

from typing import Any

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
from ops.tables import make_table

# Shown, and not to be changed here: the first by hand only, the others follow from what happens.
_FIXED = ("installation_id", "updated_at", "brake_released_at", "incident_open")
_TRUE, _FALSE, _NONE = ("true", "yes", "on"), ("false", "no", "off"), ("none", "null")


@click.group(invoke_without_command=True)
@click.pass_context
def settings(context: click.Context) -> None:
    """Show or change what Hangar does."""
    if context.invoked_subcommand is None:
        context.invoke(show_settings, as_json=False)


@settings.command("show")
@json_option
@explained
def show_settings(as_json: bool) -> None:
    """Show every setting."""
    found: dict[str, Any] = open_installation().database.rpc("fly_overview")["settings"]
    if as_json:
        print_json(found)
        return
    rows = [{"setting": key, "value": _tell(value)} for key, value in sorted(found.items())]
    make_console().print(make_table("Settings", rows))


@settings.command("set")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE…")
@reason_option
@json_option
@explained
def set_settings(changes: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Change settings, all or none of them: live=true, max_apps=500, max_apps=none."""
    installation = open_installation()
    known: dict[str, Any] = installation.database.rpc("fly_overview")["settings"]
    wanted = dict(_read_change(change, known) for change in changes)
    told = installation.database.rpc("fly_set_settings", changes=wanted, actor=get_actor(), reason=reason)
    if as_json:
        print_json(told)
        return
    for key in wanted:
        word = "is now" if key in told["changed"] else "is already"
        click.echo(f"{key} {word} {_tell(told['settings'][key])}")


def _read_change(change: str, known: dict[str, Any]) -> tuple[str, Any]:
    """A key and its value as JSON. Numbers go as text: the database reads them by the column's own type, and to the cent."""
    key, equals, value = change.partition("=")
    settable = sorted(set(known) - set(_FIXED))
    if not equals:
        stop(EXIT_USAGE, f"{change!r} is not of the form KEY=VALUE")
    if key not in settable:
        stop(EXIT_USAGE, f"there is no setting {key!r} to change; there are: {', '.join(settable)}")
    if isinstance(known[key], bool):
        if value.lower() not in _TRUE + _FALSE:
            stop(EXIT_USAGE, f"{key} is true or false, not {value!r}")
        return key, value.lower() in _TRUE
    return key, None if value.lower() in _NONE else value


def _tell(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
