"""`hangar install` and `hangar uninstall`: Hangar's schema in a database, or in the host's migrations folder."""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli_support import json_option, print_json, report_errors, stop
from ops.connection import read_variables
from ops.exit_codes import EXIT_REFUSED, EXIT_USAGE
from ops.plain_text import one_line

if TYPE_CHECKING:
    from ops.install.apply import Installed
    from ops.install.belongings import Belongings
    from ops.install.export import Exported

url_option = click.option(
    "--database-url",
    metavar="URL",
    help="Postgres URL of the database's owner. Default: SUPABASE_DB_URL (environment or .env.hangar), then DATABASE_URL. Other "
    "users of this computer can see an option in the list of processes, but not a variable.",
)


def report_install_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an InstallError into one line on standard error and its exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            from ops.install.errors import InstallError  # noqa: PLC0415  psycopg is imported by these two commands only
        except ModuleNotFoundError as error:
            stop(EXIT_USAGE, f"the Python package {error.name} is missing: pip install 'hangar[ops]'")
        try:
            return command(*args, **kwargs)
        except InstallError as error:
            stop(error.exit_code, str(error))

    return run


@click.command()
@url_option
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the files into this migrations folder instead, for your own tool to apply.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be applied or written.")
@json_option
@report_errors
@report_install_errors
def install(database_url: str | None, into: Path | None, dry_run: bool, as_json: bool) -> None:
    """Install Hangar's schema into a database, or upgrade it.

    Safe to repeat, to interrupt and to run twice at the same time. The history of your own migrations is not touched.
    Installing does not provision or change any user.
    """
    if into and database_url is not None:
        stop(EXIT_USAGE, "--into writes files and needs no database: give --into or --database-url, not both")
    from ops.install.schema_files import load_schema_files  # noqa: PLC0415  see report_install_errors

    files = load_schema_files()
    if into:
        from ops.install.export import export  # noqa: PLC0415  see report_install_errors

        exported = export(into, files, now=datetime.now(UTC), dry_run=dry_run, report=_make_report(as_json=as_json))
        _show_exported(exported, dry_run=dry_run, as_json=as_json)
        return
    from ops.binding_text import describe_unbound  # noqa: PLC0415  see report_install_errors
    from ops.install.apply import install as apply_files  # noqa: PLC0415  see report_install_errors
    from ops.install.database_url import read_database_url  # noqa: PLC0415  see report_install_errors

    url = read_database_url(database_url, read_variables(os.environ))
    report = _make_report(as_json=as_json)
    result = apply_files(url, files, dry_run=dry_run, report=report, describe_unbound=describe_unbound)
    _show_installed(result, dry_run=dry_run, as_json=as_json)
    if result.original and result.original.refused:
        stop(
            EXIT_REFUSED,
            f"`hangar install` would be refused: {result.original.refused.rstrip('.')}. Nothing was changed",
        )


