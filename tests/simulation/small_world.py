"""A world that costs milliseconds: its database is emptied and not made anew, and its sessions and their plans stay.

It notes what happens as it happens, for the trace of a seed that breaks a promise.
Beside what tests.simulation.promises asks at rest, it watches every step: a write to Fly has an intent (I11), nothing is taken
from somebody who is entitled (I5), and a lease that has ended changes no row (I6).
"""

import uuid
from functools import cached_property

import httpx
from psycopg import sql
from psycopg.pq import DiagnosticField, ExecStatus
from pydantic_core import from_json, to_json

from local.fly.state.latency_profiles import Unkindness
from local.fly.transport import ask
from local.http_server import Request as SimulatedRequest
from local.http_server import Response as SimulatedResponse
from shared.adapters.database import explain_refusal
from shared.domain.errors import HangarError
from shared.fly.client import FlyClient
from shared.fly.messages import Request, Response, read_answer
from shared.fly.transport import FlyLink
from tests.simulation.promises import find_entitled
from tests.simulation.stage import Process
from tests.simulation.storm_world import CountingTransport, StormStore, StormWorld, note_everything
from tests.simulation.trace import TOLD, Trace, show_answer, show_row, show_save
from tests.simulation.world import Session, open_host, open_service

_KEPT = ("fly_plans", "settings", "operators")
_HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class Standing:
    """One database with the sessions to it, for one seed after another."""

    def __init__(self, url: str) -> None:
        self.host, self.service = open_host(url), open_service(url)
        for connection in (self.host, self.service):
            connection.prepare_threshold = 0
            connection.execute("set jit = off")
            connection.execute("set plan_cache_mode = force_generic_plan")
        note_everything(self.host)
        self.host.execute("create table public.kept_plans as select * from public.fly_plans")
        self.host.execute("create table public.kept_settings as select * from hangar.settings")
        self._empty = self._write_emptying()
        self.prepared: set[bytes] = set()  # in the service's session
        self._worlds = 0

    def _write_emptying(self) -> sql.Composed:
        """All tables but a few, found in the catalog, so that a new one is not forgotten."""
        tables = self.host.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('public', 'hangar') and tablename not like 'kept%%'"
            " and tablename <> all (%s) order by 1, 2",
            (list(_KEPT),),
        ).fetchall()
        deletes = [sql.SQL("delete from {}").format(sql.Identifier(*each)) for each in [*tables, ("auth", "users")]]
        deletes += [sql.SQL("delete from public.fly_plans"), sql.SQL("delete from hangar.settings")]
        deletes.append(sql.SQL("insert into public.fly_plans select * from public.kept_plans"))
        deletes.append(sql.SQL("insert into hangar.settings select * from public.kept_settings"))
        begin = sql.SQL(
            "begin; set local session_replication_role = replica"
        )  # the audit log refuses even this, otherwise
        return sql.SQL("; ").join([begin, *deletes, sql.SQL("commit")])

    def empty(self) -> None:
        """A world in which nobody ever was."""
        self.host.execute(self._empty, prepare=False)
        self._worlds += 1
        if self._worlds % 25 == 0:
            self.host.execute("vacuum")

    def close(self) -> None:
        self.host.close()
        self.service.close()


