"""The demo, first half: the life of a paying user, and the three faults that happen most often on the way."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from ops.demo.cloud import DemoCloud, expect
from shared.domain.naming import app_name

CREATE_MACHINE = "/v1/apps/*/machines"


class LifecycleScenarios:
    """The steps, in order, on one cloud. Each check returns a sentence about what it observed."""

    def __init__(self, cloud: DemoCloud) -> None:
        self.cloud = cloud
        self.first = cloud.add_user("first@example.test")
        self.without_nudge = cloud.add_user("without-nudge@example.test")
        self.name_taken = cloud.add_user("name-taken@example.test")
        self.answer_lost = cloud.add_user("answer-lost@example.test")
        self.free = cloud.add_user("free@example.test")
        self.trader = cloud.add_trader(self.first, "trader of the first user")
        self.other_trader = cloud.add_trader(self.free, "trader of another user")
        self.old_name = ""
        self.lost_at = datetime.now(UTC)

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Every line of the first half with its check."""
        return [
            ("Installing does not provision or change any user", self.nobody_has_an_app),
            ("Free to Pro by one SQL statement: an active app at 6.00 USD a month", self.upgrade),
            ("Inside the machine: USER_ID and RUN_MODE are the user's", self.read_environment),
            ("The backend runs only that user's traders, its signal names the app", self.see_signal),
            ("The sweep reports the app as healthy, by the backend's own checks", self.sweep),
            ("A nudge is lost: the change stays in the database (checked below)", self.lose_nudge),
            ("The app name is taken by a foreign app: the user gets the next name", self.take_name),
            ("The answer to 'create machine' is lost: the machine is adopted, not doubled", self.lose_answer),
            ("Pro to Free: stopped, deleted, deletion confirmed; the signals stay", self.downgrade),
            ("Pro again: a new app under a new name", self.upgrade_again),
            ("The lost nudge: the drain of the next minute provisioned the app", self.find_user_without_nudge),
            ("On Fly: exactly one app and one machine for each entitled user", self.count_everything),
        ]

    def nobody_has_an_app(self) -> str:
        rows = self.cloud.sql("select count(*) as n from public.user_fly_apps")
        expect(rows[0]["n"] == 0, f"{rows[0]['n']} rows exist before any user paid")
        expect(not self.cloud.fly_state()["apps"], "Fly has apps before any user paid")
        return "no rows, no apps"

    def lose_nudge(self) -> str:
        self.cloud.set_tier_without_nudge(self.without_nudge, "pro")
        marks = self.cloud.sql("select marked_at from hangar.marks where user_id = %s", self.without_nudge)
        expect(marks, "the change left no mark")
        self.lost_at = marks[0]["marked_at"]
        return "the change is marked, no function was called"

    def upgrade(self) -> str:
        self.cloud.set_tier(self.first, "pro")
        row = self.cloud.wait_for_status(self.first, "active")
        expect(row["monthly_cost_estimate_usd"] == Decimal("6.00"), f"it costs {row['monthly_cost_estimate_usd']}")
        app = self.cloud.app_on_fly(row["fly_app_name"])
        expect(app, f"Fly has no app {row['fly_app_name']}")
        states = [machine["state"] for machine in (app or {})["machines"]]
        expect(states == ["started"], f"its machines are {states}")
        log = [(event["event_type"], event["status"]) for event in self.cloud.events(row["id"])]
        expect(log.count(("action", "intent")) == log.count(("action", "succeeded")), f"the audit log has {log}")
        return f"{row['fly_app_name']}, machine {row['machine_id']}"

    def read_environment(self) -> str:
        row = self.cloud.app(self.first)

        def printenv(name: str) -> str:
            return self.cloud.run_in_machine(row["fly_app_name"], row["machine_id"], "printenv", name)

        user, mode = printenv("USER_ID"), printenv("RUN_MODE")
        expect(user == str(self.first), f"USER_ID is {user!r}")
        expect(mode == "user_dedicated", f"RUN_MODE is {mode!r}")
        return f"RUN_MODE={mode}"

    def see_signal(self) -> str:
        row = self.cloud.app(self.first)

        def look() -> list[dict[str, Any]]:
            return self.cloud.sql("select * from public.signals where fly_app_id = %s", row["id"])

        signals = self.cloud.wait_for("a signal of the app", look)
        traders = {signal["trader_id"] for signal in signals}
        expect(traders == {self.trader}, f"the app's signals come from traders {traders}")
        return f"{len(signals)} signal(s), all from this user's trader"

    def sweep(self) -> str:
        def look() -> dict[str, Any] | None:
            report = self.cloud.call_health({})
            row = self.cloud.app(self.first)
            expect(row["health_status"] == "healthy", f"health is {row['health_status']}, the sweep reported {report}")
            return report

        report = self.cloud.wait_for("healthy", look, within_s=60)
        return f"{report['healthy']} healthy with {report['fly_calls']} Fly calls"

    def _name_app(self, user: UUID, seq: int) -> str:
        return app_name(self.cloud.sql("select app_prefix from hangar.settings")[0]["app_prefix"], user, seq)

    def take_name(self) -> str:
        taken = self._name_app(self.name_taken, 0)
        self.cloud.set_foreign_apps(taken)
        self.cloud.set_tier(self.name_taken, "pro")
        row = self.cloud.wait_for_status(self.name_taken, "active")
        expect(row["fly_app_name"] == self._name_app(self.name_taken, 1), f"the app is named {row['fly_app_name']}")
        return f"{taken} is a foreign app, the user has {row['fly_app_name']}"

    def lose_answer(self) -> str:
        # For this app only, because the drain may be creating another user's machine.
        path = CREATE_MACHINE.replace("*", self._name_app(self.answer_lost, 0))
        fault = {"method": "POST", "path": path, "when": "after", "disconnect": True, "times": 1}
        self.cloud.set_faults(fault)
        self.cloud.set_tier(self.answer_lost, "pro")
        row = self.cloud.wait_for_status(self.answer_lost, "active")
        self.cloud.set_faults()
        app = self.cloud.app_on_fly(row["fly_app_name"]) or {"machines": []}
        machines = [machine["id"] for machine in app["machines"]]
        expect(machines == [row["machine_id"]], f"Fly has machines {machines}, the row has {row['machine_id']}")
        failed = [event for event in self.cloud.events(row["id"]) if event["event_type"] == "error_occurred"]
        expect(failed, "the audit log has no entry for the lost answer")
        return f"one machine, {row['machine_id']}"

    def downgrade(self) -> str:
        before = self.cloud.app(self.first)
        signals = self.cloud.sql("select count(*) as n from public.signals where user_id = %s", self.first)[0]["n"]
        self.cloud.set_tier(self.first, "free")
        row = self.cloud.wait_for_status(self.first, "deleted")
        expect(row["id"] == before["id"], "another row was deleted")
        expect(self.cloud.app_on_fly(row["fly_app_name"]) is None, "Fly still has the app")
        after = self.cloud.sql("select count(*) as n from public.signals where user_id = %s", self.first)[0]["n"]
        expect(after >= signals, f"{signals} signals became {after}")
        self.old_name = row["fly_app_name"]
        return f"{self.old_name} is deleted, {after} signal(s) kept"

    def upgrade_again(self) -> str:
        self.cloud.set_tier(self.first, "pro")
        row = self.cloud.wait_for_status(self.first, "active")
        expect(row["fly_app_name"] != self.old_name, "the old name was used again")
        return str(row["fly_app_name"])

    def find_user_without_nudge(self) -> str:
        row = self.cloud.wait_for_status(self.without_nudge, "active", within_s=75)
        started = next(event for event in self.cloud.events(row["id"]) if event["event_type"] == "provision_started")
        runs = self.cloud.sql(
            "select r.start_time from cron.job_run_details r join cron.job j using (jobid)"
            " where j.jobname = 'hangar-drain' and r.start_time between %s and %s",
            self.lost_at,
            started["created_at"],
        )
        expect(runs, "it was not the scheduler's drain that provisioned it")
        return f"{row['fly_app_name']}, after {(started['created_at'] - self.lost_at).total_seconds():.0f} s"

    def count_everything(self) -> str:
        rows = self.cloud.sql("select fly_app_name, machine_id from public.user_fly_apps where deleted_at is null")
        recorded = {row["fly_app_name"]: [row["machine_id"]] for row in rows}
        apps = self.cloud.fly_state()["apps"]
        on_fly = {app["name"]: [machine["id"] for machine in app["machines"]] for app in apps}
        expect(recorded == on_fly, f"the database has {recorded}, Fly has {on_fly}")
        return f"{len(on_fly)} apps, {len(on_fly)} machines"
