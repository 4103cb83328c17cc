"""What every response must satisfy, and what a run must not change."""

import json
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.fuzz.wire import Reply, Request
from tests.support.loopback import LOOPBACK

# What the HTTP server itself says of a request that never became one, and the framework of a path (docs/security.md).
SERVERS_OWN = {308, 400, 403, 404, 405, 408, 414, 417, 431, 501, 505}
PAGES = {200, 303, 304, 400, 401, 403, 404, 405, 413, 503}
OURS = {200, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413, 415, 503}


@dataclass
class Oracle:
    """Judges answers. `secrets` are texts that none may show, `private` those that no stranger may be shown."""

    secrets: tuple[bytes, ...]
    private: tuple[bytes, ...]
    seen: dict[tuple[str, int], int] = field(default_factory=dict)

    def judge(self, function: str, request: Request, reply: Reply) -> None:
        """Raise AssertionError when an answer breaks a rule; it shows the request."""
        who = "server" if not reply.is_functions_own else "dashboard" if function == "admin" else "function"
        who = who if reply.status else "closed"
        self.seen[who, reply.status] = self.seen.get((who, reply.status), 0) + 1
        allowed = {"function": OURS, "dashboard": PAGES, "server": SERVERS_OWN, "closed": {0}}[who]
        whole = reply.body + bytes(reply.headers)
        assert reply.status in allowed, f"{function} answered {reply.status} to {request}"
        assert b"Traceback" not in whole
        assert b'File "' not in whole
        if who in ("function", "dashboard"):
            assert not [secret for secret in self.secrets if secret in whole], f"{function} told a secret to {request}"
        if who == "dashboard" and not request.is_proven:
            shown = [text for text in self.private if text in whole and text not in request.encode()]
            assert not shown, f"the dashboard showed {shown} to {request}"
        if who == "function" and reply.status < 400:
            assert request.is_proven or reply.status == 204, f"{function} let in without proof {request}"
        if who == "function" and reply.status >= 400:
            self._judge_problem(request, reply)
        if reply.status == 503:
            assert int(reply.headers["Retry-After"]) >= 1

    def _judge_problem(self, request: Request, reply: Reply) -> None:
        assert reply.headers["Content-Type"] == "application/problem+json"
        if request.method != b"HEAD":
            problem = json.loads(reply.body)
            assert {"type", "title", "status", "detail", "instance", "code"} == problem.keys()
            assert problem["status"] == reply.status
        if reply.status == 405:
            assert reply.headers["Allow"] == "POST, OPTIONS"

    def table(self) -> str:
        """Counts by the part that answered and its status."""
        lines = [f"  {who:<9} {status:>3}  {count:>7}" for (who, status), count in sorted(self.seen.items())]
        return "\n".join(lines)


def read_everything(database: psycopg.Connection, fly_api_url: str) -> dict[str, Any]:
    """Every row of every table of ours and the host's, and the whole of Fly with the count of calls it has had."""
    tables = database.execute(
        "select schemaname || '.' || tablename from pg_tables"
        " where schemaname in ('public', 'hangar', 'auth', 'net', 'vault') order by 1"
    ).fetchall()
    rows = {
        table: database.execute(
            f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t"
        ).fetchone()
        for (table,) in tables
    }
    return {**rows, "world": LOOPBACK.get(f"{fly_api_url}/_sim/world").json()["requests"]}


def read_what_is_wanted(database: psycopg.Connection, fly_api_url: str) -> dict[str, Any]:
    """What is desired, decided and there: nudges and sweeps may look at it as often as they like and leave it as it is."""
    world = LOOPBACK.get(f"{fly_api_url}/_sim/world").json()
    columns = "id, user_id, status, desired_state, generation, machine_id, name_seq"
    queries = {
        "rows": f"select {columns} from public.user_fly_apps order by id",
        "settings": "select to_jsonb(s) - 'updated_at' from hangar.settings s",
        "plans": "select to_jsonb(p) from public.fly_plans p order by tier",
        "overrides": "select to_jsonb(o) from public.fly_overrides o order by user_id",
        "operators": "select user_id from hangar.operators order by 1",
        "subscriptions": "select to_jsonb(s) from public.user_subscriptions s order by user_id",
    }
    rows = {name: database.execute(query).fetchall() for name, query in queries.items()}
    apps = [(app["name"], [(machine["id"], machine["state"]) for machine in app["machines"]]) for app in world["apps"]]
    writes = {call: count for call, count in world["requests"].items() if not call.startswith("GET ")}
    return {**rows, "apps": apps, "destroyed": world["destroyed"], "writes": writes}
