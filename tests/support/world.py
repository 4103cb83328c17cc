"""The simulated world: one installation in one process, whose clock moves only when a test moves it.

It has the real SQL on a real Postgres, the real client and worker, and Fly's simulator. `World(url)` runs one process after
another on a Fly without surprises. `Options` adds what a test needs.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID

from local.fly.simulator import FlySim
from local.fly.state.latency_profiles import UNKIND, Unkindness
from local.http_server import Request
from shared.domain.errors import HangarError
from shared.fleet.sweep import Sweep
from tests.support import database_link, fly_link
from tests.support.alert_receiver import AlertReceiver
from tests.support.boundaries import Boundaries, Killed
from tests.support.clock import Clock, make_chance
from tests.support.consistency import check_faults, check_options
from tests.support.database_link import DatabaseLink
from tests.support.fly_link import LayeredTransport
from tests.support.layers import Layer
from tests.support.recorder import Recorder
from tests.support.rewind import ProcessPlan, Rewind, TransactionSession
from tests.support.sessions import Session, StandingDatabase, open_host, open_service, record_states
from tests.support.shared_database import WorldDatabase
from tests.support.turns import Process, Turns
from tests.support.worker import ORG, build_worker

STRANGER = "a-strangers-app"


@dataclass(frozen=True)
class Options:
    """What a world is like. tests.support.consistency refuses impossible combinations."""

    seed: int = 0
    unkind: bool | Unkindness = False
    """Fly's own irregularities: lists that lag, short pages, rate limits, lost answers, names held after deletion."""
    rate_limits: bool = False
    """Fly enforces its documented rate limits. `world.refused` and `world.deletions` record what it did."""
    take_turns: bool = False
    """Several processes, which take turns at every call that leaves them (tests.support.turns); ids come from the seed."""
    keep_turn: float = 0.0
    """How often a process keeps its turn: 0 interleaves most, 1 lets each run until it sleeps."""
    record: bool = False
    """Record a trace and check promises at every step (tests.support.recorder)."""
    standing: StandingDatabase | None = None
    """A database for recorded worlds that is emptied instead of being created; its sessions stay open."""
    shared: WorldDatabase | None = None
    """The same for worlds of one process at a time."""
    follow_host: bool = True
    """Rows follow the host's changes at once, as if every wake-up call arrived. Otherwise claims and drains follow them."""
    alerts: bool = False
    """Alerts are sent to `world.receiver`."""
    rewinds: bool = False
    """Everything happens in one transaction, which can be rolled back (tests.support.rewind)."""


