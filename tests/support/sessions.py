"""Database sessions of a simulated installation, in which `hangar.now()` returns the virtual time."""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from tests.support.clock import Clock
from tests.support.worker import ORG

_KEPT = ("fly_plans", "settings", "operators", "binding", "status_rules", "host_state")


class Session:
    """A connection that sets the virtual time in Postgres before a statement, if the time has changed."""

    def __init__(
        self,
        connection: psycopg.Connection,
        clock: Clock,
        give_back: Callable[[psycopg.Connection], None] | None = None,
    ) -> None:
        self.connection, self.clock = connection, clock
        self._sent: float | None = None
        self._give_back = give_back

    def execute(self, query: str, params: Any = ()) -> psycopg.Cursor:
        now = self.clock()
        if now != self._sent:
            # Without a cursor, which would take ten times as long. Under the lock, because a drain's workers call in parallel.
            with self.connection.lock:
                self.connection.pgconn.exec_(f"set hangar.test_now = '{now}'".encode())
            self._sent = now
        return self.connection.execute(query, params)

    def close(self) -> None:
        """Close the connection, or give it back to where it was borrowed. A second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back(self.connection)
            self.connection = None
        elif self.connection is not None:
            self.connection.close()


def open_service(url: str) -> psycopg.Connection:
    """A session with the rights of Hangar's functions."""
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("set role service_role")
    return connection


def open_host(url: str) -> psycopg.Connection:
    """The host's own session in a live installation, in which `hangar.now()` returns the session's `hangar.test_now`."""
    host = psycopg.connect(url, autocommit=True)
    host.execute(
        # Without a search_path and without volatile calls Postgres inlines it: it is called a thousand times a second.
        "create or replace function hangar.now() returns timestamptz language sql stable as $$"
        " select coalesce(pg_catalog.to_timestamp(nullif(pg_catalog.current_setting('hangar.test_now', true), '')"
        "::double precision), pg_catalog.statement_timestamp()) $$"
    )
    host.execute(
        "update hangar.settings set live = true, fly_org_slug = %s, default_region = 'iad', default_image = 'app@sha256:1'",
        (ORG,),
    )
    return host


def plan_once(connection: psycopg.Connection) -> None:
    """Let Postgres plan each statement once, not five times and more: for sessions that serve many small worlds."""
    for setting in ("jit = off", "plan_cache_mode = force_generic_plan"):
        connection.execute(f"set {setting}")


def plan_procedures_once(host: psycopg.Connection) -> None:
    """The same for the procedures that plan again at every call, because they must be fast on tables of every size."""
    for (procedure,) in host.execute(
        "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('public', 'hangar') and 'plan_cache_mode=force_custom_plan' = any (p.proconfig)"
    ).fetchall():
        host.execute(f"alter function {procedure} reset plan_cache_mode")


def record_states(host: psycopg.Connection) -> None:
    """Derive row ids, and with them the order of claims, from the seed. Record every state of a row."""
    host.execute(
        "create function public.repeatable_id() returns trigger language plpgsql as $$ begin"
        # Replace only random ids (version 4). The row of an adopted orphan keeps the id that its app proves.
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


class StandingDatabase:
    """One database and its sessions, emptied before each seed instead of being created again."""

    def __init__(self, url: str) -> None:
        self.host, self.service = open_host(url), open_service(url)
        for connection in (self.host, self.service):
            connection.prepare_threshold = 0
            plan_once(connection)
        record_states(self.host)
        plan_procedures_once(self.host)
        # The sample host allows one row for each user, three tiers and three statuses. Other hosts allow anything.
        for name in ("user_id_key", "tier_check", "status_check"):
            self.host.execute(f"alter table public.user_subscriptions drop constraint user_subscriptions_{name}")
        self.host.execute("alter table public.user_subscriptions alter tier drop not null")
        self.host.execute("create table public.kept_plans as select * from public.fly_plans")
        self.host.execute("create table public.kept_settings as select * from hangar.settings")
        self._empty = self._write_emptying()
        self.prepared: set[bytes] = set()  # in the service's session
        self._emptied = 0

    def _write_emptying(self) -> sql.Composed:
        """Empty all tables but a few. They come from the catalog, so that a new table is not forgotten."""
        tables = self.host.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('public', 'hangar') and tablename not like 'kept%%'"
            " and tablename <> all (%s) order by 1, 2",
            (list(_KEPT),),
        ).fetchall()
        deletes = [sql.SQL("delete from {}").format(sql.Identifier(*each)) for each in [*tables, ("auth", "users")]]
        deletes += [sql.SQL("delete from public.fly_plans"), sql.SQL("delete from hangar.settings")]
        deletes.append(
            sql.SQL("update hangar.host_state set held_since = null, reason = null, obeyed_by = null, losing = 0")
        )
        # People and links name a release by its number, so a seed has to begin with the same one.
        deletes.append(sql.SQL("alter sequence hangar.releases_id_seq restart"))
        deletes.append(sql.SQL("insert into public.fly_plans select * from public.kept_plans"))
        deletes.append(sql.SQL("insert into hangar.settings select * from public.kept_settings"))
        # Otherwise the audit log refuses even this deletion.
        begin = sql.SQL("begin; set local session_replication_role = replica")
        return sql.SQL("; ").join([begin, *deletes, sql.SQL("commit")])

    def empty(self) -> None:
        """Reset to a live installation without users, rows and events."""
        self.host.execute(self._empty, prepare=False)
        self._emptied += 1
        if self._emptied % 100 == 0:
            self.host.execute("vacuum")

    def close(self) -> None:
        self.host.close()
        self.service.close()
