"""The HTTP server under every stand-in."""

import socket

from local.http_server import Response, Server


def test_half_a_request_is_none():
    """Its sender died in the middle: nothing may come of it, least of all a shorter request."""
    handled = []

    def handle(request):
        handled.append(request.body)
        return Response(200)

    with Server(handle) as server:
        for body in (b"", b'{"half', b'{"whole": 1}'):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sender:
                sender.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 12\r\n\r\n" + body)
                sender.shutdown(socket.SHUT_WR)
                while sender.recv(4096):
                    pass
    assert handled == [b'{"whole": 1}']
