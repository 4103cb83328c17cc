"""`hangar`, the operator's command line.

Exit codes: 0 ok · 1 some failed · 2 usage or settings · 3 refused (paused, brake) · 130 interrupted.
"""

import getpass
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn
from uuid import UUID

import click
import httpx
from rich.console import Console

from ops import show
from ops.client import Installation
from ops.target import TargetError, load_target
from shared.errors import HangarError, Refused

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 3, 130
# Where nobody watches (a file, a pipe, CI), tables keep their width instead of folding at 80.
_console = Console() if sys.stdout.isatty() else Console(width=120)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hangar")
def cli() -> None:
    """Hangar: every paying user their own Fly.io app, gone when they stop paying.

    Speaks to the installation named by SUPABASE_URL and SUPABASE_SECRET_KEY, else to the local cloud of `hangar dev`.
    """


def _explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what can go wrong outside into one line and the right exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except TargetError as error:
            _stop(EXIT_USAGE, str(error))
        except Refused as error:
            _stop(EXIT_USAGE if error.code in ("auth", "migrations") else EXIT_SOME_FAILED, str(error))
        except HangarError as error:
            _stop(EXIT_SOME_FAILED, f"{error}. Nothing was lost; try again")
        except httpx.HTTPError as error:
            _stop(EXIT_SOME_FAILED, f"no answer ({type(error).__name__}: {error}). Is the installation up?")

    return run


def _stop(code: int, message: str) -> NoReturn:
    click.echo(f"hangar: {message}", err=True)
    sys.exit(code)


def _open() -> Installation:
    return Installation(load_target(os.environ))


@cli.command()
def dev() -> None:
    """Start the whole cloud on this machine and keep it running until Ctrl-C."""
    from local.dev import run_dev  # noqa: PLC0415  the local cloud is heavy and needed by this command alone

    sys.exit(run_dev())


@cli.command()
@click.option("--folder", type=click.Path(file_okay=False), default=None, help="Keep logs and data there.")
def demo(folder: str | None) -> None:
    """Play the story on a local cloud of its own: every line is a check; exit 1 if any fails."""
    from ops.demo import play  # noqa: PLC0415  as above

    sys.exit(play(_console, folder))


@cli.command()
@click.option("--drain", is_flag=True, help="Only work off what is due.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@_explained
def sweep(drain: bool, as_json: bool) -> None:
    """Run one sweep now, by the health function."""
    status, answer = _open().call_function("health", {"drain_only": True} if drain else {})
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif status == httpx.codes.OK:
        show.print_sweep(_console, answer)
    if status != httpx.codes.OK:
        _stop(EXIT_SOME_FAILED, f"the sweep answered {status}: {answer.get('detail', answer)}")
    if answer.get("failed"):
        sys.exit(EXIT_SOME_FAILED)


@cli.command()
@click.argument("user", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_explained
def status(user: str | None, as_json: bool) -> None:
    """Show the fleet, or one USER (a uuid): what is wanted, what is there, what happened."""
    installation = _open()
    if user is None:
        fleet = {
            name.removeprefix("fly_"): installation.read_view(name, order)
            for name, order in (
                ("fly_fleet_summary", None),
                ("fly_health_summary", None),
                ("fly_failures", "created_at"),
                ("fly_recent_events", "latest"),
            )
        }
        click.echo(json.dumps(fleet, indent=2)) if as_json else show.print_fleet(_console, fleet)
        return
    try:
        user_id = UUID(user)
    except ValueError:
        _stop(EXIT_USAGE, f"{user!r} is not a user id: give the uuid of auth.users")
    told = installation.database.rpc("fly_user_status", user=str(user_id))
    click.echo(json.dumps(told, indent=2)) if as_json else show.print_user(_console, told)
    if not told["known"]:
        _stop(EXIT_SOME_FAILED, f"no user {user_id} in this installation")


def _set_paused(paused: bool, reason: str | None) -> None:
    answer = _open().database.rpc("fly_set_paused", paused=paused, actor=f"cli:{getpass.getuser()}", reason=reason)
    word = "paused: no change is made on Fly" if paused else "running"
    click.echo(f"Hangar is {'now' if answer['changed'] else 'already'} {word}")


@cli.command()
@click.option("--reason", help="Kept in the audit log.")
@_explained
def pause(reason: str | None) -> None:
    """Stop every change on Fly at once; the database goes on recording what is wanted."""
    _set_paused(paused=True, reason=reason)


@cli.command()
@click.option("--reason", help="Kept in the audit log.")
@_explained
def resume(reason: str | None) -> None:
    """Let changes on Fly go on; what gathered meanwhile is due at once."""
    _set_paused(paused=False, reason=reason)


def main() -> None:
    """The console script: Ctrl-C ends with 130, as in a shell."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nhangar: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
