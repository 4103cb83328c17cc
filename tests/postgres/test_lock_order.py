"""Our procedures never deadlock, with each other or with the host's writes: docs/database.md, "Lock order".

Every pair runs at the same time on the same two users and orphans, in real sessions. `hangar.now()`, which every procedure calls
often, sleeps a little by chance, so that each run stops at other places.
"""

import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import combinations_with_replacement

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.sizes import size

Call = Callable[["Field", psycopg.Connection, random.Random], object]
# Each session runs its procedure so often for each pair.
ROUNDS = size("LOCK_ROUNDS")


class Field:
    """Two users with an app, two lost apps of other users, and what a session may do with them."""

    def __init__(self, hangar):
        self.hangar = hangar
        self.users = [hangar.user("pro") for _ in range(2)]
        for user in self.users:
            hangar.converge(user)
        hangar.sql("alter table user_subscriptions drop constraint user_subscriptions_tier_check")
        hangar.user("mystery")  # a tier without a plan, so that each sync raises its alert
        mark = hangar.one("select installation_id from hangar.settings").hex[:12]
        self.orphans = [
            (f"lost-{number}", f"hangar-{mark}-{uuid.uuid4().hex}", hangar.user("free")) for number in range(2)
        ]
        self.listed = [{"app": app, "network": network} for app, network, _ in self.orphans]

    def rpc(self, session, name, /, **args):
        return self.hangar.rpc(name, via=session, **args)


def work(field, session, chance):
    """A worker claims, saves an intent, an outcome with a failure, and releases."""
    row = field.rpc(session, "fly_claim", user=chance.choice(field.users), force=True)["row"]
    if row is None or row["lease_token"] is None:
        return
    action, purpose = chance.choice(
        [
            ("create_app", "provision"),
            ("update_machine", "update"),
            ("stop_machine", "deprovision"),
            ("delete_app", "deprovision"),
        ]
    )
    meta = {"action": action, "purpose": purpose}
    event = {"id": str(uuid.uuid4()), "event_type": "action", "status": "intent", "metadata": meta}
    saved = field.hangar.save(row, via=session, events=[event], machine_state="started")
    end = chance.choice(
        [
            {"status": "error", "error_code": "x", "error_message": "x"},
            {"status": "active", "converged": True},
            {"rename": True},
        ]
    )
    if saved is not None:
        field.hangar.save(saved["row"] | {"lease_token": row["lease_token"]}, via=session, release=True, **end)


def rename(field, session, chance):
    """A worker takes another name for the app: the save that changes a key column."""
    row = field.rpc(session, "fly_claim", user=chance.choice(field.users), force=True)["row"]
    for release in (False, False, True):
        if row is not None and row["lease_token"] is not None:
            field.hangar.save(row, via=session, release=release, rename=True)


def drain(field, session, chance):
    for claimed in field.rpc(session, "fly_claim_due", limit=5)["claimed"]:
        field.hangar.save(claimed["row"], via=session, release=True, next_attempt_in_s=chance.choice([0, 60]))


def override(field, session, chance):
    word, plan = chance.choice([("grant", "pro"), ("grant", "elite"), ("deny", None), (None, None)])
    field.rpc(
        session,
        "fly_set_override",
        user=chance.choice(field.users),
        override=word,
        plan=plan,
        actor="test",
        reason=None,
    )


def sweep(field, session, _):
    claim = field.rpc(session, "fly_sweep_claim", holder="test")
    field.rpc(session, "fly_record_orphans", seen=field.listed)
    if claim["token"]:
        field.rpc(session, "fly_sweep_finish", name="fleet", token=claim["token"], report={})


def observe(field, session, chance):
    rows = field.rpc(session, "fly_fleet_page", limit=10)["rows"]
    seen = [{"id": row["id"], "health": chance.choice(["healthy", "bad"]), "due": True, "direct": True} for row in rows]
    session.execute("select public.fly_record_sweep(%s, now())", (Jsonb(seen),))


def judge(field, session, chance):
    app, network, user = chance.choice(field.orphans)
    meta = {"action": "delete_app", "purpose": "orphan", "app": app}
    intent = {"id": str(uuid.uuid4()), "event_type": "action", "status": "intent", "metadata": meta}
    args = {"row_id": uuid.UUID(network[-32:]), "user": chance.choice([user, *field.users]), "intent": intent}
    field.rpc(session, "fly_judge_orphan", app=app, network=network, **args)


def settle_orphans(field, session, chance):
    app, network, _ = chance.choice(field.orphans)
    field.rpc(session, "fly_record_orphans", seen=chance.sample(field.listed, chance.randint(0, 2)))
    field.rpc(session, "fly_record_orphan_absence", app=app, network=network)
    field.rpc(session, "fly_approve_orphan", app=app, actor="test")


def operate(field, session, chance):
    field.rpc(session, "fly_set_paused", paused=False, actor="test")
    field.rpc(
        session,
        "fly_set_settings",
        changes={"brake_floor": chance.randint(0, 3), "deletes_paused": chance.random() < 0.5},
        actor="test",
    )
    field.rpc(session, "fly_release_brake", actor="test", reason="test")


