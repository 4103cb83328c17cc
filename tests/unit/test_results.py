"""What a caller is told about a user whose row was not leased. Each reason alone."""

from datetime import timedelta
from uuid import UUID

from shared.adapters.procedures import Claim
from shared.domain.models import Settings
from shared.reconcile.result import result_unclaimed
from tests.unit.test_decide import ABSENT, NOW, READY, having

SETTINGS = Settings(installation_id=UUID(int=9), fly_org_slug="hangar", live=True)
LATER = NOW + timedelta(minutes=5)
NOTHING = {"row": None, "last": None, "entitled": False, "why": "expired", "known": True, "settings": SETTINGS}
NOT_LIVE = SETTINGS.model_copy(update={"live": False})
HELD = having(ABSENT, hold_until=LATER, next_attempt_at=LATER)
FAILED = having(READY, status="error", error_code="host", error_message="no room", next_attempt_at=LATER)
GONE = having(ABSENT, status="deleted")

CASES = [
    # what the claim says, the state, the code, whether the user is known and entitled
    ({"outcome": "leased", "row": READY}, "pending", "leased", True, True),
    ({"outcome": "legacy", "row": having(READY, desired_state="legacy")}, "nothing", "legacy", True, False),
    ({"outcome": "waiting", "row": HELD}, "pending", "removal_hold", True, False),
    ({"outcome": "waiting", "row": having(HELD, hold_until=NOW)}, "pending", "waiting", True, False),
    ({"outcome": "waiting", "row": FAILED}, "pending", "host", True, True),
    ({"outcome": "none", "known": False}, "nothing", "unknown_user", False, False),
    ({"outcome": "none", "entitled": None, "why": "unknown_status"}, "nothing", "unknown_status", True, None),
    ({"outcome": "none", "entitled": None, "why": None}, "nothing", "unknown_tier", True, None),
    ({"outcome": "none", "entitled": True, "settings": NOT_LIVE}, "nothing", "not_live", True, True),
    ({"outcome": "none", "entitled": True, "settings": NOT_LIVE, "last": GONE}, "nothing", "not_live", True, True),
    ({"outcome": "none", "last": GONE}, "nothing", "app_gone", True, False),
    ({"outcome": "none", "entitled": True, "last": GONE}, "nothing", "app_gone", True, True),
    ({"outcome": "none"}, "nothing", "not_entitled", True, False),
    ({"outcome": "none", "settings": NOT_LIVE}, "nothing", "not_entitled", True, False),
]


def test_why_there_was_nothing_to_work_on():
    for changes, state, code, known, entitled in CASES:
        found = result_unclaimed(Claim(**{**NOTHING, "now": NOW, **changes}))
        assert (found.state, found.code, found.known, found.entitled) == (state, code, known, entitled), changes


def test_a_leased_row_is_asked_for_again_soon_and_a_waiting_one_at_its_time():
    leased = result_unclaimed(Claim(**{**NOTHING, "now": NOW, "outcome": "leased", "row": READY}))
    assert leased.next_attempt_at == (NOW + timedelta(seconds=5)).isoformat()
    failed = result_unclaimed(Claim(**{**NOTHING, "now": NOW, "outcome": "waiting", "row": FAILED}))
    assert (failed.next_attempt_at, failed.detail) == (LATER.isoformat(), "no room")
