"""The one deciding function. Pure: no I/O, no clock, and the reason for a run does not change its decision.

`decide()` compares what the row asks for with what a look at Fly found and names the one next thing to do. The reconciler
carries it out, looks again and asks again, so every path below must bring the two closer or wait for something that ends.
"""

from datetime import datetime, timedelta
from typing import Literal

from shared.domain.actions import Action, ActionKind, Adopt, Assign, Decision, Done, GiveUp, Rename, Wait
from shared.domain.adopted_machines import find_adopted, refuse_several
from shared.domain.cost import explain_refused_size
from shared.domain.credentials import is_token_due, wants_new_token
from shared.domain.drift import ESSENTIAL, NOT_REPAIRABLE, SECRETS
from shared.domain.health_step import decide_health_step
from shared.domain.lost_name import decide_lost_name, report_not_owned, wants_new_name
from shared.domain.machine_states import ENDING, GONE_STATES, LASTING, RESTING, STOPPING, TRANSITIONAL, is_stuck
from shared.domain.models import Row
from shared.domain.naming import machine_names, second_machine_name
from shared.domain.observation import AppPresence, Observation, ObservedMachine
from shared.domain.region_move import decide_move, decide_spare, find_spare, is_interrupted, is_running, may_drop

# A create whose outcome is unknown may still take effect for this long; until then a 404 is not proof of absence.
UNKNOWN_CREATE = timedelta(seconds=120)
# An app that was never seen is absent after this many direct 404s in a row.
ABSENCES_THAT_PROVE = 2
# So many 404s in a row, ten seconds apart, for an app that Fly's lists show: longer than a list lags behind a deletion.
ABSENCES_AGAINST_LISTS = 4
# After this many failed attempts to stop a machine gracefully, the app is deleted while it runs.
STOPS_BEFORE_DELETE = 12
# A second machine that changed more recently may belong to another worker's unfinished action.
STRAY_AGE = timedelta(minutes=10)
# After this many failed starts the machine is replaced.
STARTS_BEFORE_REPLACE = 3
START_FAILED = "start_failed"
MACHINE_FAILED = "machine_failed"
# What a plan with a public service needs, so that `<app>.fly.dev` answers. Both are free.
PUBLIC_ADDRESSES = ("shared_v4", "v6")
# Two answers of Fly deny each other. Hangar keeps the name, creates nothing else and reads again.
CONTRADICTION = "contradiction"
CONTRADICTION_ADVICE = (
    "Hangar keeps the name, creates no other app and asks again; if it lasts, look at the app on Fly's own pages and tell "
    "Fly's support"
)


def is_asleep(row: Row, machine: ObservedMachine) -> bool:
    """Whether an on-demand machine sleeps, which is no failure: Fly starts it at the next request."""
    return row.power == "on_demand" and machine.state in ("stopped", "suspended")


def decide(row: Row, observation: Observation, now: datetime) -> Decision:
    """The next thing to do for this row, given what was observed. Deterministic: the same three values give the same decision."""
    if row.desired_state == "present":
        return _decide_present(row, observation, now)
    if row.desired_state == "absent":
        return _decide_absent(row, observation, now)
    raise ValueError(
        f"the app {row.fly_app_name} is of the original system and was not adopted: nothing is decided for it"
    )


def find_main(row: Row, observation: Observation) -> ObservedMachine | None:
    """The app's machine: the one we know by id, else one with a name of ours, else the only one of an adopted app.

    Not a destroyed one, and not the spare.
    """
    living = [machine for machine in observation.machines if machine.state not in GONE_STATES]
    by_id = [machine for machine in living if machine.id == row.machine_id]
    names = machine_names(row.fly_app_name)
    named = [machine for machine in living if machine.name in names and machine.id != row.spare_machine_id]
    # Two of them exist only during a move to another region, and then one at most runs.
    by_name = sorted(named, key=lambda machine: (not is_running(machine), machine.name))
    return next(iter(by_id + by_name), None) or find_adopted(row, observation)


