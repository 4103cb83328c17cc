"""Rows of apps, events and alerts as they may be, written directly, for questions to one function of the database."""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

AT_REST = {
    "fly_org_slug": "hangar",
    "region": "iad",
    "docker_image": "registry.example.test/app:v1",
    "status": "active",
    "desired_state": "present",
    "generation": 1,
    "observed_generation": 1,
    "machine_state": "started",
    "next_attempt_at": None,
    "monthly_cost_estimate_usd": 5,
}


def put(hangar, **columns: Any) -> uuid.UUID:
    """A row at rest, with these columns instead: its id. An `sql.SQL` is written as it is, for example a time."""
    row_id = columns.pop("id", None) or uuid.uuid4()
    named = {"id": row_id, "user_id": uuid.uuid4(), "fly_app_name": f"app-{row_id.hex}", "network": f"n-{row_id}"}
    insert(hangar, "public.user_fly_apps", **{**AT_REST, **named, **columns})
    return row_id


def insert(hangar, table: str, **columns: Any) -> None:
    """One row of any table."""
    query = sql.SQL("insert into {} ({}) values ({})").format(
        sql.SQL(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(_as_value, columns.values())),
    )
    hangar.admin.execute(query)


def change(hangar, row_id: uuid.UUID, **columns: Any) -> None:
    sets = [sql.SQL("{} = {}").format(sql.Identifier(name), _as_value(value)) for name, value in columns.items()]
    query = sql.SQL("update public.user_fly_apps set {} where id = {}").format(
        sql.SQL(", ").join(sets), sql.Literal(row_id)
    )
    hangar.admin.execute(query)


def read(hangar, row_id: uuid.UUID) -> dict[str, Any]:
    [row] = hangar.sql("select * from public.user_fly_apps where id = %s", row_id)
    return row


def ask(hangar, function: str, row_id: uuid.UUID, *more: Any) -> Any:
    """What a function of `hangar` answers about a row, which is its first argument."""
    marks = "".join(", %s" for _ in more)
    values = [Jsonb(value) if isinstance(value, dict | list) else value for value in more]
    return hangar.one(
        f"select hangar.{function}(a{marks}) from public.user_fly_apps a where a.id = %s", *values, row_id
    )


def set_settings(hangar, **settings: Any) -> None:
    sets = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), _as_value(value)) for name, value in settings.items()
    )
    hangar.admin.execute(sql.SQL("update hangar.settings set {}").format(sets))


def log_action(
    hangar, row_id: uuid.UUID | None, action: str, ago_s: float = 0, status: str = "intent", **metadata: Any
):
    """An action in the audit log, so many seconds ago."""
    insert(
        hangar,
        "public.user_fly_app_events",
        fly_app_id=row_id,
        event_type="action",
        status=status,
        metadata={"action": action, **metadata},
        created_at=ago(ago_s),
    )


def each(hangar, cases: Iterable[Any]) -> Iterator[Any]:
    """These cases one after the other, each on the rows as they are now: what a case changes is taken back."""
    for case in cases:
        with hangar.admin.transaction(force_rollback=True):
            yield case


def ago(seconds: float) -> sql.Composed:
    return sql.SQL("hangar.now() - make_interval(secs => {})").format(sql.Literal(seconds))


def open_alert(hangar, kind: str, key: str = "fleet", message: str = "m", **columns: Any) -> None:
    insert(hangar, "hangar.alerts", kind=kind, key=key, message=message, **columns)


def open_alerts(hangar, *kinds: str) -> list[tuple[str, str]]:
    """The kind and key of each open alert, of these kinds if any are named."""
    rows = hangar.sql(
        "select kind, key from hangar.alerts where resolved_at is null and kind <> 'nudges' order by 1, 2"
    )
    return [(row["kind"], row["key"]) for row in rows if not kinds or row["kind"] in kinds]


def _as_value(value: Any) -> sql.Composable:
    if isinstance(value, sql.Composable):
        return value
    return sql.Literal(Jsonb(value) if isinstance(value, dict | list) else value)
