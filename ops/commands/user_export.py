"""`hangar user export`: everything that Hangar holds about one person."""

import os

import click

from ops.archive.places import describe_place
from ops.archive.settings import open_bucket
from ops.cli_support import echo, json_option, make_console, open_installation, print_json, report_errors
from ops.tables import make_facts
from ops.user_export import export_user


@click.command("export")
@click.argument("user")
@click.option("--archive", "with_archive", is_flag=True, help="Also search every object of the archive.")
@json_option
@report_errors
def export_user_data(user: str, with_archive: bool, as_json: bool) -> None:
    """Show how much Hangar holds about one USER (uuid, e-mail or app name); with --json, all of it.

    Values of environment variables are left out, because they may be secrets. Events that have left the database are
    found with --archive only.
    """
    installation = open_installation()
    bucket = open_bucket(os.environ) if with_archive else None
    found = export_user(installation, installation.find_user(user), bucket)
    if found["alerts"] or found["mentions"]:
        echo("`alerts` and `mentions` may name other people: look through them before you hand this out", err=True)
    if as_json:
        print_json(found)
        return
    counts = {name: len(value) for name, value in found.items() if isinstance(value, list) and name != "elsewhere"}
    single = {
        name: "yes" if found[name] else "no"
        for name in ("override", "loss", "pin", "given_by_release", "revocation", "operator")
    }
    if found["archived"] is None:
        counts["archived"] = f"not searched ({found['archived_events']} events of all users; --archive)"  # type: ignore[assignment]
    make_console().print(make_facts(user, {"id": found["user_id"], "e-mail": found["email"], **counts, **single}))
    for place in found["elsewhere"] or ():
        echo(f"{describe_place(place)}: not searched. Run this command with that bucket and prefix as well")
