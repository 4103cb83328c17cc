"""Bugs planted in the pure rules: what is decided, what a machine is, how long to wait, and money."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_DECIDE, _BACKOFF, _CONFIG = "shared.domain.decide", "shared.domain.backoff", "shared.domain.machine_config"
_TESTS = ("tests/unit/test_decide.py",)
_WAITS = "tests/simulation/test_planted_waits.py"

BUGS = (
    PlantedBug(
        "unknown-create-not-waited-for",
        Python(_DECIDE, "UNKNOWN_CREATE"),
        "seconds=120",
        "seconds=0",
        "I3: an app whose create got no answer may appear after its row was closed",
        ("tests/unit/test_decide.py::test_waiting_for_a_create_ends_when_it_can_no_longer_surface", *_TESTS),
    ),
    PlantedBug(
        "gone-without-a-delete",
        Python(_DECIDE, "_decide_gone"),
        exactly("was_ours(row) and not observation.just_deleted"),
        "False",
        "I3: an app that was ours is deleted even if Fly denies that it exists",
        (*_TESTS, "tests/simulation/test_guards.py::test_one_false_404_does_not_end_a_row_whose_app_runs"),
    ),
    PlantedBug(
        "machine-in-the-hold-without-price",
        Python(_DECIDE, "_decide_held"),
        exactly("if machine is not None and machine.id != row.machine_id:"),
        "if False:",
        "I10: a machine that is found during the removal hold is recorded with its price",
        ("tests/simulation/test_seed_findings.py::test_a_machine_found_in_the_removal_hold_has_a_price",),
    ),
    PlantedBug(
        "grace-ignored",
        Python(_DECIDE, "_decide_absent"),
        exactly("row.delete_after is not None and now < row.delete_after"),
        "False",
        "I5: the app is kept for the plan's grace",
        ("tests/unit/test_decide.py::test_grace_keeps_the_app_and_says_deprovisioning", *_TESTS),
    ),
    PlantedBug(
        "unreachable-host-repaired",
        Python(_DECIDE, "_decide_machine"),
        exactly("if not machine.host_ok:"),
        "if False:",
        "I5: a host out of reach is unknown, and unknown never leads to a repair",
        ("tests/unit/test_decide.py::test_an_unreachable_host_is_never_repaired", *_TESTS),
    ),
    PlantedBug(
        "stray-is-the-main-machine",
        Python(_DECIDE, "_find_stray"),
        exactly("machine.id != main.id and "),
        "",
        "I5: only a second machine is a stray",
        ("tests/unit/test_planted_decisions.py::test_only_a_second_machine_is_a_stray",),
    ),
    PlantedBug(
        "foreign-app-deleted",
        Python(_DECIDE, "_decide_absent"),
        exactly('_decide_foreign(row, observation, now) or Done("deleted")'),
        'Action(ActionKind.DELETE_APP, purpose="deprovision")',
        "I4: an app without our proof is never deleted",
        ("tests/unit/test_decide.py::test_a_foreign_app_is_never_acted_on", *_TESTS),
    ),
    PlantedBug(
        "one-403-is-proof",
        Python(_DECIDE, "_decide_foreign"),
        exactly("if observation.denied_once:"),
        "if False:",
        "I5: one false 403 does not make Hangar leave a user's app for another name",
        ("tests/simulation/test_exhaustive_findings.py::test_one_403_takes_no_other_name",),
    ),
    PlantedBug(
        "main-machine-by-name-first",
        Python(_DECIDE, "find_main"),
        exactly("by_id + by_name"),
        "by_name + by_id",
        "I5: the machine that the row knows by its id is the app's machine, whatever another one is called",
        ("tests/unit/test_planted_decisions.py::test_the_id_names_the_main_machine_and_the_name_only_without_it",),
    ),
    PlantedBug(
        "machine-destroys-itself",
        Python(_CONFIG, "build_config"),
        exactly('"auto_destroy": False'),
        '"auto_destroy": True',
        "I5: Fly restarts a machine that exits and never destroys it",
        ("tests/unit/test_machine.py",),
    ),
    PlantedBug(
        "wrong-token-needs-a-person",
        Python(_BACKOFF, "NEEDS_A_PERSON"),
        exactly('{"image", "size"}'),
        '{"image", "size", "token"}',
        "I8: after a wrong token is replaced, no user has to be retried by hand",
        ("tests/simulation/test_reconcile.py::test_a_wrong_token_is_retried_automatically",),
    ),
    PlantedBug(
        "wait-without-a-cap",
        Python(_BACKOFF, "back_off_s"),
        exactly("min(doubled, settings.retry_cap_s)"),
        "doubled",
        "I8: the next attempt is at most retry_cap_s away",
        (f"{_WAITS}::test_the_wait_never_exceeds_its_cap",),
    ),
    PlantedBug(
        "half-a-cent-lost",
        Python("shared.domain.cost", "to_cents"),
        exactly("rounding=ROUND_HALF_UP"),
        'rounding="ROUND_HALF_EVEN"',
        "I10: money is rounded half-up",
        ("tests/unit/test_cost.py",),
    ),
)
