"""`python -m local.fly --port 4280`: a Fly Machines API for any client on this machine."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from local.fly.runtime.processes import DEFAULT_LIMIT, ProcessRunner
from local.fly.runtime.runner import MachineRunner
from local.fly.server import FlyServer
from local.fly.simulator import FlySim
from local.fly.state.latency_profiles import PROFILES
from local.service import stop_on_signals, write_whole


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.fly", description="A simulator of the Fly Machines API.")
    parser.add_argument("--port", type=int, default=4280, help="port on 127.0.0.1; 0 takes a free one (default 4280)")
    parser.add_argument("--token", help="the only token accepted (default: any)")
    parser.add_argument(
        "--org", help="the only organisation, also reachable as `personal` (default: every slug exists)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default 0)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="instant", help="how long things take")
    parser.add_argument(
        "--unkind", action="store_true", help="listing lag, short pages, lost responses, unreadable regions"
    )
    parser.add_argument(
        "--rate-limits", action=argparse.BooleanOptionalAction, help="Fly's limits (default: when unkind or typical)"
    )
    parser.add_argument("--ready-file", type=Path, help="written when it serves: JSON with url and pid")
    parser.add_argument("--log-dir", type=Path, help="output of the machines' processes (default: discarded)")
    parser.add_argument("--process-limit", type=int, default=DEFAULT_LIMIT, help="machines that are real processes")
    parser.add_argument(
        "--processes",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="run this command for each started machine; the last option, it takes the rest of the line",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, make: Callable[..., FlySim] = FlySim) -> int:
    """Serve what `make` makes until SIGINT or SIGTERM; 1 when the port is taken."""
    given = _parse(arguments)
    runner = MachineRunner()
    if given.processes:
        runner = ProcessRunner(given.processes, given.process_limit, log_dir=given.log_dir)
    sim = make(
        time.time,
        given.seed,
        given.profile,
        given.unkind,
        runner,
        rate_limits=given.rate_limits,
        token=given.token,
        org=given.org,
    )
    try:
        server = FlyServer(sim, given.port)
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{given.port}: {error.strerror}", file=sys.stderr)
        return 1
    stopping = stop_on_signals()
    with server:
        print(f"Fly Machines API simulator on {server.url} (controls: {server.url}/_sim/world)", flush=True)
        if given.ready_file is not None:
            write_whole(given.ready_file, json.dumps({"url": server.url, "pid": os.getpid()}) + "\n")
        stopping.wait()
    if given.ready_file is not None:
        given.ready_file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