class World:
    """The installation, its host's users, and methods to change and read them."""

    def __init__(self, url: str, **options: Any) -> None:
        self.options = Options(**options)
        check_options(self.options)
        standing = self.options.standing or self.options.shared
        if standing:
            standing.empty()
        self.url, self.clock, self.boundaries = url, Clock(), Boundaries()
        self.stores: list[DatabaseLink] = []
        self.writes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.receiver = AlertReceiver() if self.options.alerts else None
        self._webhooks = [self.receiver.make_webhook()] if self.receiver else []
        self.users: list[UUID] = []
        self.strangers, self.strange_writes = {STRANGER}, []
        self.follows = self.options.follow_host
        self.refused: list[str] = []
        self.deletions: list[float] = []
        self.database_fails = 0.0
        self.host = standing.host if standing else open_host(url)
        self._session = (TransactionSession if self.options.rewinds else Session)(self.host, self.clock)
        self.installation_id = self.host.execute("select installation_id from hangar.settings").fetchone()[0]
        seed, limits = self.options.seed, self.options.rate_limits
        self.sim = (
            FlySim(self.clock, seed=seed, rate_limits=True, org=ORG)
            if limits
            else FlySim(self.clock, seed=seed, unkind=self.options.unkind, org=ORG)
        )
        self.random = random.Random(seed)  # noqa: S311  chance that can be repeated
        self.turns = Turns(self.clock, make_chance(seed, "turns"), self.options.keep_turn)
        self.recorder = Recorder(self) if self.options.record else None
        self.rewind = Rewind(self, self._session) if self.options.rewinds else None
        if self.options.take_turns:
            self._prepare_for_turns()
        self.reconciler = self.new_worker()

    def _prepare_for_turns(self) -> None:
        standing = self.options.standing
        if standing is None:
            record_states(self.host)
        else:
            self._service = Session(standing.service, self.clock)  # one for all processes, because they take turns
        if self.recorder:
            self.turns.tell = self.recorder.count_fate
        chance = make_chance(self.options.seed, "installation")
        self.installation_id = UUID(int=chance.getrandbits(128), version=4)
        self.sql("update hangar.settings set installation_id = %s, brake_floor = 1000", self.installation_id)
        self.sql("update public.fly_plans set grace_s = 600, memory_mb = 1024 where tier = 'elite'")

    # Processes

    def new_worker(self, plan: ProcessPlan | None = None) -> Any:
        """A new process, which knows only what is in the database and on Fly. `plan` is for a world that rewinds."""
        return self._open_worker(plan)[0]

    def _open_worker(self, plan: ProcessPlan | None = None) -> tuple[Any, DatabaseLink]:
        sleep = self.turns.pause
        if self.rewind:
            link, layers = self._link_rewound(plan := plan or ProcessPlan()), [self.rewind.fail_requests(plan)]
        elif self.options.take_turns:
            link, layers = self._link_taking_turns(), self._layer_requests()
        else:
            link, layers = self._link_alone(), [fly_link.CrossBoundaries(self.boundaries)]
        self.store = link
        worker = build_worker(
            link=link,
            transport=LayeredTransport(self.sim, sleep, layers, short_path=self.options.record),
            installation_id=self.installation_id,
            clock=self.clock,
            sleep=sleep,
            new_id=self.make_id,
            chance=self.random.random,
            short_path=self.options.record,
            webhooks=self._webhooks,
        )
        return worker, link

    def _link_alone(self) -> DatabaseLink:
        calls: list[str] = []
        session = self._open_session()
        layers = [database_link.cross(self.boundaries, calls, threads=True)]
        return self._keep(DatabaseLink(database_link.run_in_session(session), layers, calls=calls, session=session))

    def _link_taking_turns(self) -> DatabaseLink:
        calls: list[str] = []
        layers: list[Layer] = [
            database_link.ask_again(self.turns.pause),
            database_link.lose_answers(self),
            database_link.cross(self.turns, calls, threads=False),
        ]
        if self.recorder is None:
            session = self._open_session()
            return self._keep(DatabaseLink(database_link.run_in_session(session), layers, calls=calls, session=session))
        layers.insert(1, self.recorder.note_failures)
        layers.append(self.recorder.watch_procedure)
        runner = database_link.PreparedRunner(self._service, self.options.standing.prepared)
        return DatabaseLink(runner, layers, calls=calls)

    def _link_rewound(self, plan: ProcessPlan) -> DatabaseLink:
        layers = [database_link.ask_again(self.clock.advance), self.rewind.fail_procedures(plan)]
        return DatabaseLink(self._session.call, layers)

    def _open_session(self) -> Session:
        shared = self.options.shared
        if shared is None:
            return Session(open_service(self.url), self.clock)
        return Session(shared.open_service(), self.clock, give_back=shared.return_service)

    def _layer_requests(self) -> list[Layer]:
        layers: list[Layer] = [fly_link.CountWrites(self)]
        if self.options.rate_limits:
            layers.insert(0, fly_link.NoteLimits(self))
        if self.recorder:
            layers = [self.recorder.note_request, *layers, self.recorder.watch_write]
        return layers

    def _keep(self, link: DatabaseLink) -> DatabaseLink:
        self.stores.append(link)
        return link

    def run_process(self, process: Process | str, job: Callable[[Any], Any], in_s: float = 0.0) -> Any:
        """Start a process that runs `job(worker)` and then ends, also after an error of Hangar's or a kill."""
        if isinstance(process, str):
            process = Process(f"worker {process}")

        def run() -> None:
            worker, link = self._open_worker()
            try:
                self.note(f"ends: {job(worker)}"[:200])
            except HangarError as error:
                self.note(f"ends with {type(error).__name__}: {error}"[:200])
            except Killed:
                pass
            finally:
                link.close()

        return self.turns.spawn(process.name, run, process=process, in_s=in_s)

    def make_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    # The host

    def sql(self, query: str, *params: Any) -> list[Any]:
        """Run a statement of the host at the virtual time. Returns its rows, if it has any."""
        cursor = self._session.execute(query, params)
        rows = cursor.fetchall() if cursor.description else []
        if self.follows and ("user_subscriptions" in query or "auth.users" in query):
            self._follow_host()
        return rows

    def _follow_host(self) -> None:
        left = True
        while left:
            [(applied,)] = self._session.execute("select public.fly_apply_marks()", ()).fetchall()
            left = applied["left"]

    def give_size_that_fly_refuses(self) -> None:
        """Give the plan pro 2 shared vCPU with 256 MB, which its guard would refuse."""
        self.sql("alter table public.fly_plans disable trigger guard_plan")
        self.sql("update public.fly_plans set cpu_count = 2, memory_mb = 256 where tier = 'pro'")
        self.sql("alter table public.fly_plans enable trigger guard_plan")

    def allow_mass_losses(self) -> None:
        """Let any number of users lose their apps at once: for tests of what comes after that check."""
        self.sql("update hangar.settings set host_loss_floor = 1000000")

    def add_user(self, tier: str = "free") -> UUID:
        return self.add_users([tier])[0]

    def add_users(self, tiers: list[str]) -> list[UUID]:
        """Add one user for each tier: all sign up first, then each gets the tier."""
        users = [self.make_id() for _ in tiers]
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

    def flip_twice(self, user: UUID) -> None:
        """Each subscription of the user changes its tier and changes it back."""
        query = "update public.user_subscriptions set tier = %s where id = %s"
        for key, tier in self.sql("select id, tier from public.user_subscriptions where user_id = %s", user):
            self.sql(query, "free" if tier != "free" else "pro", key)
            self.sql(query, tier, key)

    # Hangar

    def sweep(self, *, drain_only: bool = False) -> Any:
        return Sweep(self.reconciler, self.clock() + 240).run(drain_only=drain_only)

    def settle(self, sweeps: int = 2) -> None:
        """Let leases expire and the longest retry delay pass, then sweep; faults must have stopped."""
        self.boundaries.die_at = None
        for _ in range(sweeps):
            self.clock.advance(1900)
            self.sweep()

    def row(self, user: UUID) -> dict:
        """The live row, or the newest deleted one."""
        found = self.sql(
            "select to_jsonb(a) from public.user_fly_apps a where user_id = %s"
            " order by (deleted_at is null) desc, created_at desc limit 1",
            user,
        )
        return found[0][0] if found else {}

    def events(self, user: UUID) -> list[tuple[str, str, dict]]:
        return self.sql(
            "select event_type, status, metadata from public.user_fly_app_events where user_id = %s order by created_at, id",
            user,
        )

    def count_actions(self, user: UUID, *statuses: str) -> int:
        """The number of audit entries of actions that have one of these statuses."""
        return sum(kind == "action" and status in statuses for kind, status, _ in self.events(user))

    def count_events(self, *kinds: str) -> int:
        [(count,)] = self.sql("select count(*) from public.user_fly_app_events where event_type = any(%s)", list(kinds))
        return count

    def open_alerts(self) -> set[tuple[str, str]]:
        """Kind and key of every open alert."""
        return set(self.sql("select kind, key from hangar.alerts where resolved_at is null and kind <> 'nudges'"))

    def read_names(self) -> dict[str, str]:
        """A readable name for each id in a trace."""
        names = {str(user): f"user{number}" for number, user in enumerate(self.users, 1)}
        for id_, user, app, seq in self.sql("select id, user_id, fly_app_name, name_seq from public.user_fly_apps"):
            names[app] = f"{app}({names.get(str(user), user)}.{seq})"
            names[str(id_)] = f"row of {names.get(str(user), user)}.{seq}"
        return names

    # Fly

    def apps(self) -> dict[str, list]:
        """Fly's actual state: each existing app's live machines."""
        self.sim.settle()
        return {
            name: [machine for machine in self.sim.machines() if machine.app.name == name]
            for name in list(self.sim.apps)
        }

    def fault(self, **rule: Any) -> None:
        """Set one kind of failure, in place of those set before."""
        self.set_faults(rule)

    def set_faults(self, *rules: dict[str, Any]) -> None:
        """Set these failures, in place of those set before. Without arguments Fly works again."""
        check_faults(list(rules))
        self.control("PUT", "faults", list(rules))

    def control(self, method: str, what: str, body: Any) -> None:
        """Change Fly's world from outside, through `/_sim`."""
        answer = self.sim.handle(Request(method, f"/_sim/{what}", (), {}, json.dumps(body).encode()))
        assert answer.status < 300, answer.body

    # Faults and deaths

    def watch_calls(self) -> list[tuple[str, str]]:
        """A list to which every call to Fly is added from now on."""
        self.boundaries.calls = []
        return self.boundaries.calls

    def kill_after(self, method: str, path: str) -> None:
        """Kill the process after its next such call."""
        self.boundaries.die_after = (method, path)

    def spare(self) -> None:
        """Kill no process any more."""
        self.boundaries.die_after = self.boundaries.die_at = None

    # What is recorded

    def note(self, what: str, who: str | None = None) -> None:
        """Add a line to the trace, if there is one."""
        if self.recorder:
            self.recorder.note(what, who)

    def close(self) -> None:
        """End all processes and close all sessions except those of a standing or shared database."""
        self.turns.close()
        if self.rewind:
            self.host.execute("rollback")
        if not (self.options.standing or self.options.shared):
            self.host.close()
        for link in self.stores:
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_storm_world(url: str, seed: int, **options: Any) -> World:
    """A world of several processes on a Fly with realistic troubles. With odd seeds its lists miss new machines for longer."""
    unkind = replace(UNKIND, fresh_machine_lag_s=(0.0, 4.0)) if seed % 2 else UNKIND
    return World(url, **{"seed": seed, "unkind": unkind, "take_turns": True} | options)


def make_busy_world(url: str) -> World:
    """A world of several processes in which only Fly's own rate limits refuse calls."""
    return World(url, seed=2, rate_limits=True, take_turns=True)
