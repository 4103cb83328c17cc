"""Random plan changes of users, faults of Fly and deaths of workers, all from one seed."""

from dataclasses import replace
from datetime import UTC, datetime

from local.fly.transport import open_client
from shared.fleet.sweep import Sweep
from tests.simulation.silent_failure import WELL
from tests.support.clock import make_chance
from tests.support.fault_schedule import REGION, draw_faults, hurt_machine
from tests.support.worker import ORG
from tests.support.world import STRANGER, World


class Storm:
    """The host's users, the chaos, and the schedule, each its own stream of chance."""

    def __init__(self, world: World, seed: int, users: int = 8) -> None:
        self.world, self.turns = world, world.turns
        self.host, self.chaos = make_chance(seed, "host"), make_chance(seed, "chaos")
        self.users = [world.add_user() for _ in range(users)]
        self.fault_every_s, self.change_every_s = self.chaos.choice((15, 45, 90)), self.host.choice((30, 70))
        self.over = False

    def begin(self) -> None:
        with open_client(self.world.sim) as fly:
            fly.post("/v1/apps", json={"app_name": STRANGER, "org_slug": ORG, "network": "default"}).raise_for_status()
            config = {"image": "theirs", "guest": {"cpus": 1, "memory_mb": 256}}
            fly.post(f"/v1/apps/{STRANGER}/machines", json={"name": "theirs", "config": config})
        self.turns.spawn("host", self._run_host)
        self.turns.spawn("chaos", self._run_chaos)
        self.turns.spawn("scheduler", self._run_scheduler)

    def _run_scheduler(self) -> None:
        """Every minute a drain, every fifth a sweep, whether or not the last has ended."""
        minute = 0
        while True:
            self.turns.pause(60)
            minute += 1
            drain_only = minute % 5 != 0
            seconds = 55.0 if drain_only else 240.0
            self.world.run_process(
                f"sweep {minute}",
                lambda by, drain_only=drain_only, seconds=seconds: Sweep(by, self.world.clock() + seconds).run(
                    drain_only=drain_only
                ),
            )

    def _run_host(self) -> None:
        while not self.over:
            self.turns.pause(self.host.expovariate(1 / self.change_every_s))
            if self.over:
                return
            user = self.host.choice(self.users)
            change = self.host.choice(
                (
                    self._flip_tier,
                    self._flip_tier,
                    self._flip_tier,
                    self._set_status,
                    self._set_expiry,
                    self._override,
                    self._depart,
                )
            )
            change(user)
            for _ in range(self.host.choice((0, 1, 1, 2))):
                self.world.run_process("nudge", lambda by, user=user: by.reconcile(user, 50.0))

    def _flip_tier(self, user) -> None:
        self.world.set_tier(user, self.host.choice(("free", "pro", "elite")))

    def _set_status(self, user) -> None:
        status = self.host.choice(("active", "active", "cancelled", "past_due"))
        self.world.sql("update public.user_subscriptions set status = %s where user_id = %s", status, user)

    def _set_expiry(self, user) -> None:
        at = self.host.choice((None, -60.0, 120.0, 900.0, 86400.0))
        self.world.sql(
            "update public.user_subscriptions set expires_at = hangar.now() + make_interval(secs => %s::double precision)"
            " where user_id = %s",
            at,
            user,
        )

    def _override(self, user) -> None:
        word = self.host.choice((None, None, "grant", "deny"))
        plan = "pro" if word == "grant" else None
        ends_at = datetime.fromtimestamp(self.world.clock() + 600, UTC) if self.host.random() < 0.5 else None
        self.world.sql(
            "select public.fly_set_override(%s, %s, %s, 'operator', 'storm', %s)",
            user,
            word,
            plan,
            ends_at if word else None,
        )

    def _depart(self, user) -> None:
        """Delete the account half the time, else sign up a new user."""
        if self.host.random() < 0.3:
            self.world.sql("delete from auth.users where id = %s", user)
        elif len(self.users) < 12:
            self.users.append(self.world.add_user("pro"))

    def _run_chaos(self) -> None:
        while not self.over:
            self.turns.pause(self.chaos.expovariate(1 / self.fault_every_s))
            if self.over:
                return
            self.chaos.choice(
                (self._fail_calls, self._fail_calls, self._fail_calls, self._hurt_machine, self._kill, self._region)
            )()

    def _fail_calls(self) -> None:
        self.world.control("PUT", "faults", draw_faults(self.chaos))

    def _hurt_machine(self) -> None:
        hurt_machine(self.world, self.chaos)

    def _kill(self) -> None:
        killed = self.turns.kill_one()
        if killed and killed.working_on:
            self.world.faults[killed.working_on] += 1

    def _region(self) -> None:
        self.world.control("PUT", f"regions/{REGION}", self.chaos.choice(({"error": True}, {"full": True}, {}, {})))

    def end(self) -> None:
        """Everything that was broken on purpose is whole again; lags and rate limits stay, they are no faults."""
        self.over = True
        world = self.world
        world.database_fails = 0.0
        world.control("PUT", "faults", [])
        world.control("PUT", f"regions/{REGION}", {})
        world.sim.world.unkindness = replace(world.sim.world.unkindness, lost_answers=0.0, error_regions=0.0)
        for machine in world.sim.machines():
            world.control("PUT", f"machines/{machine.id}", WELL)
