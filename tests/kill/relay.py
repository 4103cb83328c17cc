"""A relay between two processes of the cloud: it passes on every request, and a test may act before and after it.

A relay keeps its port when the process behind it is killed and started again on another port.
"""

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from local.http_server import Request, Response, Server

LOST = Response(0, disconnect=True)
PATIENCE_S = 300.0  # longer than any function may take
_OF_THE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}

Forward = Callable[[], Response]
Meet = Callable[[Request, Forward], Response]


class Counter:
    """Counts the requests in progress over any number of relays; quiet means none at this moment."""

    def __init__(self) -> None:
        self._under_way = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._under_way += 1

    def end(self) -> None:
        with self._lock:
            self._under_way -= 1

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_quiet(self) -> bool:
        return self._under_way == 0


@dataclass
class Relay:
    """Forwards each request through `meet` to the URL that `target` returns. If nothing listens there, the connection is cut."""

    target: Callable[[], str]
    meet: Meet
    under_way: Counter

    def __post_init__(self) -> None:
        self._server = Server(self._handle).start()
        self.url, self._port = self._server.url, self._server.port
        self._changing = threading.Lock()
        self.is_open = True

    def refuse(self) -> None:
        """Close the port: new connections are refused, and open ones are cut."""
        with self._changing:
            if self.is_open:
                self.is_open = False
                self._server.stop()

    def accept(self) -> None:
        """Open the same port again."""
        with self._changing:
            if not self.is_open:
                self._server = Server(self._handle, self._port).start()
                self.is_open = True

    def _handle(self, request: Request) -> Response:
        with self.under_way:
            return self.meet(request, lambda: forward(self.target(), request))


def forward(base_url: str, request: Request) -> Response:
    """Send the request to `base_url` on a new connection and return the response, or cut the connection if it fails."""
    place = urlsplit(base_url)
    path = quote(request.path, safe="/:@") + (f"?{urlencode(request.query)}" if request.query else "")
    headers = {name: value for name, value in request.headers.items() if name not in _OF_THE_CONNECTION}
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    try:
        connection.request(request.method, place.path + path, request.body or None, headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return LOST
    finally:
        connection.close()
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_CONNECTION}
    return Response(answer.status, body, kept)


def name_call(request: Request) -> str:
    """The kind of call: a procedure (a save also by what it records), or method and path of Fly's API without names.

    The steps of a move to another region are kinds of their own, as far as the call itself says that it is one.
    """
    procedure = request.path.removeprefix("/rest/v1/rpc/")
    if procedure != request.path:
        return f"{procedure} {_name_save(json.loads(request.body))}" if procedure == "fly_save" else procedure
    parts = request.path.split("/")
    hidden = (3, 5) if parts[2:3] in (["apps"], ["orgs"]) else ()
    name = f"{request.method} {'/'.join('*' if place in hidden else part for place, part in enumerate(parts))}"
    # Only the second machine of a move is made without being started.
    is_spare = name == "POST /v1/apps/*/machines" and json.loads(request.body).get("skip_launch")
    return f"{name} (move)" if is_spare else name


def _name_save(args: dict) -> str:
    for event in args.get("p_events") or ():
        if event["event_type"] == "action" and event["status"] == "intent":
            metadata = event["metadata"]
            return f"intent {metadata['action']}{' (move)' if metadata.get('purpose') == 'move' else ''}"
    patch = args.get("p_patch") or {}
    for what in ("deleted", "converged", "rename"):
        if patch.get(what):
            return what
    if patch.get("status") == "error":
        return "failed"
    return "release" if args.get("p_release") else "ids"