def _decide_present(row: Row, observation: Observation, now: datetime) -> Decision:
    if observation.app is AppPresence.FOREIGN:
        return _decide_foreign(row, observation, now) or Rename("the name is held by an app that is not ours")
    if observation.app is AppPresence.ABSENT:
        return _decide_missing_app(row, observation, now)
    if observation.just_deleted:
        return Wait(2, "the app is desired again, but Fly has not finished deleting it")
    machine = find_main(row, observation)
    spare = find_spare(row, observation, machine)
    if machine is None:
        return (decide_spare(spare, None, now) if spare else None) or _decide_missing_machine(
            row, observation, spare, now
        )
    if machine.id != row.machine_id:
        return Adopt(machine)
    if spare is not None and spare.id != row.spare_machine_id:
        return Assign(machine, spare)
    decision = decide_move(row, machine, spare, observation, now) or _decide_machine(
        row, machine, now, config_sent=observation.config_sent == row.generation
    )
    if spare is not None and isinstance(decision, Done) and may_drop(row, spare):
        return Action(ActionKind.DESTROY_MACHINE, spare, "move")
    stray = _find_stray(observation, machine, now) if spare is None else None
    if isinstance(decision, Done) and machine.state == "started" and stray is not None:
        return Action(ActionKind.DESTROY_MACHINE, stray, "stray")
    if isinstance(decision, Done):
        return _decide_addresses(row, observation) or decision
    return decision


def _decide_missing_app(row: Row, observation: Observation, now: datetime) -> Decision:
    if observation.just_created:
        return Wait(2, "Fly does not show the new app yet")
    if observation.name_was_taken:
        # Fly refuses the name although no app answers to it: it holds a deleted app's name for a while. Renaming while a
        # create of ours may still take effect would leave that app behind as an orphan.
        # And while the lists show the app as ours, the 404 is the one that is wrong: a running app is never given up.
        if row.retry_count >= 2 and not _create_may_take_effect(row, now) and not observation.listed_as_ours:
            return Rename("Fly refuses the name although no app answers to it")
        return Wait(10, "Fly holds the name although no app answers to it yet")
    if observation.listed_as_ours:
        # Fly may answer the create with the app that exists, and Hangar would forget its machine and start from the beginning.
        if observation.absences < ABSENCES_AGAINST_LISTS:
            return Wait(10, "a direct read does not find the app, and Fly's lists show it")
        return _contradicted(row, "does not find it")
    return Action(ActionKind.CREATE_APP, purpose="repair" if was_ours(row) else "provision")


def _decide_missing_machine(
    row: Row, observation: Observation, spare: ObservedMachine | None, now: datetime
) -> Decision:
    if observation.machine_made:
        return Wait(2, "Fly does not show the new machine yet")
    several = refuse_several(row, observation)
    if several is not None:
        return several
    refused = explain_refused_size(row.cpu_kind, row.cpu_count, row.memory_mb)
    if refused:
        return GiveUp("size", refused, f"give the plan of tier {row.tier!r} a size Fly takes, then retry this user")
    if row.secrets_version is None or wants_new_token(row) or is_token_due(row, now):
        return Action(ActionKind.SET_SECRETS)
    # A machine that only seems to be missing still has its name, so that Fly refuses a second one.
    name = second_machine_name(row.fly_app_name, spare.name) if spare else None
    return Action(ActionKind.CREATE_MACHINE, purpose="repair" if row.machine_id else "provision", name=name)


