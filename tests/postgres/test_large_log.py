"""The cost of a procedure does not grow with the audit log."""

import pytest

EVENTS = 20_000
REMOVALS = 200
MOST_READ = 10 * REMOVALS


@pytest.fixture
def old(hangar):
    """An installation whose log of the last day has many outcomes, and 200 orphans that Hangar removes now."""
    installation = hangar.one("select installation_id from hangar.settings")
    hangar.sql(
        """insert into user_fly_app_events (event_type, status, metadata, created_at)
           select 'action', 'succeeded', jsonb_build_object('action', 'stop_machine', 'intent_id', gen_random_uuid()),
                  hangar.now() - interval '20 hours' + n * interval '0.5 s' from generate_series(1, %s) n""",
        EVENTS,
    )
    hangar.sql(
        """insert into fly_orphans (app, network, first_seen_at, sightings)
           select 'gone-' || n, %s || md5(n::text), hangar.now() - interval '1 hour', 9 from generate_series(1, %s) n""",
        f"hangar-{installation.hex[:12]}-",
        REMOVALS,
    )
    hangar.sql(
        """insert into user_fly_app_events (event_type, status, metadata, created_at)
           select 'action', 'intent', jsonb_build_object('action', 'delete_app', 'purpose', 'orphan', 'app', o.app),
                  hangar.now() - interval '30 minutes' from fly_orphans o"""
    )
    hangar.sql("analyze user_fly_app_events")
    return hangar


def count_read(hangar, call):
    """The answer of a call, and how many events it read from the log."""
    query = "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'user_fly_app_events'"
    hangar.sql("select pg_stat_force_next_flush()")  # of the session that filled and read the log before
    with hangar.worker() as session:
        session.execute("select pg_stat_force_next_flush()")
        before = hangar.one(query)
        answer = call(session)
        session.execute("select pg_stat_force_next_flush()")  # now, and not when the session has ended
    hangar.sql("select pg_stat_clear_snapshot()")
    return answer, hangar.one(query) - before


def test_removals_of_orphans_are_closed_without_reading_the_log(old):
    """D6: 200 removals without an outcome are closed and then forgotten; the 20,000 other events of the day are not read."""
    seen = old.sql("select app, network from fly_orphans")
    answer, read = count_read(old, lambda session: old.rpc("fly_record_orphans", via=session, seen=seen))
    assert 0 < read < MOST_READ
    assert len(answer["orphans"]) == REMOVALS
    assert old.one("select count(*) from user_fly_app_events where metadata ->> 'closed_by' = 'sweep'") == REMOVALS
    answer, read = count_read(old, lambda session: old.rpc("fly_record_orphans", via=session, seen=[]))
    assert 0 < read < MOST_READ
    assert answer == {"orphans": []}
    assert old.one("select count(*) from user_fly_app_events where event_type = 'orphan_removed'") == REMOVALS
