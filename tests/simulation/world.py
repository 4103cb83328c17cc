"""One installation in one process, at a time that only moves when told to.

The real SQL on a real Postgres, the real client and reconciler, the Fly simulator's core.
"""

import json
import random
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from local.fly.simulator import FlySim
from local.fly.state.latency_profiles import Unkindness
from local.fly.transport import SimTransport
from local.http_server import Request
from shared.adapters.database import explain_refusal
from shared.adapters.notifications import Notifier
from shared.adapters.procedures import Database
from shared.fleet.sweep import Sweep
from shared.fly.client import FlyClient
from shared.reconcile.worker import MachineInputs
from tests.support.simulated_worker import SimulatedWorker

START = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
ORG = "hangar-test"


class Killed(BaseException):
    """The worker's process died here: no handler of ours may see it."""


@dataclass
class Clock:
    """Virtual seconds."""

    seconds: float = START

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Boundaries:
    """Counts every point before and after a call that leaves the process, and dies at the one it is told to."""

    passed: int = 0
    die_at: int | None = None
    trace: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    die_after: tuple[str, str] | None = None

    def die_behind(self, method: str, path: str) -> None:
        """Die once the effect is there and the answer, if any, has not been read."""
        if self.die_after == (method, name_path(path)):
            self.die_after = None
            raise Killed(path)

    def cross(self, where: str) -> None:
        self.trace.append(where)
        self.passed += 1
        if self.passed - 1 == self.die_at:
            raise Killed(where)


class Session:
    """A connection whose `hangar.now()` is the virtual clock's."""

    def __init__(self, connection: psycopg.Connection, clock: Clock) -> None:
        self.connection, self.clock = connection, clock
        self._told: float | None = None

    def execute(self, query: str, params=()) -> psycopg.Cursor:
        now = self.clock()
        if now != self._told:
            # Not by a cursor, which costs ten times as much; under its lock, because a drain's workers ask side by side.
            with self.connection.lock:
                self.connection.pgconn.exec_(f"set hangar.test_now = '{now}'".encode())
            self._told = now
        return self.connection.execute(query, params)


def open_service(url: str) -> psycopg.Connection:
    """A session with the rights that our functions have."""
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("set role service_role")
    return connection


class DirectStore:
    """The `rpc` seam straight to Postgres, as service_role, at the virtual time."""

    def __init__(self, url: str, clock: Clock, boundaries: Boundaries, session: Session | None = None) -> None:
        self.session = session or Session(open_service(url), clock)
        self.connection = self.session.connection
        self.clock, self.boundaries = clock, boundaries
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def rpc(self, name, args):
        with self._lock:
            self.calls.append(name)
            self.boundaries.cross(f"before {name}")
            answer = self._run(name, args)
            self.boundaries.cross(f"after {name}")
            return answer

    def _run(self, name, args):
        names = ", ".join(f"{key} => %s" for key in args)
        values = [Jsonb(value) if isinstance(value, dict | list) else value for value in args.values()]
        try:
            return self.session.execute(f"select public.{name}({names})", values).fetchone()[0]
        except psycopg.Error as error:
            raise explain_refusal(name, error.sqlstate, str(error)) from error


class CrossingTransport(SimTransport):
    """Fly in process, with a boundary on either side of every call that changes it."""

    def __init__(self, sim: FlySim, sleep, boundaries: Boundaries) -> None:
        super().__init__(sim, sleep)
        self.boundaries = boundaries

    def handle_request(self, request):
        where = f"{request.method} {request.url.path}"
        self.boundaries.calls.append((request.method, name_path(request.url.path)))
        if request.method != "GET":
            self.boundaries.cross(f"before {where}")
        try:
            response = super().handle_request(request)
        finally:
            self.boundaries.die_behind(request.method, request.url.path)
        if request.method != "GET":
            self.boundaries.cross(f"after {where}")
        return response


def name_path(path: str) -> str:
    """The path with names and ids as `*`, as a fault names it."""
    parts = path.split("/")
    return "/".join("*" if number in (3, 5) and parts[2] == "apps" else part for number, part in enumerate(parts))


def open_host(url: str) -> psycopg.Connection:
    """The host's own session in a live installation whose time is the session's `hangar.test_now`."""
    host = psycopg.connect(url, autocommit=True)
    host.execute(
        # No search_path of its own and nothing volatile, so that it is inlined: it is asked a thousand times a second.
        "create or replace function hangar.now() returns timestamptz language sql stable as $$"
        " select coalesce(pg_catalog.to_timestamp(nullif(pg_catalog.current_setting('hangar.test_now', true), '')"
        "::double precision), pg_catalog.statement_timestamp()) $$"
    )
    host.execute(
        "update hangar.settings set live = true, fly_org_slug = %s, default_region = 'iad', default_image = 'app@sha256:1'",
        (ORG,),
    )
    return host


