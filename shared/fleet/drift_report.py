"""What a probe says of the machine's spec: what runs, how it differs from the row, and what it costs."""

from dataclasses import replace
from datetime import datetime

from shared.adapters.procedures_sweep import AppReport
from shared.domain.models import Row
from shared.domain.observation import ObservedMachine
from shared.reconcile.executor import patch_from_machine


def add_spec(report: AppReport, row: Row, machine: ObservedMachine, now: datetime) -> AppReport:
    """The report with the machine's spec and price by Fly's own answer; unchanged if Fly cannot say.

    Drift is judged of rows whose generation was reached. Until then a difference is work in progress.
    """
    if not machine.host_ok or machine.size is None or machine.id != row.machine_id:
        return report
    found = patch_from_machine(row, machine, now.date())
    is_judged = row.desired_state == "present" and row.observed_generation == row.generation
    return replace(
        report,
        drift={each.kind: each.text for each in machine.drift} if is_judged else None,
        observed_spec=found["observed_spec"],
        machine_region=found["machine_region"],
        price_usd_per_s=found["price_usd_per_s"],
    )
