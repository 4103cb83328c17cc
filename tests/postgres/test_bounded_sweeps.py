"""What one call does, does not grow with the fleet: the next call continues."""

import pytest

ORPHANS = 1_200
AT_ONCE = 500


def list_apps(hangar, count=ORPHANS):
    """So many apps with this installation's proof and no row, as Fly lists them."""
    mark = hangar.one("select installation_id from hangar.settings").hex[:12]
    return [{"app": f"a-{n:05}", "network": f"hangar-{mark}-{n:032x}"} for n in range(count)]


def stored(hangar):
    return {row["app"]: row["sightings"] for row in hangar.sql("select app, sightings from fly_orphans")}


@pytest.mark.slow
def test_many_orphans_are_recorded_over_several_sweeps(hangar):
    """Unknown ones first; then each has its turn. None is forgotten because a sweep had no turn for it."""
    listed = list_apps(hangar)
    answers = [len(hangar.rpc("fly_record_orphans", seen=listed)["orphans"]) for _ in range(3)]
    assert answers == [500, 1000, 1200]
    assert sorted(stored(hangar).values()) == [1] * 900 + [2] * 300
    for _ in range(3):
        hangar.rpc("fly_record_orphans", seen=listed)
    assert set(stored(hangar).values()) == {2, 3}
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'orphan_found'") == ORPHANS


@pytest.mark.slow
def test_many_orphans_are_forgotten_over_several_sweeps(hangar):
    """Those of whom a list is silent go at most 500 at a time; lost ones among them stay, and hold none back."""
    listed = list_apps(hangar)
    for _ in range(3):
        hangar.rpc("fly_record_orphans", seen=listed)
    hangar.sql("update fly_orphans set lost = true where app < 'a-00600'")
    left = [len(hangar.rpc("fly_record_orphans", seen=[])["orphans"]) for _ in range(4)]
    assert left[-1] == 600
    assert all(before - after <= AT_ONCE for before, after in zip([ORPHANS, *left], left, strict=False))
    assert hangar.one("select count(*) from fly_orphans where listed") == 0


@pytest.mark.slow
def test_an_orphan_that_is_listed_again_has_its_turn_before_those_that_always_were(hangar):
    """A list that lacked it says nothing any more."""
    listed = list_apps(hangar)
    for _ in range(3):
        hangar.rpc("fly_record_orphans", seen=listed)
    hangar.sql(
        "update fly_orphans set listed = false, absent_at = hangar.now(), last_seen_at = hangar.now() where app = 'a-00007'"
    )
    hangar.rpc("fly_record_orphans", seen=listed)
    [row] = hangar.sql("select listed, absent_at from fly_orphans where app = 'a-00007'")
    assert (row["listed"], row["absent_at"]) == (True, None)


@pytest.mark.parametrize(("apps", "said"), [(999, "999"), (1000, "1000"), (1001, "More than 1000")])
@pytest.mark.slow
def test_stalled_apps_are_counted_up_to_a_limit(hangar, apps, said):
    """An outage in which everything waits is not counted to the end."""
    hangar.sql("insert into auth.users (email) select n || '@example.test' from generate_series(1, %s) n", apps)
    hangar.sql("update user_subscriptions set tier = 'pro'")
    hangar.follow()
    hangar.shift_clock(2 * 3600)
    hangar.sql("select hangar.check_stalled()")
    [alert] = hangar.sql(
        "select message, metadata from hangar.alerts where kind = 'provisioning_slow' and resolved_at is null"
    )
    assert alert["message"].startswith(f"{said} app(s) have been in progress")
    assert alert["metadata"] == {"apps": min(apps, 1000)}


@pytest.mark.slow
def test_thousands_of_new_users_in_one_session(hangar):
    """A plan that was made while the table was empty must not read the whole table for each user."""
    hangar.sql("insert into auth.users (email) select n || '@example.test' from generate_series(1, 2500) n")
    hangar.sql("update user_subscriptions set tier = 'pro'")
    hangar.sql("delete from hangar.marks where ctid not in (select min(ctid) from hangar.marks group by user_id)")
    for _ in range(5):
        with hangar.service.transaction():
            assert hangar.rpc("fly_apply_marks")["inserted"] == 500
            query = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'user_fly_apps'"
            read = hangar.service.execute(query).fetchone()[0]
    assert read <= 400 * 2500  # about 80 rows for each user; with the first plan about 1,000
