"""Some moves of a small world, drawn from one seed: acts of users and operators, failures, and kills."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import httpx

from local.fly.state.latency_profiles import UNKIND, Unkindness
from shared.domain.naming import app_name
from shared.fleet.sweep import Sweep
from tests.simulation.foreign_host import ForeignHost
from tests.simulation.random_credentials import RandomCredentials
from tests.simulation.random_releases import RandomReleases
from tests.simulation.silent_failure import WELL
from tests.support.clock import make_chance
from tests.support.fault_schedule import REGION, by_hand, draw_bad_day, draw_faults, hurt_machine
from tests.support.hand_edits import EDITS, try_edit_by_hand
from tests.support.turns import Process
from tests.support.worker import ORG
from tests.support.world import STRANGER, World

USERS, MOST_USERS = 5, 7
MOVES, LONG_MOVES = (2, 8), (8, 48)
# Many faults need only a few moves, and a short world costs less than half of a long one.
LONG_SHARE = 0.1  # of the worlds
FOREIGN_SHARE = 0.4  # of the worlds whose host is not like the sample host
RELEASE_SHARE = 0.15  # of the worlds whose operators make releases
CREDENTIAL_SHARE = 0.3  # of the worlds whose operators revoke and renew tokens
HOLD_SHARE = 0.4  # of the worlds with a removal hold
_GAPS_S = (
    (0.0, 30),
    (0.7, 20),
    (4.0, 14),
    (25.0, 12),
    (150.0, 8),
    (400.0, 8),
    (2000.0, 5),
    (30_000.0, 2),
    (200_000.0, 1),
)
_WHOLE_FAULT_S = 4000.0


def draw_unkindness(seed: int) -> Unkindness:
    """The troubles of this seed's Fly: each kind is absent, rare or frequent."""
    chance = make_chance(seed, "unkindness")
    fresh = chance.choice(((0.0, 0.0), (0.0, 4.0)))
    return replace(
        UNKIND,
        lost_answers=chance.choice((0.0, 0.02, 0.1)),
        error_regions=chance.choice((0.0, 0.02, 0.2)),
        fresh_machine_lag_s=fresh,
    )


