"""The pass that finds changes without a trigger: in pages, without waiting for locks."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def deaf(hangar):
    """The triggers on the host's tables are off: only sync can notice anything."""
    hangar.deafen()
    return hangar


def test_missing_rows_are_inserted_and_lost_changes_found(deaf):
    """Three kinds of news in one pass, and none in the next."""
    joined, left, moved, free = deaf.user("pro"), deaf.user("pro"), deaf.user("pro"), deaf.user()
    for user in (left, moved):
        deaf.claim(user)
    deaf.subscribe(left, status="cancelled")
    deaf.subscribe(moved, tier="elite")
    answer = deaf.rpc("fly_sync_entitlements")
    assert (answer["inserted"], answer["changed"], answer["examined"], answer["next"]) == (1, 2, 3, None)
    assert deaf.live_row(joined)["desired_state"] == "present"
    assert deaf.live_row(left)["desired_state"] == "absent"
    assert deaf.live_row(moved)["tier"] == "elite"
    assert deaf.row(free) is None
    again = deaf.rpc("fly_sync_entitlements")
    assert (again["inserted"], again["changed"]) == (0, 0)


def test_expiry_needs_no_write(hangar):
    """A subscription expires without a write."""
    user = hangar.user("pro", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 0
    hangar.shift_clock(3601)
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1
    row = hangar.live_row(user)
    assert (row["desired_state"], row["status"]) == ("absent", "deprovisioning")


def test_user_deleted_behind_the_triggers_back(deaf):
    """Grace ends with the user."""
    deaf.sql("update fly_plans set grace_s = 3600")
    user = deaf.user("pro")
    deaf.claim(user)
    deaf.subscribe(user, tier="free")
    deaf.rpc("fly_sync_entitlements")
    assert deaf.live_row(user)["delete_after"] is not None
    deaf.sql("delete from auth.users where id = %s", user)
    assert deaf.rpc("fly_sync_entitlements")["changed"] == 1
    assert deaf.live_row(user)["delete_after"] is None


def test_pages(deaf):
    """`next` continues after the last user; every user is seen once."""
    users = [deaf.user("pro") for _ in range(7)]
    after, inserted, calls = None, 0, 0
    while True:
        answer = deaf.rpc("fly_sync_entitlements", after=after, limit=3)
        inserted, calls, after = inserted + answer["inserted"], calls + 1, answer["next"]
        if after is None:
            break
        uuid.UUID(after)
    assert (inserted, calls) == (7, 3)
    assert all(deaf.row(user) for user in users)


def test_held_rows_are_left_for_the_next_pass(deaf):
    """Neither waiting nor overwriting."""
    held, free = deaf.user("pro"), deaf.user("pro")
    for user in (held, free):
        deaf.claim(user)
        deaf.subscribe(user, tier="free")
    holder = deaf.connect(deaf.url)
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps where user_id = %s for update", (held,))
        assert deaf.rpc("fly_sync_entitlements")["changed"] == 1
    assert deaf.live_row(held)["desired_state"] == "present"
    assert deaf.rpc("fly_sync_entitlements")["changed"] == 1


def test_leased_row_may_change_its_wish(deaf):
    """A lease does not freeze the desired state: the generation rises while a worker holds the row."""
    user = deaf.user("pro")
    row = deaf.lease(user)
    deaf.subscribe(user, tier="free")
    assert deaf.rpc("fly_sync_entitlements")["changed"] == 1
    assert deaf.save(row, status="active")["generation_moved"] is True


def test_five_hundred_at_most(hangar):
    """A larger page would hold locks too long."""
    with pytest.raises(errors.InvalidParameterValue, match="from 1 to 500"):
        hangar.rpc("fly_sync_entitlements", limit=501)


def test_going_live_admits_everybody(installed):
    """Users from before the installation are found once the operator goes live."""
    users = [installed.user("pro") for _ in range(3)]
    installed.rpc("fly_set_settings", changes={"live": True}, actor="operator-1")
    assert installed.rpc("fly_sync_entitlements")["inserted"] == 3
    assert all(installed.row(user) for user in users)
