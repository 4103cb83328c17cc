"""A world for storms: its workers play on a stage, its ids come from the seed, and it counts what each app cost and suffered."""

import contextlib
import json
import uuid
from collections import Counter
from dataclasses import replace
from random import Random

import httpx
from psycopg import Connection

from local.fly.state.latency_profiles import UNKIND, Unkindness
from local.fly.transport import SimTransport
from shared.adapters.notifications import Notifier
from shared.adapters.procedures import Database
from shared.domain.errors import HangarError, OutcomeUnknown, TransientError
from shared.fleet import health_probe as looks
from shared.fly.client import FlyClient
from shared.reconcile import drain as drains
from shared.reconcile.worker import MachineInputs
from tests.simulation.stage import Stage
from tests.simulation.world import ORG, DirectStore, Killed, Session, World
from tests.support.simulated_worker import SimulatedWorker

STRANGER = "a-strangers-app"


def make_chance(seed: int, what: str) -> Random:
    """One stream of chance for each concern, so that one more draw here changes nothing there."""
    return Random(f"{seed}:{what}")  # noqa: S311  chance that can be repeated


def note_everything(host: Connection) -> None:
    """Row ids (and with them the order of claims) come from the seed too, and every state a row passes is noted."""
    host.execute(
        "create function public.repeatable_id() returns trigger language plpgsql as $$ begin"
        # Version 4 is what chance made; an orphan's row keeps the id that its app proves.
        " if substr(new.id::text, 15, 1) = '4' then"
        " new.id := overlay(md5(new.user_id || ':' || new.name_seq) placing '8' from 13)::uuid;"
        " new.network := hangar.network_name((select installation_id from hangar.settings), new.id);"
        " end if; return new; end $$"
    )
    host.execute(
        "create trigger a_repeatable_id before insert on public.user_fly_apps"
        " for each row execute function public.repeatable_id()"
    )
    host.execute(
        "create table public.states (app uuid, at timestamptz, runs boolean, seq bigint generated always as identity)"
    )
    host.execute("create index on public.states (app, seq)")
    host.execute(
        "create function public.note_state() returns trigger language plpgsql security definer as $$ begin"
        " insert into public.states (app, at, runs)"
        " values (new.id, hangar.now(), new.machine_state is not distinct from 'started' and new.deleted_at is null);"
        " return null; end $$"
    )
    for event, condition in (
        ("insert", "true"),
        ("update", "(old.machine_state, old.deleted_at) is distinct from (new.machine_state, new.deleted_at)"),
    ):
        host.execute(
            f"create trigger note_state_on_{event} after {event} on public.user_fly_apps"
            f" for each row when ({condition}) execute function public.note_state()"
        )


