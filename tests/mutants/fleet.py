"""Bugs planted in the sweep: what a listing proves, incidents, and orphans."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_GUARDS = "tests/simulation/test_guards.py"
_FINDINGS = "tests/simulation/test_exhaustive_findings.py"
_RESTORED = "tests/simulation/test_restored.py"
_SWEEP = "tests/simulation/test_planted_sweep.py"

BUGS = (
    PlantedBug(
        "unreadable-region-ignored",
        Python("shared.fleet.inventory", "observe_listed"),
        exactly("if row.machine_region in inventory.error_regions:"),
        "if False:",
        "I5: an app in a region that Fly could not read is unknown",
        ("tests/simulation/test_planted_listing.py::test_an_app_in_an_unreadable_region_is_unknown",),
    ),
    PlantedBug(
        "destroyed-machines-listed",
        Python("shared.fleet.inventory", "read_machines"),
        exactly("if machine.state not in GONE_STATES:"),
        "if True:",
        "I7: a destroyed machine that the list still shows is no second machine",
        (f"{_SWEEP}::test_a_list_counts_no_destroyed_machine",),
    ),
    PlantedBug(
        "orphan-of-another-installation",
        Python("shared.fleet.inventory", "Inventory.list_ours"),
        exactly("if proof and proof.installation == mark"),
        "if proof",
        "I4: an app of another installation is neither counted nor removed",
        ("tests/simulation/test_sweep.py::test_an_orphan_is_counted_and_a_stranger_is_not", _GUARDS),
    ),
    PlantedBug(
        "hidden-fleet-made-again",
        Python("shared.fleet.incidents", "IncidentGuard.hold_hidden"),
        exactly("< FEWEST_HIDDEN"),
        "< 1000",
        "I5: empty lists and 404s alone do not let Hangar make several apps again",
        ("tests/incidents/test_fly_lists.py::test_lists_and_direct_looks_that_show_nothing",),
    ),
    PlantedBug(
        "missing-app-not-due-after-a-retry",
        Sql("function public.fly_retry"),
        exactly("elsif v_row.desired_state = 'present' and v_row.machine_state = 'absent' then"),
        "elsif false then",
        "I8: an operator ends the wait for a fleet that is really gone",
        ("tests/incidents/test_fly_lists.py::test_apps_that_somebody_deleted_all_come_back_after_a_retry",),
    ),
    PlantedBug(
        "incident-repaired-at-once",
        Python("shared.fleet.incidents", "IncidentGuard.limit_repairs"),
        r"if due <= max\([^\n]+:",
        "if True:",
        "I7: many apps that break at once are one incident, not as many repairs",
        (f"{_GUARDS}::test_many_broken_at_once_are_one_incident_with_one_alert",),
    ),
    PlantedBug(
        "incident-floor-for-each-page",
        Python("shared.fleet.incidents", "IncidentGuard._hold_back"),
        exactly("self.allowed -= 1"),
        "pass",
        "I7: a sweep repairs incident_floor apps of an incident, however many pages the fleet has",
        (f"{_SWEEP}::test_the_floor_of_an_incident_holds_for_the_whole_sweep",),
    ),
    PlantedBug(
        "rows-in-error-not-judged",
        Python("shared.fleet.fleet_pass", "is_probed"),
        exactly('row.status in ("active", "error")'),
        'row.status == "active"',
        "I8: a row in error whose app is fine by now does not wait for its next attempt",
        (f"{_SWEEP}::test_a_row_in_error_whose_app_is_fine_is_due_at_once",),
    ),
    PlantedBug(
        "outage-is-a-missing-machine",
        Python("shared.fleet.health_probe", "_report_unread"),
        r'told = AppReport\(row\.id, health="unknown", due=[^,]*, reason=reason\)',
        'told = AppReport(row.id, health="bad", due=True, reason=reason)',
        "I5: Fly out of reach is unknown, and unknown never leads to a repair",
        ("tests/simulation/test_sweep.py::test_a_machine_that_cannot_be_read_is_unknown_not_unhealthy",),
    ),
    PlantedBug(
        "sync-left-out",
        Python("shared.fleet.sweep", "Sweep._sweep_fleet"),
        exactly("self._sync_entitlements()"),
        "pass",
        "I1: the next sweep finds an expiry, and a change that the trigger skipped",
        ("tests/simulation/test_sweep.py::test_an_expiry_is_found_without_a_write",),
    ),
    PlantedBug(
        "orphan-without-a-direct-look",
        Python("shared.fleet.orphans", "Orphans._deal_with"),
        exactly("if found is None or proof is None or found.network != network:"),
        "if found is None or proof is None:",
        "I5: two independent checks are required before an orphan is removed, one of them a direct look",
        ("tests/simulation/test_planted_ownership.py::test_the_list_alone_removes_no_orphan",),
    ),
    PlantedBug(
        "orphan-on-an-unreachable-host",
        Python("shared.fleet.orphans", "Orphans._deal_with"),
        exactly('if any(machine.incomplete or machine.host_status != "ok" for machine in machines):'),
        "if False:",
        "I5: an orphan whose owner cannot be read is kept",
        (f"{_FINDINGS}::test_an_orphan_on_an_unreachable_host_is_not_judged",),
    ),
    PlantedBug(
        "old-verdict-carried-out",
        Python("shared.fleet.orphans", "Orphans._deal_with"),
        exactly("ORPHAN_CALL_BUDGET_S - (self.worker.clock() - asked_at)"),
        "ORPHAN_CALL_BUDGET_S",
        "I5: a verdict about an orphan holds for seconds only",
        (f"{_RESTORED}::test_a_worker_frozen_before_it_removes_an_orphan_lets_it_be",),
    ),
)
