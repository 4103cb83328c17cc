"""The receiver of the local functions' alerts, which stores them and lists them."""

import json
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any

from local.http_server import Request, Response, Server, answer_json

KEPT = 1000


class AlertSink(Server):
    """POST stores a body; GET lists the stored bodies, oldest first: `[{"received_at", "body"}]`."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self._lock = threading.Lock()
        self._received: deque[dict[str, Any]] = deque(maxlen=KEPT)

    @property
    def received(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._received)

    def _answer(self, request: Request) -> Response:
        if request.method == "GET":
            return answer_json(self.received)
        if request.method != "POST":
            return Response(405, b"", {"Allow": "GET, POST"})
        try:
            body = json.loads(request.body)
        except ValueError:
            body = request.body.decode(errors="replace")
        with self._lock:
            self._received.append({"received_at": datetime.now(UTC).isoformat(), "body": body})
        return Response(204)
