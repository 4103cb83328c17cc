"""`python -m local.dev.fly`: the Fly simulator as the local cloud runs it, with the database's clock tied to its own.

Machines are processes of the reference backend. `POST /_sim/clock` is answered only after `hangar.now()` has moved too,
so a caller that advances time sees one world.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from local.dev.files import write_private
from local.fly.runtime.processes import DEFAULT_LIMIT, ProcessRunner
from local.fly.runtime.runner import MachineRunner
from local.fly.server import FlyServer
from local.fly.simulator import FlySim, Sleep
from local.http_server import Request, Response

TOKEN_VARIABLE = "HANGAR_DEV_FLY_TOKEN"  # noqa: S105  the variable's name; a command line is for everybody to read


class ClockedSim(FlySim):
    """A simulator that tells `follow` its clock's offset, in seconds, whenever a control call has changed it."""

    def __init__(self, runner: MachineRunner, *, token: str, org: str, follow: Callable[[float], None]) -> None:
        super().__init__(time.time, machines=runner, token=token, org=org)
        self._follow = follow

    def handle(self, request: Request, sleep: Sleep | None = None, poll_s: float | None = None) -> Response:
        """Answer as the simulator does; 500 when the database could not follow, whose clock is then behind."""
        response = super().handle(request, sleep, poll_s)
        moved = request.method == "POST" and request.path.rstrip("/") in ("/_sim/clock", "/_sim/reset")
        if moved and response.status == 200:
            try:
                self._follow(self.world.offset_s)
            except Exception as error:  # noqa: BLE001  whatever it was, the caller must hear that the clocks differ
                problem = {"error": f"the simulator's clock moved, the database's did not: {error}"}
                return Response(500, json.dumps(problem).encode(), {"Content-Type": "application/json"})
        return response


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.dev.fly", description=__doc__)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--org", required=True)
    parser.add_argument("--ready-file", type=Path, required=True, help="gets {url, pid} once it serves")
    parser.add_argument("--log-dir", type=Path, required=True, help="output of the machines' processes")
    parser.add_argument("--process-limit", type=int, default=DEFAULT_LIMIT, help="machines that are real processes")
    given = parser.parse_args(arguments)

    def follow(offset_s: float) -> None:
        from local.dev.database import shift_clock  # noqa: PLC0415  the clock is rarely moved, and psycopg is large

        shift_clock(given.database_url, offset_s)

    runner = ProcessRunner([sys.executable, "-m", "local.backend"], given.process_limit, log_dir=given.log_dir)
    sim = ClockedSim(runner, token=os.environ[TOKEN_VARIABLE], org=given.org, follow=follow)
    asked_to_end = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: asked_to_end.set())
    with FlyServer(sim, 0) as server:
        write_private(given.ready_file, {"url": server.url, "pid": os.getpid()})
        asked_to_end.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
