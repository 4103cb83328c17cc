"""The demo, last part: a release in waves, one that stops by itself, and a machine that somebody has changed by hand."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.demo.cloud import DemoCloud, expect

APPS = 6
IMAGE = "registry.fly.io/vyx-app"
PATIENCE_S = 90


class ReleaseScenarios:
    """The steps, in order, on a cloud with running apps. Each check returns a sentence about what it observed."""

    def __init__(self, cloud: DemoCloud) -> None:
        self.cloud = cloud

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Every line about releases with its check."""
        return [
            (
                f"hangar release: a new image for {APPS} users in waves, each app proved before the next wave",
                self.release,
            ),
            (
                "A release that never becomes ready: it stops at the canary, which runs its former image again",
                self.stop,
            ),
            ("Somebody scales a machine by hand: the sweep sees the drift and repairs it", self.repair_drift),
        ]

    def release(self) -> str:
        release = self._start("v2")
        found = self._wait_until(release, "completed")
        sizes = [wave["size"] for wave in found["waves"]]
        expect(len(sizes) > 2, f"there were only the waves {sizes}")
        images = self._read_images(found)
        expect(images == {f"{IMAGE}:v2"}, f"Fly runs {sorted(images)}")
        return (
            f"waves of {', '.join(map(str, sizes))}; {found['waves'][-1]['done'] + sum(sizes[:-1])} apps run {IMAGE}:v2"
        )

    def stop(self) -> str:
        found = self._wait_until(self._start("v3-never-ready"), "paused")
        touched = [target for target in found["targets"] if target["state"] != "pending"]
        expect([target["wave"] for target in touched] == [0], f"it touched {touched}")

        def look() -> bool:
            self.cloud.call_health({"drain_only": True})
            state = self._read(found["id"])["targets"][0]["state"]
            return state == "reverted" and self._read_images(found) == {f"{IMAGE}:v2"}

        self.cloud.wait_for("the canary's way back", look, within_s=PATIENCE_S)
        self.cloud.run_command("release", "abort", str(found["id"]), "--reason", "it never becomes ready")
        return f"{touched[0]['app']}: {touched[0]['code']}; it runs {IMAGE}:v2 again, the other {APPS - 1} were not touched"

    def repair_drift(self) -> str:
        row = self.cloud.sql("select * from public.user_fly_apps where status = 'active' order by created_at limit 1")[
            0
        ]
        name, memory_mb = row["fly_app_name"], row["memory_mb"]
        self.cloud.scale_by_hand(name, row["machine_id"], memory_mb * 2)

        def look() -> bool:
            self.cloud.call_health({})
            machines = (self.cloud.app_on_fly(name) or {"machines": []})["machines"]
            sizes = [(machine["state"], machine["config"]["guest"]["memory_mb"]) for machine in machines]
            return sizes == [("started", memory_mb)]

        self.cloud.wait_for(f"the repair of {name}", look, within_s=PATIENCE_S)
        events = [event["event_type"] for event in self.cloud.events(row["id"])]
        expect("drift_found" in events, "the audit log has no drift")
        return f"{name} had {memory_mb * 2} MB for a moment and has {memory_mb} MB again"

    def _start(self, tag: str) -> int:
        rows = self.cloud.sql(
            "select user_id from public.user_fly_apps where status = 'active' order by created_at limit %s", APPS
        )
        with tempfile.TemporaryDirectory() as folder:
            users = Path(folder) / "users.txt"
            users.write_text("\n".join(str(row["user_id"]) for row in rows), encoding="utf-8")
            made = self.cloud.run_command(
                *(
                    "release",
                    "create",
                    "--image",
                    f"{IMAGE}:{tag}",
                    "--users",
                    str(users),
                    "--soak",
                    "1s",
                    "--deadline",
                    "60s",
                ),
                *("--waves", "20,50,100", "--moving-share", "100%", "--reason", "a demo", "--start", "--json"),
            )
        return int(json.loads(made)["id"])

    def _read(self, release: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cloud.run_command("release", "status", str(release), "--json"))
        return found

    def _wait_until(self, release: int, state: str) -> dict[str, Any]:
        """Drain as the schedule does, only faster, until the release has this state."""

        def look() -> dict[str, Any] | None:
            self.cloud.call_health({"drain_only": True})
            found = self._read(release)
            expect(found["state"] in ("rolling", state), f"it is {found['state']}: {found.get('reason')}")
            time.sleep(0.5)
            return found if found["state"] == state else None

        return self.cloud.wait_for(f"release {release} {state}", look, within_s=PATIENCE_S)

    def _read_images(self, release: dict[str, Any]) -> set[str]:
        """The images that the machines of this release's apps run, by Fly's own state."""
        names = {target["app"] for target in release["targets"]}
        apps = [app for app in self.cloud.fly_state()["apps"] if app["name"] in names]
        return {machine["config"]["image"].partition("@")[0] for app in apps for machine in app["machines"]}