class StormWorld(World):
    """A world whose workers play on a stage, and that counts what each app cost and suffered."""

    def __init__(
        self,
        url: str,
        seed: int,
        *,
        unkind: Unkindness | None = None,
        host: Connection | None = None,
        keep: float = 0.0,
    ) -> None:
        self.stage: Stage | None = None
        self.writes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.strangers, self.strange_writes = {STRANGER}, []
        self.database_fails = 0.0
        unkind = unkind or (replace(UNKIND, fresh_machine_lag_s=(0.0, 4.0)) if seed % 2 else UNKIND)
        super().__init__(url, seed=seed, unkind=unkind, host=host)
        self.stage = Stage(self.clock, make_chance(seed, "turns"), keep)
        if host is None:
            note_everything(self.host)
        self.installation_id = uuid.UUID(int=make_chance(seed, "installation").getrandbits(128), version=4)
        self.sql("update hangar.settings set installation_id = %s, brake_floor = 1000", self.installation_id)
        self.sql("update public.fly_plans set grace_s = 600, memory_mb = 1024 where tier = 'elite'")
        self.reconciler = self.new_worker()

    def new_worker(self) -> SimulatedWorker | None:
        if self.stage is None:  # the world is being made, and nobody works in it before it has a stage
            return None
        store, transport = self.make_store(), self.make_transport()
        fly = FlyClient(
            "http://fly.test", "any", org_slug=ORG, transport=transport, sleep=self.stage.pause, clock=self.clock
        )
        self.wire(fly, transport)
        self.stores.append(store)
        self.store, database = store, Database(store)
        return SimulatedWorker(
            database=database,
            fly=fly,
            inputs=MachineInputs(
                self.installation_id, lambda row: {"USER_ID": str(row.user_id)}, lambda _: {"TOKEN": "t"}
            ),
            notifier=Notifier(database, None),
            clock=self.clock,
            sleep=self.stage.pause,
            new_id=lambda: uuid.UUID(int=self.random.getrandbits(128), version=4),
            chance=self.random.random,
        )

    def make_store(self) -> "StormStore":
        return StormStore(self)

    def wire(self, fly: FlyClient, transport: "CountingTransport") -> None:
        """A place to shorten the way between client and simulator."""

    def make_transport(self) -> "CountingTransport":
        return CountingTransport(self)

    def run_worker(self, name: str, job) -> None:
        """A process of its own that does `job(reconciler)` and ends; what it meets is its own business."""

        def play():
            reconciler = self.new_worker()
            try:
                job(reconciler)
            except (HangarError, Killed):
                pass
            finally:
                reconciler.database._store.connection.close()

        self.stage.spawn(f"worker {name}", play)


class StormStore(DirectStore):
    """As tests.simulation.world, with a database whose answers get lost, too; each try ends where the process does."""

    def __init__(self, world: StormWorld, session: Session | None = None) -> None:
        super().__init__(world.url, world.clock, world.stage, session)
        self._lock = contextlib.nullcontext()  # one actor runs at a time, and may give the turn away inside
        self.world = world

    def rpc(self, name, args):
        try:
            return self._rpc_once(name, args)
        except OutcomeUnknown:
            self.world.stage.pause(0.3)
            return self._rpc_once(name, args)

    def _rpc_once(self, name, args):
        lose = self.world.random.random() < self.world.database_fails
        if lose and self.world.random.random() < 0.5:
            self.world.stage.pause()
            raise TransientError(f"the database could not run {name} now", code="PGRST000")
        answer = super().rpc(name, args)
        if lose:
            raise OutcomeUnknown(f"the database gave no answer to {name}")
        return answer


class CountingTransport(SimTransport):
    """Fly in process, with a boundary on either side of every write; counts writes and failures by app."""

    def __init__(self, world: StormWorld) -> None:
        super().__init__(world.sim, world.stage.pause)
        self.world, self.stage = world, world.stage

    def handle_request(self, request):
        app = self._app_of(request)
        is_write = request.method != "GET"
        if is_write:
            self.stage.cross(f"before {request.method} {request.url.path}")
            self.world.writes[app] += 1
            if (
                app in self.world.strangers and request.url.path != "/v1/apps"
            ):  # asking for a taken name touches nothing
                self.world.strange_writes.append(f"{request.method} {request.url.path}")
            if self.stage.process:
                self.stage.process.working_on = app
        try:
            response = self._send(request)
        except httpx.HTTPError:
            self.world.faults[app] += 1
            raise
        if response.status_code >= 400 and response.status_code != 404:
            self.world.faults[app] += 1
        if is_write:
            self.stage.cross(f"after {request.method} {request.url.path}, its answer unread")
        return response

    def _send(self, request):
        return super().handle_request(request)

    def _app_of(self, request):
        parts = request.url.path.split("/")
        if request.method == "POST" and request.url.path == "/v1/apps":
            return str(json.loads(request.read())["name"])
        return parts[3] if len(parts) > 3 else ""


def play_on_stage(monkeypatch, world: StormWorld) -> None:
    """Let the pools of drain and look be actors."""
    monkeypatch.setattr(drains, "ThreadPoolExecutor", world.stage.executor)
    monkeypatch.setattr(drains, "wait", world.stage.wait)
    monkeypatch.setattr(looks, "ThreadPoolExecutor", world.stage.executor)
