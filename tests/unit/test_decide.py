"""decide(): each action by example, and a property test that repeated decisions always terminate."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.actions import Action, ActionKind, Adopt, Done, GiveUp, Rename, Wait
from shared.domain.decide import STRAY_AGE, decide, find_main
from shared.domain.drift import Difference
from shared.domain.machine_states import GONE_STATES, STUCK
from shared.domain.models import Row
from shared.domain.observation import AppPresence, Observation, ObservedMachine

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROW = Row(
    id=UUID(int=1),
    user_id=UUID(int=2),
    fly_app_name="vyx-user-0badc0de",
    fly_org_slug="hangar",
    network="hangar-000000000000-" + UUID(int=1).hex,
    status="provisioning",
    desired_state="present",
    generation=1,
    region="iad",
    docker_image="registry.example/app@sha256:1",
    cpu_kind="shared",
    cpu_count=2,
    memory_mb=512,
)
DRIFT = (Difference("image", "registry.example/app:old", ROW.docker_image),)
REGION_DRIFT = (Difference("region", "nrt", "iad"),)
MACHINE = ObservedMachine("m1", "vyx-user-0badc0de-main", "started", "iad", "v1", (), True, NOW, "healthy")
READY = ROW.model_copy(update={"secrets_version": 1, "machine_id": "m1"})
ABSENT = READY.model_copy(update={"desired_state": "absent", "status": "deprovisioning", "generation": 2})


def having(row, **changes):
    return row.model_copy(update=changes)


def ours(*machines, **flags):
    return Observation(AppPresence.OURS, machines, **flags)


def in_state(state, **changes):
    return replace(MACHINE, state=state, **changes)


def kind_of(decision):
    return decision.kind if isinstance(decision, Action) else type(decision)


ON_DEMAND = having(READY, power="on_demand")
PRESENT = [
    (ROW, Observation(AppPresence.ABSENT), ActionKind.CREATE_APP),
    (ROW, Observation(AppPresence.FOREIGN), Rename),
    (READY, Observation(AppPresence.FOREIGN), GiveUp),
    (having(ROW, create_unknown_at=NOW), Observation(AppPresence.FOREIGN), Wait),
    (ROW, Observation(AppPresence.ABSENT, just_created=True), Wait),
    (ROW, Observation(AppPresence.ABSENT, name_was_taken=True), Wait),
    (having(ROW, retry_count=2), Observation(AppPresence.ABSENT, name_was_taken=True), Rename),
    (having(ROW, retry_count=2), Observation(AppPresence.ABSENT, name_was_taken=True, listed_as_ours=True), Wait),
    (having(ROW, retry_count=2, create_unknown_at=NOW), Observation(AppPresence.ABSENT, name_was_taken=True), Wait),
    (ROW, ours(), ActionKind.SET_SECRETS),
    (having(ROW, secrets_version=1), ours(), ActionKind.CREATE_MACHINE),
    (having(ROW, memory_mb=256), ours(), GiveUp),
    (having(ROW, secrets_version=1), ours(MACHINE), Adopt),
    (READY, ours(MACHINE), Done),
    (READY, ours(in_state("destroyed")), ActionKind.CREATE_MACHINE),
    (READY, ours(in_state("stopped")), ActionKind.START_MACHINE),
    (READY, ours(in_state("suspended")), ActionKind.START_MACHINE),
    (having(READY, power="on_demand"), ours(in_state("stopped", drift=DRIFT)), ActionKind.UPDATE_MACHINE),
    (READY, ours(in_state("failed")), ActionKind.DESTROY_MACHINE),
    (READY, ours(in_state("created")), Wait),
    (READY, ours(in_state("created", changed_at=NOW - timedelta(minutes=11))), ActionKind.DESTROY_MACHINE),
    (READY, ours(in_state("stopping")), Wait),
    (READY, ours(in_state("destroying")), Wait),
    (READY, ours(in_state("stopping", changed_at=NOW - timedelta(minutes=11))), ActionKind.DESTROY_MACHINE),
    (READY, ours(in_state("launch_failed", changed_at=NOW - timedelta(minutes=11))), ActionKind.DESTROY_MACHINE),
    (READY, ours(in_state("unknown")), Wait),
    (READY, ours(in_state("started", drift=DRIFT)), ActionKind.UPDATE_MACHINE),
    (READY, ours(in_state("stopped", host_ok=False)), Wait),
    (having(READY, status="active", observed_generation=1), ours(in_state("stopped", host_ok=False)), Done),
    # A change that could not be made yet: the row must not count as changed.
    (
        having(READY, status="active", generation=2, observed_generation=1),
        ours(in_state("started", host_ok=False)),
        Wait,
    ),
    (having(READY, retry_count=3), ours(in_state("stopped")), ActionKind.START_MACHINE),
    (having(READY, retry_count=3, error_code="start_failed"), ours(in_state("stopped")), ActionKind.DESTROY_MACHINE),
    (having(READY, retry_count=2, error_code="start_failed"), ours(in_state("stopped")), ActionKind.START_MACHINE),
    (ON_DEMAND, ours(in_state("stopped")), Done),
    (READY, ours(in_state("created", changed_at=NOW - STUCK)), Wait),
    (READY, ours(in_state("created", changed_at=None)), Wait),
    (READY, ours(in_state("stopping", changed_at=None)), Wait),
    (READY, ours(in_state("stopping", changed_at=NOW - STUCK)), Wait),
]


@pytest.mark.parametrize(("row", "seen", "expected"), PRESENT)
def test_a_wanted_app(row, seen, expected):
    assert kind_of(decide(row, seen, NOW)) == expected


GRACE = having(ABSENT, delete_after=NOW + timedelta(hours=1))
NEVER_OURS = having(ABSENT, machine_id=None, secrets_version=None)
UNWANTED = [
    (ABSENT, Observation(AppPresence.ABSENT), ActionKind.DELETE_APP),
    (ABSENT, Observation(AppPresence.ABSENT, just_deleted=True), Done),
    (NEVER_OURS, Observation(AppPresence.ABSENT, absences=1), Wait),
    (NEVER_OURS, Observation(AppPresence.ABSENT, absences=2), Done),
    (
        having(NEVER_OURS, create_unknown_at=NOW - timedelta(seconds=30)),
        Observation(AppPresence.ABSENT, absences=2),
        Wait,
    ),
    (
        having(NEVER_OURS, create_unknown_at=NOW - timedelta(seconds=120)),
        Observation(AppPresence.ABSENT, absences=2),
        Done,
    ),
    (ABSENT, Observation(AppPresence.FOREIGN), GiveUp),
    (NEVER_OURS, Observation(AppPresence.FOREIGN), Done),
    (having(NEVER_OURS, create_unknown_at=NOW), Observation(AppPresence.FOREIGN), Wait),
    (ABSENT, ours(MACHINE), ActionKind.STOP_MACHINE),
    (having(ABSENT, machine_id=None), ours(MACHINE), Adopt),
    (having(ABSENT, retry_count=12), ours(MACHINE), ActionKind.DELETE_APP),
    (ABSENT, ours(in_state("stopping")), Wait),
    (ABSENT, ours(in_state("stopping", changed_at=NOW - timedelta(minutes=11))), ActionKind.DELETE_APP),
    (ABSENT, ours(in_state("stopped")), ActionKind.DELETE_APP),
    (ABSENT, ours(in_state("failed")), ActionKind.DELETE_APP),
    (ABSENT, ours(), ActionKind.DELETE_APP),
    (ABSENT, ours(just_deleted=True), Wait),
    (GRACE, ours(MACHINE), ActionKind.STOP_MACHINE),
    (GRACE, ours(in_state("stopped")), Done),
    (GRACE, ours(in_state("starting")), Wait),
    (ABSENT, ours(in_state("starting")), ActionKind.DELETE_APP),
    (having(ABSENT, retry_count=11), ours(MACHINE), ActionKind.STOP_MACHINE),
    (having(GRACE, retry_count=12), ours(MACHINE), ActionKind.STOP_MACHINE),
    (having(ABSENT, delete_after=NOW), ours(in_state("stopped")), ActionKind.DELETE_APP),
    (having(ABSENT, delete_after=NOW - timedelta(hours=1)), ours(in_state("stopped")), ActionKind.DELETE_APP),
    (ABSENT, ours(in_state("started", host_ok=False)), ActionKind.DELETE_APP),
    (GRACE, ours(in_state("started", host_ok=False)), Done),
]


@pytest.mark.parametrize(("row", "seen", "expected"), UNWANTED)
def test_an_unwanted_app(row, seen, expected):
    assert kind_of(decide(row, seen, NOW)) == expected


def test_grace_keeps_the_app_and_says_deprovisioning():
    assert decide(GRACE, ours(in_state("stopped")), NOW) == Done("deprovisioning", in_state("stopped"))


def test_what_was_there_before_is_repaired():
    """The audit log distinguishes a first provision from a repair."""
    assert decide(ROW, Observation(AppPresence.ABSENT), NOW).purpose == "provision"
    assert decide(READY, Observation(AppPresence.ABSENT), NOW).purpose == "repair"
    assert decide(having(ROW, secrets_version=1), ours(), NOW).purpose == "provision"
    assert decide(READY, ours(), NOW).purpose == "repair"


def test_a_sleeping_machine_hides_no_stray():
    """A stopped on-demand machine is not proof of a healthy app, so the second machine is kept."""
    asleep = in_state("stopped")
    assert decide(ON_DEMAND, ours(asleep, STRAY), NOW) == Done("active", asleep)


def test_waiting_for_a_create_ends_when_it_can_no_longer_surface():
    row = having(NEVER_OURS, create_unknown_at=NOW - timedelta(seconds=30))
    assert decide(row, Observation(AppPresence.ABSENT, absences=2), NOW).seconds == 90
    assert decide(NEVER_OURS, Observation(AppPresence.ABSENT, just_created=True), NOW).seconds == 2


def test_giving_up_says_what_to_do():
    decision = decide(READY, Observation(AppPresence.FOREIGN), NOW)
    assert isinstance(decision, GiveUp)
    assert "FLY_API_TOKEN" in decision.advice


MACHINES = st.builds(
    ObservedMachine,
    id=st.sampled_from(["m1", "m2"]),
    name=st.sampled_from(["vyx-user-0badc0de-main", "other"]),
    state=st.sampled_from(
        ["created", "starting", "started", "stopped", "suspended", "failed", "stopping", "destroyed", "unknown"]
    ),
    region=st.just("iad"),
    version=st.just("v1"),
    drift=st.sampled_from([(), DRIFT, REGION_DRIFT]),
    host_ok=st.booleans(),
    changed_at=st.sampled_from([NOW, NOW - timedelta(minutes=30), None]),
    health=st.sampled_from(["healthy", "bad", "unknown"]),
)
SEEN = st.builds(
    Observation,
    app=st.sampled_from(AppPresence),
    machines=st.lists(MACHINES, max_size=2, unique_by=lambda m: m.id).map(tuple),
    just_created=st.booleans(),
    just_deleted=st.booleans(),
    name_was_taken=st.booleans(),
    absences=st.integers(0, 3),
)
ROWS = st.builds(
    lambda **changes: having(ROW, **changes),
    desired_state=st.sampled_from(["present", "absent"]),
    status=st.sampled_from(["provisioning", "active", "error", "deprovisioning"]),
    machine_id=st.sampled_from([None, "m1"]),
    secrets_version=st.sampled_from([None, 1]),
    retry_count=st.integers(0, 9),
    error_code=st.sampled_from([None, "start_failed", "transient"]),
    power=st.sampled_from(["always_on", "on_demand"]),
    delete_after=st.sampled_from([None, NOW - timedelta(1), NOW + timedelta(1)]),
    create_unknown_at=st.sampled_from([None, NOW, NOW - timedelta(1)]),
)


@given(ROWS, SEEN)
def test_a_foreign_app_is_never_acted_on(row, seen):
    """I4: without our proof Hangar may only finish, wait, choose another name or raise an alert."""
    if seen.app is AppPresence.FOREIGN:
        assert isinstance(decide(row, seen, NOW), Rename | Wait | GiveUp | Done)


@given(ROWS, SEEN)
def test_a_wanted_app_is_never_deleted(row, seen):
    """I5: no state of Fly leads to deleting a wanted app. At most its broken machine is replaced."""
    if row.desired_state == "present":
        decision = decide(row, seen, NOW)
        assert kind_of(decision) is not ActionKind.DELETE_APP
        if kind_of(decision) is ActionKind.DESTROY_MACHINE:
            broken = decision.machine == find_main(row, seen)
            assert decision.purpose == ("replace" if broken else "stray")


@given(ROWS, SEEN)
def test_an_unreachable_host_is_never_repaired(row, seen):
    """An unknown state is never repaired."""
    machine = find_main(row, seen)
    if row.desired_state == "present" and seen.app is AppPresence.OURS and machine and not machine.host_ok:
        assert kind_of(decide(row, seen, NOW)) in (Adopt, Wait, Done)


def _apply(row, seen, decision):
    """The observation after a decision, on a Fly without faults."""
    main = ObservedMachine("m9", f"{row.fly_app_name}-main", "started", "iad", "v", (), True, NOW, "healthy")
    kind = kind_of(decision)
    calm = replace(seen, just_created=False, just_deleted=False, name_was_taken=False)
    machine = find_main(row, seen)
    others = tuple(each for each in seen.machines if each is not machine)

    def becoming(state, **changes):
        return replace(calm, machines=(*others, replace(machine, state=state, **changes)))

    match kind:
        case ActionKind.CREATE_APP:
            return having(row, machine_id=None, secrets_version=None), Observation(AppPresence.OURS)
        case ActionKind.SET_SECRETS:
            return having(row, secrets_version=1), calm
        case ActionKind.CREATE_MACHINE:
            return having(row, machine_id="m9"), replace(calm, machines=(main,))
        case ActionKind.START_MACHINE | ActionKind.UPDATE_MACHINE:
            return row, becoming("started", drift=())
        case ActionKind.STOP_MACHINE:
            return row, becoming("stopped")
        case ActionKind.DESTROY_MACHINE:
            return having(row, machine_id=None), replace(calm, machines=others)
        case ActionKind.DELETE_APP:
            return row, Observation(AppPresence.ABSENT, just_deleted=True, absences=1)
    if kind is Adopt:
        return having(row, machine_id=decision.machine.id), calm
    if kind is Rename:
        return having(row, machine_id=None, secrets_version=None, fly_app_name=row.fly_app_name + "0"), Observation(
            AppPresence.ABSENT
        )
    # A wait: time passes, and every transitional state ends.
    settled = {"stopping": "stopped", "unknown": "started", "created": "started", "starting": "started"}
    machines = tuple(
        replace(each, state=settled.get(each.state, each.state), host_ok=True, changed_at=NOW) for each in seen.machines
    )
    app = AppPresence.ABSENT if seen.just_deleted else seen.app
    return having(row, create_unknown_at=None), replace(calm, app=app, machines=machines, absences=seen.absences + 1)


@given(ROWS, SEEN)
def test_every_start_converges(row, seen):
    """I8: without faults, every row and observation reaches Done (or needs an operator) within 12 steps."""
    for _ in range(12):
        decision = decide(row, seen, NOW)
        if isinstance(decision, GiveUp):
            return
        if isinstance(decision, Done):
            machine = find_main(row, seen)
            if decision.status == "deleted":
                assert seen.app is not AppPresence.OURS
            elif decision.status == "active" and row.power == "always_on" and machine.host_ok:
                assert machine.state == "started"
            return
        row, seen = _apply(row, seen, decision)
    pytest.fail(f"not done after 12 steps: {decision}")


def test_destroyed_machines_are_ignored():
    for state in GONE_STATES:
        assert find_main(READY, ours(in_state(state))) is None


OLD = NOW - timedelta(minutes=11)
STRAY = ObservedMachine("m2", "made-by-hand", "started", "iad", "v1", None, True, OLD, "unknown")


@pytest.mark.parametrize(
    ("main", "stray", "expected"),
    [
        (MACHINE, STRAY, ActionKind.DESTROY_MACHINE),
        (MACHINE, replace(STRAY, changed_at=NOW), Done),
        (MACHINE, replace(STRAY, host_ok=False), Done),
        (MACHINE, replace(STRAY, state="destroying"), Done),
        (MACHINE, replace(STRAY, state="starting"), ActionKind.DESTROY_MACHINE),
        (MACHINE, replace(STRAY, state="stopping"), ActionKind.DESTROY_MACHINE),
        (MACHINE, replace(STRAY, state="unheard-of"), Done),
        (MACHINE, replace(STRAY, changed_at=NOW - STRAY_AGE), Done),
        (MACHINE, replace(STRAY, changed_at=None), Done),
        (in_state("started", drift=DRIFT), STRAY, ActionKind.UPDATE_MACHINE),
        (in_state("started", host_ok=False), STRAY, Wait),
        (in_state("stopped"), STRAY, ActionKind.START_MACHINE),
        (in_state("created"), STRAY, Wait),
    ],
)
def test_a_second_machine_goes_once_the_first_one_runs(main, stray, expected):
    """A stray is destroyed only if the main machine runs and no create can still be in progress."""
    decision = decide(READY, ours(main, stray), NOW)
    assert kind_of(decision) == expected
    if expected is ActionKind.DESTROY_MACHINE:
        assert (decision.machine.id, decision.purpose) == ("m2", "stray")


AGAIN = having(READY, status="active", generation=2, observed_generation=1)
STEADY = having(READY, status="active", observed_generation=1)


@pytest.mark.parametrize(
    ("row", "kinds", "config_sent", "purpose"),
    [
        (AGAIN, {"guest"}, None, "update"),
        (AGAIN, {"guest", "secrets"}, None, "update"),
        (AGAIN, {"secrets"}, None, "secrets"),  # deploys the image that runs
        (AGAIN, {"region"}, None, None),  # no update moves a machine
        (AGAIN, {"checks"}, None, "update"),
        (AGAIN, {"checks"}, 2, None),  # Fly still writes the value in another way: recorded as drift
        (AGAIN, {"checks"}, 1, "update"),  # what was sent is of another generation
        (AGAIN, {"guest", "checks"}, 2, "update"),
        (AGAIN, {"secrets"}, 2, "secrets"),
        (STEADY, {"guest"}, None, None),  # drift waits for its admission
        (having(STEADY, drift_repair="sweep"), {"guest"}, None, "drift"),
        (having(STEADY, drift_repair="sweep"), {"region"}, None, None),
        (
            having(STEADY, error_code="start_failed"),
            {"checks"},
            None,
            "repair",
        ),  # what does not start is not what was deployed
        (having(STEADY, error_code="start_failed"), {"checks"}, 1, None),
    ],
)
def test_an_update_says_why_and_is_sent_once(row, kinds, config_sent, purpose):
    drift = tuple(Difference(kind, "a", "b") for kind in sorted(kinds))
    decision = decide(row, ours(replace(MACHINE, drift=drift), config_sent=config_sent), NOW)
    if purpose is None:
        assert isinstance(decision, Done)
    else:
        assert (decision.kind, decision.purpose) == (ActionKind.UPDATE_MACHINE, purpose)