class SmallWorld(StormWorld):
    """A storm's world on a standing database."""

    def __init__(self, standing: Standing, url: str, seed: int, *, unkind: Unkindness, keep: float) -> None:
        standing.empty()
        self.trace, self.violations = Trace(), []
        self.steps = self.kills = self.faults_met = 0
        self.app_names: dict[str, str] = {}
        self.intents: dict[str, tuple[Process | None, dict | None]] = {}  # of each app the last, None if it was refused
        self._service, self.prepared = standing.service, standing.prepared
        super().__init__(url, seed, unkind=unkind, host=standing.host, keep=keep)
        self.stage.tell = self._format_fate

    @cached_property
    def service_session(self) -> Session:
        """One for all workers, because they take turns."""
        return Session(self._service, self.clock)

    def make_store(self) -> "SmallStore":
        return SmallStore(self, self.service_session)

    def make_transport(self) -> "SmallTransport":
        return SmallTransport(self)

    def wire(self, fly: FlyClient, transport: "SmallTransport") -> None:
        """Without httpx's client between the two, which costs more than either; the storm has it."""
        link = ShortLink("http://fly.test", "any", transport=transport, sleep=self.stage.pause, clock=self.clock)
        fly._link = link

    def note(self, what: str, who: str | None = None) -> None:
        """Add a line to the trace."""
        if who is None:
            process = self.stage.process if self.stage else None
            who = process.name if process else "world"
        self.trace.lines.append((self.clock(), who, what))

    def break_promise(self, what: str) -> None:
        """Something happened that must not, whatever happens next."""
        self.note(f"VIOLATION: {what}")
        self.violations.append(what)

    def count_fault(self, app: str | None) -> None:
        self.faults_met += 1
        if app:
            self.faults[app] += 1

    def run_process(self, process: Process, job, in_s: float = 0.0):
        """A process that does `job(reconciler)` and ends; what it meets is its own business."""

        def play():
            try:
                self.note(f"ends: {job(self.new_worker())}"[:200])
            except HangarError as error:
                self.note(f"ends with {type(error).__name__}: {error}"[:200])

        return self.stage.spawn(process.name, play, process=process, in_s=in_s)

    def read_names(self) -> dict[str, str]:
        """What ids are called in a trace."""
        names = {str(user): f"user{number}" for number, user in enumerate(self.users, 1)}
        for id_, user, app, seq in self.sql("select id, user_id, fly_app_name, name_seq from public.user_fly_apps"):
            names[app] = f"{app}({names.get(str(user), user)}.{seq})"
            names[str(id_)] = f"row of {names.get(str(user), user)}.{seq}"
        return names

    def _format_fate(self, process: Process, fate: str) -> None:
        self.kills += 1
        self.note(f"! {fate}", process.name)
        self.count_fault(process.working_on)

    def close(self) -> None:
        """The sessions stay."""
        self.stage.close()


class SmallStore(StormStore):
    """The database, watched: what each save brings, and that a lease that has ended changes nothing."""

    world: SmallWorld

    def _rpc_once(self, name, args):
        try:
            return super()._rpc_once(name, args)
        except HangarError as error:
            self.world.note(f"{name} FAILED: {error}"[:200])
            self.world.count_fault(self.world.app_names.get(str(args.get("p_id"))))
            raise

    def _call(self, name, args):
        """Straight to libpq, time and call in one statement: half of what psycopg's cursors cost."""
        statement = f"{name}({','.join(args)})".encode()
        connection = self.connection.pgconn
        if statement not in self.world.prepared:
            names = ", ".join(f"{key} => ${number}" for number, key in enumerate(args, 2))
            query = f"select set_config('hangar.test_now', $1, false), public.{name}({names})"
            self._check(name, connection.prepare(statement, query.encode()))
            self.world.prepared.add(statement)
        values = [str(self.clock()).encode(), *(_encode(value) for value in args.values())]
        result = self._check(name, connection.exec_prepared(statement, values))
        value = result.get_value(0, 1)
        return None if value is None else from_json(value)

    def _check(self, name, result):
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            code = result.error_field(DiagnosticField.SQLSTATE) or b""
            raise explain_refusal(name, code.decode(), result.error_message.decode())
        return result

    def _run(self, name, args):
        world, process = self.world, self.world.stage.process
        world.steps += 1
        if name == "fly_save":
            return self._save(args, process)
        answer = self._call(name, args)
        if name == "fly_claim":
            self._patch_from_row(answer["row"])
            world.note(f"fly_claim {args['p_user']}: {answer['outcome']}{show_row(answer['row'])}")
        elif name == "fly_claim_due":
            for claimed in answer["claimed"]:
                self._patch_from_row(claimed["row"])
                world.note(f"fly_claim_due:{show_row(claimed['row'])}")
        elif name == "fly_judge_orphan":
            world.note(f"{name} {args['p_app']}: {answer}")
            if answer["verdict"] == "remove":
                world.intents[args["p_app"]] = (process, args["p_intent"]["metadata"])
        elif name == "fly_record_sweep":
            told = [
                f"{each['id']} {each['machine_state']} {each['health']}{' due' if each['due'] else ''}"
                for each in args["p_observations"]
            ]
            world.note(f"{name}: {', '.join(told)} -> {answer['updated']} taken")
        elif name in TOLD:
            world.note(f"{name}: {show_answer(answer)}")
        return answer

    def _patch_from_row(self, row) -> None:
        if row:
            self.world.app_names[row["id"]] = row["fly_app_name"]

    def _save(self, args, process):
        world = self.world
        before = self._read_lease(args) if process is not None and process.slept else None
        answer = self._call("fly_save", args)
        if before is not None and before != self._read_lease(args):
            world.break_promise(f"I6: {process.name} changed the row {args['p_id']} with a lease that had ended")
        intent = next((each for each in args["p_events"] if each["status"] == "intent"), None)
        outcomes = [each for each in args["p_events"] if each["event_type"] == "action" and each is not intent]
        world.note(show_save(world.app_names.get(args["p_id"]), args, intent, outcomes, answer))
        if answer is not None:
            self._patch_from_row(answer["row"])
            if intent is not None and answer["refused"] is None:
                self._watch_intent(answer["row"], intent["metadata"], process)
            elif intent is not None:
                world.intents[answer["row"]["fly_app_name"]] = (process, None)
        return answer

    def _watch_intent(self, row, intent, process) -> None:
        """I5: whoever is entitled at the moment of the intent keeps everything."""
        self.world.intents[row["fly_app_name"]] = (process, intent)
        if intent["purpose"] == "deprovision" and uuid.UUID(row["user_id"]) in find_entitled(self.world):
            self.world.break_promise(f"I5: {intent['action']} intended for {row['user_id']}, who is entitled")

    def _read_lease(self, args):
        """The whole row when this token gives no right to change it, else None."""
        found = self.world.sql(
            "select to_jsonb(a) from public.user_fly_apps a where id = %s and (lease_token is distinct from %s"
            " or lease_expires_at <= hangar.now())",
            args["p_id"],
            args["p_lease_token"],
        )
        return found[0][0] if found else None


