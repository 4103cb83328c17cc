"""One raw request and its raw response over a connection of its own, without an HTTP library."""

import contextlib
import http.client
import socket
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 60


LONGEST_SHOWN = 300


@dataclass(frozen=True, repr=False)
class Request:
    """What is sent; `is_proven` says whether its proof holds."""

    method: bytes = b"POST"
    target: bytes = b"/"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b"{}"
    framing: str = "length"
    version: bytes = b"HTTP/1.1"
    is_proven: bool = False

    def __repr__(self) -> str:
        raw = self.encode()
        rest = f" and {len(raw) - LONGEST_SHOWN} bytes more" if len(raw) > LONGEST_SHOWN else ""
        return f"<{'proven' if self.is_proven else 'unproven'}: {raw[:LONGEST_SHOWN]!r}{rest}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))

    def encode(self) -> bytes:
        """The bytes on the wire."""
        headers, body = list(self.headers), self.body
        if self.framing == "length":
            headers.append((b"Content-Length", b"%d" % len(body)))
        elif self.framing == "chunked":
            headers.append((b"Transfer-Encoding", b"chunked"))
            pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif self.framing == "broken chunks":
            headers.append((b"Transfer-Encoding", b"chunked"))
            body = b"%x\r\n%s" % (len(body) + 7, body)
        elif self.framing == "too short":
            headers.append((b"Content-Length", b"%d" % (len(body) + 9)))
        elif self.framing == "both":
            headers += [(b"Content-Length", b"%d" % len(body)), (b"Transfer-Encoding", b"chunked")]
        lines = [b"%s: %s\r\n" % header for header in headers]
        return b"%s %s %s\r\n%s\r\n%s" % (self.method, self.target, self.version, b"".join(lines), body)


@dataclass(frozen=True)
class Reply:
    """What came back; status 0 when the connection was closed without an answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def is_functions_own(self) -> bool:
        """Whether our edge gave it, and not the HTTP server or the framework before us."""
        return "X-Request-Id" in self.headers


def send(host: str, port: int, request: Request) -> Reply:
    """Send the bytes, say that there are no more, and read the answer."""
    with socket.create_connection((host, port), timeout=PATIENCE_S) as wire:
        with contextlib.suppress(OSError):  # refused before all of it was read: then the answer is there already
            wire.sendall(request.encode())
            wire.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(wire, method=request.method.decode("latin-1"))
        try:
            answer.begin()
            return Reply(answer.status, answer.headers, answer.read())
        except (http.client.HTTPException, OSError):
            return Reply(0, http.client.HTTPMessage(), b"")
        finally:
            answer.close()
