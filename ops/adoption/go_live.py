"""Warnings about apps of the original system that going live leaves as they are. They do not prevent it."""

from collections.abc import Iterator

from ops.cli_support import echo
from ops.client import Installation
from ops.fly_access import open_fly
from shared.doctor.closed_apps import describe_living, destroy_all
from shared.domain.errors import HangarError


def warn_of_leftovers(installation: Installation) -> None:
    """Print the warnings on standard error. Hangar is live already, so a failed check is a warning, too."""
    try:
        for line in list_leftovers(installation):
            echo(f"hangar: warning: {line}", err=True)
    except HangarError as error:
        echo(
            f"hangar: warning: not checked whether apps of the original system are left: {error}. Run `hangar doctor`",
            err=True,
        )


def list_leftovers(installation: Installation) -> Iterator[str]:
    """A line for the apps that wait for a decision, and one for those that run although their rows are closed."""
    fleet = installation.database.list_legacy_apps()
    waiting = [each.row.fly_app_name for each in fleet.apps if not each.is_closed]
    if waiting:
        shown = ", ".join(waiting[:3]) + (", …" if len(waiting) > 3 else "")
        yield (
            f"{len(waiting)} app(s) of the original system wait for a decision, and Hangar does nothing with them, live or not: "
            f"{shown}. `hangar adopt` shows them; `hangar adopt --apply` takes them over"
        )
    closed = [each.row.fly_app_name for each in fleet.apps if each.is_closed]
    if closed:
        yield from _check_closed(installation, closed)


def _check_closed(installation: Installation, closed: list[str]) -> Iterator[str]:
    again = "`hangar doctor` checks it (closed_apps)"
    if installation.target.fly is None:
        yield f"not checked whether the apps of {len(closed)} closed rows are still on Fly: FLY_API_TOKEN is not set. {again}"
        return
    try:
        with open_fly(installation) as fly:
            listed = {app.name for page in fly.list_apps() for app in page.apps}
    except HangarError as error:
        yield f"not checked whether the apps of {len(closed)} closed rows are still on Fly: {error}. {again}"
        return
    if living := [app for app in closed if app in listed]:
        yield f"{describe_living(living)}. Destroy them: `{destroy_all(living)}`"
