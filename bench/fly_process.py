"""The Fly simulator as a process that starts with the apps of a file of rows: `python -m bench.fly_process`."""

import argparse
import json
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

from bench.fleet import make_apps
from local.fly.server import FlyServer
from local.fly.simulator import FlySim
from shared.domain.models import Row


def main() -> None:
    """Make the apps, write the URL and what was made to the ready file, and serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.fly_process", description=__doc__)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--org", required=True)
    parser.add_argument("--rows", type=Path, help="JSON: installation_id and rows")
    given = parser.parse_args()
    sim = FlySim(time.time, org=given.org)
    made = []
    if given.rows:
        fleet = json.loads(given.rows.read_text())
        made = make_apps(sim, [Row.model_validate(row) for row in fleet["rows"]], UUID(fleet["installation_id"]))
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    with FlyServer(sim) as server:
        draft = given.ready_file.with_suffix(".part")
        draft.write_text(json.dumps({"url": server.url, "made": [asdict(each) for each in made]}))
        draft.replace(given.ready_file)
        stop.wait()


if __name__ == "__main__":
    main()
