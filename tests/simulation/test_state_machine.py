"""For any sequence of rules that hypothesis draws, Fly ends in the state that a small model predicts."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local.fly.state.latency_profiles import Unkindness
from shared.domain.errors import HangarError
from shared.fleet.sweep import Sweep
from tests.simulation.model import GRACE_S, Model, User
from tests.support.boundaries import Killed
from tests.support.fault_schedule import draw_faults
from tests.support.rewind import without_threads
from tests.support.sessions import StandingDatabase
from tests.support.sizes import size
from tests.support.world import World

SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # sixteen steps need no shrinking, which would take minutes
    max_examples=size("STATE_MACHINE_EXAMPLES"),
    stateful_step_count=16,
    suppress_health_check=list(HealthCheck),
)
MOST_USERS = 5
TIERS, STATUSES = st.sampled_from(["free", "pro", "elite"]), st.sampled_from(["active", "cancelled", "past_due"])
SPANS_S = st.sampled_from([None, -60.0, 300.0, 1500.0, 9000.0])


class Hangar(RuleBasedStateMachine):
    """Users and an operator change plans, Fly fails, workers die. After settling, Fly matches the model."""

    users = Bundle("users")
    standing: StandingDatabase
    url: str

    @initialize(target=users, seed=st.integers(0, 2**16), lag_s=st.sampled_from([0.0, 5.0]))
    def begin(self, seed, lag_s):
        self.standing.empty()
        unkind = Unkindness(list_lag_s=(0.0, lag_s), error_regions=0.0, lost_answers=0.0)
        self.world = World(self.url, seed=seed, unkind=unkind, standing=self.standing)
        for tier, grace_s in GRACE_S.items():
            self.world.sql("update public.fly_plans set grace_s = %s where tier = %s", int(grace_s), tier)
        self.model = Model()
        first = [self.sign_up_as(tier) for tier in ("elite", "elite", "pro")]
        self._settle()
        return multiple(*first)

    @property
    def now(self) -> float:
        return self.world.clock()

    @precondition(lambda self: len(self.model.users) < MOST_USERS)
    @rule(target=users, tier=TIERS)
    def sign_up(self, tier):
        return self.sign_up_as(tier)

    def sign_up_as(self, tier):
        user = self.world.add_user(tier)
        self.model.users[user] = User(tier=tier)
        self.model.notice(self.model.users[user], self.now)
        return user

    def _change(self, user, column, value, **known):
        """One statement of the host. A deleted user has nothing left to change."""
        told = self.model.users[user]
        if not told.deleted:
            query = f"update public.user_subscriptions set {column} = %s where user_id = %s"
            self.world.sql(query, value, user)
            for name, each in known.items():
                setattr(told, name, each)
            self.model.notice(told, self.now)

    @rule(user=users, tier=TIERS)
    def take_tier(self, user, tier):
        self._change(user, "tier", tier, tier=tier)

    @rule(user=users, status=STATUSES)
    def take_status(self, user, status):
        self._change(user, "status", status, status=status)

    @rule(user=users, span_s=SPANS_S)
    def expire(self, user, span_s):
        at = None if span_s is None else self.now + span_s
        self._change(user, "expires_at", at and datetime.fromtimestamp(at, UTC), expires_at=at)

    @rule(user=users)
    def delete_account(self, user):
        self.world.sql("delete from auth.users where id = %s", user)
        self.model.users[user].deleted = True
        self.model.notice(self.model.users[user], self.now)

    @rule(
        user=users,
        word=st.sampled_from([None, "grant", "deny"]),
        plan=st.sampled_from(["pro", "elite"]),
        span_s=SPANS_S,
    )
    def override(self, user, word, plan, span_s):
        told, until = (
            self.model.users[user],
            None if span_s is None or span_s < 0 or word is None else self.now + span_s,
        )
        plan = plan if word == "grant" else None
        ends_at = until and datetime.fromtimestamp(until, UTC)
        self.world.sql("select public.fly_set_override(%s, %s, %s, 'op', 'model', %s)", user, word, plan, ends_at)
        told.word, told.word_plan, told.word_until = word, plan, until or float("inf")
        self.model.notice(told, self.now)

    @rule(chance=st.randoms(use_true_random=False))
    def fail_calls(self, chance):
        self.world.control("PUT", "faults", draw_faults(chance))

    @rule(user=users)
    def crash(self, user):
        for machine in self.world.apps().get(self.world.row(user).get("fly_app_name"), []):
            if machine.state == "started":
                self.world.control("POST", f"machines/{machine.id}/crash", {})

    @rule(user=users, dies_in=st.one_of(st.none(), st.integers(0, 20)))
    def nudge(self, user, dies_in):
        self._work(lambda by: by.reconcile(user, 50.0), dies_in)

    @rule(drain_only=st.booleans(), dies_in=st.one_of(st.none(), st.integers(0, 30)))
    def sweep(self, drain_only, dies_in):
        self._work(lambda by: Sweep(by, self.now + 240).run(drain_only=drain_only), dies_in)

    def _work(self, job, dies_in) -> None:
        at = None if dies_in is None else self.world.boundaries.passed + dies_in
        self.world.boundaries.die_at = at
        with suppress(HangarError, Killed):
            job(self.world.reconciler)
        self.world.spare()

    @rule(span_s=st.sampled_from([1.0, 60.0, 130.0, 700.0, 4000.0]))
    def wait(self, span_s):
        self.world.clock.advance(span_s)

    @rule()
    def settle(self):
        self._settle()

    @rule()
    def settle_again(self):
        """As often as any two other rules, for most of what they do shows nowhere else."""
        self._settle()

    def _settle(self) -> None:
        """Two sweeps, each after every wait that a failure may have left behind."""
        self.world.control("PUT", "faults", [])
        for _ in range(2):
            self.world.clock.advance(1900.0)
            for told in self.model.users.values():
                self.model.notice(told, self.now, by_time=True)
            self.world.sweep()
        self._compare()

    def _compare(self) -> None:
        apps = self.world.apps()
        for user, told in self.model.users.items():
            machines = apps.pop(self.world.row(user).get("fly_app_name"), None)
            found = (
                "nothing" if machines is None else "runs" if [m.state for m in machines] == ["started"] else "stopped"
            )
            owed = self.model.owed_at(told, self.now)
            assert found in owed, f"{user} ({told}) has {found}, is owed {owed}: {self.world.row(user)}"
            told.has_app = found != "nothing"
            if found == "stopped":
                assert [machine.state for machine in machines] == ["stopped"]
        assert apps == {}, f"apps without an owner: {apps}"

    def teardown(self):
        if hasattr(self, "world"):
            try:
                self._settle()
            finally:
                self.world.close()


@pytest.mark.sized
@pytest.mark.timeout(900)
def test_fly_holds_what_the_model_says(database):
    """I1, I2 and I3 against a model without rows, leases or Fly."""
    standing = StandingDatabase(database)
    try:
        with without_threads():
            run_state_machine_as_test(
                type("Hangar", (Hangar,), {"standing": standing, "url": database}), settings=SETTINGS
            )
    finally:
        standing.close()
