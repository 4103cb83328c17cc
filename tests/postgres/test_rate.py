"""Fly's 100 app deletions a minute across processes: the token is an intent in the database, and slots are given out in order."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

pytestmark = pytest.mark.every_postgres


def leave(hangar, count=1):
    """Rows of users whose app ran and who have left, each leased."""
    users = [hangar.user("pro") for _ in range(count)]
    for user in users:
        hangar.converge(user)
        hangar.subscribe(user, tier="free")
    return [hangar.lease(user) for user in users]


def delete(hangar, act, row, **args):
    """The save that asks to delete the row's app."""
    return hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")], **args)


def allow(hangar, count):
    """So many deletions a minute; and leases that outlive the tests' jumps in time."""
    hangar.sql("update hangar.settings set deletes_per_minute = %s, lease_s = 7200", count)


def test_two_sessions_that_see_the_last_place_get_it_one_after_the_other(hangar, act):
    """The second waits for the first and is refused; it has no error and no alert, and gets a slot in a minute."""
    hangar.sql("alter function public.fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean) set lock_timeout = '60s'")
    allow(hangar, 1)
    rows = leave(hangar, 2)
    first, second = hangar.worker(), hangar.worker()
    with ThreadPoolExecutor(1) as pool:
        with first.transaction():
            assert delete(hangar, act, rows[0], via=first)["refused"] is None
            late = pool.submit(delete, hangar, act, rows[1], via=second)
            hangar.wait_until_blocked(second)
        answer = late.result(timeout=30)
    assert answer["refused"] == "rate"
    assert 55 < float(answer["retry_in_s"]) <= 61
    assert (answer["row"]["status"], answer["row"]["error_code"]) == ("deprovisioning", None)
    assert hangar.one("select count(*) from hangar.alerts where kind <> 'nudges'") == 0


@pytest.mark.slow
def test_the_rest_come_back_one_after_the_other(hangar, act):
    """Five rows over the limit get five slots, one interval apart, and each is allowed at its slot."""
    allow(hangar, 6)
    rows = leave(hangar, 11)
    answers = [delete(hangar, act, row) for row in rows]
    assert [answer["refused"] for answer in answers] == [None] * 6 + ["rate"] * 5
    waits = [float(answer["retry_in_s"]) for answer in answers[6:]]
    assert waits == sorted(waits)
    assert all(8 < later - sooner < 12 for sooner, later in pairwise(waits))
    hangar.shift_clock(waits[0] + 1)
    again = [delete(hangar, act, row)["refused"] for row in rows[6:]]
    assert again == [None, "rate", "rate", "rate", "rate"]


def test_a_row_that_comes_early_keeps_its_slot(hangar, act):
    """A nudge or a retry before its time gains nothing and loses nothing."""
    allow(hangar, 1)
    rows = leave(hangar, 3)
    for row in rows:
        delete(hangar, act, row)
    turns = turns_of(hangar)
    for row in rows[1:]:
        assert delete(hangar, act, row)["refused"] == "rate"
    assert turns_of(hangar) == turns


def turns_of(hangar):
    return hangar.sql("select user_id, delete_turn_at from user_fly_apps order by user_id")


def test_a_new_row_leaves_room_for_waiting_rows(hangar, act):
    """Their slots have come but they are not claimed yet: a new row gets a slot after them."""
    allow(hangar, 2)
    early, late = leave(hangar, 4), leave(hangar, 1)
    assert [delete(hangar, act, row)["refused"] for row in early] == [None, None, "rate", "rate"]
    hangar.shift_clock(100)  # both slots have come, and nothing was deleted within the last minute
    assert delete(hangar, act, late[0])["refused"] == "rate"
    assert [delete(hangar, act, row)["refused"] for row in early[2:]] == [None, None]
    hangar.shift_clock(200)
    assert delete(hangar, act, late[0])["refused"] is None


def test_a_waiting_row_keeps_its_place_among_many(hangar, act):
    """Three places, one of them for the row whose slot has come: of three new rows the last one waits."""
    allow(hangar, 3)
    early, late = leave(hangar, 4), leave(hangar, 3)
    assert [delete(hangar, act, row)["refused"] for row in early] == [None, None, None, "rate"]
    hangar.shift_clock(100)
    assert [delete(hangar, act, row)["refused"] for row in late] == [None, None, "rate"]
    assert delete(hangar, act, early[3])["refused"] is None