class World:
    """The installation, its host's users, and the questions a test asks of them."""

    def __init__(
        self, url: str, *, seed: int = 0, unkind: bool | Unkindness = False, host: psycopg.Connection | None = None
    ) -> None:
        self.url, self.clock, self.boundaries = url, Clock(), Boundaries()
        self.stores: list[DirectStore] = []
        self.host = host or open_host(url)
        self._session = Session(self.host, self.clock)
        self.installation_id = self.host.execute("select installation_id from hangar.settings").fetchone()[0]
        self.sim = FlySim(self.clock, seed=seed, unkind=unkind, org=ORG)
        self.random = random.Random(seed)  # noqa: S311  chance that can be repeated
        self.reconciler = self.new_worker()

    def new_worker(self) -> SimulatedWorker:
        """A fresh process: nothing remembered but what stands in the database and on Fly."""
        store = DirectStore(self.url, self.clock, self.boundaries)
        fly = FlyClient(
            "http://fly.test",
            "any",
            org_slug=ORG,
            transport=CrossingTransport(self.sim, self.clock.advance, self.boundaries),
            sleep=self.clock.advance,
            clock=self.clock,
        )
        self.stores.append(store)
        self.store = store
        database = Database(store)
        return SimulatedWorker(
            database=database,
            fly=fly,
            inputs=MachineInputs(
                self.installation_id, lambda row: {"USER_ID": str(row.user_id)}, lambda _: {"TOKEN": "t"}
            ),
            notifier=Notifier(database, None),
            clock=self.clock,
            sleep=self.clock.advance,
            new_id=lambda: uuid.UUID(int=self.random.getrandbits(128), version=4),
            chance=self.random.random,
        )

    def sql(self, query: str, *params):
        cursor = self._session.execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def add_user(self, tier: str = "free") -> UUID:
        return self.add_users([tier])[0]

    def add_users(self, tiers: list[str]) -> list[UUID]:
        """One for each tier; who has signed up for nothing takes it afterwards."""
        users = [uuid.UUID(int=self.random.getrandbits(128), version=4) for _ in tiers]
        self.sql(
            "insert into auth.users (id, email) select id, left(id::text, 8) || '@example.test' from unnest(%s::uuid[]) id",
            users,
        )
        paying = [(user, tier) for user, tier in zip(users, tiers, strict=True) if tier != "free"]
        if paying:
            self.sql(
                "update public.user_subscriptions s set tier = t.tier from unnest(%s::uuid[], %s::text[]) as t (user_id, tier)"
                " where s.user_id = t.user_id",
                *map(list, zip(*paying, strict=True)),
            )
        return users

    def set_tier(self, user: UUID, tier: str) -> None:
        self.sql("update public.user_subscriptions set tier = %s where user_id = %s", tier, user)

    def row(self, user: UUID) -> dict:
        """The live row, or the newest deleted one."""
        found = self.sql(
            "select to_jsonb(a) from public.user_fly_apps a where user_id = %s"
            " order by (deleted_at is null) desc, created_at desc limit 1",
            user,
        )
        return found[0][0] if found else {}

    def sweep(self, *, drain_only: bool = False):
        return Sweep(self.reconciler, self.clock() + 240).run(drain_only=drain_only)

    def settle(self, sweeps: int = 2) -> None:
        """Let leases run out and the retry cap pass, then sweep; faults must have stopped."""
        self.boundaries.die_at = None
        for _ in range(sweeps):
            self.clock.advance(1900)
            self.sweep()

    def open_alerts(self) -> set[tuple[str, str]]:
        """Kind and key of every alert that stands."""
        return set(self.sql("select kind, key from hangar.alerts where resolved_at is null and kind <> 'nudges'"))

    def apps(self) -> dict[str, list]:
        """Fly's truth: each existing app's living machines."""
        self.sim.settle()
        return {
            name: [machine for machine in self.sim.machines() if machine.app.name == name]
            for name in list(self.sim.apps)
        }

    def events(self, user: UUID) -> list[tuple[str, str, dict]]:
        return self.sql(
            "select event_type, status, metadata from public.user_fly_app_events where user_id = %s order by created_at, id",
            user,
        )

    def watch_calls(self) -> list[tuple[str, str]]:
        """The list that every call to Fly from now on is added to."""
        self.boundaries.calls = []
        return self.boundaries.calls

    def kill_after(self, method: str, path: str) -> None:
        """The worker dies behind its next such call."""
        self.boundaries.die_after = (method, path)

    def spare(self) -> None:
        """Nobody dies any more."""
        self.boundaries.die_after = self.boundaries.die_at = None

    def count_actions(self, user: UUID, *statuses: str) -> int:
        """How many audit lines of an action have one of these statuses."""
        return sum(kind == "action" and status in statuses for kind, status, _ in self.events(user))

    def fault(self, **rule) -> None:
        self.control("PUT", "faults", [rule])

    def control(self, method: str, what: str, body) -> None:
        """Change Fly's world from outside, as `/_sim` lets anybody."""
        answer = self.sim.handle(Request(method, f"/_sim/{what}", (), {}, json.dumps(body).encode()))
        assert answer.status < 300, answer.body

    def close(self) -> None:
        self.host.close()
        for store in self.stores:
            store.connection.close()
