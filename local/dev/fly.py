"""`python -m local.dev.fly`: the Fly simulator of the local cloud, whose clock the database follows.

Machines are processes of the reference backend. `POST /_sim/clock` answers after `hangar.now()` has moved too, so that a
caller who advances the time sees it in both.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from local.fly.runtime.processes import DEFAULT_LIMIT, ProcessRunner
from local.fly.runtime.runner import MachineRunner
from local.fly.server import FlyServer
from local.fly.simulator import FlySim, Sleep
from local.http_server import Request, Response, answer_json
from local.service import stop_on_signals, write_private

TOKEN_VARIABLE = "HANGAR_DEV_FLY_TOKEN"  # noqa: S105  a variable's name: every user can read a command line, so the token is not in it


class ClockedSim(FlySim):
    """A simulator that calls `follow` with its clock's offset in seconds after each control call that changes it."""

    def __init__(self, runner: MachineRunner, *, token: str, org: str, follow: Callable[[float], None]) -> None:
        super().__init__(time.time, machines=runner, token=token, org=org)
        self._follow = follow

    def handle(self, request: Request, sleep: Sleep | None = None, poll_s: float | None = None) -> Response:
        """Answer as the simulator does; 500 when the database's clock could not be moved."""
        response = super().handle(request, sleep, poll_s)
        moved = request.method == "POST" and request.path.rstrip("/") in ("/_sim/clock", "/_sim/reset")
        if moved and response.status == 200:
            try:
                self._follow(self.world.offset_s)
            except Exception as error:  # noqa: BLE001  whatever failed, the caller must know that the clocks differ
                problem = {"error": f"the simulator's clock has moved, the database's clock has not: {error}"}
                return answer_json(problem, 500)
        return response


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.dev.fly", description=__doc__)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--org", required=True)
    parser.add_argument("--ready-file", type=Path, required=True, help="written when it serves: {url, pid}")
    parser.add_argument("--log-dir", type=Path, required=True, help="output of the machines' processes")
    parser.add_argument("--process-limit", type=int, default=DEFAULT_LIMIT, help="machines that are real processes")
    given = parser.parse_args(arguments)

    def follow(offset_s: float) -> None:
        from local.dev.database import shift_clock  # noqa: PLC0415  the clock is rarely moved, and psycopg is a large import

        shift_clock(given.database_url, offset_s)

    runner = ProcessRunner([sys.executable, "-m", "local.backend"], given.process_limit, log_dir=given.log_dir)
    sim = ClockedSim(runner, token=os.environ[TOKEN_VARIABLE], org=given.org, follow=follow)
    stopping = stop_on_signals()
    with FlyServer(sim, 0) as server:
        write_private(given.ready_file, {"url": server.url, "pid": os.getpid()})
        stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
