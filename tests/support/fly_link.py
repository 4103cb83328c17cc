"""The connection from a simulated process to Fly's simulator: a transport made of layers."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from pydantic_core import to_json

from local.fly.simulator import FlySim
from local.fly.transport import SimTransport, ask
from local.http_server import Request, Response
from tests.support.boundaries import Boundaries, name_path
from tests.support.layers import Layer, compose

_HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class LayeredTransport(SimTransport):
    """Fly's simulator in this process, behind layers that each see the request. A `ShortRequest` skips httpx."""

    def __init__(
        self, sim: FlySim, sleep: Callable[[float], None], layers: Sequence[Layer], *, short_path: bool = False
    ) -> None:
        super().__init__(sim, sleep)
        self._handle = compose(layers, self._send_short if short_path else super().handle_request)

    def handle_request(self, request: Any) -> Any:
        return self._handle(request)

    def _send_short(self, request: "ShortRequest") -> "ShortResponse":
        asked = Request(request.method, request.path, request.query, _HEADERS, request.body)
        return ShortResponse(ask(self._sim, asked, self._sleep, request.read_timeout_s))


class ShortRequest:
    """The part of an `httpx.Request` that the layers read."""

    def __init__(self, call: Any) -> None:
        self.method, self.path, self.url = call.method, call.path, self
        self.query = tuple((key, str(value)) for key, value in call.params.items())
        self.body = to_json(call.body) if call.body is not None else b""
        self.read_timeout_s = call.read_timeout_s

    def read(self) -> bytes:
        return self.body

    def __str__(self) -> str:
        query = "&".join(f"{key}={value}" for key, value in self.query)
        return f"{self.method} {self.path}{'?' if query else ''}{query}"


class ShortResponse:
    """The part of an `httpx.Response` that the client reads."""

    def __init__(self, response: Response) -> None:
        self.status_code, self.content = response.status, response.body
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    @property
    def text(self) -> str:
        return self.content.decode()


class CrossBoundaries:
    """A boundary before and after every write, where the test may kill the process."""

    def __init__(self, boundaries: Boundaries) -> None:
        self.boundaries = boundaries

    def __call__(self, pass_on: Callable, request: Any) -> Any:
        where = f"{request.method} {request.url.path}"
        self.boundaries.calls.append((request.method, name_path(request.url.path)))
        if request.method != "GET":
            self.boundaries.cross(f"before {where}")
        try:
            response = pass_on(request)
        finally:
            self.boundaries.die_after_effect(request.method, request.url.path)
        if request.method != "GET":
            self.boundaries.cross(f"after {where}")
        return response


class CountWrites:
    """A boundary before and after every write, where another process may get the turn. Counts writes and failures by app."""

    def __init__(self, world: Any) -> None:
        self.world, self.turns = world, world.turns

    def __call__(self, pass_on: Callable, request: Any) -> Any:
        app = find_app(request)
        is_write = request.method != "GET"
        if is_write:
            self._begin_write(app, request)
        try:
            response = pass_on(request)
        except httpx.HTTPError:
            self.world.faults[app] += 1
            raise
        if response.status_code >= 400 and response.status_code != 404:
            self.world.faults[app] += 1
        if is_write:
            self.turns.cross(f"after {request.method} {request.url.path}, its answer unread")
        return response

    def _begin_write(self, app: str, request: Any) -> None:
        what = f"{request.method} {request.url.path}"
        self.turns.cross(f"before {what}")
        self.world.writes[app] += 1
        if app in self.world.strangers and request.url.path != "/v1/apps":  # a refused create changes nothing
            self.world.strange_writes.append(what)
        if self.turns.process:
            self.turns.process.working_on = app


class NoteLimits:
    """Notes when Fly accepted the deletion of an app, and every request that it refused with 429."""

    def __init__(self, world: Any) -> None:
        self.world = world

    def __call__(self, pass_on: Callable, request: Any) -> Any:
        response = pass_on(request)
        if response.status_code == 429:
            self.world.refused.append(f"{request.method} {request.url.path}")
        elif request.method == "DELETE" and request.url.path.count("/") == 3:
            self.world.deletions.append(self.world.clock())
        return response


def find_app(request: Any) -> str:
    """The app that a request is about; "" for a request about all apps."""
    parts = request.url.path.split("/")
    if request.method == "POST" and request.url.path == "/v1/apps":
        return str(json.loads(request.read())["name"])
    return parts[3] if len(parts) > 3 else ""
