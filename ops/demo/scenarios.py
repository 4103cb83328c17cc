"""The first half of the story: the whole way of a paying user, and the three things that most often go wrong on it."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from ops.demo.cloud import Stage, expect
from shared.domain.naming import app_name

CREATE_MACHINE = "/v1/apps/*/machines"


class Story:
    """The acts, in order, on one stage. Each returns a word on what was seen."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.first = stage.add_user("first@example.test")
        self.forgotten = stage.add_user("forgotten@example.test")
        self.unlucky = stage.add_user("unlucky@example.test")
        self.cut_off = stage.add_user("cut-off@example.test")
        self.bystander = stage.add_user("bystander@example.test")
        self.trader = stage.add_trader(self.first, "first's own")
        self.other_trader = stage.add_trader(self.bystander, "somebody else's")
        self.old_name = ""

    def acts(self) -> list[tuple[str, Callable[[], str]]]:
        """Every line of the story with the check behind it."""
        return [
            ("Installing changed nobody", self.nobody_has_an_app),
            ("Free to Pro by one SQL statement: an active app at 6.00 a month", self.upgrade),
            ("Inside the machine: USER_ID and RUN_MODE are the user's", self.look_inside),
            ("The backend runs only that user's traders, its signal names the app", self.see_signal),
            ("The sweep says healthy, by the backend's own checks", self.sweep),
            ("A nudge is lost on the way: nobody is told (checked below)", self.lose_a_nudge),
            ("A stranger holds the name on Fly: the user gets the next one", self.take_the_name),
            ("The answer to 'create machine' is lost: adopted, not doubled", self.lose_an_answer),
            ("Pro to Free: stopped, deleted, confirmed gone; the signals stay", self.downgrade),
            ("Pro again: a new app under a new name", self.upgrade_again),
            ("The lost nudge: the minute's drain provisioned all the same", self.find_the_forgotten),
            ("On Fly: exactly one app and one machine for each entitled user", self.count_everything),
        ]

    def nobody_has_an_app(self) -> str:
        rows = self.stage.sql("select count(*) as n from public.user_fly_apps")
        expect(rows[0]["n"] == 0, f"{rows[0]['n']} rows exist before anybody paid")
        expect(not self.stage.world()["apps"], "Fly has apps before anybody paid")
        return "no rows, no apps"

    def lose_a_nudge(self) -> str:
        self.stage.set_tier_and_lose_the_nudge(self.forgotten, "pro")
        row = self.stage.app(self.forgotten)
        expect(row["status"] == "provisioning", f"the row is {row['status']}")
        return "the row is wanted, nobody was told"

    def upgrade(self) -> str:
        self.stage.set_tier(self.first, "pro")
        row = self.stage.wait_for_status(self.first, "active")
        expect(row["monthly_cost_estimate_usd"] == Decimal("6.00"), f"it costs {row['monthly_cost_estimate_usd']}")
        on_fly = self.stage.app_on_fly(row["fly_app_name"])
        expect(on_fly, f"Fly has no app {row['fly_app_name']}")
        states = [machine["state"] for machine in (on_fly or {})["machines"]]
        expect(states == ["started"], f"its machines are {states}")
        lines = [(event["event_type"], event["status"]) for event in self.stage.events(row["id"])]
        expect(lines.count(("action", "intent")) == lines.count(("action", "succeeded")), f"the audit log says {lines}")
        return f"{row['fly_app_name']}, machine {row['machine_id']}"

    def look_inside(self) -> str:
        row = self.stage.app(self.first)

        def printenv(name: str) -> str:
            return self.stage.run_in_machine(row["fly_app_name"], row["machine_id"], "printenv", name)

        user, mode = printenv("USER_ID"), printenv("RUN_MODE")
        expect(user == str(self.first), f"USER_ID is {user!r}")
        expect(mode == "user_dedicated", f"RUN_MODE is {mode!r}")
        return f"RUN_MODE={mode}"

    def see_signal(self) -> str:
        row = self.stage.app(self.first)

        def look() -> list[dict[str, Any]]:
            return self.stage.sql("select * from public.signals where fly_app_id = %s", row["id"])

        signals = self.stage.wait_for("a signal of the app", look)
        traders = {signal["trader_id"] for signal in signals}
        expect(traders == {self.trader}, f"the app's signals come from traders {traders}")
        return f"{len(signals)} signal(s), all of this user's trader"

    def sweep(self) -> str:
        def look() -> dict[str, Any] | None:
            answer = self.stage.call_health({})
            row = self.stage.app(self.first)
            expect(row["health_status"] == "healthy", f"health is {row['health_status']}, the sweep said {answer}")
            return answer

        answer = self.stage.wait_for("healthy", look, within_s=60)
        return f"{answer['healthy']} healthy with {answer['fly_calls']} Fly calls"

    def _name_app(self, user: UUID, seq: int) -> str:
        return app_name(self.stage.sql("select app_prefix from hangar.settings")[0]["app_prefix"], user, seq)

    def take_the_name(self) -> str:
        wanted = self._name_app(self.unlucky, 0)
        self.stage.set_foreign_apps(wanted)
        self.stage.set_tier(self.unlucky, "pro")
        row = self.stage.wait_for_status(self.unlucky, "active")
        expect(row["fly_app_name"] == self._name_app(self.unlucky, 1), f"the app is called {row['fly_app_name']}")
        return f"{wanted} is a stranger's, took {row['fly_app_name']}"

    def lose_an_answer(self) -> str:
        # Of this app alone: the minute's drain may be making another's machine.
        path = CREATE_MACHINE.replace("*", self._name_app(self.cut_off, 0))
        fault = {"method": "POST", "path": path, "when": "after", "disconnect": True, "times": 1}
        self.stage.set_faults(fault)
        self.stage.set_tier(self.cut_off, "pro")
        row = self.stage.wait_for_status(self.cut_off, "active")
        self.stage.set_faults()
        on_fly = self.stage.app_on_fly(row["fly_app_name"]) or {"machines": []}
        machines = [machine["id"] for machine in on_fly["machines"]]
        expect(machines == [row["machine_id"]], f"Fly has machines {machines}, the row knows {row['machine_id']}")
        failed = [event for event in self.stage.events(row["id"]) if event["event_type"] == "error_occurred"]
        expect(failed, "the lost answer left no line in the audit log")
        return f"one machine, {row['machine_id']}"

    def downgrade(self) -> str:
        before = self.stage.app(self.first)
        signals = self.stage.sql("select count(*) as n from public.signals where user_id = %s", self.first)[0]["n"]
        self.stage.set_tier(self.first, "free")
        row = self.stage.wait_for_status(self.first, "deleted")
        expect(row["id"] == before["id"], "another row was deleted")
        expect(self.stage.app_on_fly(row["fly_app_name"]) is None, "Fly still has the app")
        after = self.stage.sql("select count(*) as n from public.signals where user_id = %s", self.first)[0]["n"]
        expect(after >= signals, f"{signals} signals became {after}")
        self.old_name = row["fly_app_name"]
        return f"{self.old_name} is gone, {after} signal(s) kept"

    def upgrade_again(self) -> str:
        self.stage.set_tier(self.first, "pro")
        row = self.stage.wait_for_status(self.first, "active")
        expect(row["fly_app_name"] != self.old_name, "the old name was used again")
        return str(row["fly_app_name"])

    def find_the_forgotten(self) -> str:
        row = self.stage.wait_for_status(self.forgotten, "active", within_s=75)
        started = next(event for event in self.stage.events(row["id"]) if event["event_type"] == "provision_started")
        runs = self.stage.sql(
            "select r.start_time from cron.job_run_details r join cron.job j using (jobid)"
            " where j.jobname = 'hangar-drain' and r.start_time between %s and %s",
            row["created_at"],
            started["created_at"],
        )
        expect(runs, "something else than the scheduler's drain provisioned it")
        return f"{row['fly_app_name']}, after {(started['created_at'] - row['created_at']).total_seconds():.0f} s"

    def count_everything(self) -> str:
        rows = self.stage.sql("select fly_app_name, machine_id from public.user_fly_apps where deleted_at is null")
        wanted = {row["fly_app_name"]: [row["machine_id"]] for row in rows}
        found = {app["name"]: [machine["id"] for machine in app["machines"]] for app in self.stage.world()["apps"]}
        expect(wanted == found, f"the database has {wanted}, Fly has {found}")
        return f"{len(found)} apps, {len(found)} machines"
