"""`hangar dev`: the local cloud in a terminal, until Ctrl-C."""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from local.dev.child import CancelledError, DevError
from local.dev.cloud import LocalCloud
from local.dev.database import FREE_USERS
from local.dev.files import LOGS
from ops.connection import DEV_FILE
from ops.dev.psql import PsqlError, find_psql
from ops.dev.sample_fleet import fill_sample_fleet


def run_dev(*, sample: bool = False) -> int:
    """`make dev`: start, print every address, keep running until SIGINT (130), SIGTERM or SIGHUP (0); 1 when a part fails.

    Its files are in `.hangar` of the current folder, where the other commands look for a local cloud.

    With `sample` the fleet is filled before the addresses are printed.
    """
    stopping, received = threading.Event(), []

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        stopping.set()

    before = {each: signal.signal(each, ask_to_stop) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        cloud = LocalCloud(DEV_FILE.parent.absolute(), cancelled=stopping)
        print("Starting the local cloud: Postgres, Supabase gateway, Fly simulator, functions ...", flush=True)
        with cloud:
            if sample:
                fill_sample_fleet(cloud.addresses, stopping)
            print(
                format_addresses(cloud.addresses, start_s=cloud.start_s, folder=cloud.folder, psql=_name_psql()),
                flush=True,
            )
            while not stopping.wait(0.5):
                cloud.check()
            print("\nStopping ...", flush=True)
        print("Stopped. Processes, ports and data are gone; the logs stay.", flush=True)
    except CancelledError:
        print("Stopped before everything had started.", flush=True)
    except DevError as error:
        print(f"hangar dev: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    return 130 if received[0] == signal.SIGINT else 0


def _name_psql() -> str:
    """The psql for the commands that we show."""
    try:
        return find_psql()
    except PsqlError:
        return "psql"


def format_addresses(known: dict[str, Any], *, start_s: float, folder: Path, psql: str) -> str:
    """Every address of a running cloud, and two commands to try it; `known` is the content of dev.json."""
    user = FREE_USERS[0]
    functions = "\n".join(f"    {name:<16}{url}" for name, url in known["functions"].items() if url)
    upgrade = f"update user_subscriptions set tier = 'pro' where user_id = '{user.id}'"  # noqa: S608  a line to show
    look = "select user_id, fly_app_name, status, health_status, monthly_cost_estimate_usd from user_fly_apps"
    return f"""Started in {start_s:.1f} s. The database is new at every start. Logs: {folder / LOGS}.

    database        {known["database_url"]}
    Supabase        {known["supabase_url"]}
    Fly API         {known["fly_api_url"]}/v1    (its apps and machines: {known["fly_api_url"]}/_sim/world)
{functions}
    alerts          {known["alerts_url"]}
    operator        {known["admin"]["email"]}    (password: {known["admin"]["password"]})
    everything      {folder / "dev.json"}    (with keys and tokens)

Make {user.email} a paying user, then read the app's row a few seconds later:

    {psql} '{known["database_url"]}' -c "{upgrade}"
    {psql} '{known["database_url"]}' -c "{look}"

Ctrl-C stops everything."""
