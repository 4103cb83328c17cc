"""Checks every call that stops, destroys or deletes, against Fly's actual state and the host's own tables.

It does not use the product's SQL: it computes the entitled users from the host's rows, and reads from the simulator what ran.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime

from tests.support.boundaries import Boundaries
from tests.support.world import World

_TAKES = re.compile(
    r"before (?:DELETE /v1/apps/([^/]+)(?:/machines/([^/]+))?|POST /v1/apps/([^/]+)/machines/([^/]+)/stop)$"
)
RUNNING = ("started", "starting", "created")


@dataclass
class Taken:
    """One such call: its time, the app, the app's user, and what was wrong with it, if anything."""

    at: float
    app: str
    user: str | None
    wrong: str | None


@dataclass
class Watch(Boundaries):
    """The boundaries of a world. Records every destructive call; with `act_at` it runs `act` at that boundary."""

    world: World | None = None
    taken: list[Taken] = field(default_factory=list)
    act_at: int | None = None
    act: object = None

    def cross(self, where: str) -> None:
        if self.act_at is not None and self.passed == self.act_at:
            self.act_at = None
            self.act()
        super().cross(where)
        if match := _TAKES.match(where):
            self.taken.append(self._judge(match[1] or match[3], match[2] or match[4]))

    def _judge(self, app: str, machine_id: str | None) -> Taken:
        everything = self.world.sim.machines()
        here = [each for each in everything if each.app.name == app and machine_id in (None, each.id)]
        running = [each for each in here if each.state in RUNNING]
        owners = {each.config.get("metadata", {}).get("hangar_user") for each in running} - {None}
        user = next(iter(owners), None)
        left = [
            each
            for each in everything
            if each not in here
            and each.state == "started"
            and each.config.get("metadata", {}).get("hangar_user") == user
        ]
        wrong = "entitled, and nothing else of theirs runs" if user in entitled(self.world) and not left else None
        return Taken(self.world.clock(), app, user, wrong)

    def find_wrong_calls(self) -> list[Taken]:
        """Every call that took the last running machine from a user who was entitled at that moment."""
        return [each for each in self.taken if each.wrong]

    def most_in_an_hour(self, since: float = 0.0) -> int:
        """The largest number of different apps that such calls touched within one hour."""
        taken = [each for each in self.taken if each.at >= since]
        return max((len({b.app for b in taken if a.at <= b.at < a.at + 3600}) for a in taken), default=0)


def watch(world: World) -> Watch:
    """Watch every worker of `world` from now on."""
    world.boundaries = Watch(world=world)
    world.reconciler = world.new_worker()
    return world.boundaries


def entitled(world: World) -> set[str]:
    """The users who should have an app by the host's tables and the plans, computed without the product's SQL."""
    now = world.clock()
    plans = dict(world.sql("select tier, dedicated from public.fly_plans"))
    users = {str(user) for (user,) in world.sql("select id from auth.users")}
    return {
        str(user)
        for user, tier, status, expires_at in world.sql(
            "select user_id, tier, status, expires_at from public.user_subscriptions"
        )
        if str(user) in users and plans.get(tier) and status == "active" and not _is_over(expires_at, now)
    }


def _is_over(expires_at: datetime | None, now: float) -> bool:
    return expires_at is not None and expires_at.timestamp() <= now


def find_wrong_apps(world: World) -> list[str]:
    """Deviations from the state at rest: one app with one running machine for each entitled user, and no other app."""
    ran: dict[str, list[str]] = {}
    found = []
    for name, machines in world.apps().items():
        owners = {machine.config.get("metadata", {}).get("hangar_user") for machine in machines} - {None}
        if len(machines) != 1 or machines[0].state != "started" or len(owners) != 1:
            found.append(f"{name} of {owners or 'nobody'} has {[machine.state for machine in machines]}")
        for owner in owners:
            ran.setdefault(owner, []).append(name)
    rows = {
        str(user): name
        for user, name in world.sql("select user_id, fly_app_name from public.user_fly_apps where deleted_at is null")
    }
    want = entitled(world)
    found += [
        f"{user} is entitled and has {ran.get(user)}, row {rows.get(user)}"
        for user in want
        if ran.get(user) != [rows.get(user)]
    ]
    found += [f"{user} is not entitled and has {ran[user]}" for user in ran if user not in want]
    return found
