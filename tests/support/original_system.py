"""The original system as it leaves a database: its tables, users who pay or do not, and apps in every state."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

SCHEMA = Path(__file__).with_name("original_system.sql").read_text()
IMAGE = "registry.fly.io/vyx-app:latest"
MOMENT = "2025-11-15 10:00:00+00"


@dataclass(frozen=True)
class OriginalApp:
    """One row of the original system and the machine that its log names."""

    user_id: uuid.UUID
    row_id: uuid.UUID
    name: str
    machine_id: str | None


def create_schema(session: psycopg.Connection) -> None:
    """Make the original system's tables, as the role that owns the host's."""
    session.execute(SCHEMA.encode())


def add_user(admin: psycopg.Connection, tier: str = "pro") -> uuid.UUID:
    """A user with this tier, made as the original system made one: signed up first, then given the tier."""
    user = uuid.uuid4()
    admin.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"user-{user.hex[:8]}@example.test"))
    if tier != "free":
        # The trigger of the original system would call its functions, which do not exist here.
        admin.execute("alter table public.user_subscriptions disable trigger user")
        admin.execute("update public.user_subscriptions set tier = %s where user_id = %s", (tier, user))
        admin.execute("alter table public.user_subscriptions enable trigger user")
    return user


def add_app(
    admin: psycopg.Connection,
    user: uuid.UUID,
    status: str = "active",
    *,
    machine_id: str | None = None,
    name: str | None = None,
    **columns: Any,
) -> OriginalApp:
    """A row and its log, with times in the past and the cost that the original system estimated."""
    name = name or f"vyx-user-{user.hex[:8]}"
    row = uuid.uuid4()
    values = {
        "id": row,
        "user_id": user,
        "fly_app_name": name,
        "fly_org_slug": "personal",
        "status": status,
        "region": "sin",
        "docker_image": IMAGE,
        "monthly_cost_estimate_usd": "6.00",
        "created_at": MOMENT,
        "updated_at": "2025-11-16 11:00:00+00",
        "deleted_at": "2025-11-17 12:00:00+00" if status == "deleted" else None,
        "deployed_at": "2025-11-15 10:01:00+00" if machine_id else None,
        "health_status": "unhealthy" if status == "active" else None,
        **columns,
    }
    admin.execute(
        sql.SQL("insert into public.user_fly_apps ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(sql.Placeholder() * len(values))
        ),
        list(values.values()),
    )
    log: list[tuple[str, str, dict[str, Any]]] = [
        ("provision_started", "in_progress", {"tier": "pro", "region": "sin"})
    ]
    if machine_id:
        log.append(("provision_completed", "success", {"machine_id": machine_id}))
    for event_type, event_status, metadata in log:
        admin.execute(
            "insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata, created_at)"
            " values (%s, %s, %s, %s, %s, %s)",
            (row, user, event_type, event_status, Jsonb(metadata), MOMENT),
        )
    return OriginalApp(user, row, name, machine_id)
