"""The simulated host: users who change tiers, machines that break, apps without an owner, and the writes it committed.

A write that was answered is durable. A write whose connection was cut may or may not have been committed: `expected` then
holds both states.
"""

import contextlib
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from shared.domain.naming import network_name
from tests.kill.cloud import KillCloud

STRANGER = "a-strangers-app"
USERS = 8
REGIONS = ("sin", "nrt", "fra")
TIERS = ("free", "pro", "elite")
_STATES = "select user_id, tier || ' ' || status from public.user_subscriptions"
_CUT = (psycopg.OperationalError, psycopg.InterfaceError)
_UNDER_WAY = "PT409"  # another release concerns some of the same apps


@dataclass
class Host:
    """One host; `expected` holds the states (tier and status, or "gone") in which each user may be."""

    cloud: KillCloud
    chance: random.Random
    expected: dict[uuid.UUID, set[str]] = field(default_factory=dict)
    moves: int = 0

    def prepare(self) -> None:
        """Set the settings for the tests, record every row's states, and make a stranger's app in the same organisation."""
        sql = self.cloud.sql
        sql(
            "update hangar.settings set brake_floor = 100000, orphan_after_s = 120, retry_base_s = 20, retry_cap_s = 60"
        )
        sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
        # Record every state of a row, to compare the bill with it.
        sql(
            "create table public.states (app uuid, at timestamptz, runs boolean, seq bigint generated always as identity)"
        )
        sql(
            "create function public.note_state() returns trigger language plpgsql security definer as $$ begin"
            " insert into public.states (app, at, runs)"
            " values (new.id, hangar.now(), new.machine_state is not distinct from 'started' and new.deleted_at is null);"
            " return null; end $$"
        )
        sql(
            "create trigger note_state after insert or update on public.user_fly_apps"
            " for each row execute function public.note_state()"
        )
        self._make_app(STRANGER, "default")

    def sign_up_all(self) -> None:
        """Sign up as many users as a campaign needs."""
        self.expected = {user: {state} for user, state in self.cloud.sql(_STATES)}
        for _ in range(USERS - len(self.expected)):
            self.sign_up()

    def change(self, changes: int) -> None:
        """Make random changes: to one user, to several at once, to machines, to orphans, to accounts."""
        for _ in range(changes):
            self.chance.choice(
                (self.flip_one, self.flip_one, self.flip_one, self.flip_one, self.flip_some, self.end_one, self.leave)
            )()

    def hurt(self) -> None:
        """Break one or two machines, and create an app that has our proof of ownership and no row."""
        machines = [
            machine["id"]
            for app in self.cloud.control("GET", "world")["apps"]
            for machine in app["machines"]
            if app["name"] != STRANGER and machine["state"] == "started"
        ]
        self.chance.shuffle(machines)
        if machines:
            self.cloud.control("POST", f"machines/{machines.pop()}/crash")
        if machines and self.chance.random() < 0.7:
            self.cloud.control("PUT", f"machines/{machines.pop()}", {"state": "failed"})
        if self.chance.random() < 0.5:
            (installation,) = self.cloud.sql("select installation_id from hangar.settings")[0]
            self._make_app(f"left-behind-{self.chance.getrandbits(32):08x}", network_name(installation, self._new_id()))

    def flip_one(self) -> None:
        (user,), tier = self._pick(), self.chance.choice(TIERS)
        self._write(
            lambda session: session.execute(
                "update public.user_subscriptions set tier = %s, status = 'active', expires_at = null where user_id = %s",
                (tier, user),
            ),
            {user: f"{tier} active"},
        )

    def flip_some(self) -> None:
        """Change several users in one transaction of two statements."""
        users, tier = sorted(self._pick(3)), self.chance.choice(TIERS)

        def write(session: psycopg.Connection) -> None:
            statement = "update public.user_subscriptions set tier = %s, status = 'active', expires_at = null"
            session.execute(f"{statement} where user_id = %s", (tier, users[0]))
            session.execute(f"{statement} where user_id = any(%s)", (tier, users[1:]))

        self._write(write, dict.fromkeys(users, f"{tier} active"))

    def end_one(self) -> None:
        """Cancel a subscription, with some days left or none."""
        (user,) = self._pick()
        days = self.chance.choice((None, 30))
        self._write(
            lambda session: session.execute(
                "update public.user_subscriptions set tier = 'pro', status = 'cancelled',"
                " expires_at = hangar.now() + make_interval(days => %s::integer) where user_id = %s",
                (days, user),
            ),
            {user: "pro cancelled"},
        )

    def leave(self) -> None:
        """Delete an account; another user signs up."""
        (user,) = self._pick()
        if self._write(
            lambda session: session.execute("delete from auth.users where id = %s", (user,)), {user: "gone"}
        ):
            self.sign_up()

    def sign_up(self) -> None:
        user, tier = self._new_id(), self.chance.choice(TIERS)

        def write(session: psycopg.Connection) -> None:
            session.execute(
                "insert into auth.users (id, email) values (%s, %s)", (user, f"{user.hex[:8]}@example.test")
            )
            session.execute("update public.user_subscriptions set tier = %s where user_id = %s", (tier, user))

        self.expected[user] = {"gone"}
        self._write(write, {user: f"{tier} active"})

    def move_apps(self) -> None:
        """Begin a release that moves every app to another region, unless one is under way or no app would move."""
        spec = {
            "region": self.chance.choice(REGIONS),
            "wave_shares": [1],
            "moving_share": 1,
            "soak_s": 30,
            "canary_size": 2,
        }
        try:
            with contextlib.suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.RaiseException, *_CUT):
                ((made,),) = self.cloud.sql(
                    "select public.fly_create_release(%s::jsonb, 'host', 'a kill')", json.dumps(spec)
                )
                self.cloud.sql("select public.fly_change_release(%s, 'start', 'host', 'a kill')", made["id"])
                self.moves += 1
        except psycopg.ProgrammingError as refused:
            if refused.sqlstate != _UNDER_WAY:
                raise

    def find_lost_writes(self) -> list[str]:
        """Compare the database with the writes that it confirmed. From then on its content is what is expected."""
        found = dict(self.cloud.sql(_STATES))
        lost = [
            f"{user} must be {' or '.join(sorted(may_be))} by the host's writes, and is {found.get(user, 'gone')}"
            for user, may_be in self.expected.items()
            if found.get(user, "gone") not in may_be
        ]
        self.expected = {user: {state} for user, state in found.items()}
        return lost

    def _write(self, write: Callable[[psycopg.Connection], object], becomes: dict[uuid.UUID, str]) -> bool:
        """Run one transaction of the host; False if its connection was cut. Any other failure is our fault and is raised."""
        before = {user: self.expected[user] for user in becomes}
        self.expected |= {user: before[user] | {state} for user, state in becomes.items()}
        try:
            with psycopg.connect(self.cloud.database_url) as session:
                write(session)
        except _CUT:
            return False
        self.expected |= {user: {state} for user, state in becomes.items()}
        return True

    def _pick(self, number: int = 1) -> list[uuid.UUID]:
        """Random users whose rows certainly exist. There are always some, because each deleted user is replaced."""
        there = sorted(user for user, may_be in self.expected.items() if "gone" not in may_be)
        return self.chance.sample(there, min(number, len(there)))

    def _new_id(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)

    def _make_app(self, name: str, network: str) -> None:
        with self.cloud.fly_client() as fly:
            body = {"app_name": name, "org_slug": self.cloud.addresses["fly_org"], "network": network}
            fly.post("/apps", json=body).raise_for_status()
            config = {"image": "theirs", "guest": {"cpus": 1, "memory_mb": 256}}
            fly.post(f"/apps/{name}/machines", json={"name": "theirs", "config": config}).raise_for_status()
