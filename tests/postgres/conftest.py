"""The host and the callers of one database: who signs up, pays and leaves, and what the procedures answer."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.databases import drop_database, fresh_database
from tests.support.shared_database import SessionPool

FUNCTIONS_URL = "http://127.0.0.1:9/functions"
WEBHOOK_SECRET = "whsec_" + "q83v" * 8  # 24 bytes


class Hangar:
    """One database seen from outside: host writes as its owner, procedures as `service_role`."""

    def __init__(self, url: str, connect: Callable[..., psycopg.Connection]) -> None:
        self.url = url
        self.connect = connect
        self.admin = connect(url)
        self.admin.row_factory = dict_row
        self.service = connect(url, "service_role")

    def worker(self) -> psycopg.Connection:
        """Another session of service_role, for a second worker."""
        return self.connect(self.url, "service_role")

    def host(self) -> psycopg.Connection:
        """Another session of the host."""
        return self.connect(self.url, "postgres")

    def sql(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement as superuser and return its rows, if any."""
        cursor = self.admin.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *values: Any) -> Any:
        """The single value of a query."""
        [row] = self.sql(query, *values)
        [value] = row.values()
        return value

    def rpc(self, name: str, /, *, via: psycopg.Connection | None = None, **args: Any) -> Any:
        """Call a procedure with named arguments, as PostgREST does."""
        named = sql.SQL(", ").join(
            sql.SQL("{} => {}").format(sql.Identifier(f"p_{key}"), sql.Placeholder()) for key in args
        )
        call = sql.SQL("select public.{}({})").format(sql.Identifier(name), named)
        values = [Jsonb(value) if _is_json(value) else value for value in args.values()]
        row = (via or self.service).execute(call, values).fetchone()
        assert row is not None
        return row[0]

    def user(self, tier: str = "free", **subscription: Any) -> uuid.UUID:
        """A user who signed up and then got this subscription."""
        user = uuid.uuid4()
        self.sql("insert into auth.users (id, email) values (%s, %s)", user, f"user-{user.hex[:8]}@example.test")
        if tier != "free" or subscription:
            self.subscribe(user, tier=tier, **subscription)
        return user

    def subscribe(self, user: uuid.UUID, **columns: Any) -> None:
        sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(key), sql.Placeholder()) for key in columns)
        query = sql.SQL("update public.user_subscriptions set {} where user_id = {}").format(sets, sql.Placeholder())
        self.admin.execute(query, [*columns.values(), user])
        self.follow()

    def follow(self) -> None:
        """Let the rows follow the host's changes, as a drain does."""
        while self.rpc("fly_apply_marks")["left"]:
            pass

    def deafen(self) -> None:
        """Let the host's changes leave no marks."""
        for table in ("public.user_subscriptions", "auth.users"):
            for event in ("insert", "update", "delete", "truncate"):
                self.sql(f"alter table {table} disable trigger hangar_mark_{event}")

    def marked(self) -> set[uuid.UUID | None]:
        """The users with a mark; None means everybody."""
        return {row["user_id"] for row in self.sql("select user_id from hangar.marks")}

    def row(self, user: uuid.UUID) -> dict[str, Any] | None:
        """The user's live row."""
        rows = self.sql("select * from public.user_fly_apps where user_id = %s and deleted_at is null", user)
        assert len(rows) <= 1
        return rows[0] if rows else None

    def live_row(self, user: uuid.UUID) -> dict[str, Any]:
        row = self.row(user)
        assert row is not None
        return row

    def events(self, user: uuid.UUID) -> list[tuple[str, str]]:
        rows = self.sql(
            "select event_type, status from public.user_fly_app_events where user_id = %s order by seq", user
        )
        return [(row["event_type"], row["status"]) for row in rows]

    def claim(self, user: uuid.UUID, **args: Any) -> dict[str, Any]:
        return self.rpc("fly_claim", user=user, **args)

    def lease(self, user: uuid.UUID) -> dict[str, Any]:
        """Claim the row, even if it waits for something."""
        answer = self.claim(user, holder="test", force=True)
        assert answer["outcome"] == "claimed", answer
        return answer["row"]

    def save(
        self,
        row: dict[str, Any],
        *,
        release: bool = False,
        events: list[Any] | None = None,
        via: psycopg.Connection | None = None,
        **patch: Any,
    ) -> Any:
        return self.rpc(
            "fly_save",
            via=via,
            id=row["id"],
            lease_token=row["lease_token"],
            planned_generation=int(row["generation"]),
            patch=patch,
            events=events or [],
            release=release,
        )

    def converge(self, user: uuid.UUID) -> dict[str, Any]:
        """Record on the row that the user's app exists and runs."""
        row = self.lease(user)
        found = {"machine_id": f"m-{user.hex[:8]}", "machine_state": "started", "price_usd_per_s": "0.000002"}
        answer = self.save(row, release=True, status="active", converged=True, observed=True, **found)
        return answer["row"]

    def shift_clock(self, seconds: float) -> None:
        """From now on `hangar.now()` is this far ahead of the real time."""
        body = sql.SQL("select pg_catalog.clock_timestamp() + make_interval(secs => {})").format(sql.Literal(seconds))
        self.admin.execute(
            sql.SQL(
                "create or replace function hangar.now() returns timestamptz"
                " language sql stable set search_path = '' as {}"
            ).format(sql.Literal(body.as_string(self.admin)))
        )

    def wait_until_blocked(self, session: psycopg.Connection, within_s: float = 30) -> None:
        """Return when `session` waits for a lock, which is where a race is stopped."""
        deadline = time.monotonic() + within_s
        query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        while not self.one(query, session.info.backend_pid):
            assert time.monotonic() < deadline, "the session never waited for a lock"
            time.sleep(0.005)

    def queued(self) -> list[dict[str, Any]]:
        """What pg_net is asked to send."""
        return self.sql(
            "select url, convert_from(body, 'utf8') as body, headers, timeout_milliseconds"
            " from net.http_request_queue order by id"
        )

    def fill_vault(self, url: str = FUNCTIONS_URL, secret: str = WEBHOOK_SECRET) -> None:
        self.sql("select vault.create_secret(%s, 'hangar_functions_url')", url)
        self.sql("select vault.create_secret(%s, 'hangar_webhook_secret')", secret)