class SmallStorm:
    """One seed. Each kind of decision has its own random stream, so that an extra draw in one does not change the others."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.turns = world, world.turns
        self.host, self.chaos, self.work = (make_chance(seed, what) for what in ("host", "chaos", "work"))
        self.pace, self.bad_days = make_chance(seed, "pace"), make_chance(seed, "bad days")
        self.edits = make_chance(seed, "edits")
        self.deadly = self.chaos.choice((0.0, 0.15, 0.4))
        self.faulty = self.chaos.choice((3, 12, 25))
        self.names = 0
        self.foreign = ForeignHost(self) if self.pace.random() < FOREIGN_SHARE else None
        self.releases = RandomReleases(self, seed) if make_chance(seed, "releasing").random() < RELEASE_SHARE else None
        handles_tokens = make_chance(seed, "handling tokens").random() < CREDENTIAL_SHARE
        self.credentials = RandomCredentials(self, seed) if handles_tokens else None
        if self.pace.random() < HOLD_SHARE:
            world.sql("update hangar.settings set removal_hold_s = 300")
        world.receiver.answer = self._answer_alert
        self.alerts = make_chance(seed, "alerts")
        self.deaf = self.alerts.choice((0.0, 0.3, 0.8))
        self.deaf_until, self.deafness = 0.0, 200
        world.users = world.add_users([self.host.choice(("free", "pro", "pro", "elite")) for _ in range(USERS)])
        self._make_stranger(STRANGER)
        if self.pace.random() < 0.3:
            world.control("PUT", "latency", {"profile": "typical"})
        self._skew_clock(self.bad_days.choice((0, 0, 0, -720, 720, 40)))
        if self.bad_days.random() < 0.3:
            preference = self.bad_days.choice((f"{REGION},nrt", "nrt,eu", "any"))
            world.note(f"plan pro: region {preference}", "operator")
            world.sql("update public.fly_plans set region = %s where tier = 'pro'", preference)
        if self.bad_days.random() < 0.2:
            world.sql("update public.fly_plans set public_service = true where tier = 'elite'")

    def _answer_alert(self, _body):
        """For half an hour at a time the receiver of alerts works, or fails in one way."""
        if self.world.clock() >= self.deaf_until:
            self.deaf_until = self.world.clock() + 1800.0
            fails = self.alerts.random() < self.deaf
            self.deafness = self.alerts.choice((httpx.ConnectError, 500, 503, 400, 410)) if fails else 200
        return self.deafness

    # The run

    def run(self) -> None:
        """Make all moves, with time between them."""
        moves = self._weigh_moves()
        kinds, weights = list(moves), list(moves.values())
        gaps, gap_weights = zip(*_GAPS_S, strict=True)
        for _ in range(self.pace.randint(*(LONG_MOVES if self.pace.random() < LONG_SHARE else MOVES))):
            self.pace.choices(kinds, weights)[0]()
            self._refuse_everything()
            gap = self.pace.choices(gaps, gap_weights)[0]
            self.turns.run(self.world.clock() + max(1e-3, gap * self.pace.uniform(0.3, 1.0)))
            if self.releases:
                self.releases.check()

    def _weigh_moves(self) -> dict[Callable[[], None], float]:
        return {
            self._flip_tier: 11,
            self._set_status: 5,
            self._set_expiry: 5,
            self._override: 4,
            self._bulk: 1.5,
            self._depart: 1,
            self._join: 2,
            self._edit_plan: 1,
            self._pause: 1,
            self._nudge: 2,
            self.drain: 5,
            self._sweep: 2,
            self._overlap: 0.6,
            self._fail_calls: self.faulty,
            self._hurt: 4,
            self._region: 1,
            self._lose_database: 1.5,
            self._squat: 0.7,
            self._kill: 1 if self.deadly else 0,
            **(self.foreign.weigh_moves() if self.foreign else {}),
            **(self.releases.weigh_moves() if self.releases else {}),
            **(self.credentials.weigh_moves() if self.credentials else {}),
        }

    def end(self) -> None:
        """End all injected faults. Lags, short pages and rate limits stay, because Fly always has them."""
        world = self.world
        world.note("the faults stop")
        world.database_fails = 0.0
        self.deaf = self.deaf_until = 0.0
        world.control("PUT", "faults", [])
        world.control("PUT", f"regions/{REGION}", {})
        self._skew_clock(0)
        world.sim.world.unkindness = replace(world.sim.world.unkindness, lost_answers=0.0, error_regions=0.0)
        for machine in world.sim.machines():
            if machine.state != "destroying":
                world.control("PUT", f"machines/{machine.id}", WELL)
        world.sql(
            "select public.fly_set_settings('{\"paused\": false, \"deletes_paused\": false}', 'operator', 'calm')"
        )
        if self.foreign:
            self.foreign.correct()
        self.turns.run_out(world.clock() + _WHOLE_FAULT_S)
        if self.releases:
            self.releases.end()
        if self.credentials:
            self.credentials.end()

    def find_wrong_contents(self) -> list[str]:
        """What is wrong at rest with the images and tokens of machines."""
        images = self.releases.find_wrong_images() if self.releases else []
        return images + (self.credentials.find_old_tokens() if self.credentials else [])

    def call_health(self, *, drain_only: bool = False) -> None:
        """Run one complete sweep, or only a drain, with a worker that is not killed."""
        self._work("sweep", lambda by: Sweep(by, self.world.clock() + 240.0).run(drain_only=drain_only), mortal=False)
        self.turns.run_out(self.world.clock() + 600.0)

    # The host

    def change(self, what: str, query: str, *params, nudged=()) -> None:
        """Run one statement of the host. Its wake-up call may be lost, and rarely even the marks, as when marking fails."""
        fate = self.host.choices(("followed", "marked", "unmarked"), (50, 46, 4))[0]
        self.world.note(f"{what} ({fate})", "host")
        self.world.follows = fate == "followed"
        if fate == "unmarked":
            self.world.sql("select 1")
            with self.world.host.transaction():
                self.world.sql(query, *params)
                self.world.host.execute("delete from hangar.marks where marked_at >= hangar.now() - interval '1 ms'")
        else:
            self.world.sql(query, *params)
        self.world.follows = True
        for user in nudged:
            for _ in range(self.host.choice((0, 0, 0, 1, 1, 2))):
                self._nudge_user(user, in_s=self.host.choice((0.0, 0.0, 0.0, 1.0, 45.0, 300.0)))

    def pick(self):
        return self.host.choice(self.world.users)

    def _flip_tier(self) -> None:
        user, tier = self.pick(), self.host.choice(("free", "free", "pro", "pro", "elite"))
        query = "update public.user_subscriptions set tier = %s where user_id = %s"
        self.change(f"{user} takes {tier}", query, tier, user, nudged=[user])

    def _set_status(self) -> None:
        user, status = self.pick(), self.host.choice(("active", "active", "cancelled", "past_due"))
        query = "update public.user_subscriptions set status = %s where user_id = %s"
        self.change(f"{user} is {status}", query, status, user, nudged=[user])

    def _set_expiry(self) -> None:
        user, in_s = self.pick(), self.host.choice((None, None, -60.0, 20.0, 120.0, 900.0, 86400.0))
        query = (
            "update public.user_subscriptions set expires_at = hangar.now() + make_interval(secs => %s::double precision)"
            " where user_id = %s"
        )
        self.change(f"{user} ends {'never' if in_s is None else f'in {in_s:.0f} s'}", query, in_s, user, nudged=[user])

    def _override(self) -> None:
        user, word = self.pick(), self.host.choice((None, None, "grant", "deny"))
        plans = [tier for (tier,) in self.world.sql("select tier from public.fly_plans where dedicated order by 1")]
        if word == "grant" and not plans:
            return  # refused: a grant needs a dedicated plan
        plan = self.host.choice(plans) if word == "grant" else None
        in_s = self.host.choice((None, 60.0, 600.0)) if word else None
        ends_at = datetime.fromtimestamp(self.world.clock() + in_s, UTC) if in_s else None
        self.world.note(f"override of {user}: {word} {plan} for {in_s}", "operator")
        query = "select public.fly_set_override(%s, %s, %s, 'operator', 'storm', %s)"
        self.world.sql(query, user, word, plan, ends_at)

    def _bulk(self) -> None:
        users = self.host.sample(self.world.users, self.host.randint(2, len(self.world.users)))
        tier = self.host.choice(("free", "pro", "elite"))
        query = "update public.user_subscriptions set tier = %s, status = 'active' where user_id = any (%s)"
        nudged = users[: self.host.choice((0, len(users)))]
        self.change(f"{len(users)} users take {tier} in one statement", query, tier, users, nudged=nudged)

    def _depart(self) -> None:
        user = self.pick()
        self.change(f"{user} deletes the account", "delete from auth.users where id = %s", user, nudged=[user])

    def _join(self) -> None:
        if len(self.world.users) < MOST_USERS:
            user = self.world.add_user(self.host.choice(("pro", "elite")))
            self.world.users.append(user)
            self.world.note(f"{user} signs up", "host")
            self._nudge_user(user, in_s=0.0)

    def _edit_plan(self) -> None:
        edits = ("cpu_count = 2, memory_mb = 512", "cpu_count = 4, memory_mb = 1024", "grace_s = 0", "grace_s = 900")
        edit = self.host.choice((*edits, "dedicated = false", "dedicated = true"))
        tier = self.host.choice(("pro", "elite"))
        self.world.note(f"plan {tier}: {edit}", "operator")
        self.world.sql(f"update public.fly_plans set {edit} where tier = %s", tier)

    def _pause(self) -> None:
        what, on = self.host.choice(("paused", "deletes_paused")), self.host.choice(("true", "false", "false"))
        self.world.note(f"{what} {on}", "operator")
        self.world.sql(f"select public.fly_set_settings('{{\"{what}\": {on}}}', 'operator', 'storm')")

    # The workers

    def _work(self, kind: str, job, *, in_s: float = 0.0, mortal: bool = True) -> None:
        self.names += 1
        process = Process(f"{kind} {self.names}")
        if mortal and self.work.random() < self.deadly:
            process.fate_at = self.work.choice((1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25))
            process.fate = self.work.choice(("die", "die", 30.0, 130.0, 130.0, 700.0))
        self.world.run_process(process, job, in_s)

    def _nudge_user(self, user, in_s: float) -> None:
        def look(by):
            outcome = by.reconcile(user, 50.0)
            return f"{outcome.state}: {outcome.detail}"

        self._work("nudge", look, in_s=in_s)

    def _nudge(self) -> None:
        self._nudge_user(self.pick(), in_s=0.0)

    def drain(self) -> None:
        self._work("drain", lambda by: Sweep(by, self.world.clock() + 55.0).run(drain_only=True).detail)

    def _sweep(self) -> None:
        self._work("sweep", lambda by: Sweep(by, self.world.clock() + 240.0).run(drain_only=False).detail)

    def _overlap(self) -> None:
        self._sweep()
        self._sweep()

    def _kill(self) -> None:
        killed = self.turns.kill_one()
        if killed is not None:
            self.world.note("! is killed", killed.name)
            self.world.recorder.kills += 1
            self.world.recorder.count_fault(killed.working_on)

    # Faults

    def _fail_calls(self) -> None:
        if self.chaos.random() < 0.25:
            self.world.note("Fly works again", "chaos")
            self.world.control("PUT", "faults", [])
            return
        rules = draw_faults(self.chaos)
        for rule in rules:
            self.world.note(f"fault: {rule}", "chaos")
        self.world.control("PUT", "faults", rules)

    def _refuse_everything(self) -> None:
        """Sometimes, by a stream of its own: Fly refuses every change of the organisation, until its faults are replaced."""
        if self.bad_days.random() < 0.02:
            rules = draw_bad_day(self.bad_days)
            self.world.note(f"Fly refuses every change: {rules[0]['body']['error']}", "chaos")
            self.world.control("PUT", "faults", rules)

    def _skew_clock(self, seconds: float) -> None:
        self.world.note(f"Fly's clock is wrong by {seconds} s", "chaos")
        self.world.control("PUT", "clock", {"skew_s": seconds})

    def _hurt(self) -> None:
        hurt = hurt_machine(self.world, self.chaos)
        if hurt:
            self.world.note(hurt, "chaos")
        if self.edits.random() < 0.25:
            self._edit_by_hand()

    def _edit_by_hand(self) -> None:
        """Somebody scales a machine, deploys another image to it, or empties its environment."""
        names = {row[0] for row in self.world.sql("select fly_app_name from public.user_fly_apps")}
        machines = [each for each in self.world.sim.machines() if each.app.name in names and each.state == "started"]
        if machines:
            machine, edit = self.edits.choice(machines), self.edits.choice(("scaled", "other image", "env emptied"))
            if try_edit_by_hand(self.world, machine, EDITS[edit][0]):
                self.world.faults[machine.app.name] += 1
                self.world.note(f"{machine.app.name}: machine {machine.id} {edit} by hand", "chaos")

    def _region(self) -> None:
        state = self.chaos.choice(({"error": True}, {"full": True}, {}, {}))
        self.world.note(f"region {REGION}: {state or 'well'}", "chaos")
        self.world.control("PUT", f"regions/{REGION}", state)

    def _lose_database(self) -> None:
        self.world.database_fails = self.chaos.choice((0.0, 0.02, 0.1))
        self.world.note(f"{self.world.database_fails:.0%} of the database's calls fail", "chaos")

    def _squat(self) -> None:
        """Let an app without our proof of ownership take the name of a user's next app."""
        user = self.pick()
        taken = self.world.sql(
            "select coalesce(max(name_seq) + 1, 0) from public.user_fly_apps where user_id = %s", user
        )
        name = app_name("vyx-user", user, taken[0][0])
        if name in self.world.sim.apps or name in self.world.strangers:
            return
        self.world.note(f"a stranger takes the name {name}", "chaos")
        self._make_stranger(name)

    def _make_stranger(self, name: str) -> None:
        """Create an app in our organisation that has a machine and lacks our proof of ownership."""
        self.world.strangers.add(name)
        with by_hand(self.world) as fly:
            fly.post("/v1/apps", json={"app_name": name, "org_slug": ORG, "network": "default"})
            config = {"image": "theirs", "guest": {"cpus": 1, "memory_mb": 256}}
            fly.post(f"/v1/apps/{name}/machines", json={"name": "theirs", "config": config})
