"""The HTTP server of the simulators."""

import socket

from local.http_server import Response, Server


def test_an_incomplete_request_is_ignored():
    """The sender died in the middle: the handler must not be called, least of all with a shorter request."""
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
