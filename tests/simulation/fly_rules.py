"""What Fly, people with `fly`, and processes may do in the state machine."""

from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import rule

from shared.domain.errors import HangarError
from shared.fleet.sweep import Sweep
from tests.simulation.host_rules import users
from tests.simulation.silent_failure import KINDS, WELL
from tests.support.boundaries import Killed
from tests.support.fault_schedule import by_hand, draw_bad_day, draw_faults
from tests.support.hand_edits import EDITS, try_edit_by_hand

SKEWS_S = st.sampled_from([0, 0, -720, 720, 40])
SAMPLES, SAMPLE_EVERY_S = 3, 300.0
REFUSED = {"fly_refused", "provision_failed", "deprovision_failed"}


class FlyRules:
    """Failures, refusals, hand edits, and the work of processes that may die."""

    def machines_of(self, user):
        return self.world.apps().get(self.world.row(user).get("fly_app_name"), [])

    @rule(chance=st.randoms(use_true_random=False))
    def fail_calls(self, chance):
        self.world.control("PUT", "faults", draw_faults(chance))

    @rule(seconds=SKEWS_S)
    def shift_flys_clock(self, seconds):
        self.skew_s = seconds
        self.world.control("PUT", "clock", {"skew_s": seconds})

    @rule(user=users, how=st.sampled_from(["crash", "stop", "delete app", "scaled", "other image", "env emptied"]))
    def hurt(self, user, how):
        """A machine crashes, or somebody changes it behind Hangar's back."""
        machines = [machine for machine in self.machines_of(user) if machine.state == "started"]
        for machine in machines:
            self.machines.pop(user, None)  # no promise about this machine until everything is at rest again
            self.model.users[user].is_hurt = True
            if how == "crash":
                self.world.control("POST", f"machines/{machine.id}/crash", {})
            elif how in EDITS:
                try_edit_by_hand(self.world, machine, EDITS[how][0])
            else:
                with by_hand(self.world) as fly:
                    path = f"/v1/apps/{machine.app.name}"
                    if how == "stop":
                        fly.post(f"{path}/machines/{machine.id}/stop")
                    else:
                        fly.delete(path, params={"force": "true"})
                        self.model.users[user].has_app = False

    @rule(chance=st.randoms(use_true_random=False), deletes=st.booleans(), sweeps=st.integers(1, 3))
    def refuse(self, chance, deletes, sweeps):
        """Fly refuses every change for one cause, or every one but stops and deletions, until its faults are replaced."""
        rules = [
            rule
            for rule in draw_bad_day(chance)
            if deletes or not (rule["method"] == "DELETE" or rule["path"].endswith("/stop"))
        ]
        self.world.control("PUT", "faults", rules)
        for _ in range(sweeps):
            self.world.clock.advance(1900.0)
            self.sweep_whole()
            self.watch()
        waiting = [user for user, told in self.model.users.items() if told.plan and not self.runs(user)]
        kinds = {kind for kind, _ in self.world.open_alerts()}
        assert not waiting or kinds & REFUSED, f"Fly refuses to serve {waiting}, and no alert says so: {kinds}"

    @rule(user=users, kind=st.sampled_from(sorted(KINDS)))
    def fail_in_silence(self, user, kind):
        """One app at rest fails although nobody calls it failed: an alert within three samples, and its machine is kept."""
        self.settle_now()
        if self.model.owed_at(self.model.users[user], self.now) != {"runs"} or user not in self.machines:
            return
        row, machine = self.world.row(user), self.machines[user]
        how = KINDS[kind]
        if "status" in how:
            path = f"/v1/apps/{row['fly_app_name']}/machines/{machine}"
            self.world.control("PUT", "faults", [{"method": "GET", "path": path, "when": "before", **how}])
        else:
            self.world.control("PUT", f"machines/{machine}", how)
        for _ in range(SAMPLES):
            self.world.clock.advance(SAMPLE_EVERY_S)
            self.sweep_whole()
            self.watch()
        stays = self.model.owed_at(self.model.users[user], self.now) == {"runs"}
        about = {kind for kind, key in self.world.open_alerts() if key == row["id"]}
        assert not stays or about & {"unhealthy", "unknown_health"}, f"{user} fails in silence: {kind}, alerts {about}"
        self.world.control("PUT", "faults", [])
        if any(each.id == machine for each in self.world.sim.machines()):
            self.world.control("PUT", f"machines/{machine}", WELL)
        for _ in range(2):
            self.world.clock.advance(SAMPLE_EVERY_S)
            self.sweep_whole()
        self.settle_now()

    # Processes

    @rule(user=users, dies_in=st.one_of(st.none(), st.integers(0, 20)))
    def nudge(self, user, dies_in):
        self._work(lambda by: by.reconcile(user, 50.0), dies_in)

    @rule(drain_only=st.booleans(), dies_in=st.one_of(st.none(), st.integers(0, 30)))
    def sweep(self, drain_only, dies_in):
        if dies_in is None and not drain_only:
            self.sweep_whole()
        else:
            self._work(lambda by: Sweep(by, self.now + 240).run(drain_only=drain_only), dies_in)

    def work_between(self, user, *, drain):
        if drain:
            self._work(lambda by: Sweep(by, self.now + 240).run(drain_only=True), None)
        else:
            self._work(lambda by: by.reconcile(user, 50.0), None)

    def _work(self, job, dies_in) -> None:
        at = None if dies_in is None else self.world.boundaries.passed + dies_in
        self.world.boundaries.die_at = at
        with suppress(HangarError, Killed):
            job(self.world.reconciler)
        self.world.spare()
        self.model.may_have_looked(self.now)

    def sweep_whole(self) -> None:
        """A sweep that nobody kills: Hangar looks at everybody."""
        now = self.now
        with suppress(HangarError):
            self.world.sweep()
        self.model.look(now, sees_hold=self.sees_hold)