def _decide_machine(row: Row, machine: ObservedMachine, now: datetime, *, config_sent: bool) -> Decision:
    if not machine.host_ok:
        # Fly cannot reach the host: nothing is known, so nothing is repaired, and a change waits until it can be made.
        is_settled = row.status == "active" and row.observed_generation == row.generation
        return Done("active", machine) if is_settled else Wait(60, "Fly cannot reach the machine's host")
    if machine.state in TRANSITIONAL:
        if is_stuck(machine, now):
            return Action(ActionKind.DESTROY_MACHINE, machine, "replace")
        return Wait(30, f"the machine is {machine.state}", machine, "started")
    if machine.state in ENDING or machine.state in STOPPING:
        if is_stuck(machine, now):
            return Action(ActionKind.DESTROY_MACHINE, machine, "replace")
        return Wait(2, f"the machine is {machine.state}", machine)
    if machine.state == "failed":
        return Action(ActionKind.DESTROY_MACHINE, machine, "replace")
    if machine.state not in ("started", "stopped", "suspended"):
        return Wait(60, f"Fly calls the machine's state {machine.state!r}, which Hangar does not know", machine)
    if row.observed_generation != row.generation and (wants_new_token(row) or is_token_due(row, now)):
        return Action(ActionKind.SET_SECRETS, purpose="secrets")  # before the machine is updated, which then gets them
    update = _decide_update(row, machine, config_sent=config_sent)
    if update is not None:
        # An adopted machine has never had ours, and the update is what gives them to it.
        return Action(ActionKind.SET_SECRETS, purpose="secrets") if row.secrets_version is None else update
    if machine.state == "started" or row.power == "on_demand":
        return decide_health_step(row, machine) or Done("active", machine)
    if row.error_code == START_FAILED and row.retry_count >= STARTS_BEFORE_REPLACE:
        return Action(ActionKind.DESTROY_MACHINE, machine, "replace")
    # A user who returns within the grace period finds the machine that Hangar stopped: this is not a repair.
    return Action(
        ActionKind.START_MACHINE, machine, "repair" if row.observed_generation == row.generation else "provision"
    )


def _decide_update(row: Row, machine: ObservedMachine, *, config_sent: bool) -> Action | None:
    """Update the machine in place: for a change of what is desired at once, for drift only when its repair was admitted.

    After this worker has sent the whole config, only another image or size is worth a further update. Any other difference
    that Fly still shows is recorded as drift.
    """
    kinds = {each.kind for each in machine.drift} - NOT_REPAIRABLE
    if row.observed_generation != row.generation:
        kinds &= ESSENTIAL if config_sent else kinds
        # New secrets alone deploy the image that runs, wherever its tag points by now.
        purpose: Literal["update", "drift", "repair", "secrets"] = "secrets" if kinds == {SECRETS} else "update"
    elif row.drift_repair:
        purpose = "drift"
    elif row.error_code == START_FAILED:
        purpose = "repair"  # what does not start is not what was deployed
        kinds -= kinds if config_sent else set()
    else:
        return None
    return Action(ActionKind.UPDATE_MACHINE, machine, purpose) if kinds else None


def _decide_addresses(row: Row, observation: Observation) -> Action | None:
    """What is missing for a public service, or left of a former one. An address that Hangar does not assign stays."""
    found = observation.addresses
    if found is None:
        return None
    if row.public_service:
        kinds = {address.kind for address in found}
        # A dedicated IPv4 that somebody bought does what the shared one does.
        missing = [
            kind for kind in PUBLIC_ADDRESSES if kind not in kinds and not (kind == "shared_v4" and "v4" in kinds)
        ]
        return Action(ActionKind.ASSIGN_ADDRESS, address=missing[0]) if missing else None
    left = [address.ip for address in found if address.kind in PUBLIC_ADDRESSES]
    return Action(ActionKind.RELEASE_ADDRESS, purpose="update", address=left[0]) if left else None


def _decide_absent(row: Row, observation: Observation, now: datetime) -> Decision:
    machine = find_main(row, observation)
    spare = find_spare(row, observation, machine)
    is_foreign = observation.app is AppPresence.FOREIGN
    # An operator's decision about a lost name also ends the hold: no app of ours is there to keep.
    if row.hold_until is not None and now < row.hold_until and not (is_foreign and wants_new_name(row, now)):
        return _decide_held(row, machine, spare, now)
    in_grace = row.delete_after is not None and now < row.delete_after
    if is_foreign:
        return _decide_foreign(row, observation, now) or Done("deleted")
    if observation.app is AppPresence.ABSENT:
        return _decide_gone(row, observation, now)
    if machine is not None and machine.id != row.machine_id:
        return Adopt(machine)
    if observation.just_deleted:
        return Wait(2, "Fly has accepted the deletion but not finished it")
    if (
        spare is not None
        and spare.host_ok
        and is_running(spare)
        and (in_grace or row.retry_count < STOPS_BEFORE_DELETE)
    ):
        return Action(ActionKind.STOP_MACHINE, spare, "deprovision")
    if machine is not None and machine.host_ok:
        if machine.state == "started" and (in_grace or row.retry_count < STOPS_BEFORE_DELETE):
            return Action(ActionKind.STOP_MACHINE, machine, "deprovision")
        if machine.state in STOPPING and not is_stuck(machine, now):
            return Wait(5, f"the machine is {machine.state}", machine, "stopped")
        if in_grace and machine.state in TRANSITIONAL:
            return Wait(5, f"the machine is {machine.state}", machine, "started")
    if in_grace:
        return Done("deprovisioning", machine)
    return Action(ActionKind.DELETE_APP, machine, "deprovision")