def _is_json(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and not any(isinstance(item, uuid.UUID) for item in value)
    )


def intent(action: str, **metadata: Any) -> dict[str, Any]:
    """An intent event as a worker writes it."""
    return event("action", "intent", action=action, attempt=1, **metadata)


def outcome(of: dict[str, Any], status: str) -> dict[str, Any]:
    """The event that ends an intent."""
    return event("action", status, action=of["metadata"]["action"], intent_id=of["id"])


def event(event_type: str, status: str, **metadata: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "event_type": event_type, "status": status, "metadata": metadata}


@pytest.fixture(scope="module")
def _databases_lent() -> list[bool]:
    """Of each database that was lent to a test of this file: whether it could be used again."""
    return []


@pytest.fixture
def database(request, postgres, _databases_lent) -> Iterator[str]:
    """The superuser's URL of a database that only this test uses, most often one that an earlier test has used before.

    A test marked `own_database` has a new one. So has a world, which changes the schema anyway. So have the tests of a file
    that change the schema more often than not: a database that can be emptied takes twice as long to make.
    """
    own = request.node.get_closest_marker("own_database") or "world" in request.fixturenames
    if own or _databases_lent.count(False) > _databases_lent.count(True) + 1:
        url = fresh_database(postgres)
        yield url
        drop_database(url)
        return
    databases, pools = request.getfixturevalue("shared_databases"), request.getfixturevalue("session_pools")
    with databases.lend_plain(postgres) as shared:
        pools.append(shared.sessions)
        yield shared.url
        pools.remove(shared.sessions)
    _databases_lent.append(not shared.is_closed)


@pytest.fixture
def installed(database, connect) -> Hangar:
    """Hangar just installed: it is not live, so no user has a row."""
    return Hangar(database, connect)


@pytest.fixture
def hangar(installed) -> Hangar:
    """Hangar installed and live."""
    installed.sql("update hangar.settings set live = true")
    return installed


@pytest.fixture(scope="session")
def _common_pools() -> Iterator[dict[str, SessionPool]]:
    pools: dict[str, SessionPool] = {}
    yield pools
    for pool in pools.values():
        pool.close()


@pytest.fixture
def common(postgres, connect, session_pools, _common_pools) -> Iterator[Hangar]:
    """Hangar, live, in a shared database for tests that leave nothing behind."""
    key = postgres.version
    if key not in _common_pools:
        _common_pools[key] = SessionPool(fresh_database(postgres))
    pool = _common_pools[key]
    session_pools.append(pool)
    hangar = Hangar(pool.url, connect)
    hangar.sql("update hangar.settings set live = true where not live")
    yield hangar
    pool.take_back()


@pytest.fixture
def inside(common) -> Iterator[Hangar]:
    """The same inside a transaction of `admin` that is rolled back, for questions to one function."""
    with common.admin.transaction(force_rollback=True):
        yield common


@pytest.fixture
def act():
    """The makers of events: `act.intent`, `act.outcome`, `act.event`."""

    class Act:
        intent = staticmethod(intent)
        outcome = staticmethod(outcome)
        event = staticmethod(event)

    return Act
