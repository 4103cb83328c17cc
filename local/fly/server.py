"""The simulator on a port: real HTTP, real time, threads."""

import threading
import time
from typing import Self

from local.fly.simulator import FlySim
from local.http_server import Request, Response, Server
from local.service import Service

POLL_S = 0.02
"""How often a `wait` checks again, and how often due changes are applied."""


class FlyServer(Service):
    """Serves a FlySim on 127.0.0.1; port 0 takes a free one. `stop` also ends the machines' processes."""

    def __init__(self, sim: FlySim, port: int = 0) -> None:
        self.sim = sim
        self._stopped = threading.Event()
        self._server = Server(self._handle, port)
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="fly-ticker")

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> Self:
        self._server.start()
        self._ticker.start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        self._server.stop()
        self._ticker.join(timeout=5)
        self.sim.close()

    def _handle(self, request: Request) -> Response:
        return self.sim.handle(request, sleep=self._sleep, poll_s=POLL_S)

    def _sleep(self, seconds: float) -> None:
        """Real time, cut short when the server stops."""
        if seconds > 0:
            self._stopped.wait(seconds)

    def _tick(self) -> None:
        while not self._stopped.is_set():
            self.sim.settle()
            time.sleep(POLL_S)
