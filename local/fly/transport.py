"""An httpx transport to a simulator in the same process: no sockets, no threads, no real time."""

import httpx

from local.fly.simulator import FlySim, Sleep
from local.http_server import Request, Response


class SimTransport(httpx.BaseTransport):
    """`httpx.Client(transport=SimTransport(sim), base_url="http://fly.test")`.

    A lost connection is httpx.ReadError. `sleep` passes the time that a call takes (by default the simulator shifts its
    own clock; pass a virtual clock's `advance` to share one). A call that takes longer than the request's read timeout
    raises httpx.ReadTimeout after exactly that time; its effect still happens, as on a real server.
    """

    def __init__(self, sim: FlySim, sleep: Sleep | None = None) -> None:
        self._sim = sim
        self._sleep = sleep or sim.advance

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = Request(
            method=request.method,
            path=request.url.path,
            query=tuple(request.url.params.multi_items()),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.read(),
        )
        timeouts = request.extensions.get("timeout") or {}
        response = ask(self._sim, sent, self._sleep, timeouts.get("read"))
        return httpx.Response(response.status, headers=dict(response.headers), content=response.body)


def ask(sim: FlySim, request: Request, sleep: Sleep, read_timeout_s: float | None) -> Response:
    """The simulator's response within `read_timeout_s`. Raises httpx.ReadTimeout and httpx.ReadError like a client."""
    patience = _Patience(sleep, read_timeout_s)
    response = sim.handle(request, sleep=patience.sleep)
    if patience.exhausted:
        raise httpx.ReadTimeout("the simulator took longer than the read timeout")
    if response.disconnect:
        raise httpx.ReadError("the simulator cut the connection")
    return response


class _Patience:
    """Sleeps until the caller's read timeout; everything after it happens at once."""

    def __init__(self, sleep: Sleep, left_s: float | None) -> None:
        self._left_s, self._sleep = left_s, sleep
        self.exhausted = False

    def sleep(self, seconds: float) -> None:
        if seconds <= 0 or self.exhausted:
            return
        if self._left_s is not None and seconds > self._left_s:
            self.exhausted = True
            seconds = self._left_s
        elif self._left_s is not None:
            self._left_s -= seconds
        if seconds > 0:
            self._sleep(seconds)


def open_client(sim: FlySim, sleep: Sleep | None = None, token: str = "any") -> httpx.Client:  # noqa: S107  not a secret: every token is accepted
    """A plain httpx client of a simulator in this process, authorised, with a timeout for a whole `wait`."""
    return httpx.Client(
        transport=SimTransport(sim, sleep),
        base_url="http://fly.test",
        headers={"Authorization": f"Bearer {token}"},
        timeout=70,
    )
