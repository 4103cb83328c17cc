"""The logs of an app: `GET /api/v1/apps/{app_name}/logs`, which on Fly is at api.fly.io, beside the Machines API.

Fly's documentation describes it under "Logs API options" and does not support it officially.
"""

from datetime import UTC, datetime
from typing import Any

from local.fly.api.calls import Call, find_app
from local.fly.errors import FlyError, answer
from local.fly.state.app_logs import LogLine
from local.fly.state.state import World
from local.http_server import Response

PAGE_LINES = 100
DAY_S = 86_400
_NS = 1_000_000_000


def list_logs(world: World, call: Call) -> Response:
    """At most 100 lines: without `next_token` the newest of a day, with it those after that nanosecond, the oldest first."""
    app = find_app(world, call)
    token = _read_token(call.param("next_token"))
    wanted, region = call.param("instance"), call.param("region")
    lines = [
        line
        for line in world.logs.read(app, world.runner, call.now)
        if wanted in (None, "", line.machine_id) and region in (None, "", line.region)
    ]
    if token is None:
        since_ns = int((call.now - DAY_S) * _NS)
        shown = [line for line in lines if line.at_ns >= since_ns][-PAGE_LINES:]
    else:
        shown = [line for line in lines if line.at_ns > token][:PAGE_LINES]
    following = shown[-1].at_ns if shown else token if token is not None else int(call.now * _NS)
    return answer({"data": [_show(app.name, line) for line in shown], "meta": {"next_token": str(following)}})


def _read_token(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise FlyError(400, "invalid next_token")
    return int(text)


def _show(app: str, line: LogLine) -> dict[str, Any]:
    at = datetime.fromtimestamp(line.at_ns // _NS, UTC)
    attributes = {
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{line.at_ns % _NS:09d}Z",
        "level": line.level,
        "message": line.message,
        "instance": line.machine_id,
        "region": line.region,
        "meta": {"event": {"provider": "app"}, "instance": line.machine_id, "region": line.region, "app": app},
    }
    return {"id": f"{line.machine_id}-{line.at_ns}", "type": "log", "attributes": attributes}
