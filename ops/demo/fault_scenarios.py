"""The second half of the story: crashes, a failing Fly, an orphan, and the users who were there before Hangar."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ops.demo.cloud import Stage, expect

EXISTING_USERS = 25
CREATE_APP_FAILS = {
    "method": "POST",
    "path": "/v1/apps",
    "when": "before",
    "status": 503,
    "body": {"error": "try again"},
}


class FaultStory:
    """The acts, in order, on a stage that the first half has used. Each returns a word on what was seen."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.patient = stage.add_user("patient@example.test")
        self.outlasted = stage.add_user("outlasted@example.test")
        self.existing = [stage.add_user(f"existing-{number}@example.test") for number in range(1, EXISTING_USERS + 1)]

    def acts(self) -> list[tuple[str, Callable[[], str]]]:
        """Every line of the second half with the check behind it."""
        return [
            ("A machine's process dies for good: the sweep starts it again", self.repair),
            ("Fly fails three times: tried again after 2, 4 and 8 s, then active", self.retry),
            ("Fly fails for longer: error, one alert, a time for the next attempt", self.fail),
            ("Fly is back: the sweep alone recovers the user and resolves the alert", self.recover),
            ("An orphan with our proof is removed, a stranger's app is left alone", self.remove_orphan),
            (
                f"{EXISTING_USERS} users who paid before Hangar: nothing happens until they are migrated",
                self.leave_existing,
            ),
            (f"hangar migrate-users --apply --go-live: {EXISTING_USERS} apps, then everybody", self.migrate),
            ("The monitoring views agree with Fly", self.agree),
        ]

    def repair(self) -> str:
        rows = self.stage.sql("select * from public.user_fly_apps where status = 'active' order by created_at limit 1")
        row = rows[0]
        self.stage.crash(row["machine_id"])
        answer = self.stage.call_health({})
        on_fly = self.stage.app_on_fly(row["fly_app_name"]) or {"machines": []}
        machines = [(machine["id"], machine["state"]) for machine in on_fly["machines"]]
        expect(machines == [(row["machine_id"], "started")], f"Fly has {machines}, the sweep said {answer}")
        recovered = [each for each in self.stage.events(row["id"]) if each["event_type"] == "recovery_attempted"]
        expect(recovered, "the audit log says nothing of a recovery")
        return f"{row['fly_app_name']} repaired by one sweep"

    def retry(self) -> str:
        self.stage.set_faults({**CREATE_APP_FAILS, "times": 3})
        started = time.monotonic()
        self.stage.set_tier(self.patient, "pro")
        row = self.stage.wait_for_status(self.patient, "active")
        seconds = time.monotonic() - started
        waits = [
            float(each["metadata"]["wait_s"])
            for each in self.stage.events(row["id"])
            if each["event_type"] == "error_occurred"
        ]
        expect(waits == [2.0, 4.0, 8.0], f"the waits were {waits}")
        expect(seconds >= sum(waits), f"it took only {seconds:.1f} s")
        expect(row["retry_count"] == 0, f"retry_count is still {row['retry_count']}")
        return f"waits {', '.join(f'{wait:.0f} s' for wait in waits)}; each is a line of the audit log"

    def fail(self) -> str:
        self.stage.set_faults(CREATE_APP_FAILS)
        self.stage.set_tier(self.outlasted, "pro")
        row = self.stage.wait_for_status(self.outlasted, "error")
        failed = [each for each in self.stage.events(row["id"]) if each["event_type"] == "provision_failed"]
        expect(failed and failed[0]["metadata"]["max_retries_exceeded"], "no provision_failed in the audit log")
        expect(row["next_attempt_at"] is not None, "there is no next attempt")

        def look() -> list[dict[str, Any]]:
            return [each for each in self.stage.alerts() if str(self.outlasted) in json.dumps(each)]

        alerts = self.stage.wait_for("an alert", look, within_s=10)
        expect(len(alerts) == 1, f"{len(alerts)} alerts for one failure")
        return f"after {row['retry_count']} attempts: {row['error_code']}"

    def recover(self) -> str:
        self.stage.set_faults()
        row = self.stage.app(self.outlasted)
        due_in_s = (row["next_attempt_at"] - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, due_in_s) + 0.5)
        answer = self.stage.call_health({})
        row = self.stage.wait_for_status(self.outlasted, "active")
        expect(row["retry_count"] == 0, f"retry_count is still {row['retry_count']}")
        left = self.stage.sql(
            "select message from hangar.alerts where resolved_at is null and key = %s", str(row["id"])
        )
        expect(not left, f"the alert still stands: {left}")
        return f"{row['fly_app_name']}; the sweep provisioned {answer['provisioned']}"

    def remove_orphan(self) -> str:
        mark = str(self.stage.sql("select installation_id from hangar.settings")[0]["installation_id"]).replace(
            "-", ""
        )[:12]
        self.stage.create_app_on_fly("left-behind", f"hangar-{mark}-{'0' * 32}")
        self.stage.create_app_on_fly("a-strangers", "default")
        # In production an orphan has to be seen for a quarter of an hour; two sweeps it takes here, too.
        self.stage.sql("update hangar.settings set orphan_after_s = 0")
        found = self.stage.call_health({})["orphans"]
        expect(found == 1, f"the first sweep found {found} orphans")
        expect(self.stage.app_on_fly("left-behind"), "one sighting was enough to remove it")
        self.stage.call_health({})

        def look() -> bool:
            return self.stage.app_on_fly("left-behind") is None

        self.stage.wait_for("the orphan's removal", look, within_s=20)
        self.stage.sql("update hangar.settings set orphan_after_s = 900")
        expect(self.stage.app_on_fly("a-strangers"), "the stranger's app was removed")
        return "found once, removed at the second sighting, by intent and direct look"

    def leave_existing(self) -> str:
        self.stage.sql("update hangar.settings set live = false")
        self.stage.sql("update public.user_subscriptions set tier = 'pro' where user_id = any(%s)", self.existing)
        self.stage.call_health({})
        rows = self.stage.sql("select count(*) as n from public.user_fly_apps where user_id = any(%s)", self.existing)
        expect(rows[0]["n"] == 0, f"{rows[0]['n']} of them have a row")
        return "not live: no rows, no apps"

    def migrate(self) -> str:
        addresses = self.stage.addresses
        environ = {
            **os.environ,
            "SUPABASE_URL": addresses["supabase_url"],
            "SUPABASE_SECRET_KEY": addresses["secret_key"],
            "HANGAR_FUNCTIONS_URL": json.dumps({name: url for name, url in addresses["functions"].items() if url}),
            "HANGAR_WEBHOOK_SECRET": addresses["webhook_secret"],
        }
        command = [sys.executable, "-c", "from ops.cli import main; main()", "migrate-users", "--apply", "--go-live"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        expect(
            done.returncode == 0, f"migrate-users ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}"
        )
        rows = self.stage.sql(
            "select status, count(*) as n from public.user_fly_apps where user_id = any(%s) group by 1", self.existing
        )
        expect(rows == [{"status": "active", "n": EXISTING_USERS}], f"they are {rows}")
        expect(self.stage.sql("select live from hangar.settings")[0]["live"], "Hangar is not live")
        return f"{EXISTING_USERS} active, Hangar is live"

    def agree(self) -> str:
        summary = {row["status"]: row["apps"] for row in self.stage.sql("select * from public.fly_fleet_summary")}
        ours = [app for app in self.stage.world()["apps"] if app["name"].startswith("vyx-user-")]
        expect(summary == {"active": len(ours)}, f"the view says {summary}, Fly has {len(ours)} of our apps")
        failures = self.stage.sql("select * from public.fly_failures")
        expect(not failures, f"fly_failures has {failures}")
        return f"{len(ours)} active, no failures"
