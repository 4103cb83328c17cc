"""`python -m local.dev.fly`: the Fly simulator of the local cloud, whose clock the database follows.

`POST /_sim/clock` answers after `hangar.now()` has moved too, so that a
caller who advances the time sees it in both.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from local.fly import __main__ as fly
from local.fly.simulator import FlySim, Sleep
from local.http_server import Request, Response, answer_json

TOKEN_VARIABLE = "HANGAR_DEV_FLY_TOKEN"  # noqa: S105  a variable's name: every user can read a command line, so the token is not in it


class ClockedSim(FlySim):
    """A simulator that calls `follow` with its clock's offset in seconds after each control call that changes it."""

    def __init__(self, *arguments: Any, follow: Callable[[float], None], **options: Any) -> None:
        super().__init__(*arguments, **{**options, "token": os.environ[TOKEN_VARIABLE]})
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
    """Serve until SIGTERM or SIGINT. All options but ours are those of `python -m local.fly`."""
    parser = argparse.ArgumentParser(prog="python -m local.dev.fly", description=__doc__, allow_abbrev=False)
    parser.add_argument("--database-url", required=True)
    given, others = parser.parse_known_args(arguments)

    def follow(offset_s: float) -> None:
        from local.dev.database import shift_clock  # noqa: PLC0415  the clock is rarely moved, and psycopg is a large import

        shift_clock(given.database_url, offset_s)

    return fly.main(others, functools.partial(ClockedSim, follow=follow))


if __name__ == "__main__":
    sys.exit(main())
