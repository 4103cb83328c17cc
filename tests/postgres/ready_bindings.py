"""What the tests of examples/bindings share: a project without the default tables, and the host's writes and Hangar's answers."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from tests.postgres.conftest import Hangar
from tests.support.databases import drop_database, fresh_database

BINDINGS = Path(__file__).resolve().parents[2] / "examples" / "bindings"
NOW = datetime.now(UTC)


def hours(count: float) -> datetime:
    """The time this many hours from now."""
    return NOW + timedelta(hours=count)


class Host(Hangar):
    """A project whose subscriptions are not in user_subscriptions. Host writes are by the database owner, who is no superuser."""

    def __init__(self, url: str, connect: Any) -> None:
        super().__init__(url, connect)
        self.owner = connect(url, "postgres")

    def bind(self, *files: str) -> None:
        """Run these files of examples/bindings."""
        for name in files:
            self.owner.execute((BINDINGS / name).read_bytes())

    def write(self, query: str, *values: Any) -> None:
        """A write of the host, as owner; and what Hangar's next drain does."""
        self.owner.execute(query.encode(), values)
        self.drain()

    def drain(self) -> None:
        """Follow the marks, and look at every user if the answer says so, as the drain does."""
        everybody, left = False, True
        while left:
            answer = self.rpc("fly_apply_marks")
            everybody, left = everybody or answer["everybody"], bool(answer["left"])
        if everybody:
            self.sync()

    def sync(self) -> None:
        after, first = None, True
        while first or after:
            after, first = self.rpc("fly_sync_entitlements", after=after)["next"], False

    def wants(self, user: uuid.UUID) -> str | None:
        """The tier of the app that the user should have; None if the user should have none."""
        row = self.row(user)
        return row["tier"] if row and row["desired_state"] == "present" else None

    def why(self, user: uuid.UUID) -> str:
        """What `hangar explain` gives as the reason."""
        return self.rpc("fly_user_status", user=user)["why"]

    def email(self, user: uuid.UUID) -> str | None:
        return self.one("select hangar.user_email(%s)", user)

    def alerts(self) -> list[tuple[str, str]]:
        rows = self.sql("select kind, key from hangar.alerts where resolved_at is null order by kind, key")
        return [(row["kind"], row["key"]) for row in rows if row["kind"] != "nudges"]

    def sign_up(self, name: str) -> uuid.UUID:
        """A user of Supabase Auth."""
        user = uuid.uuid4()
        self.sql("insert into auth.users (id, email) values (%s, %s)", user, f"{name}@example.test")
        return user

    def plans(self, **tiers: int) -> None:
        """Plans by tier, with their memory; 0 MB is a plan without an app of its own."""
        for tier, memory_mb in tiers.items():
            self.plan(tier, memory_mb)

    def plan(self, tier: str, memory_mb: int) -> None:
        self.sql(
            "insert into fly_plans (tier, dedicated, memory_mb) values (%s, %s, %s)"
            " on conflict (tier) do update set memory_mb = excluded.memory_mb",
            tier,
            memory_mb > 0,
            memory_mb or 512,
        )


@contextmanager
def open_host(postgres: Any, connect: Any) -> Iterator[Host]:
    """Hangar, installed and live, in a project without user_subscriptions and user_profiles."""
    url = fresh_database(postgres, host_tables=False)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("update hangar.settings set live = true, removal_hold_s = 0")
    yield Host(url, connect)
    drop_database(url)