@click.command()
@url_option
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Remove it without asking.")
@json_option
@report_errors
@report_install_errors
def uninstall(database_url: str | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove Hangar from a database and leave everything else as it was.

    Shows what goes and asks first. Refuses while apps may exist on Fly. This deletes the audit log.
    """
    from ops.install.database_url import read_database_url  # noqa: PLC0415  see report_install_errors
    from ops.install.schema_files import load_schema_files  # noqa: PLC0415  see report_install_errors
    from ops.install.uninstall import look, why_refused  # noqa: PLC0415  see report_install_errors
    from ops.install.uninstall import uninstall as remove  # noqa: PLC0415  see report_install_errors

    if as_json and not (yes or dry_run):
        stop(EXIT_USAGE, "--json does not ask: give --dry-run or --yes with it")
    url, files = read_database_url(database_url, read_variables(os.environ)), load_schema_files()
    report = _make_report(as_json=as_json)
    found = look(url, files, report)
    refused = why_refused(found) if found else None
    if not as_json:
        _show_belongings(found, url.label)
    if found and refused and not dry_run:
        stop(EXIT_REFUSED, f"{refused}. Nothing was removed")
    notes: list[str] = []
    if found and not dry_run:
        if not yes:
            _confirm(url.label)
        found = remove(url, files, notes=notes, report=report)
    if as_json:
        document = {"database": url.label, "removed": bool(found) and not dry_run, "refused": refused, "notes": notes}
        print_json(document | {"belongings": asdict(found) if found else None})
        return
    if dry_run and found:
        click.echo(
            f"It would be refused: {refused}"
            if refused
            else "Nothing was changed. Without --dry-run all of it is removed."
        )
    elif found:
        click.echo("\n".join(["Hangar is removed.", *notes, *_format_rest(found)]))


def _make_report(*, as_json: bool) -> Callable[[str], None]:
    """Lines that follow the work; JSON on standard output stays alone there."""
    return lambda line: click.echo(line, err=as_json)


def _confirm(label: str) -> None:
    click.echo(f"Remove Hangar from {label}? Type yes to confirm: ", nl=False)
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        click.echo()
        stop(EXIT_REFUSED, "not confirmed. Nothing was removed. --yes confirms without asking")


def _show_installed(result: "Installed", *, dry_run: bool, as_json: bool) -> None:
    from ops.install.original_upgrade import describe_upgrade  # noqa: PLC0415  see report_install_errors

    steps = _next_steps(result)
    if as_json:
        print_json(asdict(result) | {"dry_run": dry_run, "next": [] if dry_run else steps})
        return
    click.echo(f"Database: {result.database}")
    if dry_run:
        for name in result.recognised:
            click.echo(f"Would record {name}, which the Supabase CLI applied")
        for name in result.applied:
            click.echo(f"Would apply {name}")
        if result.original:
            click.echo("\n".join(one_line(line) for line in describe_upgrade(result.original)))
        click.echo(
            f"{len(result.already)} files are recorded, {len(result.recognised)} would be recorded, "
            f"{len(result.applied)} would be applied. Nothing was changed."
        )
        return
    if result.applied or result.recognised:
        click.echo(
            f"Installed: {len(result.applied)} files applied, {len(result.already) + len(result.recognised)} were there already."
        )
    else:
        click.echo(f"Up to date: all {len(result.already)} files were applied before. Nothing was changed.")
    for note in result.notes:
        click.echo(f"Note: {note}")
    for step in steps:
        click.echo(f"Next: {step}")


def _next_steps(result: "Installed") -> list[str]:
    steps = []
    if not result.binding:
        steps.append(
            "\n".join(["bind the table that holds your subscriptions (docs/host-binding.md)", *result.proposal])
        )
    if not result.plans:
        steps.append("insert a plan for each of your tiers into public.fly_plans (docs/install.md, Plans)")
    known = click.get_current_context().find_root().command
    if isinstance(known, click.Group):
        steps.append(
            "`hangar doctor` checks the installation"
            if "doctor" in known.commands
            else "deploy the functions (docs/deploy.md)"
        )
    return steps


def _show_exported(result: "Exported", *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(asdict(result) | {"dry_run": dry_run})
        return
    if not result.written:
        click.echo(f"Up to date: {result.folder} has all {len(result.already)} files of Hangar. Nothing was written.")
    elif dry_run:
        click.echo("\n".join(f"Would write {name}" for name in result.written))
        click.echo(f"{len(result.written)} files would be written into {result.folder}. Nothing was changed.")
    else:
        click.echo(f"{len(result.written)} files written into {result.folder}; {len(result.already)} were there.")
        click.echo("Next: apply them with your own tool, for example `supabase db push`, then run `hangar install`")


def _show_belongings(found: "Belongings | None", label: str) -> None:
    click.echo(f"Database: {label}")
    if found is None:
        click.echo("Hangar is not installed in this database. Nothing was changed.")
        return
    click.echo("What is removed:")
    click.echo(f"  schema hangar with {len(found.inside)} tables, its functions, types and rights")
    for table in found.tables:
        click.echo(f"  table {table} ({found.rows[table]} rows)")
    for table in found.kept:
        click.echo(
            f"  from table {table}: Hangar's columns and rules. Its {found.rows[table]} rows stay, and so do your columns"
        )
    if found.legacy_apps:
        click.echo(f"  ({found.legacy_apps} apps of the original system stay as they are on Fly)")
    for title, names in (
        ("view", found.views),
        ("trigger", found.triggers),
        ("cron job", found.jobs),
        ("Vault secret", found.vault_entries),
        ("extension, enabled by Hangar and used by nothing else:", found.extensions),
    ):
        for name in names:
            click.echo(f"  {title} {name}")
    if found.procedures:
        click.echo(f"  {len(found.procedures)} procedures public.fly_*")
    if found.history:
        click.echo(f"  {len(found.history)} of Hangar's versions in the history of the Supabase CLI")


def _format_rest(found: "Belongings") -> list[str]:
    rest = ["Next: remove the deployed functions, their schedule and their keys (docs/uninstall.md)"]
    if found.history:
        rest.insert(
            0, "Next: delete Hangar's files from your migrations folder, otherwise your tool applies them again"
        )
    return rest
