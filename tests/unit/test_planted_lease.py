"""The lease of one worker: its clock, and what a save without an answer keeps. Each guard alone."""

from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from shared.domain.errors import LeaseLost, SaveFailed, TransientError
from shared.domain.models import Settings
from shared.reconcile.lease import CALL_BUDGET_S, LeasedApp
from tests.unit.test_decide import NOW, READY

SETTINGS = Settings(installation_id=UUID(int=9), fly_org_slug="hangar")


class Store:
    """A database that takes `late_s` seconds for a save and gives no answer to the first `fails` saves."""

    def __init__(self, clock, late_s=0.0, fails=0):
        self.clock, self.late_s, self.fails, self.sent = clock, late_s, fails, []

    def save(self, row, patch, events, *, release):
        self.sent.append((dict(patch), events, release))
        self.clock.now += self.late_s
        if len(self.sent) <= self.fails:
            raise TransientError("no answer")
        return SimpleNamespace(row=row, settings=SETTINGS, now=NOW, retry_in_s=0.0)


@pytest.fixture
def clock():
    """Seconds that move only when a test sets `now`."""
    return SimpleNamespace(now=100.0)


def lease_row(clock, **store):
    database = Store(clock, **store)
    inputs = SimpleNamespace(installation_id=UUID(int=9))
    worker = SimpleNamespace(clock=lambda: clock.now, holder="worker", inputs=inputs, new_id=uuid4, database=database)
    return LeasedApp(worker, READY, SETTINGS, NOW), database


def test_the_databases_time_moves_on_with_this_process(clock):
    """I8: a deadline is compared with the current time, even long after the last save."""
    lease, _ = lease_row(clock)
    clock.now += 90
    assert lease.time() == NOW + timedelta(seconds=90)


def test_the_lease_starts_when_its_save_was_sent(clock):
    """I6: a process that was suspended while it waited for the answer has that much less of its lease left."""
    lease, _ = lease_row(clock, late_s=30.0)
    lease.save()
    assert lease.call_budget_s() == CALL_BUDGET_S - 30
    clock.now += 20
    with pytest.raises(LeaseLost):
        lease.call_budget_s()


def test_a_save_without_an_answer_is_repeated_whole(clock):
    """I11: the next save carries the same events with the same ids, and the same patch."""
    lease, database = lease_row(clock, fails=1)
    lease.learn({"machine_id": "m2"})
    lease.add_event("recovery_attempted", "info", {"action": "start_machine"})
    with pytest.raises(SaveFailed):
        lease.save()
    lease.save()
    first, second = database.sent
    assert first == second
    assert [event["event_type"] for event in second[1]] == ["recovery_attempted"]