def _decide_held(row: Row, machine: ObservedMachine | None, spare: ObservedMachine | None, now: datetime) -> Decision:
    """The removal hold: the machine keeps running. One that the row does not know yet is recorded first, with its price."""
    if machine is not None and machine.id != row.machine_id:
        return Adopt(machine)
    if machine is not None and spare is not None and spare.host_ok and is_running(machine) and is_running(spare):
        return Action(ActionKind.STOP_MACHINE, spare, "move")  # somebody started it
    if machine is not None and spare is not None and row.power == "always_on" and is_interrupted(machine, spare):
        return Action(ActionKind.START_MACHINE, machine, "move")
    if machine is not None and spare is not None and row.power == "always_on":
        is_stopping = machine.host_ok and machine.state in STOPPING and not is_stuck(machine, now)
        if is_stopping and spare.state in RESTING:
            return Wait(2, f"the machine is {machine.state}, and is started again after that", machine, "stopped")
    return Done("deprovisioning", machine)


def _decide_gone(row: Row, observation: Observation, now: datetime) -> Decision:
    """One 404 does not prove absence: an app that was ours is deleted anyway, and one that never was is read twice."""
    if observation.just_created or _create_may_take_effect(row, now):
        return Wait(_seconds_until_known(row, now), "a create whose outcome is unknown may still take effect")
    if was_ours(row) and not observation.just_deleted:
        return Action(ActionKind.DELETE_APP, purpose="deprovision")
    if not observation.just_deleted and observation.absences < ABSENCES_THAT_PROVE:
        return Wait(1, "reading twice before the app counts as deleted")
    return Done("deleted")


def _find_stray(observation: Observation, main: ObservedMachine, now: datetime) -> ObservedMachine | None:
    """A second machine that has not changed for a while, so that no other worker is still creating it."""
    for machine in observation.machines:
        old = machine.changed_at is not None and now - machine.changed_at > STRAY_AGE
        if machine.id != main.id and machine.state in LASTING and machine.host_ok and old:
            return machine
    return None


def was_ours(row: Row) -> bool:
    """Whether this row has had an app."""
    return row.machine_id is not None or row.secrets_version is not None


def _decide_foreign(row: Row, observation: Observation, now: datetime) -> Decision | None:
    """None if the app can only belong to someone else: nothing of ours existed under the name or may still appear.

    An app that was ours is not given up without an operator's decision.
    """
    if observation.listed_as_ours:
        return _contradicted(row, "says that it belongs to someone else")
    if was_ours(row) and not wants_new_name(row, now):
        return report_not_owned(row)
    if _create_may_take_effect(row, now):
        return Wait(_seconds_until_known(row, now), "the app may be ours although Fly does not show it yet")
    if observation.denied_once:
        return Wait(2, "reading twice before the app counts as someone else's")
    return decide_lost_name(row, observation) if was_ours(row) else None


def _contradicted(row: Row, direct_read: str) -> GiveUp:
    return GiveUp(
        CONTRADICTION,
        f"Fly's lists show the app {row.fly_app_name} as ours, and a direct read {direct_read}",
        CONTRADICTION_ADVICE,
        passes=True,
    )


def _create_may_take_effect(row: Row, now: datetime) -> bool:
    return row.create_unknown_at is not None and now - row.create_unknown_at < UNKNOWN_CREATE


def _seconds_until_known(row: Row, now: datetime) -> float:
    if row.create_unknown_at is None:
        return 2
    return max(1.0, (row.create_unknown_at + UNKNOWN_CREATE - now).total_seconds())
