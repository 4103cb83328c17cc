"""Two real sessions, stopped between statements by real locks: every order ends in the correct state."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def patient(hangar):
    """Disable lock timeouts, so that the order decides a race, not the speed of the machine."""
    for function in (
        "fly_sync_entitlements(uuid, integer)",
        "fly_apply_marks(integer)",
        "fly_claim(uuid, text, boolean)",
        "fly_claim_due(integer, text, text)",
        "fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean)",
    ):
        hangar.sql(f"alter function public.{function} set lock_timeout = '60s'")
    return hangar


def expired(hangar):
    """A user whose subscription ended without a mark, so that only sync can notice."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.sql("update user_subscriptions set expires_at = %s where user_id = %s", PAST, user)
    hangar.sql("delete from hangar.marks")
    return user


def result(future: Future) -> dict:
    return future.result(timeout=30)


def test_renewal_between_the_first_read_of_sync_and_its_locks(patient, pool):
    """Sync has listed the user as expired; the renewal commits before sync locks the row: nothing is taken away."""
    user = expired(patient)
    gate, worker, host = stop_in_sync_users(patient)
    with gate.transaction():
        gate.execute("select pg_advisory_xact_lock(4711)")
        sync = pool.submit(patient.rpc, "fly_sync_entitlements", via=worker)
        patient.wait_until_blocked(worker)
        host.execute("update user_subscriptions set expires_at = null where user_id = %s", (user,))
    assert result(sync)["changed"] == 0
    assert patient.live_row(user)["desired_state"] == "present"


def test_renewal_between_the_locks_of_sync_and_its_deriving(patient, pool):
    """Sync holds the row, which the renewal does not need; sync derives in a later statement and sees the renewal."""
    user = expired(patient)
    gate, worker, host = stop_in_apply(patient)
    with gate.transaction():
        gate.execute("select pg_advisory_xact_lock(4711)")
        sync = pool.submit(patient.rpc, "fly_sync_entitlements", via=worker)
        patient.wait_until_blocked(worker)
        host.execute("update user_subscriptions set expires_at = null where user_id = %s", (user,))
    assert result(sync)["changed"] == 0
    assert patient.live_row(user)["desired_state"] == "present"


def test_renewal_while_a_claim_waits_for_the_row(patient, pool):
    """A claim waits for another session that holds the row. It reads the subscription afterwards, and sees the renewal."""
    user = expired(patient)
    before = patient.live_row(user)["generation"]
    holder, worker, host = patient.host(), patient.worker(), patient.host()
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps where user_id = %s for update", (user,))
        claim = pool.submit(patient.rpc, "fly_claim", via=worker, user=user)
        patient.wait_until_blocked(worker)
        host.execute("update user_subscriptions set expires_at = null where user_id = %s", (user,))
    result(claim)
    row = patient.live_row(user)
    assert (row["desired_state"], row["generation"]) == ("present", before)


def test_renewal_after_sync_has_derived(patient):
    """Sync has written absence and not committed. The renewal does not wait for it; its mark makes the row present again."""
    user = expired(patient)
    host, worker = patient.host(), patient.worker()
    host.execute("set statement_timeout = '3s'")
    with worker.transaction():
        assert patient.rpc("fly_sync_entitlements", via=worker)["changed"] == 1
        host.execute("update user_subscriptions set expires_at = null where user_id = %s", (user,))
        assert patient.rpc("fly_apply_marks")["changed"] == 0  # a worker's row is left, and its user stays marked
        assert patient.marked() == {user}
    patient.follow()
    assert (patient.live_row(user)["desired_state"], patient.live_row(user)["generation"]) == ("present", 3)


def test_renewals_between_the_locks_of_a_claim_and_its_deriving(patient, pool):
    """A claim of due rows reads the host once for all of them, after it has locked them all: no renewed user loses an app."""
    users = [expired(patient) for _ in range(3)]
    patient.sql("update user_fly_apps set next_attempt_at = now()")
    gate, worker, host = stop_in_claim_due(patient)
    with gate.transaction():
        gate.execute("select pg_advisory_xact_lock(4711)")
        claim = pool.submit(patient.rpc, "fly_claim_due", via=worker)
        patient.wait_until_blocked(worker)
        host.execute("update user_subscriptions set expires_at = null where user_id = any (%s)", (users[1:],))
    assert len(result(claim)["claimed"]) == 3
    assert [patient.live_row(user)["desired_state"] for user in users] == ["absent", "present", "present"]


