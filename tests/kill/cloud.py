"""The local cloud whose processes a test can kill: real functions, gateway, Postgres with fsync on, Fly's simulator.

A relay passes on every request between the functions and what they call, and between pg_net and the functions. Each function
process has its own relays, so the caller of each request is known. Once a process is about to be killed, its requests stop.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg

from local.dev.child import Child
from local.dev.cloud import LocalCloud
from local.dev.functions import Function
from local.http_server import Request, Response
from tests.kill.relay import LOST, Counter, Relay, forward, name_call
from tests.support.loopback import LOOPBACK

SLOTS = {"provision": "provision", "deprovision": "deprovision", "health 1": "health", "health 2": "health"}
PATIENCE_S = 300.0


def until(look: Callable[[], Any], what: str) -> Any:
    """Call `look` until it returns a true value, and return that. AssertionError after PATIENCE_S, longer than any load needs."""
    ends_at = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < ends_at, f"{what}: not within {PATIENCE_S:.0f} s"
        time.sleep(0.01)
    return found


class Slot:
    """One function's process, which may be killed and started again behind the same relays."""

    def __init__(self, name: str, cloud: "KillCloud", settings: dict[str, str]) -> None:
        self.name, self.cloud = name, cloud
        self.database = Relay(lambda: cloud.gateway_url, self._meet, cloud.under_way)
        self.fly = Relay(lambda: cloud.fly_url, self._meet, cloud.under_way)
        self.is_doomed = False
        self.url = ""
        self._settings = settings | {"SUPABASE_URL": self.database.url, "FLY_API_URL": self.fly.url}
        self._starts = 0
        self._function: Function | None = None

    def start(self) -> None:
        """Start the process, as the platform does when none is running."""
        self._starts += 1
        scratch = self.cloud.folder / "run" / f"{self.name} {self._starts}"
        scratch.mkdir()
        log = self.cloud.folder / "logs" / f"{self.name} {self._starts}.log"
        self._function = Function(SLOTS[self.name], log, self._settings, scratch)
        self._function.child.start()
        self.url = self._function.wait_ready(threading.Event())
        self.is_doomed = False

    @property
    def child(self) -> Child:
        assert self._function is not None, f"{self.name} was never started"
        return self._function.child

    @property
    def is_dead(self) -> bool:
        return self.child.failure() is not None

    def kill_workers(self) -> None:
        """Send SIGKILL to the workers that serve requests. Their parent serves none and forks new workers at once."""
        self.is_doomed = True
        arbiter = self.child.pid or 0
        before = find_children(arbiter)
        for pid in before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: find_children(arbiter) - before or self.is_dead, f"{self.name} was given no new worker")
        self.is_doomed = self.is_dead

    def kill_function(self) -> None:
        """Send SIGKILL to the whole process group, as when an instance is lost."""
        self.is_doomed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid or 0, signal.SIGKILL)

    def ask_to_stop(self) -> None:
        if self._function is not None:
            self._function.child.ask_to_stop()

    def stop(self) -> None:
        if self._function is not None:
            self._function.child.stop(5.0)
        self.database.refuse()
        self.fly.refuse()

    def _meet(self, request: Request, pass_on: Callable[[], Response]) -> Response:
        def pass_unless_doomed() -> Response:
            if self.is_doomed:
                return LOST
            answer = pass_on()
            if request.method != "GET" and request.path.startswith("/v1/apps/") and self.fly.is_open:
                # After the port has closed, no client receives the response, so the same call may come again.
                self.cloud.writes[request.path.split("/")[3]] += 1
            return answer

        return self.cloud.watch(self, name_call(request), pass_unless_doomed)


