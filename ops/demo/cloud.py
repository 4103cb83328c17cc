"""The demo's access to a running local cloud, from outside only: SQL, Fly's API, `/_sim` and the functions."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import psycopg
from psycopg.rows import dict_row

T = TypeVar("T")


class CheckFailed(Exception):  # noqa: N818  a result of the demo, not an error in it
    """A check of the demo failed. The message says what was observed instead."""


def expect(condition: object, message: str) -> None:
    """Raise CheckFailed with `message` unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


@dataclass
class DemoCloud:
    """One local cloud, reached by its addresses (the content of `.hangar/dev.json`)."""

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
        """Run SQL as the superuser of the database."""
        cursor = self._database.execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def add_user(self, email: str) -> uuid.UUID:
        """Sign a user up. The host's trigger creates a profile and a free subscription."""
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
        """The one SQL statement that the host runs."""
        self.sql("update public.user_subscriptions set tier = %s where user_id = %s", tier, user_id)

    def set_tier_without_nudge(self, user_id: uuid.UUID, tier: str) -> None:
        """The same, but drop the HTTP call that the change queued, as pg_net drops its queue in a crash."""
        with self._database.transaction():
            self.set_tier(user_id, tier)
            self.sql("delete from net.http_request_queue")

    def app(self, user_id: uuid.UUID) -> dict[str, Any]:
        """The user's live row, else the newest deleted one. CheckFailed when there is none."""
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

    def fly_state(self) -> dict[str, Any]:
        """Everything on Fly, from the simulator's own state."""
        state: dict[str, Any] = self._fly.get("/_sim/world").raise_for_status().json()
        return state

    def app_on_fly(self, name: str) -> dict[str, Any] | None:
        return next((app for app in self.fly_state()["apps"] if app["name"] == name), None)

    def set_faults(self, *faults: dict[str, Any]) -> None:
        self._fly.put("/_sim/faults", json=list(faults)).raise_for_status()

    def set_foreign_apps(self, *names: str) -> None:
        self._fly.put("/_sim/foreign-apps", json=list(names)).raise_for_status()

    def crash(self, machine_id: str) -> None:
        """Stop the machine as after a crash that used up its restarts."""
        self._fly.post(f"/_sim/machines/{machine_id}/crash").raise_for_status()

    def create_app_on_fly(self, name: str, network: str) -> None:
        """Create an app that our database has no record of."""
        body = {"app_name": name, "org_slug": self.addresses["fly_org"], "network": network}
        self._fly.post("/v1/apps", json=body).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that the webhook has received so far."""
        received: list[dict[str, Any]] = (
            httpx.get(self.addresses["alerts_url"], trust_env=False).raise_for_status().json()
        )
        return received

    def run_in_machine(self, app: str, machine_id: str, *command: str) -> str:
        """Run a command in a machine and return its standard output."""
        path = f"/v1/apps/{app}/machines/{machine_id}/exec"
        result = self._fly.post(path, json={"command": list(command), "timeout": 10}).raise_for_status().json()
        return str(result["stdout"]).strip()

    def run_command(self, *arguments: str) -> str:
        """Run `hangar` as an operator does, and return what it printed. CheckFailed if it ends with an error."""
        environ = {
            **os.environ,
            "SUPABASE_URL": self.addresses["supabase_url"],
            "SUPABASE_SECRET_KEY": self.addresses["secret_key"],
            "HANGAR_FUNCTIONS_URL": json.dumps({name: url for name, url in self.addresses["functions"].items() if url}),
            "HANGAR_WEBHOOK_SECRET": self.addresses["webhook_secret"],
        }
        command = [sys.executable, "-c", "from ops.cli import main; main()", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        said = (done.stdout + done.stderr)[-400:]
        expect(done.returncode == 0, f"hangar {arguments[0]} ended with {done.returncode}: {said}")
        return done.stdout

    def scale_by_hand(self, app: str, machine_id: str, memory_mb: int) -> None:
        """Give a machine more memory at Fly, as somebody with `fly scale` does."""
        path = f"/v1/apps/{app}/machines/{machine_id}"
        config = self._fly.get(path).raise_for_status().json()["config"]
        config["guest"]["memory_mb"] = memory_mb
        self._fly.post(path, json={"config": config}).raise_for_status()

    def call_health(self, body: dict[str, Any]) -> dict[str, Any]:
        """Call the health function as the scheduler does."""
        headers = {"X-Hangar-Secret": self.addresses["static_secret"], "content-type": "application/json"}
        response = httpx.post(
            self.addresses["functions"]["health"],
            headers=headers,
            content=json.dumps(body),
            timeout=120,
            trust_env=False,
        )
        expect(response.status_code == httpx.codes.OK, f"health answered {response.status_code}: {response.text[:300]}")
        report: dict[str, Any] = response.json()
        return report

    def wait_for(self, what: str, look: Callable[[], T | None], within_s: float = 45) -> T:
        """Call `look` until it returns something true. CheckFailed with its last message after `within_s`."""
        ends_at, last = time.monotonic() + within_s, "nothing was found"
        while time.monotonic() < ends_at:
            try:
                found = look()
            except CheckFailed as not_yet:
                last = str(not_yet)
            else:
                if found:
                    return found
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
