"""Caps, pauses and repeated saves: each guard alone."""

import time
from concurrent.futures import ThreadPoolExecutor


def wait_until_blocked_or_done(hangar, session, future):
    """Return when `session` waits for a lock, or its call has ended without waiting for one."""
    query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    deadline = time.monotonic() + 30
    while not future.done() and not hangar.one(query, session.info.backend_pid):
        assert time.monotonic() < deadline, "the session neither waited nor ended"
        time.sleep(0.005)


def test_two_workers_do_not_both_create_the_last_app_below_a_cap(hangar, act):
    """I10: the second worker waits until the first one's intent is committed, and then counts it."""
    hangar.sql("alter function public.fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean) set lock_timeout = '60s'")
    hangar.sql("update hangar.settings set max_apps = 1")
    rows = [hangar.lease(hangar.user("pro")) for _ in range(2)]
    first, second = hangar.worker(), hangar.worker()
    with ThreadPoolExecutor(1) as pool:
        with first.transaction():
            created = hangar.save(rows[0], via=first, events=[act.intent("create_app", purpose="provision")])
            late = pool.submit(hangar.save, rows[1], via=second, events=[act.intent("create_app", purpose="provision")])
            wait_until_blocked_or_done(hangar, second, late)
        refused = late.result(timeout=30)["refused"]
    assert (created["refused"], refused) == (None, "max_apps")


def test_a_repeated_save_leaves_its_intent_open(hangar, act):
    """I11: the answer to a save was lost and the save is sent again: one intent, still open."""
    user = hangar.user("pro")
    row, intent = hangar.lease(user), act.intent("create_app", purpose="provision")
    for _ in range(2):
        answer = hangar.save(row, events=[intent])
        assert (answer["refused"], answer["row"]["open_intent"]["id"]) == (None, intent["id"])
    assert [status for kind, status in hangar.events(user) if kind == "action"] == ["intent"]


def test_a_resume_leaves_a_grace_alone(hangar):
    """I7: rows that stopped because of the pause are due at once; one that waits for the end of its grace is not."""
    hangar.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    in_grace, in_progress = hangar.user("pro"), hangar.user("elite")
    hangar.converge(in_grace)
    hangar.subscribe(in_grace, tier="free")
    hangar.save(hangar.lease(in_grace), release=True, status="deprovisioning", converged=True)
    hangar.save(hangar.lease(in_progress), release=True, next_attempt_in_s=600)
    hangar.rpc("fly_set_paused", paused=True, actor="test")
    hangar.rpc("fly_set_paused", paused=False, actor="test")
    row = hangar.live_row(in_grace)
    assert row["next_attempt_at"] == row["delete_after"] is not None
    assert hangar.one("select next_attempt_at <= hangar.now() from user_fly_apps where user_id = %s", in_progress)