def test_missed_slots_do_not_block_later_rows(hangar, act):
    """Rows that cannot use their slot (paused, braked, wanted again) do not block later rows for ever."""
    allow(hangar, 1)
    rows = leave(hangar, 3)
    for row in rows[:2]:
        delete(hangar, act, row)
    hangar.shift_clock(900)
    assert delete(hangar, act, rows[2])["refused"] is None


def test_the_brake_comes_first_and_other_calls_do_not_count(hangar, act):
    """Only app deletions are counted; while the brake is on no row gets a slot."""
    allow(hangar, 1)
    hangar.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    rows = leave(hangar, 2)
    for _ in range(3):
        assert hangar.save(rows[0], events=[act.intent("destroy_machine", purpose="deprovision")])["refused"] is None
    assert delete(hangar, act, rows[0])["refused"] is None
    assert delete(hangar, act, rows[1])["refused"] == "brake"
    assert hangar.one("select count(delete_turn_at) from user_fly_apps") == 0


def test_releasing_the_brake_does_not_release_flys_limit(hangar, act):
    """A row that waits for its slot continues to wait for it."""
    allow(hangar, 1)
    rows = leave(hangar, 2)
    delete(hangar, act, rows[0])
    wait_s = delete(hangar, act, rows[1])["retry_in_s"]
    hangar.save(rows[1], release=True, next_attempt_in_s=wait_s)
    hangar.rpc("fly_release_brake", actor="test", reason="a campaign ends")
    assert hangar.rpc("fly_claim_due")["claimed"] == []


def test_orphans_count_and_wait_as_well(hangar, act):
    """An orphan's deletion takes a place, and without one it is kept for the next sweep."""
    allow(hangar, 1)
    mark = str(hangar.one("select installation_id from hangar.settings")).replace("-", "")[:12]
    seen = [{"app": f"orphan-{number}", "network": f"hangar-{mark}-{number:032x}"} for number in range(2)]
    hangar.rpc("fly_record_orphans", seen=seen)
    hangar.sql("update fly_orphans set approved_by = 'test'")
    verdicts = [judge_orphan(hangar, act, each, number) for number, each in enumerate(seen)]
    assert verdicts == [("remove", "not_entitled"), ("keep", "rate")]
    [row] = leave(hangar)
    assert delete(hangar, act, row)["refused"] == "rate"
    hangar.shift_clock(61)
    assert judge_orphan(hangar, act, seen[1], 1) == ("remove", "not_entitled")


def judge_orphan(hangar, act, orphan, number):
    intent = act.intent("delete_app", purpose="orphan", app=orphan["app"], network=orphan["network"])
    answer = hangar.rpc(
        "fly_judge_orphan",
        app=orphan["app"],
        network=orphan["network"],
        row_id=f"00000000-0000-0000-0000-{number:012d}",
        user=None,
        intent=intent,
    )
    return answer["verdict"], answer["code"]


def test_an_upgrade_does_not_queue_behind_deletions_nor_they_behind_upgrades(hangar):
    """Each queue gets half of the places, regardless of the waits. Unused places go to the other queue."""
    leaving = [hangar.user("pro") for _ in range(6)]
    for user in leaving:
        hangar.converge(user)
        hangar.subscribe(user, tier="free")
    hangar.shift_clock(60)
    coming = [hangar.user("pro") for _ in range(2)]
    assert claim_states(hangar, 4, "present") == ["present", "present", "absent", "absent"]
    assert claim_states(hangar, 1, "present") == ["absent"]
    coming += [hangar.user("pro")]
    assert claim_states(hangar, 1, "absent") == ["absent"]
    assert claim_states(hangar, 1, "present") == ["present"]
    assert claim_states(hangar, 4, "present") == ["absent", "absent"]


def claim_states(hangar, limit, first):
    claimed = hangar.rpc("fly_claim_due", limit=limit, first=first)["claimed"]
    return [each["row"]["desired_state"] for each in claimed]
