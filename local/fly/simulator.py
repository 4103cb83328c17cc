"""The simulator of the Fly Machines API: one request in, one response out, in process, without I/O or a clock of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from local.fly.api import routes
from local.fly.api.calls import Call, Deferred, Wait
from local.fly.api.control import control
from local.fly.api.regions import DEFAULT_REGION
from local.fly.api.tokens import authenticate
from local.fly.errors import FlyError
from local.fly.faults import Fault
from local.fly.runtime.runner import MachineRunner
from local.fly.skew import shift_stamps, to_http_date
from local.fly.state.latency_profiles import PROFILES, Span, Unkindness
from local.fly.state.model import App, Machine
from local.fly.state.state import Settings, World, unkindness_of
from local.http_server import Request, Response

Sleep = Callable[[float], None]

_OTHER = "other"
"""The name under which requests to unknown paths are counted."""

_SLOW_CALLS = {
    ("POST", "/v1/apps"): "app_create_call_s",
    ("POST", "/v1/apps/{app_name}/machines"): "machine_create_call_s",
    ("GET", "/v1/orgs/{org_slug}/machines"): "org_list_call_s",
}


@dataclass
class _Ticket:
    """A counted request with its fault, before anything else happens to it."""

    template: str | None
    params: dict[str, str]
    fault: Fault | None
    latency_s: float
    request_id: str


class FlySim:
    """A whole Fly organisation behind `handle`.

    `clock` gives seconds since 1970. `unkind` turns on the failures that Fly's callers see (`Unkindness`), drawn from
    `seed`; `rate_limits` None means "when unkind or typical". With `token` None every token is accepted, with `org` None
    every organisation exists. `sleep` passes the time that a call takes: by default the simulator shifts its own clock
    and nothing really waits. Thread-safe; no lock is held during `sleep`.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        seed: int = 0,
        profile: str = "instant",
        unkind: bool | Unkindness = False,
        machines: MachineRunner | None = None,
        *,
        rate_limits: bool | None = None,
        token: str | None = None,
        org: str | None = None,
        sleep: Sleep | None = None,
    ) -> None:
        if profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
        settings = Settings(seed, profile, unkindness_of(unkind), rate_limits, token, org)
        self.world = World(settings, clock, machines or MachineRunner())
        self._sleep = sleep or self.advance

    # For tests in the same process

    @property
    def apps(self) -> dict[str, App]:
        """The apps that exist, by name."""
        return self.world.apps

    def machines(self) -> list[Machine]:
        """The machines that exist and are not destroyed."""
        with self.world.lock:
            self.world.settle()
            return [machine for app in self.world.apps.values() for machine in app.live_machines()]

    def advance(self, seconds: float) -> None:
        """Shift the simulator's clock and apply the changes that fall due."""
        with self.world.lock:
            self.world.offset_s += max(0.0, seconds)
            self.world.settle()

    def settle(self) -> None:
        """Apply the changes that are due; a server calls it regularly, so that machines boot between requests."""
        with self.world.lock:
            self.world.settle()

    def close(self) -> None:
        """End every process behind a machine."""
        self.world.runner.close()

    # The only entry

    def handle(self, request: Request, sleep: Sleep | None = None, poll_s: float | None = None) -> Response:
        """Answer a request.

        `sleep` may replace the simulator's own for this call; with a real one `poll_s` bounds how long a `wait`
        sleeps before it checks again.
        """
        world = self.world
        sleep = sleep or self._sleep
        if request.path == "/_sim" or request.path.startswith("/_sim/"):
            return self._control(request)
        with world.lock:
            world.settle()
            ticket = self._arrive(request)
        fault = ticket.fault
        if fault is not None and fault.when == "before":
            sleep(fault.delay_s)
            if fault.replaces:
                return self._sign(fault.response(), ticket)
        sleep(ticket.latency_s)
        response = self._answer(request, ticket, sleep, poll_s)
        if fault is not None and fault.when == "after":
            sleep(fault.delay_s)
            if fault.replaces:
                response = fault.response()
        elif fault is None:
            response = self._perhaps_lose(request, response)
        return self._sign(response, ticket)

    def _control(self, request: Request) -> Response:
        with self.world.lock:
            self.world.settle()
            try:
                return control(self.world, request)
            except FlyError as error:
                return error.response()

    def _arrive(self, request: Request) -> _Ticket:
        world = self.world
        found = routes.find_template(request.path)
        template, params = found or (None, {})
        world.requests[f"{request.method} {template or _OTHER}"] += 1
        fault = next((fault for fault in world.faults if fault.matches(request)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        span: Span = getattr(world.timing, _SLOW_CALLS.get((request.method, template or ""), "other_call_s"))
        return _Ticket(template, params, fault, world.draw(span), f"{world.ulid(world.now())}-{DEFAULT_REGION}")

    def _answer(self, request: Request, ticket: _Ticket, sleep: Sleep, poll_s: float | None) -> Response:
        try:
            with self.world.lock:
                self.world.settle()
                result = self._dispatch(request, ticket)
            if isinstance(result, Deferred):
                return result.run()
            return self._await(result, sleep, poll_s) if isinstance(result, Wait) else result
        except FlyError as error:
            return error.response()

    def _dispatch(self, request: Request, ticket: _Ticket) -> Response | Wait | Deferred:
        world, template = self.world, ticket.template
        if template is None:
            raise FlyError(404, "page not found")
        owner = authenticate(world, request)
        operation = (request.method, template)
        if operation not in routes.HANDLERS:
            raise FlyError(405, "method not allowed")
        handler = routes.HANDLERS[operation]
        if handler is None:
            raise FlyError(501, f"the simulator does not answer {request.method} {template}", "unknown")
        now = world.now()
        if world.rate_limited:
            identifier = ticket.params.get("machine_id") or ticket.params.get("app_name") or ""
            wait_s = world.rates.wait_s(f"{request.method} {template}", identifier, now)
            if wait_s > 0:
                # Whether Fly sends a time is not documented; clients must handle both.
                headers = {"Retry-After": str(math.ceil(wait_s))} if world.chance(0.5) else {}
                raise FlyError(429, "rate limit exceeded", headers=headers)
        return handler(world, Call(request, ticket.params, owner, now))

    def _await(self, wait: Wait, sleep: Sleep, poll_s: float | None) -> Response:
        world = self.world
        slept_at = -math.inf
        while True:
            with world.lock:
                world.settle()
                now = world.now()
                response = wait.check(now)
                if response is not None:
                    return response
                # A clock that did not advance during our sleep means that the caller has gone.
                if now >= wait.deadline or now <= slept_at:
                    raise wait.expired()
                slept_at = now
                next_at = world.next_at()
            pause_s = wait.deadline - now if next_at is None else min(next_at, wait.deadline) - now
            sleep(max(1e-3, pause_s if poll_s is None else min(pause_s, poll_s)))

    def _sign(self, response: Response, ticket: _Ticket) -> Response:
        """Every response of Fly has a request id and Fly's time."""
        if response.disconnect:
            return response
        skew_s = self.world.skew_s
        headers = {
            "fly-request-id": ticket.request_id,
            "server": "Fly/simulator",
            "via": "1.1 fly.io",
            "date": to_http_date(int(self.world.now() + skew_s)),
        }
        given = {name.lower(): value for name, value in response.headers.items()}
        body = shift_stamps(response.body, skew_s) if skew_s else response.body
        return Response(response.status, body, headers | given)

    def _perhaps_lose(self, request: Request, response: Response) -> Response:
        """Unkind: some writes happen and their response is lost, by a reset or in the proxy."""
        world = self.world
        if request.method == "GET" or response.status >= 400:
            return response
        with world.lock:
            if not world.chance(world.unkindness.lost_answers):
                return response
            reset = world.chance(0.5)
        return Response(0, disconnect=True) if reset else Response(504)