def stop_in_claim_due(hangar):
    """Make a claim of due rows wait for advisory lock 4711 when its rows are locked and it has not read the host."""
    hangar.sql("alter function hangar.lock_due_rows(text, integer) rename to lock_due_rows_now")
    hangar.sql(
        """create function hangar.lock_due_rows(p_queue text, p_limit integer) returns uuid[]
           language plpgsql volatile set search_path = '' as $$
           declare
             v_users uuid[] := hangar.lock_due_rows_now(p_queue, p_limit);
           begin
             perform pg_advisory_xact_lock(4711);
             return v_users;
           end $$"""
    )
    hangar.sql("grant execute on function hangar.lock_due_rows to postgres")
    return hangar.connect(hangar.url), hangar.worker(), hangar.host()


def stop_in_apply(hangar):
    """Make sync wait for advisory lock 4711 when its rows are locked and it has not read the host again."""
    hangar.sql("alter function hangar.lock_rows(uuid[]) rename to lock_rows_now")
    hangar.sql(
        """create function hangar.lock_rows(p_users uuid[], out users uuid[], out locked uuid[])
           language plpgsql volatile set search_path = '' as $$
           begin
             select l.* into users, locked from hangar.lock_rows_now(p_users) l;
             perform pg_advisory_xact_lock(4711);
           end $$"""
    )
    hangar.sql("grant execute on function hangar.lock_rows to postgres")
    return hangar.connect(hangar.url), hangar.worker(), hangar.host()


def stop_in_sync_users(hangar):
    """Make sync wait for advisory lock 4711 when it knows which users to look at and has locked none of their rows."""
    hangar.sql("alter function hangar.sync_users(uuid[], text, boolean) rename to sync_users_now")
    hangar.sql(
        """create function hangar.sync_users(
             p_users uuid[], p_source text, p_hold_losses boolean, out changed integer, out inserted integer)
           language plpgsql volatile set search_path = '' as $$
           begin
             perform pg_advisory_xact_lock(4711);
             select s.changed, s.inserted into changed, inserted from hangar.sync_users_now(p_users, p_source, p_hold_losses) s;
           end $$"""
    )
    hangar.sql("grant execute on function hangar.sync_users to postgres")
    return hangar.connect(hangar.url), hangar.worker(), hangar.host()


def test_row_held_by_a_worker_when_the_host_changes_the_plan(hangar):
    """The host commits at once, and the row follows when the worker is done."""
    user = hangar.user("pro")
    host, worker = hangar.host(), hangar.worker()
    host.execute("set statement_timeout = '3s'")
    with worker.transaction():
        hangar.rpc("fly_claim", via=worker, user=user)
        host.execute("update user_subscriptions set tier = 'free' where user_id = %s", (user,))
        assert hangar.one("select tier from user_subscriptions where user_id = %s", user) == "free"
    assert hangar.live_row(user)["desired_state"] == "present"
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1
    assert hangar.live_row(user)["desired_state"] == "absent"


def test_host_insert_that_refers_to_a_row_we_hold(hangar):
    """A foreign key of the host's signals to our row (as in the original) does not wait for our lock."""
    hangar.sql("alter table signals add foreign key (fly_app_id) references user_fly_apps (id) on delete set null")
    user = hangar.user("pro")
    app = hangar.live_row(user)["id"]
    host, worker = hangar.host(), hangar.worker()
    host.execute("set statement_timeout = '3s'")
    with worker.transaction():
        hangar.rpc("fly_claim", via=worker, user=user)
        host.execute("insert into signals (user_id, fly_app_id) values (%s, %s)", (user, app))
    assert hangar.one("select count(*) from signals") == 1


