"""A world that is cheap enough for a hundred thousand cases: one transaction on one session, put back after each.

Every procedure is the real one on a real Postgres. Its transaction is rolled back to where a way began, and the simulated Fly
is copied from there, so that nothing is set up twice. Workers take turns inside one another, never beside one another.
"""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from local.fly.state.state import World as FlyWorld
from local.fly.transport import SimTransport
from shared.adapters.notifications import Notifier
from shared.adapters.procedures import Database
from shared.domain.errors import OutcomeUnknown, TransientError
from shared.fleet import health_probe as looks
from shared.fly.client import FlyClient
from shared.reconcile import drain as drains
from shared.reconcile.worker import MachineInputs
from tests.simulation.world import ORG, START, Killed, World, name_path
from tests.support.simulated_worker import SimulatedWorker

# What each write to Fly is called in the intent that must stand before it.
ACTION_OF = {
    ("POST", "/v1/apps"): "create_app",
    ("DELETE", "/v1/apps/*"): "delete_app",
    ("POST", "/v1/apps/*/secrets"): "set_secrets",
    ("POST", "/v1/apps/*/machines"): "create_machine",
    ("POST", "/v1/apps/*/machines/*"): "update_machine",
    ("DELETE", "/v1/apps/*/machines/*"): "destroy_machine",
    ("POST", "/v1/apps/*/machines/*/start"): "start_machine",
    ("POST", "/v1/apps/*/machines/*/stop"): "stop_machine",
}

Hook = Callable[[], None]


@dataclass
class Worker:
    """One process: its calls in their order, and what happens to it at which of them."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    rpcs: list[str] = field(default_factory=list)
    # What to do before and behind the call of this number (from 0); behind the answer means before the next procedure.
    at: int | None = None
    before: Hook | None = None
    behind: Hook | None = None
    die_at_next_rpc: bool = False
    # The procedure of this number and the following ones, up to `rpc_times`: "refused" or "lost".
    rpc_at: int | None = None
    rpc_failure: str = ""
    rpc_times: int = 0
    intended: str | None = None


class CheapStore:
    """The `rpc` seam on the world's one session, as service_role, in one trip; cut answers are asked for once more."""

    def __init__(self, world: "CheapWorld", worker: Worker) -> None:
        self.world, self.worker = world, worker

    def rpc(self, name: str, args: dict[str, Any]) -> Any:
        try:
            return self._rpc_once(name, args)
        except OutcomeUnknown:
            self.world.clock.advance(0.3)
            return self._rpc_once(name, args)

    def _rpc_once(self, name: str, args: dict[str, Any]) -> Any:
        worker = self.worker
        if worker.die_at_next_rpc:
            raise Killed(name)
        number = len(worker.rpcs)
        worker.rpcs.append(name)
        fails = worker.rpc_at is not None and worker.rpc_at <= number < worker.rpc_at + worker.rpc_times
        if fails:
            self.world.faults_met += 1
        if fails and worker.rpc_failure == "refused":
            raise TransientError(f"the database could not run {name} now", code="PGRST000")
        answer = self.world.call(name, args)
        if fails and worker.rpc_failure == "lost":
            raise OutcomeUnknown(f"the database gave no answer to {name}")
        worker.intended = _find_intent(name, args, answer) or worker.intended
        return answer


def _find_intent(name: str, args: dict[str, Any], answer: Any) -> str | None:
    """The action that this procedure has just allowed, if it has."""
    if name == "fly_judge_orphan":
        return "delete_app" if answer["verdict"] == "remove" else None
    if name != "fly_save" or answer is None or answer["refused"]:
        return None
    intents = [event["metadata"]["action"] for event in args["p_events"] if event["status"] == "intent"]
    return intents[0] if intents else None


class CheapTransport(SimTransport):
    """Fly in process; it checks that every write was intended (I11) and lets the worker meet its fate at one call."""

    def __init__(self, world: "CheapWorld", worker: Worker) -> None:
        super().__init__(world.sim, world.clock.advance)
        self.world, self.worker = world, worker

    def handle_request(self, request):
        worker, call = self.worker, (request.method, name_path(request.url.path))
        number = len(worker.calls)
        worker.calls.append(call)
        if number == worker.at and worker.before:
            worker.before()
        self.world.come_upon(call)
        if call[0] != "GET":
            self.world.note_write(worker, call)
        left = self.world.count_faults_left()
        try:
            return super().handle_request(request)
        finally:
            self.world.faults_met += left - self.world.count_faults_left()
            if number == worker.at and worker.behind:
                worker.behind()


