"""The HTTP/1.1 server of every simulator: threads, keep-alive, loopback only, and connections that it can cut.

It uses the standard library, because simulators cut connections before and after an effect, which frameworks prevent.
"""

import json
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from local.service import Service

MAX_BODY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One complete request. `path` is percent-decoded, `headers` have lower-case names."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    def param(self, name: str) -> str | None:
        """The first value of a query parameter, None when absent."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True)
class Response:
    """One response. With `disconnect` the connection is reset and nothing is sent."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    disconnect: bool = False


Handler = Callable[[Request], Response]


def answer_json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Threads"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(length) if length else b""
        if len(body) < length:  # the caller died while sending: ignore half a request
            self.close_connection = True
            return
        target = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=unquote(target.path),
            query=tuple(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        try:
            response = self.server.handler(request)
        except Exception:  # noqa: BLE001  a simulator with a bug answers 500, logs the traceback and continues
            traceback.print_exc()
            response = Response(500, b'{"error":"internal error of the local server; its log has the traceback"}')
        if response.disconnect:
            self.close_connection = True
            # Linger 0 turns close() into a reset, as when a proxy dies.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            self.connection.close()
            return
        self._send(response)

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        bodiless = response.status in (204, 304) or response.status < 200
        for name, value in response.headers.items():
            self.send_header(name, value)
        if not bodiless and "content-length" not in {name.lower() for name in response.headers}:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if not bodiless and self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the caller has closed the connection

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True  # we reset it ourselves, or the caller did
        self.server.closed(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Simulators count their requests and do not print them."""


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    setattr(_Connection, f"do_{_method}", _Connection._answer)  # noqa: SLF001


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: Handler) -> None:
        self.handler = handler
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def server_bind(self) -> None:
        # The base class looks up its own name in DNS, which can take seconds without a network.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def close_all(self) -> None:
        with self._lock:
            connections = tuple(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # already gone


class Server(Service):
    """Serves `handler` on 127.0.0.1 in background threads until stopped; port 0 takes a free one."""

    def __init__(self, handler: Handler, port: int = 0) -> None:
        self._threads = _Threads(("127.0.0.1", port), handler)
        self._loop = threading.Thread(target=self._threads.serve_forever, args=(0.05,), daemon=True, name="httpd")

    @property
    def port(self) -> int:
        return self._threads.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._loop.start()
        return self

    def stop(self) -> None:
        """Close the port and every open connection. Running requests are cut, as when a process dies."""
        if self._loop.is_alive():  # shutdown() never returns for a loop that has not run
            self._threads.shutdown()
        self._threads.server_close()
        self._threads.close_all()
        if self._loop.ident is not None:
            self._loop.join(timeout=5)
