"""`hangar release`: a new image, size or environment for the fleet, in waves, each checked before the next."""

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
from rich.text import Text

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
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from ops.release_regions import price_moves
from ops.release_spec import read_spec
from ops.release_tables import (
    SHOWN_TARGETS,
    format_created,
    format_headline,
    format_next,
    format_plan_differences,
    is_at_rest,
    make_release_list,
    render_dry_run,
    render_release,
)
from ops.release_watch import read_behind_emails, watch_release
from shared.domain.errors import Conflict, OutcomeUnknown, Refused
from shared.domain.release_image import CheckedImage, check_release_image
from shared.domain.release_text import format_kept

_MOST_LISTED = 500
_RELEASE_ID = click.IntRange(1, 2**31 - 1)


@click.group()
def release() -> None:
    """Bring a new image, size, region or environment to the fleet in waves."""


_CREATE_OPTIONS = (
    click.option("--image", metavar="REF", help="The image, with a tag or a digest."),
    click.option("--version", metavar="V", help="The version that the backend's /ready must report."),
    click.option("--cpu-kind", type=click.Choice(["shared", "performance"]), help="The kind of vCPU."),
    click.option("--cpu", "cpu_count", type=int, metavar="N", help="The number of vCPUs."),
    click.option("--memory", "memory_mb", type=int, metavar="MB", help="The memory in MB."),
    click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the machine. May be repeated."),
    click.option("--move-to", metavar="R,R", help="The regions to move to, in order of preference, like nrt,hkg."),
    click.option("--drift", is_flag=True, help="Give each app that differs from its plan what the plan says."),
    click.option("--tier", "tiers", multiple=True, metavar="TIER", help="Only apps of this tier. May be repeated."),
    click.option("--region", "regions", multiple=True, metavar="R", help="Only apps in this region. May be repeated."),
    click.option(
        "--users", multiple=True, metavar="USER|FILE", help="Only these users: uuid, e-mail, or a file of them."
    ),
    click.option("--share", metavar="SHARE", help="Only this share of the chosen apps, like 20% or 0.2."),
    click.option("--canary", multiple=True, metavar="USER", help="Move this user first. May be repeated."),
    click.option("--canary-size", type=int, metavar="N", help="How many apps move first.  [default: 1]"),
    click.option("--waves", metavar="N,N,100", help="Where the waves end, in percent.  [default: 5,25,100]"),
    click.option("--soak", "soak_s", metavar="TIME", help="How long an app must stay good.  [default: 60s]"),
    click.option(
        "--deadline", "deadline_s", metavar="TIME", help="How long an app may take until it is good.  [default: 10m]"
    ),
    click.option("--max-moving", type=int, metavar="N", help="The most apps that move at once.  [default: 50]"),
    click.option(
        "--moving-share", metavar="SHARE", help="The most apps that move at once, as a share.  [default: 10%]"
    ),
    click.option("--failure-share", metavar="SHARE", help="The share of a later wave that may fail.  [default: 2%]"),
    click.option("--dry-run", is_flag=True, help="Only show who would move, in which wave, and the cost."),
    click.option("--start", "start_now", is_flag=True, help="Start the release at once."),
    click.option("--request", type=click.UUID, metavar="UUID", help="Repeat a create whose answer was lost."),
)


def _with_create_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_CREATE_OPTIONS):
        command = option(command)
    return command


@release.command("create")
@_with_create_options
@reason_option
@json_option
@report_errors
def create(
    *, dry_run: bool, start_now: bool, request: UUID | None, reason: str | None, as_json: bool, **options: Any
) -> None:
    """Plan a release. It is a draft until `hangar release start`, or with --start.

    By default everybody gets it: one app first, then 5, 25 and 100 % of the rest. Each wave must be good
    before the next one begins.
    """
    if dry_run and start_now:
        stop(EXIT_USAGE, "--dry-run changes nothing, so it cannot be combined with --start")
    installation = open_installation()
    spec, names = read_spec(installation, options)
    if options["drift"] and len(spec) == 1 and not int(installation.database.list_releases(1)["differ"]["apps"]):
        _print_nothing_differs(as_json=as_json)
        return
    request = request or uuid.uuid4()
    if not dry_run:
        reason = ask_reason(reason, is_required=False)
    with _plain_refusals(names), _repeatable(request):
        checked = check_release_image(spec, installation.make_registry().look_up)
        made = installation.database.create_release(
            checked.release, actor=get_actor(), why=reason, dry_run=dry_run, request=None if dry_run else request
        )
    _print_image(checked)
    if dry_run:
        _print_dry_run(installation, made, as_json=as_json)
        return
    if made["state"] == "draft" and start_now:
        with _plain_refusals(names, f"release {made['id']} is planned, but it was not started: "):
            _change(installation, made["id"], "start", reason)
    if as_json:
        print_json({**made, **installation.database.read_release(made["id"])})
        return
    _print_created(installation, made, start_now=start_now)


@contextmanager
def _plain_refusals(names: Mapping[UUID, str], before: str = "") -> Iterator[None]:
    """Show a refusal as one line that names users as they were typed."""
    try:
        yield
    except Conflict as error:
        stop(EXIT_REFUSED, before + error.message)
    except Refused as error:
        if error.code != "invalid_value":
            raise
        text = error.message
        for user, word in names.items():
            text = text.replace(str(user), word)
        stop(EXIT_USAGE, before + text)


