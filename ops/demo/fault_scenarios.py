"""The demo, second half: crashes, a failing Fly, an orphan, and the users who paid before Hangar was installed."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ops.demo.cloud import DemoCloud, expect

EXISTING_USERS = 25
CREATE_APP_FAILS = {
    "method": "POST",
    "path": "/v1/apps",
    "when": "before",
    "status": 503,
    "body": {"error": "try again"},
}


class FaultScenarios:
    """The steps, in order, on a cloud that the first half has used. Each check returns a sentence about what it observed."""

    def __init__(self, cloud: DemoCloud) -> None:
        self.cloud = cloud
        self.retried = cloud.add_user("retried@example.test")
        self.failed = cloud.add_user("failed@example.test")
        self.existing = [cloud.add_user(f"existing-{number}@example.test") for number in range(1, EXISTING_USERS + 1)]

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Every line of the second half with its check."""
        return [
            ("A machine's process dies for good: the sweep starts it again", self.repair),
            ("Fly fails three times: retried after 2, 4 and 8 s, then active", self.retry),
            ("Fly fails for longer: error, one alert, a time for the next attempt", self.fail),
            ("Fly is back: the next sweep recovers the user and resolves the alert", self.recover),
            ("An orphan with our proof is removed, a foreign app is left alone", self.remove_orphan),
            (
                f"{EXISTING_USERS} users who paid before Hangar: nothing happens until they are migrated",
                self.leave_existing,
            ),
            (f"hangar migrate-users --apply --go-live: {EXISTING_USERS} apps, then live for everyone", self.migrate),
            ("The monitoring views agree with Fly", self.agree),
        ]

    def repair(self) -> str:
        rows = self.cloud.sql("select * from public.user_fly_apps where status = 'active' order by created_at limit 1")
        row = rows[0]
        self.cloud.crash(row["machine_id"])
        report = self.cloud.call_health({})
        on_fly = self.cloud.app_on_fly(row["fly_app_name"]) or {"machines": []}
        machines = [(machine["id"], machine["state"]) for machine in on_fly["machines"]]
        expect(machines == [(row["machine_id"], "started")], f"Fly has {machines}, the sweep reported {report}")
        recovered = [event for event in self.cloud.events(row["id"]) if event["event_type"] == "recovery_attempted"]
        expect(recovered, "the audit log has no recovery")
        return f"{row['fly_app_name']} repaired by one sweep"

    def retry(self) -> str:
        self.cloud.set_faults({**CREATE_APP_FAILS, "times": 3})
        started = time.monotonic()
        self.cloud.set_tier(self.retried, "pro")
        row = self.cloud.wait_for_status(self.retried, "active")
        seconds = time.monotonic() - started
        waits = [
            float(event["metadata"]["wait_s"])
            for event in self.cloud.events(row["id"])
            if event["event_type"] == "error_occurred"
        ]
        expect(waits == [2.0, 4.0, 8.0], f"the waits were {waits}")
        expect(seconds >= sum(waits), f"it took only {seconds:.1f} s")
        expect(row["retry_count"] == 0, f"retry_count is still {row['retry_count']}")
        return f"waits {', '.join(f'{wait:.0f} s' for wait in waits)}; each is an entry of the audit log"

    def fail(self) -> str:
        self.cloud.set_faults(CREATE_APP_FAILS)
        self.cloud.set_tier(self.failed, "pro")
        row = self.cloud.wait_for_status(self.failed, "error")
        failed = [event for event in self.cloud.events(row["id"]) if event["event_type"] == "provision_failed"]
        expect(failed and failed[0]["metadata"]["max_retries_exceeded"], "no provision_failed in the audit log")
        expect(row["next_attempt_at"] is not None, "there is no next attempt")

        def look() -> list[dict[str, Any]]:
            return [alert for alert in self.cloud.alerts() if str(self.failed) in json.dumps(alert)]

        alerts = self.cloud.wait_for("an alert", look, within_s=10)
        expect(len(alerts) == 1, f"{len(alerts)} alerts for one failure")
        return f"after {row['retry_count']} attempts: {row['error_code']}"

    def recover(self) -> str:
        self.cloud.set_faults()
        row = self.cloud.app(self.failed)
        due_in_s = (row["next_attempt_at"] - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, due_in_s) + 0.5)
        report = self.cloud.call_health({})
        row = self.cloud.wait_for_status(self.failed, "active")
        expect(row["retry_count"] == 0, f"retry_count is still {row['retry_count']}")
        open_alerts = self.cloud.sql(
            "select message from hangar.alerts where resolved_at is null and metadata ->> 'user_id' = %s",
            str(self.failed),
        )
        expect(not open_alerts, f"the alert is still open: {open_alerts}")
        return f"{row['fly_app_name']}; the sweep provisioned {report['provisioned']}"

    def remove_orphan(self) -> str:
        proof = str(self.cloud.sql("select installation_id from hangar.settings")[0]["installation_id"]).replace(
            "-", ""
        )[:12]
        self.cloud.create_app_on_fly("left-behind", f"hangar-{proof}-{'0' * 32}")
        self.cloud.create_app_on_fly("foreign-app", "default")
        # In production an orphan must have been seen for 15 minutes. Two sightings are required here too.
        self.cloud.sql("update hangar.settings set orphan_after_s = 0")
        found = self.cloud.call_health({})["orphans"]
        expect(found == 1, f"the first sweep found {found} orphans")
        expect(self.cloud.app_on_fly("left-behind"), "one sighting was enough to remove it")
        self.cloud.call_health({})

        def look() -> bool:
            return self.cloud.app_on_fly("left-behind") is None

        self.cloud.wait_for("the orphan's removal", look, within_s=20)
        self.cloud.sql("update hangar.settings set orphan_after_s = 900")
        expect(self.cloud.app_on_fly("foreign-app"), "the foreign app was removed")
        return "found by the first sweep, removed by the second after a direct check"

    def leave_existing(self) -> str:
        self.cloud.sql("update hangar.settings set live = false")
        self.cloud.sql("update public.user_subscriptions set tier = 'pro' where user_id = any(%s)", self.existing)
        self.cloud.call_health({})
        rows = self.cloud.sql("select count(*) as n from public.user_fly_apps where user_id = any(%s)", self.existing)
        expect(rows[0]["n"] == 0, f"{rows[0]['n']} of them have a row")
        return "not live: no rows, no apps"

    def migrate(self) -> str:
        self.cloud.run_command("migrate-users", "--apply", "--go-live")
        rows = self.cloud.sql(
            "select status, count(*) as n from public.user_fly_apps where user_id = any(%s) group by 1", self.existing
        )
        expect(rows == [{"status": "active", "n": EXISTING_USERS}], f"they are {rows}")
        expect(self.cloud.sql("select live from hangar.settings")[0]["live"], "Hangar is not live")
        return f"{EXISTING_USERS} active, Hangar is live"

    def agree(self) -> str:
        summary = {row["status"]: row["apps"] for row in self.cloud.sql("select * from public.fly_fleet_summary")}
        ours = [app for app in self.cloud.fly_state()["apps"] if app["name"].startswith("vyx-user-")]
        expect(summary == {"active": len(ours)}, f"the view has {summary}, Fly has {len(ours)} of our apps")
        failures = self.cloud.sql("select * from public.fly_failures")
        expect(not failures, f"fly_failures has {failures}")
        return f"{len(ours)} active, no failures"