def _encode(value) -> bytes | None:
    if value is None or isinstance(value, str):
        return None if value is None else value.encode()
    return to_json(value)  # also true, false and numbers are words that Postgres reads


class ShortLink(FlyLink):
    """The wire under the client, cut short: what a call asks goes to the simulator without a request of httpx's."""

    def _exchange(self, call: Request) -> Response:
        self.calls += 1
        return read_answer(self._transport.handle_request(_Asked(call)))


class _Asked:
    """As much of an `httpx.Request` as the watching transports look at."""

    def __init__(self, call: Request) -> None:
        self.method, self.path, self.url = call.method, call.path, self
        self.query = tuple((key, str(value)) for key, value in call.params.items())
        self.body = to_json(call.body) if call.body is not None else b""
        self.read_timeout_s = call.read_timeout_s

    def read(self) -> bytes:
        return self.body

    def __str__(self) -> str:
        query = "&".join(f"{key}={value}" for key, value in self.query)
        return f"{self.method} {self.path}{'?' if query else ''}{query}"


class _Answered:
    """As much of an `httpx.Response` as `read_answer` looks at."""

    def __init__(self, response: SimulatedResponse) -> None:
        self.status_code, self.content = response.status, response.body
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    @property
    def text(self) -> str:
        return self.content.decode()


class SmallTransport(CountingTransport):
    """Fly, watched: each call and its answer, and that every write was announced."""

    world: SmallWorld

    def handle_request(self, request):
        world = self.world
        world.steps += 1
        what = str(request)
        try:
            response = super().handle_request(request)
        except httpx.HTTPError as error:
            world.faults_met += 1
            world.note(f"{what} -> no answer ({type(error).__name__})")
            raise
        if response.status_code >= 400:
            world.faults_met += response.status_code != 404
            world.note(f"{what} -> {response.status_code} {response.text[:90]}")
        else:
            world.note(f"{what} -> {response.status_code}")
        return response

    def _send(self, request):
        if request.method != "GET":
            self._watch_write(request)
        asked = SimulatedRequest(request.method, request.path, request.query, _HEADERS, request.body)
        return _Answered(ask(self.world.sim, asked, self.stage.pause, request.read_timeout_s))

    def _watch_write(self, request) -> None:
        """I11: announced by this very process. I5: what runs for somebody entitled is not destroyed for being broken."""
        world, process, app = self.world, self.world.stage.process, self._app_of(request)
        announced, intent = world.intents.get(app, (None, None))
        has_slept = process is not None and process.slept
        if intent is None or announced is not process:
            if not has_slept:
                world.break_promise(
                    f"I11: {request.method} {request.url.path} without an intent, or with a refused one"
                )
        elif request.method == "DELETE" and intent["purpose"] == "orphan":
            if world.sql("select 1 from public.user_fly_apps where fly_app_name = %s and deleted_at is null", app):
                world.break_promise(f"I5: {app} is removed as an orphan and has a live row")
        elif request.method == "DELETE" and intent["purpose"] in ("replace", "repair") and not has_slept:
            machine = world.sim.world.machines.get(request.url.path.rsplit("/", 1)[-1])
            if machine is not None and machine.state == "started":
                world.break_promise(f"I5: the running machine of {app} is destroyed to {intent['purpose']} it")