def change_and_follow(hangar, session, user, tier):
    """The host changes a tier, and in `session` a drain that follows has not committed yet."""
    hangar.sql("update user_subscriptions set tier = %s where user_id = %s", tier, user)
    return hangar.rpc("fly_apply_marks", via=session)


def test_generation_moves_while_a_save_waits(patient, pool):
    """A save for generation 1 gets its lock at generation 2: facts are kept, the verdict is dropped, the row is due."""
    user = patient.user("pro")
    row = patient.lease(user)
    drain, worker = patient.worker(), patient.worker()
    with drain.transaction():
        assert change_and_follow(patient, drain, user, "free")["changed"] == 1
        save = pool.submit(patient.save, row, via=worker, machine_id="m1", status="active", converged=True)
        patient.wait_until_blocked(worker)
    answer = result(save)
    assert answer["generation_moved"] is True
    found = patient.live_row(user)
    assert (found["machine_id"], found["status"], found["desired_state"]) == ("m1", "deprovisioning", "absent")
    assert (found["observed_generation"], found["next_attempt_at"] is not None) == (None, True)


def test_generation_moves_right_after_a_save(patient):
    """The drain leaves a row that a save holds, and the host's change lands on top of it afterwards."""
    user = patient.user("pro")
    row = patient.lease(user)
    drain, worker = patient.worker(), patient.worker()
    with worker.transaction():
        patient.save(row, via=worker, release=True, status="active", converged=True, machine_id="m1")
        assert change_and_follow(patient, drain, user, "free")["changed"] == 0
    patient.follow()
    found = patient.live_row(user)
    assert (found["status"], found["generation"], found["observed_generation"]) == ("deprovisioning", 2, 1)
    assert found["next_attempt_at"] is not None


def leaving(hangar):
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.subscribe(user, tier="free")
    return user, hangar.lease(user)


def test_return_before_the_destroy_intent_is_out(patient, pool, act):
    """The intent waits for the drain that follows the return and is then refused: the same row lives on."""
    user, row = leaving(patient)
    drain, worker = patient.worker(), patient.worker()
    intent = act.intent("delete_app", purpose="deprovision")
    with drain.transaction():
        assert change_and_follow(patient, drain, user, "pro")["changed"] == 1
        save = pool.submit(patient.save, row, via=worker, events=[intent])
        patient.wait_until_blocked(worker)
    answer = result(save)
    assert answer["refused"] == "stale"
    assert (answer["row"]["id"], answer["row"]["desired_state"]) == (row["id"], "present")
    assert patient.one("select count(*) from user_fly_app_events where id = %s", intent["id"]) == 0


def test_return_before_the_destroy_intent_and_before_any_drain(hangar, act):
    """The row still says absent, so the generation cannot tell; deriving under the lock does."""
    user, row = leaving(hangar)
    hangar.host().execute("update user_subscriptions set tier = 'pro' where user_id = %s", (user,))
    assert hangar.live_row(user)["desired_state"] == "absent"
    answer = hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])
    assert (answer["refused"], answer["row"]["desired_state"]) == ("entitled", "present")


def test_return_after_the_destroy_intent_is_out(patient, act):
    """The destroy continues, and the save that closes the row opens the successor."""
    user, row = leaving(patient)
    drain, worker = patient.worker(), patient.worker()
    intent = act.intent("delete_app", purpose="deprovision")
    with worker.transaction():
        assert patient.save(row, via=worker, events=[intent])["refused"] is None
        assert change_and_follow(patient, drain, user, "pro")["changed"] == 0
    patient.follow()
    assert patient.live_row(user)["desired_state"] == "present"
    answer = patient.save(row, events=[act.outcome(intent, "succeeded")], deleted=True)
    assert answer["successor"] == str(patient.live_row(user)["id"])
    assert answer["successor"] != row["id"]


def test_return_while_the_row_is_being_closed(patient):
    """The drain leaves the row to the closing save, and afterwards finds no live row and opens the new one itself."""
    user, row = leaving(patient)
    drain, worker = patient.worker(), patient.worker()
    with worker.transaction():
        assert patient.save(row, via=worker, deleted=True)["successor"] is None
        assert change_and_follow(patient, drain, user, "pro")["inserted"] == 0
    patient.follow()
    assert (patient.live_row(user)["name_seq"], patient.live_row(user)["desired_state"]) == (1, "present")


