"""What every command shares: common options, questions, one line for an error, the installation, and where output goes."""

import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, NoReturn

import click
import httpx

from ops.client import Installation
from ops.connection import TargetError, load_target
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from ops.output_end import end_quietly, stop_if_output_failed
from ops.plain_text import one_line, shorten_words
from ops.tables import OutputConsole
from shared.domain.errors import Conflict, HangarError, InternalError, Refused

# Refusals that the operator's own settings or values cause.
_SETTINGS_CODES = ("auth", "migrations", "invalid_value", "token")
# SQLSTATEs that reject a value: P0001 and the classes 22 and 23 (PostgreSQL documentation, appendix A).
_INVALID_VALUE = ("22", "23", "P0001")

MOST_REASON_CHARS = 500

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _check_reason(_context: click.Context, _option: click.Parameter, reason: str | None) -> str | None:
    """The reason as given, without space around it. An empty or too long one ends the command with exit code 2."""
    if reason is None:
        return None
    reason = reason.strip()
    if not reason:
        stop(EXIT_USAGE, "--reason is empty; the audit log records it")
    _stop_if_long(reason)
    return reason


def _stop_if_long(reason: str) -> None:
    if len(reason) > MOST_REASON_CHARS:
        stop(EXIT_USAGE, f"--reason has {len(reason)} characters; at most {MOST_REASON_CHARS} are kept")


reason_option = click.option("--reason", callback=_check_reason, help="Recorded in the audit log.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")


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
            stop(
                EXIT_SOME_FAILED,
                f"{error}. No data was lost; try again. If it lasts, `hangar alerts` may name the cause",
            )
        except httpx.HTTPError as error:
            # The error's text may quote a header, so only its kind and the address are shown.
            stop(
                EXIT_SOME_FAILED,
                f"no answer from {_format_address(error)} ({type(error).__name__}). Check that the installation is running",
            )
        except BrokenPipeError:
            end_quietly()
        except UnicodeDecodeError:
            stop(EXIT_USAGE, "the input is not text in UTF-8. Nothing was done with it")
        except OSError as error:
            stop_if_output_failed(error)
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
    echo(f"hangar: {shorten_words(message)}", err=True)
    sys.exit(code)


def echo(*lines: str, err: bool = False) -> None:
    """Print these lines. What other people wrote in one of them can neither end it nor reach the terminal's controls."""
    for line in lines:
        click.echo(one_line(line), err=err)


def open_installation() -> Installation:
    """The installation that the environment names, else the local cloud."""
    return Installation(load_target(os.environ))


def get_actor() -> str:
    """The actor that the audit log records for this command."""
    return f"cli:{re.sub(r'[^!-~]', '_', getpass.getuser())[:100]}"


def can_ask() -> bool:
    """Whether somebody at a terminal can answer a question: both its text and the answer must reach them."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_reason(reason: str | None, *, is_required: bool) -> str | None:
    """The reason for the audit log: as given, else asked for at a terminal.

    Without a terminal a required reason that is missing ends the command with exit code 2.
    """
    if reason is None and can_ask():
        question = "Reason (for the audit log" + ("" if is_required else ", may be empty") + ")"
        reason = click.prompt(question, default=None if is_required else "", show_default=False, err=True).strip()
        if is_required and not reason:
            stop(EXIT_USAGE, "a reason is required; the audit log records it")
    elif reason is None and is_required:
        stop(EXIT_USAGE, 'this needs --reason "…"; the audit log records it')
    if reason:
        _stop_if_long(reason)
    return reason or None


def confirm(question: str, *, yes: bool, without_terminal: bool = False) -> None:
    """Ask at a terminal unless `yes`; "no" ends the command with exit code 3 and changes nothing.

    Without a terminal the command continues if `without_terminal`, else it ends with exit code 2.
    """
    if yes:
        return
    if not can_ask():
        if without_terminal:
            return
        stop(EXIT_USAGE, "nothing was changed: without a terminal this needs --yes")
    if not click.confirm(one_line(question), err=True):
        stop(EXIT_REFUSED, "nothing was changed")


def collect_changes(changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Keys with their values. A key that comes twice ends the command with exit code 2, because one of them would be lost."""
    found: dict[str, Any] = {}
    for key, value in changes:
        if key in found:
            stop(EXIT_USAGE, f"{key} is given twice; nothing was changed")
        found[key] = value
    return found


def make_console(*, to_stderr: bool = False) -> OutputConsole:
    """The console for tables: a Rich console at a terminal, plain lines elsewhere. NO_COLOR and COLUMNS are honoured."""
    stream = sys.stderr if to_stderr else sys.stdout
    return OutputConsole(stream, no_colour=bool(os.environ.get("NO_COLOR")))


def print_json(document: Any) -> None:
    """Print one JSON document on standard output. Characters outside ASCII are escaped."""
    click.echo(json.dumps(document, indent=2, default=str))


def print_json_line(document: Any) -> None:
    """Print one JSON document on one line, for output without end."""
    click.echo(json.dumps(document, default=str))
