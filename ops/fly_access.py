"""The command line's own way to Fly, for what is read or run on request: logs, checks, commands in a machine."""

import logging
from dataclasses import dataclass
from uuid import UUID

from ops.cli_support import stop
from ops.client import Installation
from ops.connection import FlyAddress, TargetError
from ops.exit_codes import EXIT_REFUSED
from shared.fly.app_logs import LogReader
from shared.fly.client import FlyClient


@dataclass(frozen=True)
class UserMachine:
    """One user's app and machine, from the row."""

    user_id: UUID
    app: str
    machine_id: str | None
    state: str | None


def find_machine(installation: Installation, user: str, *, needs_machine: bool = True) -> UserMachine:
    """The app of USER. Ends the command with exit code 3 when there is none, or no machine although one is needed."""
    user_id, status = installation.find_known_user(user)
    row = status.row
    if row is None:
        stop(EXIT_REFUSED, f"{user} has no app now")
    if needs_machine and not row["machine_id"]:
        stop(
            EXIT_REFUSED,
            f"the app {row['fly_app_name']} of {user} has no machine now; `hangar explain {user}` says why",
        )
    return UserMachine(user_id, row["fly_app_name"], row["machine_id"], row["machine_state"])


def _keep_log_quiet() -> None:
    """The client logs each refusal. The command line prints it once, on its own line."""
    logging.getLogger("hangar.fly").addHandler(logging.NullHandler())


def _require(installation: Installation) -> FlyAddress:
    fly = installation.target.fly
    if fly is None:
        raise TargetError(
            "this asks Fly directly: set FLY_API_TOKEN to a token of the organisation (and FLY_API_URL for a simulator)"
        )
    return fly


def open_fly(installation: Installation) -> FlyClient:
    """A client of the Machines API. Raises TargetError without a token."""
    fly = _require(installation)
    _keep_log_quiet()
    org = installation.database.read_overview().settings["fly_org_slug"]
    return FlyClient(fly.url, fly.token, org_slug=org, user_agent="hangar-cli")


def open_logs(installation: Installation) -> LogReader:
    """A reader of logs. Raises TargetError without a token."""
    fly = _require(installation)
    _keep_log_quiet()
    return LogReader(fly.url, fly.token)
