"""A stop takes effect also while the audit log cannot be written. Everything else waits for the log."""

import psycopg
import pytest
from psycopg.errors import DiskFull, LockNotAvailable

FUNCTION = """
create function public.break_log() returns trigger language plpgsql as $$
begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$
"""
TRIGGER = "create trigger break_log before insert on {} for each row execute function public.break_log()"
REPAIR = "drop trigger break_log on public.user_fly_app_events"
DISK = "could not extend file: No space left on device"


def break_log(hangar, *more):
    """Let every insert into the log fail, and into these tables."""
    hangar.sql(FUNCTION)
    for table in ("public.user_fly_app_events", *more):
        hangar.sql(TRIGGER.format(table))


def stops(hangar):
    return hangar.sql("select paused, deletes_paused from hangar.settings")[0]


def entries(hangar):
    return [
        row["metadata"]
        for row in hangar.sql(
            "select metadata from public.user_fly_app_events where event_type = 'settings_changed'"
            " and (metadata -> 'changes') ?| array['paused', 'deletes_paused'] order by seq"
        )
    ]


def alert(hangar):
    found = hangar.sql("select * from hangar.alerts where kind = 'log_unwritable' and resolved_at is null")
    return found[0] if found else None


def run_sweep(hangar):
    claim = hangar.rpc("fly_sweep_claim")
    hangar.rpc("fly_sweep_finish", name="fleet", token=claim["token"], report={})


def test_a_pause_works_while_the_log_cannot_be_written_and_is_recorded_later(hangar):
    """The operator at 3 a.m. stops Hangar. Who did it and why is in an alert at once, and in the log with a later sweep."""
    break_log(hangar)
    answer = hangar.rpc("fly_set_paused", paused=True, actor="ann@example.test", reason="it eats my fleet")
    assert answer == {"paused": True, "changed": True, "unrecorded": DISK}
    answer = hangar.rpc("fly_set_settings", changes={"deletes_paused": True}, actor="ann@example.test")
    assert (answer["changed"], answer["unrecorded"]) == (["deletes_paused"], DISK)
    assert stops(hangar) == {"paused": True, "deletes_paused": True}
    assert entries(hangar) == []
    opened = alert(hangar)
    assert opened["times"] == 2
    assert opened["message"].startswith("ann@example.test stopped Hangar (")
    assert DISK in opened["message"]
    hangar.sql(REPAIR)
    run_sweep(hangar)
    assert alert(hangar) is None
    first, second = entries(hangar)
    assert (first["actor"], first["reason"]) == ("ann@example.test", "it eats my fleet")
    assert first["changes"] == {"paused": {"from": False, "to": True}}
    assert second["changes"] == {"deletes_paused": {"from": False, "to": True}}
    assert all("changed_at" in entry for entry in (first, second))
    answer = hangar.rpc("fly_set_paused", paused=False, actor="ann@example.test")
    assert answer == {"paused": False, "changed": True, "unrecorded": None}
    run_sweep(hangar)
    assert len(entries(hangar)) == 3


def test_a_pause_by_plain_sql_works_too(hangar):
    break_log(hangar)
    hangar.sql("update hangar.settings set paused = true")
    assert stops(hangar)["paused"]
    assert alert(hangar)["metadata"]["entries"][0]["changes"] == {"paused": {"from": False, "to": True}}


@pytest.mark.parametrize(
    "changes",
    [
        {"live": False},
        {"max_apps": 5},
        {"paused": True, "max_apps": 5},
        {"deletes_paused": False},
        {"paused": False},
        {"paused": True, "deletes_paused": False},
    ],
)
def test_every_other_change_is_refused_while_the_log_cannot_be_written(hangar, changes):
    """Also one that is hidden behind a stop, and every change that lets Hangar do more."""
    hangar.sql("update hangar.settings set live = true, deletes_paused = true")
    if changes == {"paused": False}:
        hangar.sql("update hangar.settings set paused = true")
    before = hangar.sql("select * from hangar.settings")
    break_log(hangar)
    with pytest.raises(DiskFull):
        hangar.rpc("fly_set_settings", changes=changes, actor="test")
    assert hangar.sql("select * from hangar.settings") == before
    assert alert(hangar) is None


@pytest.mark.slow
def test_a_pause_waits_at_most_for_the_time_of_a_lock_of_the_log(hangar):
    """Somebody rewrites or locks the table of events for minutes."""
    other = psycopg.connect(hangar.url)
    other.execute("lock table public.user_fly_app_events in access exclusive mode")
    try:
        answer = hangar.rpc("fly_set_paused", paused=True, actor="test")
        assert "lock timeout" in answer["unrecorded"]
        with pytest.raises(LockNotAvailable):
            hangar.rpc("fly_set_paused", paused=False, actor="test")
    finally:
        other.close()
    assert stops(hangar)["paused"]


def test_a_pause_works_even_if_no_alert_can_be_raised(hangar):
    break_log(hangar, "hangar.alerts")
    answer = hangar.rpc("fly_set_paused", paused=True, actor="test")
    assert answer == {"paused": True, "changed": True, "unrecorded": DISK}
    assert stops(hangar)["paused"]
    assert alert(hangar) is None


def test_a_pause_by_plain_sql_does_not_wait_for_a_lock_of_the_log(hangar):
    with psycopg.connect(hangar.url) as other, psycopg.connect(hangar.url, autocommit=True) as operator:
        other.execute("lock table public.user_fly_app_events in access exclusive mode")
        operator.execute("set statement_timeout = '20s'")
        operator.execute("update hangar.settings set paused = true")
    assert stops(hangar)["paused"]


def test_a_sweep_that_could_end_before_still_ends_after_an_unrecorded_stop(hangar):
    run_sweep(hangar)
    break_log(hangar)
    hangar.rpc("fly_set_paused", paused=True, actor="ann@example.test", reason="x")
    assert alert(hangar)["message"].startswith("ann@example.test stopped Hangar (paused), and")
    run_sweep(hangar)
    assert alert(hangar)


def test_the_log_has_a_late_stop_before_the_change_that_followed(hangar):
    """Otherwise it would end with a pause while Hangar works."""
    run_sweep(hangar)
    break_log(hangar)
    hangar.rpc("fly_set_paused", paused=True, actor="ann@example.test", reason="x")
    hangar.sql(REPAIR)
    hangar.rpc("fly_set_paused", paused=False, actor="bob@example.test", reason="y")
    run_sweep(hangar)
    assert [entry["changes"]["paused"]["to"] for entry in entries(hangar)] == [True, False]
