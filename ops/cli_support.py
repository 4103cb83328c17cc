"""What every command shares: exit codes, one line for what went wrong, the installation, and where output goes.

Exit codes: 0 ok · 1 some failed · 2 usage or settings · 3 refused (paused, brake, limits) · 130 interrupted.
"""

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
from shared.domain.errors import HangarError, InternalError, Refused

EXIT_SOME_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 3, 130
# SQLSTATEs that say "what you typed is no such value": P0001 and class 22 and 23 (PostgreSQL documentation, appendix A).
_TYPED_WRONG = ("22", "23", "P0001")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
reason_option = click.option("--reason", help="Kept in the audit log.")


def explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what can go wrong outside into one line and the right exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except TargetError as error:
            stop(EXIT_USAGE, str(error))
        except Refused as error:
            stop(EXIT_USAGE if error.code in ("auth", "migrations") else EXIT_SOME_FAILED, str(error))
        except InternalError as error:
            if "Invalid API key" in str(error):  # Supabase's gateway, which gives no code
                stop(
                    EXIT_USAGE,
                    "the project does not know SUPABASE_SECRET_KEY: set it to a secret key of the project in SUPABASE_URL",
                )
            stop(EXIT_USAGE if error.code.startswith(_TYPED_WRONG) else EXIT_SOME_FAILED, str(error))
        except HangarError as error:
            stop(EXIT_SOME_FAILED, f"{error}. Nothing was lost; try again")
        except httpx.HTTPError as error:
            # Its text may quote a header; its kind and the address say enough.
            stop(
                EXIT_SOME_FAILED,
                f"no answer from {_name_address(error)} ({type(error).__name__}). Is the installation up?",
            )
        except OSError as error:
            stop(
                EXIT_USAGE,
                f"{error.strerror or type(error).__name__}: {error.filename or 'a file or certificate of the environment'}",
            )

    return run


def _name_address(error: httpx.HTTPError) -> str:
    try:
        url = error.request.url
    except RuntimeError:  # it failed before there was a request
        return "the installation"
    return f"{url.scheme}://{url.netloc.decode()}"


def stop(code: int, message: str) -> NoReturn:
    """End with one line on standard error."""
    click.echo(f"hangar: {message}", err=True)
    sys.exit(code)


def open_installation() -> Installation:
    """The installation that the environment or the local cloud names."""
    return Installation(load_target(os.environ))


def get_actor() -> str:
    """Who does this, for the audit log."""
    return f"cli:{getpass.getuser()}"


def make_console(*, to_stderr: bool = False) -> Console:
    """Where tables go. Where nobody watches (a file, a pipe, CI) they keep a width instead of folding at 80."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(stderr=to_stderr) if stream.isatty() else Console(stderr=to_stderr, width=140)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=str))