class CheapWorld(World):
    """The installation of tests.simulation.world, in one transaction that is never committed."""

    def __init__(self, url: str) -> None:
        self.broken: list[str] = []
        self.writes = self.faults_met = 0
        self.upon: tuple[tuple[str, str], Hook] | None = None
        super().__init__(url)
        self._fresh = self.sim.world
        self.cursor = psycopg.ClientCursor(self.host)

    def new_worker(self, worker: Worker | None = None) -> SimulatedWorker:
        worker = worker or Worker()
        database = Database(CheapStore(self, worker))
        fly = FlyClient(
            "http://fly.test",
            "any",
            org_slug=ORG,
            transport=CheapTransport(self, worker),
            sleep=self.clock.advance,
            clock=self.clock,
        )
        return SimulatedWorker(
            database=database,
            fly=fly,
            inputs=MachineInputs(
                self.installation_id, lambda row: {"USER_ID": str(row.user_id)}, lambda _: {"TOKEN": "t"}
            ),
            notifier=Notifier(database, None),
            clock=self.clock,
            sleep=self.clock.advance,
            new_id=self.make_id,
            chance=self.random.random,
        )

    def make_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    # One session

    def call(self, name: str, args: dict[str, Any]) -> Any:
        """One procedure as service_role at the virtual time. Nothing is refused here that a test did not order."""
        names = ", ".join(f"{key} => %s" for key in args)
        values = [Jsonb(value) if isinstance(value, dict | list) else value for value in args.values()]
        return self._ask(f"set role service_role; select public.{name}({names})", values)[0][0]

    def sql(self, query: str, *params: Any) -> list[Any]:
        if self.host.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return super().sql(query, *params)
        return self._ask(f"reset role; {query}", params)

    def _ask(self, query: str, params: Any) -> list[Any]:
        cursor = self.cursor.execute(f"set hangar.test_now = '{self.clock()!r}'; {query}", params)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    # Where a way begins

    def begin(self) -> None:
        """An empty world, in a transaction of its own."""
        self.host.execute("rollback" if self._in_transaction else "select 1")
        self.clock.seconds = START
        self.random.seed(0)
        self.upon = None
        self.sim.world = self._copy_fly(self._fresh)
        self.host.execute("begin")
        self.reconciler = self.new_worker()

    def keep(self) -> None:
        """What stands now is where every case of this way begins."""
        fly = self.sim.world
        while (moment := fly.next_at()) is not None:  # timers cannot be copied
            self.clock.advance(max(0.0, moment - fly.now()))
            fly.settle()
        self.host.execute("savepoint way")
        self._kept = self._copy_fly(fly), self.clock(), self.random.getstate(), self.upon

    def put_back(self) -> None:
        """As it was when `keep` was called."""
        self.host.execute("rollback to savepoint way")
        fly, self.clock.seconds, chance, self.upon = self._kept
        self.sim.world = self._copy_fly(fly)
        self.random.setstate(chance)
        self.broken, self.writes, self.faults_met = [], 0, 0
        self.reconciler = self.new_worker()

    def flip_twice(self, user: UUID) -> None:
        """The user changes the mind and changes it back."""
        tiers = self.sql("select tier from public.user_subscriptions where user_id = %s", user)
        for (tier,) in tiers:
            self.set_tier(user, "free" if tier != "free" else "pro")
            self.set_tier(user, tier)

    @property
    def _in_transaction(self) -> bool:
        return self.host.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def _copy_fly(self, fly: FlyWorld) -> FlyWorld:
        # Locks, counters and the clock cannot or must not be copied.
        shared = (fly.lock, fly.clock, fly.runner, fly.settings, fly._order, fly._numbers)
        return copy.deepcopy(fly, {id(each): each for each in shared})

    # What happens and is counted at a call

    def come_upon(self, call: tuple[str, str]) -> None:
        """What the way has in store for the first such call, whoever makes it."""
        if self.upon and self.upon[0] == call:
            (_, happen), self.upon = self.upon, None
            happen()

    def note_write(self, worker: Worker, call: tuple[str, str]) -> None:
        self.writes += 1
        if worker.intended != ACTION_OF[call]:
            self.broken.append(f"I11: {' '.join(call)} although the last intent was {worker.intended}")

    def count_faults_left(self) -> int:
        return sum(fault.times or 0 for fault in self.sim.world.faults)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.host.execute("rollback")
        super().close()


class AtOnce:
    """An executor that has done the work when `submit` returns."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes what a pool takes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to wait for."""

    def submit(self, call: Callable[..., Any], *args: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001  handed to whoever asks, as threads do
            future.set_exception(error)
        return future


@contextmanager
def without_threads() -> Iterator[None]:
    """Pools of threads would need sessions of their own; where one row is at work they change nothing."""
    kept = drains.ThreadPoolExecutor, looks.ThreadPoolExecutor
    drains.ThreadPoolExecutor = looks.ThreadPoolExecutor = AtOnce
    try:
        yield
    finally:
        drains.ThreadPoolExecutor, looks.ThreadPoolExecutor = kept