def test_leaving_while_the_row_is_being_closed(patient):
    """The closing save has opened a successor. The downgrade that was left meanwhile must find it."""
    user, row = leaving(patient)
    patient.subscribe(user, tier="pro")
    drain, worker = patient.worker(), patient.worker()
    with worker.transaction():
        assert patient.save(row, via=worker, deleted=True)["successor"]
        assert change_and_follow(patient, drain, user, "free")["changed"] == 0
    patient.follow()
    assert (patient.live_row(user)["name_seq"], patient.live_row(user)["desired_state"]) == (1, "absent")


def test_two_claims_at_once(patient, pool):
    """One gets the lease, the other is told who has it; a user without a row gets exactly one."""
    patient.deafen()
    user = patient.user("pro")
    first, second = patient.worker(), patient.worker()
    with first.transaction():
        assert patient.rpc("fly_claim", via=first, user=user, holder="first")["outcome"] == "claimed"
        late = pool.submit(patient.rpc, "fly_claim", via=second, user=user, holder="second")
        patient.wait_until_blocked(second)
    answer = result(late)
    assert (answer["outcome"], answer["row"]["lease_holder"]) == ("leased", "first")
    assert patient.one("select count(*) from user_fly_apps") == 1


def test_claim_that_waits_for_a_drain(patient, pool):
    """A worker's claim waits for a downgrade under way and derives after its lock, not before: the downgrade stands."""
    user = patient.user("pro")
    drain, worker = patient.worker(), patient.worker()
    with drain.transaction():
        assert change_and_follow(patient, drain, user, "free")["changed"] == 1
        claim = pool.submit(patient.rpc, "fly_claim", via=worker, user=user)
        patient.wait_until_blocked(worker)
    answer = result(claim)
    assert (answer["outcome"], answer["entitled"], answer["row"]["desired_state"]) == ("claimed", False, "absent")


def test_sync_and_a_drain_give_one_user_one_row(hangar):
    """Sync does not wait long for a drain that is inserting the row: it leaves that user and serves the others."""
    users = [hangar.user() for _ in range(2)]
    hangar.follow()
    hangar.sql("update user_subscriptions set tier = 'elite'")
    drain, worker = hangar.worker(), hangar.worker()
    with drain.transaction():
        assert hangar.rpc("fly_apply_marks", via=drain, limit=1)["inserted"] == 1
        assert hangar.rpc("fly_sync_entitlements", via=worker)["inserted"] == 1
    hangar.follow()
    hangar.rpc("fly_sync_entitlements")
    assert [hangar.live_row(user)["tier"] for user in users] == ["elite", "elite"]
    assert hangar.one("select count(*) from user_fly_apps") == 2


def test_due_rows_go_to_one_worker_each(hangar):
    """SKIP LOCKED: the second drain takes other rows instead of waiting."""
    for _ in range(4):
        hangar.user("pro")
    first, second = hangar.worker(), hangar.worker()
    with first.transaction(), second.transaction():
        taken = [hangar.rpc("fly_claim_due", via=via, limit=2)["claimed"] for via in (first, second)]
    ids = [claimed["row"]["id"] for claims in taken for claimed in claims]
    assert len(set(ids)) == 4


def test_brake_admits_one_at_a_time(hangar, pool, act):
    """Two workers that both see room for one more: the second waits for the first and is refused."""
    hangar.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    rows = [leaving(hangar)[1] for _ in range(2)]
    first, second = hangar.worker(), hangar.worker()
    hangar.sql("alter function public.fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean) set lock_timeout = '60s'")
    with first.transaction():
        assert (
            hangar.save(rows[0], via=first, events=[act.intent("delete_app", purpose="deprovision")])["refused"] is None
        )
        late = pool.submit(hangar.save, rows[1], via=second, events=[act.intent("delete_app", purpose="deprovision")])
        hangar.wait_until_blocked(second)
    assert result(late)["refused"] == "brake"
