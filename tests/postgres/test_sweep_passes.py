"""What the database knows of a pass over the fleet that takes several sweeps."""

import pytest

pytestmark = pytest.mark.every_postgres


def proof(row):
    return f"hangar-{'0' * 12}-{row['id'].hex}"


def test_a_listed_app_of_a_live_row_is_not_an_orphan(hangar):
    """The name and the row that the proof names both count: an app of the same name with another proof is an orphan."""
    row, other = (hangar.live_row(hangar.user("pro")) for _ in range(2))
    listed = [
        {"app": row["fly_app_name"], "network": proof(row)},
        {"app": other["fly_app_name"], "network": proof(row)},
        {"app": "nobodys", "network": proof(other)},
    ]
    found = hangar.rpc("fly_record_orphans", seen=listed)["orphans"]
    assert {orphan["app"] for orphan in found} == {other["fly_app_name"], "nobodys"}


def test_an_app_whose_row_was_closed_is_an_orphan(hangar):
    row = hangar.live_row(hangar.user("pro"))
    listed = [{"app": row["fly_app_name"], "network": proof(row)}]
    assert hangar.rpc("fly_record_orphans", seen=listed) == {"orphans": []}
    hangar.sql(
        "update user_fly_apps set status = 'deleted', desired_state = 'absent', deleted_at = now(), next_attempt_at = null"
        " where id = %s",
        row["id"],
    )
    assert len(hangar.rpc("fly_record_orphans", seen=listed)["orphans"]) == 1


def test_the_claim_says_how_many_rows_are_live(hangar):
    for _ in range(3):
        hangar.user("pro")
    hangar.user("free")
    assert hangar.rpc("fly_sweep_claim", holder="one")["fleet"] == 3
    assert hangar.rpc("fly_sweep_claim", holder="two")["fleet"] == 0


def test_a_complete_pass_ends_only_alerts_from_before_its_beginning(hangar):
    """The pass began before the sweep that ends it; an alert raised in between may still hold."""
    hangar.rpc("fly_raise_alert", kind="max_cost", key="fleet", message="from before")
    hangar.shift_clock(60)
    first = hangar.rpc("fly_sweep_claim", holder="one")
    cursor = {"after": "00000000-0000-4000-8000-000000000000", "started_at": first["now"]}
    hangar.rpc("fly_sweep_progress", name="fleet", token=first["token"], cursor=cursor)
    hangar.rpc("fly_sweep_finish", name="fleet", token=first["token"], report={}, complete=False)
    hangar.shift_clock(60)
    hangar.rpc("fly_raise_alert", kind="max_apps", key="fleet", message="in between")
    hangar.shift_clock(60)
    second = hangar.rpc("fly_sweep_claim", holder="two")
    hangar.rpc("fly_sweep_finish", name="fleet", token=second["token"], report={}, complete=True)
    assert hangar.sql("select kind from hangar.alerts where resolved_at is null and key = 'fleet'") == [
        {"kind": "max_apps"}
    ]
