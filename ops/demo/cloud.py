"""What the demo stands on: a local cloud of its own, seen only from outside (SQL, Fly's API, `/_sim`, the functions)."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import psycopg
from psycopg.rows import dict_row

T = TypeVar("T")


class CheckFailed(Exception):  # noqa: N818  the demo's own word
    """A line of the story did not come true; the message says what was seen instead."""


def expect(truth: object, otherwise: str) -> None:
    """Raise CheckFailed with what was seen `otherwise`."""
    if not truth:
        raise CheckFailed(otherwise)


@dataclass
class Stage:
    """One local cloud by its addresses (the keys of `.hangar/dev.json`)."""

    addresses: dict[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        self._database = psycopg.connect(self.addresses["database_url"], autocommit=True, row_factory=dict_row)
        authorization = {"Authorization": f"Bearer {self.addresses['fly_api_token']}"}
        self._fly = httpx.Client(
            base_url=self.addresses["fly_api_url"], headers=authorization, timeout=30, trust_env=False
        )

    def close(self) -> None:
        self._database.close()
        self._fly.close()

    def sql(self, query: Any, *params: Any) -> list[dict[str, Any]]:
        """Run SQL as the host's own superuser."""
        cursor = self._database.execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def add_user(self, email: str) -> uuid.UUID:
        """Sign somebody up: the host's own trigger gives them a profile and a free subscription."""
        user_id = uuid.uuid4()
        self.sql("insert into auth.users (id, email) values (%s, %s)", user_id, email)
        return user_id

    def add_trader(self, user_id: uuid.UUID, name: str) -> uuid.UUID:
        rows = self.sql(
            "insert into public.traders (user_id, name, enabled, is_built_in) values (%s, %s, true, false) returning id",
            user_id,
            name,
        )
        trader: uuid.UUID = rows[0]["id"]
        return trader

    def set_tier(self, user_id: uuid.UUID, tier: str) -> None:
        """The one SQL statement the host runs."""
        self.sql("update public.user_subscriptions set tier = %s where user_id = %s", tier, user_id)

    def set_tier_and_lose_the_nudge(self, user_id: uuid.UUID, tier: str) -> None:
        """The same, with the HTTP call that the change queued lost, as pg_net loses its queue in a crash."""
        with self._database.transaction():
            self.set_tier(user_id, tier)
            self.sql("delete from net.http_request_queue")

    def app(self, user_id: uuid.UUID) -> dict[str, Any]:
        """The user's live row; the newest deleted one when none is live; CheckFailed without any."""
        rows = self.sql(
            "select * from public.user_fly_apps where user_id = %s order by (deleted_at is null) desc, created_at desc limit 1",
            user_id,
        )
        expect(rows, f"user {user_id} has no row in user_fly_apps")
        return rows[0]

    def events(self, app_id: uuid.UUID) -> list[dict[str, Any]]:
        return self.sql(
            "select * from public.user_fly_app_events where fly_app_id = %s order by created_at, id", app_id
        )

    def world(self) -> dict[str, Any]:
        """Everything on Fly, as the simulator itself sees it."""
        world: dict[str, Any] = self._fly.get("/_sim/world").raise_for_status().json()
        return world

    def app_on_fly(self, name: str) -> dict[str, Any] | None:
        return next((app for app in self.world()["apps"] if app["name"] == name), None)

    def set_faults(self, *faults: dict[str, Any]) -> None:
        self._fly.put("/_sim/faults", json=list(faults)).raise_for_status()

    def set_foreign_apps(self, *names: str) -> None:
        self._fly.put("/_sim/foreign-apps", json=list(names)).raise_for_status()

    def crash(self, machine_id: str) -> None:
        """Kill the machine's process for good: its restarts are exhausted, it is stopped."""
        self._fly.post(f"/_sim/machines/{machine_id}/crash").raise_for_status()

    def create_app_on_fly(self, name: str, network: str) -> None:
        """An app that our database knows nothing of."""
        body = {"app_name": name, "org_slug": self.addresses["fly_org"], "network": network}
        self._fly.post("/v1/apps", json=body).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """What the alert webhook has received so far."""
        received: list[dict[str, Any]] = (
            httpx.get(self.addresses["alerts_url"], trust_env=False).raise_for_status().json()
        )
        return received

    def run_in_machine(self, app: str, machine_id: str, *command: str) -> str:
        """`exec` in a machine; its standard output."""
        path = f"/v1/apps/{app}/machines/{machine_id}/exec"
        answer = self._fly.post(path, json={"command": list(command), "timeout": 10}).raise_for_status().json()
        return str(answer["stdout"]).strip()

    def call_health(self, body: dict[str, Any]) -> dict[str, Any]:
        """Call the health function as the scheduler does."""
        headers = {"X-Hangar-Secret": self.addresses["static_secret"], "content-type": "application/json"}
        answer = httpx.post(
            self.addresses["functions"]["health"],
            headers=headers,
            content=json.dumps(body),
            timeout=120,
            trust_env=False,
        )
        expect(answer.status_code == httpx.codes.OK, f"health answered {answer.status_code}: {answer.text[:300]}")
        told: dict[str, Any] = answer.json()
        return told

    def wait_for(self, what: str, look: Callable[[], T | None], within_s: float = 45) -> T:
        """The first true thing `look` gives; CheckFailed with its last word when time is up."""
        ends_at, last = time.monotonic() + within_s, "nothing was seen"
        while time.monotonic() < ends_at:
            try:
                seen = look()
            except CheckFailed as not_yet:
                last = str(not_yet)
            else:
                if seen:
                    return seen
            time.sleep(0.1)
        raise CheckFailed(f"{what} did not happen within {within_s:.0f} s: {last}")

    def wait_for_status(self, user_id: uuid.UUID, status: str, within_s: float = 45) -> dict[str, Any]:
        """The user's row once it has this status."""

        def look() -> dict[str, Any] | None:
            row = self.app(user_id)
            expect(
                row["status"] == status,
                f"{row['fly_app_name']} is {row['status']}, error {row['error_code']}: {row['error_message']}",
            )
            return row

        return self.wait_for(f"status {status!r} of user {user_id}", look, within_s)