class KillCloud(LocalCloud):
    """A local cloud without a schedule: the test calls `health` and moves the clock."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, alerts=False, processes=0, fsync=True)
        self.slots: dict[str, Slot] = {}
        self.under_way, self.deliveries = Counter(), Counter()
        self.watch: Callable[[Slot, str, Callable[[], Response]], Response] = lambda _slot, _call, pass_on: pass_on()
        self.deliver: Callable[[str, Request], Response] = self.pass_to
        self.writes: Tally[str] = Tally()
        self._gateway: Child | None = None
        self._gateways = 0
        self._repairing = threading.Lock()

    # Start as the local cloud does, with relays in between

    def _start_gateway(self, keys: Any) -> Child:
        self._gateway = super()._start_gateway(keys)
        return self._gateway

    def _start_functions(self, settings: dict[str, str]) -> dict[str, str]:
        self.gateway_url, self.fly_url = settings["SUPABASE_URL"], settings["FLY_API_URL"]
        self.database_url = self.postgres.url("hangar")
        self.sql("update cron.job set active = false")
        (self.folder / "run").mkdir()
        self.door = Relay(lambda: "", lambda request, _: self._let_in(request), self.deliveries)
        self._undo.callback(self.door.refuse)
        for name in SLOTS:
            self.slots[name] = Slot(name, self, settings)
            self._undo.callback(self.slots[name].stop)
        # On exit all processes receive the signal to stop first, so that they stop in parallel.
        for slot in self.slots.values():
            self._undo.callback(slot.ask_to_stop)
        starts = [threading.Thread(target=slot.start, daemon=True) for slot in self.slots.values()]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        assert all(slot.url for slot in self.slots.values()), "a function did not start; its log says why"
        return {function: f"{self.door.url}/{function}" for function in sorted(set(SLOTS.values()))}

    # pg_net and the test call the functions through one entrance

    def _let_in(self, request: Request) -> Response:
        return self.deliver(request.path.strip("/"), request)

    def pass_to(self, function: str, request: Request) -> Response:
        """Deliver to a process of this function."""
        slots = [slot for name, slot in self.slots.items() if SLOTS[name] == function]
        inner = Request(request.method, "/", request.query, request.headers, request.body)
        return forward(random.choice(slots).url, inner)  # noqa: S311  a load balancer

    def ask_health(self, slot: str, body: bytes = b"{}") -> Response:
        """Call `health` on this process with valid credentials. The connection is cut if the process is killed."""
        headers = {"x-hangar-secret": self.addresses["static_secret"], "content-type": "application/json"}
        with self.deliveries:
            return forward(self.slots[slot].url, Request("POST", "/", (), headers, body))

    # Kill and repair

    def kill_postgres(self) -> None:
        """Send SIGKILL to Postgres while it works, and start it again at once."""
        with self._repairing:
            self.postgres.kill()
            self.postgres.start()

    def kill_gateway(self) -> None:
        """Send SIGKILL to the gateway. Its relay refuses connections until the next gateway, on another port, is ready."""
        with self._repairing:
            gateway = self._gateway
            assert gateway is not None
            assert gateway.pid is not None
            os.kill(gateway.pid, signal.SIGKILL)
            for slot in self.slots.values():
                slot.database.refuse()
            gateway.stop(5.0)
            (self.folder / "gateway.url").unlink()
            gateway.start()
            self.gateway_url = gateway.wait_until(self._read_gateway_url, threading.Event())
            for slot in self.slots.values():
                slot.database.accept()

    def _read_gateway_url(self) -> str | None:
        path = self.folder / "gateway.url"
        return path.read_text() if path.exists() else None

    def cut_fly(self, seconds: float) -> None:
        """Let Fly refuse every connection for this long, or until `repair`."""
        for slot in self.slots.values():
            slot.fly.refuse()
            timer = threading.Timer(seconds, slot.fly.accept)
            timer.daemon = True
            timer.start()

    def repair(self) -> None:
        """Start everything that was killed, and make Fly reachable again."""
        with self._repairing:
            for slot in self.slots.values():
                slot.fly.accept()
                if slot.is_dead:
                    slot.child.stop(0.0)
                    slot.start()

    def settle(self) -> None:
        """Wait until nothing is in progress: no nudge queued, no function at work, no request unanswered."""
        until(
            lambda: self._is_quiet() and not self._count_queued() and self._is_quiet(), "requests are still in progress"
        )

    def _is_quiet(self) -> bool:
        return self.deliveries.is_quiet and self.under_way.is_quiet and self.pg_net.is_asleep

    def _count_queued(self) -> int:
        try:
            return int(self.sql("select count(*) from net.http_request_queue")[0][0])
        except psycopg.OperationalError:
            return 1  # Postgres is restarting

    # Read its state, and move its clock

    def sql(self, query: str, *values: Any) -> list[tuple]:
        with psycopg.connect(self.database_url, autocommit=True) as session:
            cursor = session.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def control(self, method: str, what: str, body: Any = None) -> Any:
        """Call Fly's simulator directly, not through a relay."""
        return LOOPBACK.request(method, f"{self.fly_url}/_sim/{what}", json=body).raise_for_status().json()

    @contextlib.contextmanager
    def fly_client(self) -> Iterator[httpx.Client]:
        """Another client with a token of the organisation."""
        token = {"Authorization": f"Bearer {self.addresses['fly_api_token']}"}
        with httpx.Client(base_url=f"{self.fly_url}/v1", headers=token, trust_env=False, timeout=60) as client:
            yield client


def find_children(pid: int) -> set[int]:
    """The live children of a process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state not in "ZX":
                found.add(int(path.parent.name))
    return found
