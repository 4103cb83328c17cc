"""For any sequence of rules that hypothesis draws, Fly ends in the state that a model of the documented rules predicts."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, multiple, rule, run_state_machine_as_test
from psycopg import sql

from local.fly.state.latency_profiles import Unkindness
from tests.simulation.fly_rules import SKEWS_S, FlyRules
from tests.simulation.host_rules import END_COLUMNS, HostRules, users
from tests.simulation.model import LOSS_FLOOR, Model, Plan, Subscription, User
from tests.support.hand_edits import find_differences
from tests.support.rewind import without_threads
from tests.support.sessions import StandingDatabase
from tests.support.sizes import size
from tests.support.world import World

SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # twenty steps need no shrinking, which would take minutes
    max_examples=size("STATE_MACHINE_EXAMPLES"),
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
)
SIZES_MB = {"free": 512, "pro": 512, "elite": 1024}
GRACE_S = {"free": 0.0, "pro": 0.0, "elite": 7200.0}
TOLD_SKEW_S = 30
EPISODES, LAST_SWEEPS = {"unhealthy", "unknown_health", "crash_loop"}, 3
"""Alerts that end only after a while without symptoms."""
UNKNOWN = {"unknown_status", "unknown_tier", "unreadable_end"}


class Hangar(RuleBasedStateMachine, HostRules, FlyRules):
    """A host of any shape, an operator, a Fly with bad days, and workers that die."""

    users = users
    standing: StandingDatabase
    url: str

    @initialize(
        target=users,
        seed=st.integers(0, 2**16),
        lag_s=st.sampled_from([0.0, 5.0]),
        end_column=END_COLUMNS,
        ends_in_s=st.sampled_from([9000.0, None, 20_000.0]),
        second_row=st.sampled_from(
            [("elite", "expired"), ("free", "active"), ("legacy", "Canceled "), ("pro", "past_due")]
        ),
        hold_s=st.sampled_from([0.0, 300.0, 4000.0]),
        ranks=st.sampled_from([(None, None), (10, 20), (20, 10)]),
        skew_s=SKEWS_S,
        mistake=st.sampled_from([("pro", "wibble"), ("free", "active"), ("pro", "Expired"), None]),
    )
    def begin(self, seed, lag_s, end_column, ends_in_s, second_row, hold_s, ranks, skew_s, mistake):
        self.standing.empty()
        ends_are, zone = end_column
        self.ends_are = ends_are
        self.standing.host.execute(f"alter table public.user_subscriptions alter expires_at type {ends_are} using null")
        self._set_zone(zone)
        self.machines = {}
        unkind = Unkindness(list_lag_s=(0.0, lag_s), error_regions=0.0, lost_answers=0.0)
        self.world = World(self.url, seed=seed, unkind=unkind, standing=self.standing)
        self._set_plans(dict(zip(("pro", "elite"), ranks, strict=True)))
        query = "update hangar.settings set removal_hold_s = %s, host_loss_floor = %s"
        self.world.sql(query, hold_s, LOSS_FLOOR)
        self.model.hold_s = hold_s
        self.shift_flys_clock(skew_s)
        first = [self.sign_up_as(tier) for tier in ("elite", "elite", "pro")]
        self.insert(first[0], Subscription("pro"))
        self.insert(first[1], Subscription(*second_row))
        self.insert(first[2], Subscription("elite", "canceled", self.end_after(ends_in_s)))
        self.settle_now()
        if mistake:
            self.make_mistake(*mistake)
        return multiple(*first)

    def _set_zone(self, zone):
        """The host's session, and the sessions that processes open from now on, are in this time zone."""
        host = self.standing.host
        host.execute(f"set timezone = '{zone}'")
        host.execute(
            sql.SQL("alter database {} set timezone = {}").format(sql.Identifier(host.info.dbname), sql.Literal(zone))
        )

    def _set_plans(self, ranks):
        """Without ranks the larger plan counts."""
        plans = {}
        for tier, grace_s in GRACE_S.items():
            rank = ranks.get(tier)
            query = "update public.fly_plans set grace_s = %s, memory_mb = %s, rank = %s where tier = %s"
            self.world.sql(query, int(grace_s), SIZES_MB[tier], rank, tier)
            plans[tier] = Plan(tier != "free", grace_s, SIZES_MB[tier], (rank or 0.0, SIZES_MB[tier]))
        self.model = Model(plans)

    @property
    def now(self) -> float:
        return self.world.clock()

    def sees_hold(self) -> bool:
        return ("host_loss", "subscriptions") in self.world.open_alerts()

    def sign_up_as(self, tier):
        user = self.world.add_user(tier)
        [(key,)] = self.world.sql("select id from public.user_subscriptions where user_id = %s", user)
        self.model.users[user] = User({key: Subscription(tier)})
        self.look(user)
        return user

    @rule(span_s=st.sampled_from([1.0, 60.0, 130.0, 700.0, 4000.0]))
    def wait(self, span_s):
        self.world.clock.advance(span_s)

    @rule()
    def settle(self):
        self.settle_now()

    @rule()
    def settle_again(self):
        """As often as any two other rules, for most of what they do shows nowhere else."""
        self.settle_now()

    def settle_now(self) -> None:
        """Two sweeps, each after every wait that a failure may have left behind."""
        self.world.control("PUT", "faults", [])
        for _ in range(2):
            self._pass_time()
        self._compare()
        for _ in range(LAST_SWEEPS):
            if any(kind in EPISODES for kind, _ in self.world.open_alerts()):
                self._pass_time()
                self._compare()
        self._check_alerts()

    def _pass_time(self) -> None:
        self.world.clock.advance(1900.0)
        self.watch()
        self.sweep_whole()

    # What must be true

    @invariant()
    def watch(self):
        """At every moment: nobody is doubled, and no machine or app goes before it may."""
        if not hasattr(self, "model"):
            return
        apps = self.world.apps()
        owners = dict(self.world.sql("select fly_app_name, user_id from public.user_fly_apps"))
        running = [
            owners[name] for name, machines in apps.items() for machine in machines if machine.state == "started"
        ]
        assert len(running) == len(set(running)), f"somebody is doubled: {apps}"
        states = {machine.id: machine.state for machines in apps.values() for machine in machines}
        for user, machine in list(self.machines.items()):
            told = self.model.users[user]
            if self.now < self.model.runs_at_least_until(told, self.now):
                assert machine in states, f"{user} ({told}) lost machine {machine}: {self.world.row(user)}"
                stopped = states[machine] == "stopped" and told.plan is None and not told.is_hurt
                assert not stopped, f"{machine} of {user} ({told}) was stopped in the removal hold"
            elif self.now < self.model.exists_at_least_until(told, self.now):
                assert machine in states, f"{user} ({told}) lost the app before the grace ended: {self.world.row(user)}"
                told.is_hurt |= states[machine] == "stopped"
            else:
                del self.machines[user]

    def runs(self, user) -> bool:
        return [machine.state for machine in self.machines_of(user)] == ["started"]

    def _compare(self) -> None:
        apps = self.world.apps()
        for user, told in self.model.users.items():
            row = self.world.row(user)
            machines = apps.pop(row.get("fly_app_name"), None)
            found = (
                "nothing" if machines is None else "runs" if [m.state for m in machines] == ["started"] else "stopped"
            )
            owed = self.model.owed_at(told, self.now)
            assert found in owed, f"{user} ({told}) has {found}, is owed {owed}: {row}"
            told.has_app, told.is_hurt = found != "nothing", told.is_hurt and found != "runs"
            self.machines.pop(user, None)
            if machines:
                self.machines[user] = machines[0].id
            if found == "stopped":
                assert [machine.state for machine in machines] == ["stopped"]
            elif found == "runs" and told.plan:
                self._check_machine(user, told, row, machines[0])
        assert apps == {}, f"apps without an owner: {apps}"

    def _check_machine(self, user, told, row, machine) -> None:
        """The machine is the one of the plan, or an alert names the difference."""
        answer, plan = self.model.judge(told, self.now)
        drift = {kind for name, kind in self.world.open_alerts() if name == "drift"}
        memory = machine.config["guest"]["memory_mb"]
        wanted = (plan if answer == "yes" else told.plan).memory_mb
        assert memory == wanted or "guest" in drift, f"{user} ({told}) has {memory} MB instead of {wanted}: {row}"
        differs = find_differences(row, machine)
        assert differs <= drift, f"the machine of {user} differs in {differs}, alerts name {drift}"

    def check_hold(self) -> None:
        """An alert says so while a mass loss is held, and only then."""
        assert self.sees_hold() == self.model.held, f"held: {self.model.held}, {self.model}"

    def _check_alerts(self) -> None:
        """Every value that says nothing has an alert, and every such alert a value; no alert about anything else is left."""
        self.check_hold()
        alerts = self.world.open_alerts()
        for row in self.model.rows_unknown(self.now):
            assert self.model.name_unknown(row) & alerts, f"nothing names {row}: {alerts}"
        rows = [row for told in self.model.users.values() for row in told.rows.values()]
        named = set().union(*(self.model.name_unknown(row) for row in rows))
        told = {alert for alert in alerts if alert[0] in UNKNOWN}
        assert told <= named, f"alerts about nothing: {told - named}"
        others = {alert for alert in alerts - told if alert[0] not in ("host_loss", "drift", "provisioning_slow")}
        assert (("clock_skew", "fleet") in others) == (abs(self.skew_s) > TOLD_SKEW_S), (
            f"Fly's clock is {self.skew_s} s off: {others}"
        )
        others -= {("clock_skew", "fleet")}
        failing = self.world.sql("select to_jsonb(a) from public.user_fly_apps a where error_code is not null")
        assert others == set(), f"alerts at rest: {others}, {failing}"

    def teardown(self):
        if hasattr(self, "model"):
            try:
                self.settle_now()
            finally:
                self.world.close()


@pytest.mark.sized
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_fly_holds_what_the_model_says(database):
    """I1, I2, I3, I5 and I8 against a model without SQL, leases or Fly."""
    standing = StandingDatabase(database)
    try:
        with without_threads():
            run_state_machine_as_test(
                type("Hangar", (Hangar,), {"standing": standing, "url": database}), settings=SETTINGS
            )
    finally:
        standing.close()
