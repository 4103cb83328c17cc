"""A world in one transaction that is never committed. It is reset to the start of a case instead of being set up again.

Every procedure is the real one on a real Postgres. A reset rolls the transaction back to a savepoint and restores a copy of the
simulated Fly. There is one session, so processes run nested, one inside a call of another, and never in parallel.
"""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg

from local.fly.state.state import World as FlyWorld
from shared.domain.errors import OutcomeUnknown, TransientError
from shared.fleet import health_probe, releases
from shared.reconcile import drain
from tests.support.boundaries import Killed, name_path
from tests.support.clock import START
from tests.support.database_link import adapt, format_names
from tests.support.layers import Call
from tests.support.sessions import Session

# The name of each write to Fly in the intent that must be recorded before it.
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
class ProcessPlan:
    """One process: its calls in order, and what happens to it at which call."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    rpcs: list[str] = field(default_factory=list)
    # What to do before and after the call to Fly with this number (from 0).
    at: int | None = None
    before: Hook | None = None
    after: Hook | None = None
    # Die after the response of a call to Fly and before anything is recorded.
    die_at_next_rpc: bool = False
    # How the procedure with this number and the next ones, `rpc_times` in all, fail: "refused" or "lost".
    rpc_at: int | None = None
    rpc_failure: str = ""
    rpc_times: int = 0
    intended: str | None = None


class TransactionSession(Session):
    """The host's session. Inside a transaction it sends role and time together with each statement, in one round trip."""

    def __init__(self, connection: psycopg.Connection, clock: Any) -> None:
        super().__init__(connection, clock)
        self._cursor = psycopg.ClientCursor(connection)

    @property
    def is_in_transaction(self) -> bool:
        return self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def execute(self, query: str, params: Any = ()) -> psycopg.Cursor:
        return self._ask(f"reset role; {query}", params) if self.is_in_transaction else super().execute(query, params)

    def call(self, name: str, args: dict[str, Any]) -> Any:
        """Call one procedure as service_role. Any error is a bug, since injected failures come from the layers."""
        query = f"set role service_role; select public.{name}({format_names(args)})"
        return self._ask(query, adapt(args)).fetchall()[0][0]

    def _ask(self, query: str, params: Any) -> psycopg.Cursor:
        cursor = self._cursor.execute(f"set hangar.test_now = '{self.clock()!r}'; {query}", params)
        while cursor.nextset():
            pass
        return cursor


class Rewind:
    """The starting point of a world's cases, and what the current case did: writes, faults met, promises broken."""

    def __init__(self, world: Any, session: TransactionSession) -> None:
        self._world, self._session, self._fresh = world, session, world.sim.world
        self.broken: list[str] = []
        self.writes = self.faults_met = 0
        self.upon: tuple[tuple[str, str], Hook] | None = None
        """A call, and what happens when any process first makes it."""

    def begin(self) -> None:
        """Start with an empty world in a new transaction."""
        world = self._world
        world.host.execute("rollback" if self._session.is_in_transaction else "select 1")
        world.clock.seconds = START
        world.random.seed(0)
        self.upon = None
        world.sim.world = self._copy_fly(self._fresh)
        world.host.execute("begin")
        world.reconciler = world.new_worker()

    def keep(self) -> None:
        """Make the present state the starting point of every case from now on."""
        world, fly = self._world, self._world.sim.world
        while (moment := fly.next_at()) is not None:  # timers cannot be copied
            world.clock.advance(max(0.0, moment - fly.now()))
            fly.settle()
        world.host.execute("savepoint way")
        self._kept = self._copy_fly(fly), world.clock(), world.random.getstate(), self.upon

    def put_back(self) -> None:
        """Restore the state at which `keep` was called."""
        world = self._world
        world.host.execute("rollback to savepoint way")
        fly, world.clock.seconds, chance, self.upon = self._kept
        world.sim.world = self._copy_fly(fly)
        world.random.setstate(chance)
        self.broken, self.writes, self.faults_met = [], 0, 0
        world.reconciler = world.new_worker()

    def _copy_fly(self, fly: FlyWorld) -> FlyWorld:
        # Locks cannot be copied; counters and the clock must not be.
        shared = (fly.lock, fly.clock, fly.runner, fly.settings, fly._order, fly.numbers)
        return copy.deepcopy(fly, {id(each): each for each in shared})

    # Layers of one process

    def fail_procedures(self, plan: ProcessPlan) -> Callable:
        """Database layer: carry out the plan of the process, and remember its last intent."""

        def layer(pass_on: Call, name: str, args: dict[str, Any]) -> Any:
            if plan.die_at_next_rpc:
                raise Killed(name)
            number = len(plan.rpcs)
            plan.rpcs.append(name)
            fails = plan.rpc_at is not None and plan.rpc_at <= number < plan.rpc_at + plan.rpc_times
            if fails:
                self.faults_met += 1
            if fails and plan.rpc_failure == "refused":
                raise TransientError(f"the database could not run {name} now", code="PGRST000")
            answer = pass_on(name, args)
            if fails and plan.rpc_failure == "lost":
                raise OutcomeUnknown(f"the database gave no answer to {name}")
            plan.intended = _find_intent(name, args, answer) or plan.intended
            return answer

        return layer

    def fail_requests(self, plan: ProcessPlan) -> Callable:
        """Fly layer: carry out the plan of the process, and check that every write has an intent (I11)."""

        def layer(pass_on: Call, request: Any) -> Any:
            call = (request.method, name_path(request.url.path))
            number = len(plan.calls)
            plan.calls.append(call)
            if number == plan.at and plan.before:
                plan.before()
            self._come_upon(call)
            if call[0] != "GET":
                self._count_write(plan, call)
            left = self._count_faults_left()
            try:
                return pass_on(request)
            finally:
                self.faults_met += left - self._count_faults_left()
                if number == plan.at and plan.after:
                    plan.after()

        return layer

    def _come_upon(self, call: tuple[str, str]) -> None:
        if self.upon and self.upon[0] == call:
            (_, happen), self.upon = self.upon, None
            happen()

    def _count_write(self, plan: ProcessPlan, call: tuple[str, str]) -> None:
        self.writes += 1
        if plan.intended != ACTION_OF[call]:
            self.broken.append(f"I11: {' '.join(call)} although the last intent was {plan.intended}")

    def _count_faults_left(self) -> int:
        return sum(fault.times or 0 for fault in self._world.sim.world.faults)


def _find_intent(name: str, args: dict[str, Any], answer: Any) -> str | None:
    """The action that this procedure has just allowed, if any."""
    if name == "fly_judge_orphan":
        return "delete_app" if answer["verdict"] == "remove" else None
    if name != "fly_save" or answer is None or answer["refused"]:
        return None
    intents = [event["metadata"]["action"] for event in args["p_events"] if event["status"] == "intent"]
    return intents[0] if intents else None


class InlineExecutor:
    """An executor whose `submit` does the work before it returns."""

    def __init__(self, *_: object, **__: object) -> None:
        """Accepts the arguments of a pool and ignores them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to wait for."""

    def submit(self, call: Callable[..., Any], *args: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001  raised again by `result`, as with threads
            future.set_exception(error)
        return future


@contextmanager
def without_threads() -> Iterator[None]:
    """Replace thread pools, which would need more sessions. With one row at work the result is the same."""
    modules = (drain, health_probe, releases)
    kept = [module.ThreadPoolExecutor for module in modules]
    for module in modules:
        module.ThreadPoolExecutor = InlineExecutor
    try:
        yield
    finally:
        for module, executor in zip(modules, kept, strict=True):
            module.ThreadPoolExecutor = executor