def serve_users(field, session, chance):
    users = chance.sample(field.users, 2)
    field.rpc(session, "fly_admit", users=users, actor="test")
    field.rpc(session, "fly_retry", user=users[0], actor="test")
    field.rpc(session, "fly_end_outage")


def alert(field, session, chance):
    kind, key = chance.choice(
        [
            ("brake", "fleet"),
            ("provision_failed", str(chance.choice(field.users))),
            ("max_apps", "fleet"),
            ("unknown_tier", "mystery"),
        ]
    )
    field.rpc(session, "fly_raise_alert", kind=kind, key=key, message="test")
    field.rpc(session, "fly_resolve_alert", kind=kind, key=key)
    field.rpc(session, "fly_take_alerts")


def sync(field, session, _):
    field.rpc(session, "fly_sync_entitlements")


def follow(field, session, _):
    """A drain brings the rows of changed users up to date."""
    field.rpc(session, "fly_apply_marks")


def end_hold(field, session, chance):
    """An operator ends the removal holds, in any order."""
    for user in chance.sample(field.users, 2):
        field.rpc(session, "fly_end_removal_hold", user=user, actor="test")


def host(field, session, chance):
    """The host changes the subscriptions of all users in one transaction, and Hangar follows."""
    with field.hangar.host() as owner, owner.transaction():
        owner.execute("select from user_subscriptions order by user_id for update")  # two hosts do not deadlock
        for tier in chance.sample(["free", "pro"], 2):
            owner.execute("update user_subscriptions set tier = %s where tier <> 'mystery'", (tier,))
    field.rpc(session, "fly_apply_marks")


PARTS: tuple[Call, ...] = (
    work, rename, drain, override, sweep, observe, judge, settle_orphans, operate, serve_users, alert, sync, follow,
    end_hold, host,
)  # fmt: skip
# Another session holds a lock for longer than we wait: the caller tries again, and nothing is lost.
WAITED_TOO_LONG = psycopg.errors.LockNotAvailable


@pytest.fixture
def field(hangar):
    hangar.sql(
        """create or replace function hangar.now() returns timestamptz language plpgsql stable set search_path = '' as $$
           begin
             if random() < 0.05 then perform pg_catalog.pg_sleep(random() * 0.004); end if;
             return pg_catalog.clock_timestamp();
           end $$"""
    )
    field = Field(hangar)
    name = hangar.one("select quote_ident(current_database())")
    hangar.sql(f"alter database {name} set deadlock_timeout = '5ms'")
    return field


def run(field, session, part, seed):
    chance = random.Random(seed)  # noqa: S311  a seed that a failure names
    for _ in range(ROUNDS):
        with suppress(WAITED_TOO_LONG):
            part(field, session, chance)


@pytest.mark.sized
@pytest.mark.slow
def test_no_two_procedures_deadlock(field):
    """D4: every pair, also each beside itself. A deadlock is SQLSTATE 40P01, and no other error is allowed either."""
    sessions = [field.hangar.worker() for _ in range(2)]
    assert {session.execute("show deadlock_timeout").fetchone() for session in sessions} == {("5ms",)}
    failed = {}
    with ThreadPoolExecutor(2) as pool:
        for seed, pair in enumerate(combinations_with_replacement(PARTS, 2)):
            runs = [
                pool.submit(run, field, session, part, f"{seed}{part.__name__}")
                for session, part in zip(sessions, pair, strict=True)
            ]
            errors = [error for each in runs if (error := each.exception(60)) is not None]
            if errors:
                failed[" + ".join(part.__name__ for part in pair)] = errors
    assert failed == {}


@pytest.mark.sized
def test_an_override_beside_a_save_of_the_same_app(field):
    """D4: the pair that deadlocked. Both commit, many times, also when the save changes the name, which locks the key."""
    sessions = [field.hangar.worker() for _ in range(2)]
    field.users = field.users[:1]
    with ThreadPoolExecutor(2) as pool:
        for seed in range(20):
            runs = [
                pool.submit(run, field, session, part, seed)
                for session, part in zip(sessions, (override, rename), strict=True)
            ]
            for each in runs:
                each.result(60)


@pytest.mark.sized
def test_a_sync_beside_a_drain_after_the_host_changed_everybody(field):
    """Both bring the same rows up to date at the same moment, in one order of their users."""
    sessions = [field.hangar.worker() for _ in range(2)]
    field.users += [field.hangar.user("pro") for _ in range(4)]
    with ThreadPoolExecutor(2) as pool:
        for seed in range(20):
            tier = "free" if seed % 2 else "elite"
            field.hangar.sql("update user_subscriptions set tier = %s where user_id = any(%s)", tier, field.users)
            runs = [
                pool.submit(part, field, session, random.Random(seed))  # noqa: S311  a seed that a failure names
                for session, part in zip(sessions, (sync, follow), strict=True)
            ]
            for each in runs:
                with suppress(WAITED_TOO_LONG):
                    each.result(60)
