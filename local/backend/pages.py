"""The machine's HTTP pages: alive (`/health`, `/`) and working (`/ready`)."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from local.backend.runner import Runner
from local.backend.settings import Settings
from local.http_server import Request, Response, answer_json

CHECK_OUTPUT_CHARS = 400
"""How much of the answer to a health check Fly shows."""


class Pages:
    """The handler of the machine's listener. It never waits for the database."""

    def __init__(
        self, settings: Settings, runner: Runner, stop: threading.Event, *, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._runner = runner
        self._stop = stop
        self._clock = clock
        self._started_at = clock()

    def answer(self, request: Request) -> Response:
        """`/health` and `/` are 200 from the start; `/ready` is 200, or 503 with the reason."""
        pages = {"/": self._health, "/health": self._health, "/ready": self._ready}
        if request.path not in pages:
            return answer_json({"error": "not found", "paths": sorted(pages)}, 404)
        if request.method not in ("GET", "HEAD"):
            return answer_json({"error": "GET and HEAD only"}, 405, {"Allow": "GET, HEAD"})
        return pages[request.path]()

    def _health(self) -> Response:
        body = {
            "status": "healthy",
            "run_mode": self._settings.run_mode,
            "user_id": self._settings.user_id,
            "app_id": self._settings.app_id,
            "uptime": round(self._clock() - self._started_at, 3),
            "version": self._settings.version,
            "timestamp": datetime.now(UTC).isoformat(),
            "trader_count": self._runner.readiness()[1],
        }
        return answer_json(body)

    def _ready(self) -> Response:
        why, loaded, expected = self._runner.readiness()
        if self._stop.is_set():
            why = "stopping"
        body = {
            "status": "not_ready" if why else "ready",
            "reason": why,
            "run_mode": self._settings.run_mode,
            "user_id": self._settings.user_id,
            "loaded": loaded,
            "expected": expected,
            "image": self._settings.image,
            "version": self._settings.version,
        }
        return answer_json(_shorten(body), 503 if why else 200)


def _shorten(body: dict[str, Any]) -> dict[str, Any]:
    """The page within what Fly shows of it: a long reason loses its end, a long image its beginning."""
    reason, image = body["reason"], body["image"]
    excess = len(json.dumps(body)) - CHECK_OUTPUT_CHARS
    if excess > 0 and reason:
        body = body | {"reason": f"{reason[: -excess - 3]}..."}
        excess = len(json.dumps(body)) - CHECK_OUTPUT_CHARS
    return body | {"image": f"...{image[excess + 3 :]}"} if excess > 0 and image else body
