"""What every command shares: common options, one line for an error, the installation, and where output goes."""

import getpass
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import click
import httpx
from rich.console import Console

from ops.client import Installation
from ops.connection import TargetError, load_target
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from shared.domain.errors import Conflict, HangarError, InternalError, Refused

# Refusals that the operator's own settings or values cause.
_SETTINGS_CODES = ("auth", "migrations", "invalid_value")
# SQLSTATEs that reject a value: P0001 and the classes 22 and 23 (PostgreSQL documentation, appendix A).
_INVALID_VALUE = ("22", "23", "P0001")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
reason_option = click.option("--reason", help="Recorded in the audit log.")


def report_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an error from outside this process into one line on standard error and an exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except TargetError as error:
            stop(EXIT_USAGE, str(error))
        except Refused as error:
            stop(EXIT_USAGE if error.code in _SETTINGS_CODES else EXIT_SOME_FAILED, str(error))
        except Conflict as error:
            stop(EXIT_REFUSED, str(error))
        except InternalError as error:
            stop(EXIT_USAGE if error.code.startswith(_INVALID_VALUE) else EXIT_SOME_FAILED, str(error))
        except HangarError as error:
            stop(EXIT_SOME_FAILED, f"{error}. No data was lost; try again")
        except httpx.HTTPError as error:
            # The error's text may quote a header, so only its kind and the address are shown.
            stop(
                EXIT_SOME_FAILED,
                f"no answer from {_format_address(error)} ({type(error).__name__}). Check that the installation is running",
            )
        except OSError as error:
            file = error.filename or "a file or certificate that the environment names"
            stop(EXIT_USAGE, f"{error.strerror or type(error).__name__}: {file}")

    return run


def _format_address(error: httpx.HTTPError) -> str:
    try:
        url = error.request.url
    except RuntimeError:  # it failed before there was a request
        return "the installation"
    return f"{url.scheme}://{url.netloc.decode()}"


def stop(code: int, message: str) -> NoReturn:
    """Print one line on standard error and exit."""
    click.echo(f"hangar: {message}", err=True)
    sys.exit(code)


def open_installation() -> Installation:
    """The installation that the environment names, else the local cloud."""
    return Installation(load_target(os.environ))


def get_actor() -> str:
    """The actor that the audit log records for this command."""
    return f"cli:{getpass.getuser()}"


def make_console(*, to_stderr: bool = False) -> Console:
    """The console for tables. Output to a file or pipe is 140 wide, because Rich would fold it at 80."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(stderr=to_stderr) if stream.isatty() else Console(stderr=to_stderr, width=140)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=str))
