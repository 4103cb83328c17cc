"""Bugs planted in the reconcile loop: lease, intent and outcome, what is observed, and what a call leaves behind."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_RECONCILE = "tests/simulation/test_reconcile.py"
_WAITS = "tests/simulation/test_planted_waits.py"
_LEASE = "tests/unit/test_planted_lease.py"
_LOOP = "tests/simulation/test_planted_loop.py"

BUGS = (
    PlantedBug(
        "installation-check-dropped",
        Python("shared.reconcile.run", "Run.run"),
        exactly("if self.lease.settings.installation_id != self.worker.inputs.installation_id:"),
        "if False:",
        "I4: a cloned database is read-only",
        ("tests/simulation/test_planted_ownership.py::test_a_worker_of_another_installation_does_not_even_rename",),
    ),
    PlantedBug(
        "ownership-check-dropped",
        Python("shared.reconcile.observer", "AppObserver._read_app"),
        exactly("if proves_ownership(row, app):"),
        "if True:",
        "I4: an app without our proof is never adopted",
        (f"{_RECONCILE}::test_an_app_of_our_own_organisation_without_our_proof_is_left_alone",),
    ),
    PlantedBug(
        "id-saved-after-waiting",
        Python("shared.reconcile.run", "Run._wait"),
        exactly("if self.lease.has_news:"),
        "if False:",
        "I3: an id is saved as soon as it is known, before any waiting",
        (f"{_WAITS}::test_the_machines_id_is_saved_before_the_wait",),
    ),
    PlantedBug(
        "intent-not-recorded",
        Python("shared.reconcile.lease", "LeasedApp.record_intent"),
        exactly("self.save(intent=intent)"),
        "self.save()",
        "I11: every Fly write has an intent before it",
        (f"{_RECONCILE}::test_every_write_has_an_intent_before_and_an_outcome_after",),
    ),
    PlantedBug(
        "outcome-not-recorded",
        Python("shared.reconcile.call", "call_fly"),
        exactly('lease.record_outcome("succeeded")'),
        "pass",
        "I11: every Fly write has an outcome after it",
        (f"{_RECONCILE}::test_every_write_has_an_intent_before_and_an_outcome_after",),
    ),
    PlantedBug(
        "unknown-outcome-called-failed",
        Python("shared.reconcile.call", "_record_failure"),
        exactly('"unknown" if isinstance(error, OutcomeUnknown)'),
        '"failed" if isinstance(error, OutcomeUnknown)',
        "I11: an outcome that nobody knows is recorded as unknown",
        (f"{_RECONCILE}::test_a_call_without_an_answer_is_recorded_as_unknown",),
    ),
    PlantedBug(
        "refused-and-done-anyway",
        Python("shared.reconcile.run", "Run._act"),
        r"if refused: ",
        "if False:  ",
        "I5, I6: a call whose intent the database refused as stale or entitled is not sent",
        ("tests/simulation/test_changed_minds.py::test_a_call_that_the_database_refuses_does_not_go_out",),
    ),
    PlantedBug(
        "suspended-worker-acts",
        Python("shared.reconcile.lease", "LeasedApp.call_budget_s"),
        exactly("if budget_s <= 0:"),
        "if False:",
        "I6: a worker that was suspended past its lease sends nothing to Fly",
        (f"{_WAITS}::test_a_worker_frozen_behind_its_save_leaves_fly_alone", _LEASE),
    ),
    PlantedBug(
        "lease-clock-stands-still",
        Python("shared.reconcile.lease", "LeasedApp.time"),
        exactly("self.worker.clock() - self._read_at"),
        "0.0",
        "I8: what waits for a time is decided by the time now, not by the time of the last save",
        (f"{_LEASE}::test_the_databases_time_moves_on_with_this_process",),
    ),
    PlantedBug(
        "events-of-a-failed-save-lost",
        Python("shared.reconcile.lease", "LeasedApp.save"),
        exactly("self.audit.put_back(events)"),
        "pass",
        "I11: the events of a save without an answer go with the next save",
        (f"{_LEASE}::test_a_save_without_an_answer_is_repeated_whole",),
    ),
    PlantedBug(
        "same-action-without-limit",
        Python("shared.reconcile.progress", "Progress.check"),
        exactly("if times >= SAME_ACTION_LIMIT:"),
        "if False:",
        "I7: an action without effect is made three times in a run, not forty",
        (f"{_LOOP}::test_an_action_without_effect_is_made_three_times",),
    ),
    PlantedBug(
        "stray-clears-the-main-machine",
        Python("shared.reconcile.executor", "_execute_on_machine"),
        exactly("if machine.id == row.machine_id:"),
        "if True:",
        "I10: destroying a stray leaves the row's machine as it is",
        ("tests/unit/test_planted_decisions.py::test_destroying_a_stray_leaves_the_rows_machine_as_it_is",),
    ),
    PlantedBug(
        "machine-priced-by-the-plan",
        Python("shared.reconcile.executor", "patch_from_machine"),
        exactly("size = machine.size or (row.cpu_kind, row.cpu_count, row.memory_mb)"),
        "size = (row.cpu_kind, row.cpu_count, row.memory_mb)",
        "I10: a machine costs what its own size costs, whatever its plan says by now",
        ("tests/simulation/test_seed_findings.py::test_a_machine_of_the_old_size_has_its_price_too",),
    ),
    PlantedBug(
        "failing-machines-without-an-end",
        Python("shared.reconcile.progress", "Progress.check"),
        exactly("and self.calls[ActionKind.CREATE_MACHINE]"),
        "and not self.calls[ActionKind.CREATE_MACHINE] and False",
        "I7: a new machine that fails is a failure of the app, with growing waits",
        ("tests/simulation/test_refusals.py::test_a_new_machine_that_fails_is_the_users_own_failure",),
    ),
    PlantedBug(
        "refusal-lasts-until-the-machine-is-up",
        Sql("function hangar.end_refusal"),
        exactly("'create_machine', "),
        "",
        "D9: a refusal ends when Fly accepts the change again",
        ("tests/simulation/test_refusals.py::test_a_refusal_ends_when_fly_has_made_the_machine",),
    ),
)