@contextmanager
def _repeatable(request: UUID) -> Iterator[None]:
    try:
        yield
    except OutcomeUnknown as error:
        stop(
            EXIT_SOME_FAILED,
            f"{error}. The release may have been planned. Repeat the same command with --request {request}: it never "
            "makes a second release",
        )


def _print_nothing_differs(*, as_json: bool) -> None:
    if as_json:
        print_json({"id": None, "state": None, "wave": None, "waves": [], "targets": []})
    else:
        echo("No app differs from its plan, so no release was planned")


def _print_image(checked: CheckedImage) -> None:
    """What could not be learned of the image: on standard error, so that standard output stays JSON with --json."""
    if checked.notice:
        echo(f"hangar: {checked.notice}", err=True)


def _print_dry_run(installation: Installation, plan: Mapping[str, Any], *, as_json: bool) -> None:
    plan = {**plan, "moves": price_moves(plan["moves"], datetime.now(UTC).date())}
    if as_json:
        print_json(plan)
        return
    moving = [each["user_id"] for each in plan["targets"] if each["left_out"] is None]
    left = [each["user_id"] for each in plan["targets"] if each["left_out"] is not None]
    emails = installation.read_emails(moving[:SHOWN_TARGETS] + left[:SHOWN_TARGETS])
    console = make_console()
    for part in render_dry_run(plan, emails):
        console.print(part, highlight=False, soft_wrap=isinstance(part, Text))


def _print_created(installation: Installation, made: Mapping[str, Any], *, start_now: bool) -> None:
    if made.get("repeated"):
        echo(f"This request has planned release {made['id']} already; nothing was planned a second time")
    else:
        echo(*format_created(made).splitlines())
    if start_now:
        _print_changed(installation.database.read_release(made["id"]))
    elif made["state"] == "draft":
        echo(f"To start it: hangar release start {made['id']}")


def _change(installation: Installation, release_id: int, action: str, reason: str | None) -> dict[str, Any]:
    return installation.database.change_release(release_id, action, actor=get_actor(), why=reason)


def _print_changed(found: Mapping[str, Any]) -> None:
    already = "" if found.get("changed", True) else " (it was so already)"
    kept = format_kept(found)
    echo(f"{format_headline(found)}{already}", *([kept] if kept else []), f"Next: {format_next(found)}")


def _add_action(action: str, help_text: str) -> None:
    @release.command(action, help=help_text)
    @click.argument("release_id", metavar="ID", type=_RELEASE_ID)
    @reason_option
    @json_option
    @report_errors
    def act(release_id: int, reason: str | None, as_json: bool) -> None:
        installation = open_installation()
        reason = ask_reason(reason, is_required=False)
        with _plain_refusals({}):
            changed = _change(installation, release_id, action, reason)
        found = {**installation.database.read_release(release_id), "changed": changed["changed"]}
        print_json(found) if as_json else _print_changed(found)


_add_action("start", "Start the draft ID: the canary moves with the next drain, within a minute.")
_add_action("pause", "Pause release ID. Apps that are moving finish; no other app begins.")
_add_action("resume", "Resume release ID. It tries again what failed and was put back.")
_add_action("abort", "End release ID and put every app that it has moved back to what it ran before.")
_add_action("rollback", "Put every app of release ID back to what it ran before, also after it is complete.")


@release.command("status")
@click.argument("release_id", metavar="[ID]", type=_RELEASE_ID, required=False)
@click.option("--watch", is_flag=True, help="Refresh until nothing moves any more; exit code 1 if it went wrong.")
@json_option
@report_errors
def status(release_id: int | None, watch: bool, as_json: bool) -> None:
    """Show release ID, or the newest one: its waves, who is behind and why, and what happens next."""
    installation = open_installation()
    if release_id is None:
        newest = installation.database.list_releases(1)["releases"]
        if not newest:
            stop(EXIT_USAGE, "there is no release yet; `hangar release create` plans one")
        release_id = int(newest[0]["id"])
    with _plain_refusals({}):
        found = installation.database.read_release(release_id)
    began_as = found["state"]
    if watch and not is_at_rest(found):
        found = watch_release(installation, found, quiet=as_json)
    if as_json:
        print_json(found)
    else:
        console = make_console()
        for part in render_release(found, read_behind_emails(installation, found)):
            console.print(part, highlight=False, soft_wrap=isinstance(part, Text))
    wanted = ("aborted", "rolled_back") if began_as == "rolling_back" else ("completed", "draft", began_as)
    if watch and (found["state"] not in wanted or found["state"] == "paused"):
        sys.exit(EXIT_SOME_FAILED)


@release.command("list")
@click.option("--limit", type=click.IntRange(1, _MOST_LISTED), default=20, show_default=True, help="The newest N.")
@json_option
@report_errors
def list_releases(limit: int, as_json: bool) -> None:
    """Show the newest releases, and how many apps differ from their plan."""
    found = open_installation().database.list_releases(limit)
    if as_json:
        print_json(found)
        return
    make_console().print(make_release_list(found["releases"]))
    if differing := format_plan_differences(found["differ"]):
        echo(differing)
