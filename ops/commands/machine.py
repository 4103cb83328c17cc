"""`hangar logs`, `checks` and `exec`: what one user's machine says, how its checks are, and a command inside it."""

import shlex
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ops.cli_support import (
    ask_reason,
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    print_json_line,
    reason_option,
    report_errors,
    stop,
)
from ops.client import Installation
from ops.commands.events import read_since
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED
from ops.fly_access import UserMachine, find_machine, open_fly, open_logs
from ops.tables import make_list
from shared.domain.errors import HangarError, OutcomeUnknown, TransientError
from shared.domain.paging import Paging
from shared.fly.app_logs import LogLine, LogReader
from shared.fly.models import ExecResult

_NS = 1_000_000_000
# As flyctl: wait longer while nothing comes, and give up after ten failures in a row.
_FIRST_WAIT_S, _LONGEST_WAIT_S, _MOST_FAILURES = 0.25, 4.0, 10
_PAGE_LINES = 100
_REMEMBERED_LINES = 10_000
_MOST_EXEC_S = 300
_MOST_OUTPUT_CHARS = 100_000


@click.command()
@click.argument("user")
@click.option("--follow", "-f", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option("--since", metavar="SPAN", help="Every line since then: 90s, 15m, 24h, at most 7d, or an ISO time.")
@click.option(
    "--limit", type=click.IntRange(1, _PAGE_LINES), default=_PAGE_LINES, show_default=True, help="Only the newest N."
)
@json_option
@report_errors
def logs(user: str, follow: bool, since: str | None, limit: int, as_json: bool) -> None:
    """Print what the app of USER (uuid, e-mail or app name) has logged, the oldest line first.

    Fly keeps about seven days. Without --since it shows at most 100 lines of the last day. Hangar reads the lines now and
    stores none.
    With --json one object is printed on each line.
    """
    installation = open_installation()
    opened = open_logs(installation)
    app = find_machine(installation, user, needs_machine=False).app
    token = None
    if since:
        start = read_since(since, datetime.now(UTC))
        token = str(max(0, int(start.timestamp())) * _NS)
    with opened as reader:
        lines, token = _read_until_now(reader, app, token)
        _print_lines(lines if since else lines[-limit:], as_json=as_json)
        if follow:
            for more in _follow(reader, app, token, lines):
                _print_lines(more, as_json=as_json)


def _read_until_now(reader: LogReader, app: str, token: str | None) -> tuple[list[LogLine], str | None]:
    """The lines after `token` up to now (without a token the newest page), and the token of what follows."""
    page = reader.read(app, token)
    lines, paging = list(page.lines), Paging(f"read the logs of {app}")
    while token is not None and len(page.lines) >= _PAGE_LINES and page.cursor:
        paging.advance(page.cursor)
        page = reader.read(app, page.cursor)
        lines += page.lines
    return list({line.id: line for line in lines}.values()), page.cursor or token


def _follow(reader: LogReader, app: str, token: str | None, shown: Sequence[LogLine]) -> Iterator[list[LogLine]]:
    """New lines, each once. Ends with the error after ten failures in a row; a refusal ends it at once."""
    seen = dict.fromkeys(line.id for line in shown)
    wait_s, failures = _FIRST_WAIT_S, 0
    while True:
        time.sleep(wait_s)
        try:
            page = reader.read(app, token)
        except TransientError as error:
            failures += 1
            if failures >= _MOST_FAILURES:
                raise
            if failures == 1:
                echo(f"hangar: {error}; asking again", err=True)
            wait_s = _LONGEST_WAIT_S
            continue
        failures, token = 0, page.cursor or token
        new = [line for line in page.lines if line.id not in seen]
        wait_s = _FIRST_WAIT_S if new else min(wait_s * 2, _LONGEST_WAIT_S)
        seen |= dict.fromkeys(line.id for line in new)
        for old in list(seen)[: max(0, len(seen) - _REMEMBERED_LINES)]:
            del seen[old]
        if new:
            yield new


def _print_lines(lines: Sequence[LogLine], *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            print_json_line(
                {
                    "at": line.at,
                    "level": line.level,
                    "region": line.region,
                    "machine_id": line.machine_id,
                    "message": line.message,
                }
            )
        else:
            echo(f"{line.at}  {line.machine_id}  {line.region}  {line.level}  {line.message}")


@click.command()
@click.argument("user")
@json_option
@report_errors
def checks(user: str, as_json: bool) -> None:
    """Show the health checks of the machine of USER (uuid, e-mail or app name) with their output, as Fly has them now.

    A check that is configured and has no result yet is shown too.
    """
    installation = open_installation()
    fly = open_fly(installation)
    found = find_machine(installation, user)
    with fly:
        machine = fly.get_machine(found.app, str(found.machine_id))
    rows: list[dict[str, Any]] = [
        {"name": check.name, "status": check.status, "output": None if check.status == "no result" else check.output}
        for check in machine.list_checks()
    ]
    if as_json:
        shown = {"user_id": str(found.user_id), "app": found.app, "machine_id": found.machine_id}
        print_json({**shown, "state": str(machine.state), "checks": rows})
        return
    title = f"Checks of {found.app}, machine {found.machine_id} ({machine.state})"
    make_console().print(make_list(title, rows, ("name", "status", "output")))


@click.command("exec")
@click.argument("user")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…")
@click.option(
    "--timeout", type=click.IntRange(1, _MOST_EXEC_S), default=30, show_default=True, help="Seconds that it may take."
)
@reason_option
@json_option
@report_errors
def run_command(user: str, command: tuple[str, ...], timeout: int, reason: str | None, as_json: bool) -> None:
    """Run COMMAND in the machine of USER (uuid, e-mail or app name). Options of hangar come before the two dashes.

    The command, its reason and its exit code are in the audit log; its output is not stored. The output is cut after 100,000
    characters. It also works while Hangar is paused: a pause stops Hangar, not a person. Exit code 1 means that the command
    failed.
    """
    installation = open_installation()
    fly = open_fly(installation)
    found = find_machine(installation, user)
    if found.state != "started":
        stop(
            EXIT_REFUSED,
            f"the machine of {found.app} is {found.state or 'not known yet'}; only a running one takes a command",
        )
    reason = ask_reason(reason, is_required=True)
    with fly:
        done = _run_on_record(
            installation,
            found,
            shlex.join(command),
            str(reason),
            lambda: fly.exec(found.app, str(found.machine_id), command, timeout_s=timeout),
        )
    _print_result(found, done, as_json=as_json)
    if done.exit_code:
        stop(EXIT_SOME_FAILED, f"the command ended with exit code {done.exit_code} in {found.app}")


def _run_on_record(installation: Installation, found: UserMachine, command: str, reason: str, run: Any) -> ExecResult:
    """Run it between an intent and an outcome in the audit log."""
    command_id = uuid.uuid4()

    def record(status: str, **detail: Any) -> None:
        installation.database.record_command(
            command_id, found.user_id, command, status, actor=get_actor(), reason=reason, detail=detail
        )

    record("intent")
    try:
        done: ExecResult = run()
    except HangarError as error:
        record("unknown" if isinstance(error, OutcomeUnknown) else "failed", code=error.code, message=str(error))
        raise
    except KeyboardInterrupt:
        record("unknown", message="the command line was interrupted")
        raise
    try:
        record("failed" if done.exit_code else "succeeded", exit_code=done.exit_code)
    except HangarError as error:  # the command has run, and its output must not be lost
        echo(f"hangar: the command has run, but its outcome could not be recorded: {error}", err=True)
    return done


def _print_result(found: UserMachine, done: ExecResult, *, as_json: bool) -> None:
    out, is_out_cut = _cut(done.stdout)
    err, is_err_cut = _cut(done.stderr)
    if as_json:
        shown = {"user_id": str(found.user_id), "app": found.app, "machine_id": found.machine_id}
        print_json(
            {**shown, "exit_code": done.exit_code, "stdout": out, "stderr": err, "cut": is_out_cut or is_err_cut}
        )
        return
    echo(*out.splitlines())
    echo(*err.splitlines(), err=True)
    if is_out_cut or is_err_cut:
        echo(f"hangar: the output was cut after {_MOST_OUTPUT_CHARS} characters", err=True)
    sys.stdout.flush()


def _cut(text: str) -> tuple[str, bool]:
    return text[:_MOST_OUTPUT_CHARS], len(text) > _MOST_OUTPUT_CHARS
