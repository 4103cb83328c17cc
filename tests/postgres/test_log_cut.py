"""The log can be cut at its smallest retention, and nothing is decided differently."""

import hashlib
import json
import re
import uuid
from datetime import UTC, datetime

import psycopg
import pytest

from tests.support.databases import drop_database

READS = re.compile(r"\b(?:from|join)\s+public\.user_fly_app_events\b")
SMALLEST = 30
BUCKET = "s3://test"
# Moments at which a decision could turn, as ages of events: within the look-back, at the retention, and far beyond it.
AGES_S = (5, 50, 70, 500, 3000, 4000, 80_000, 90_000, 29 * 86_400, 31 * 86_400, 400 * 86_400)


def of(batch):
    """The batch and its place, as the archiver names them."""
    return {"batch": batch["id"], "bucket": batch["bucket"], "object": batch["object"]}


def cut(hangar, source="events"):
    """What the archiver does, with a bucket that keeps everything. Returns how many rows left."""
    rows = 0
    while True:
        at = datetime.now(UTC).isoformat()
        answer = hangar.rpc("fly_archive_plan", source=source, bucket=BUCKET, prefix="", at=at, actor="test")
        batch = answer["batch"]
        if batch is None:
            return rows
        sha = hashlib.sha256(batch["object"].encode()).hexdigest()
        for state in ("written", "verified"):
            hangar.rpc("fly_archive_record", **of(batch), state=state, sha256=sha, bytes=1)
        assert hangar.rpc("fly_archive_delete", **of(batch), sha256=sha)["deleted"]
        rows += batch["rows"]


def test_every_reader_of_the_log_is_listed_with_its_look_back(hangar):
    """A new one must say how far back it reads, so that the retention's lower bound stays true."""
    functions = hangar.sql(
        """select n.nspname || '.' || p.proname as name, p.prosrc from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = 'hangar' or n.nspname = 'public' and p.proname like 'fly\\_%%'"""
    )
    found = {row["name"] for row in functions if READS.search(re.sub(r"--[^\n]*", "", row["prosrc"]))}
    assert found == {row["reader"] for row in hangar.sql("select reader from hangar.log_readers()")}
    longest = hangar.one("select max(look_back) from hangar.log_readers()")
    lowest = hangar.one("select lowest from hangar.setting_rules() where setting = 'events_retention_days'")
    assert lowest == SMALLEST
    assert longest.days * 10 <= SMALLEST


def busy(hangar):
    """Apps in every situation that the log decides about, with the same events at every age."""
    hangar.sql("update hangar.settings set brake_floor = 3, brake_share = 0, events_retention_days = 30")
    users = [hangar.user("pro") for _ in range(4)]
    rows = [hangar.converge(user) for user in users]
    for number, age in enumerate(AGES_S):
        for row, user in zip(rows, users, strict=True):
            kinds = [
                ("intent", {"action": "restart_machine", "purpose": "restart"}, True),
                ("succeeded", {"action": "create_machine", "purpose": "repair"}, None),
                ("intent", {"action": "delete_app", "purpose": "deprovision"}, number % 2 == 0),
                ("intent", {"action": "destroy_machine", "purpose": "orphan", "app": f"o-{number}"}, number % 3 == 0),
                ("intent", {"action": "delete_app", "purpose": "orphan", "app": f"o-{number}"}, number % 2 == 1),
            ]
            for status, metadata, has_outcome in kinds:
                add_action(hangar, row, user, status, metadata, age, has_outcome=has_outcome)
        hangar.sql(
            """insert into user_fly_app_events (fly_app_id, user_id, event_type, status, created_at)
               values (%s, %s, 'desired_changed', 'info', hangar.now() - make_interval(secs => %s))""",
            rows[0]["id"],
            users[0],
            age,
        )
    return users, rows


def add_action(hangar, row, user, status, metadata, age, *, has_outcome):
    event = uuid.uuid4()
    insert = """insert into user_fly_app_events (id, fly_app_id, user_id, event_type, status, metadata, created_at)
                values (%s, %s, %s, 'action', %s, %s, hangar.now() - make_interval(secs => %s))"""
    hangar.sql(insert, event, row["id"], user, status, json.dumps(metadata), age)
    if has_outcome:
        outcome = json.dumps(metadata | {"intent_id": str(event)})
        hangar.sql(insert, uuid.uuid4(), row["id"], user, "succeeded", outcome, age - 1)


def decide(hangar, users, rows):
    """Everything that is decided, or shown as a state, from the log."""
    network = hangar.one("select network from user_fly_apps where id = %s", rows[1]["id"])
    orphan = "select hangar.is_removable(row('app', %s, now(), now(), 1, null, null, false, true, null)::fly_orphans)"
    hangar.sql("begin")
    hangar.sql(
        "update user_fly_apps set status = 'deleted', deleted_at = now(), fly_app_name = 'app' where id = %s",
        rows[1]["id"],
    )
    is_removable = hangar.one(orphan, network)
    hangar.sql("rollback")
    return {
        "brake": hangar.sql(
            "select array(select unnest(b.destroyed) order by 1) as d, b.reason from hangar.brake_status() b"
        ),
        "slots": [str(hangar.one("select hangar.delete_slot_at(%s)", n)) for n in (0, 85, 88, 89)],
        "removed": [hangar.one("select hangar.is_being_removed(%s)", f"o-{n}") for n in range(len(AGES_S))],
        "removals": sorted(map(str, hangar.sql("select * from hangar.orphan_removals()"))),
        "restarted": [hangar.one("select hangar.was_restarted(%s)", row["id"]) for row in rows],
        "repairs": [hangar.one("select hangar.count_repairs(%s)", row["id"]) for row in rows],
        "stalled": [row["id"] for row in hangar.sql("select id from hangar.find_stalled(true, 10) order by id")],
        "releases": hangar.rpc("fly_releases") | {"now": None},
        "orphan of a closed row": is_removable,
        "cost": {key: value for key, value in hangar.rpc("fly_cost_report").items() if key in ("groups", "plans")},
        "entitled": [hangar.rpc("fly_user_status", user=user)["entitled"] for user in users],
        "open intents": sorted(
            str(row["id"])
            for row in hangar.sql(
                """select i.id from user_fly_app_events i where i.status = 'intent' and not exists
                     (select 1 from user_fly_app_events o where o.metadata ->> 'intent_id' = i.id::text)"""
            )
        ),
    }


@pytest.mark.slow
@pytest.mark.own_database
def test_a_cut_log_decides_as_the_whole_one(hangar, postgres):
    """The same database twice, one of them cut, asked the same at the same time."""
    users, rows = busy(hangar)
    template = psycopg.conninfo.conninfo_to_dict(hangar.url)["dbname"]
    copy_name = f"copy_{uuid.uuid4().hex[:12]}"
    clock = hangar.one("select extract(epoch from hangar.now())")
    hangar.sql(
        "create or replace function hangar.now() returns timestamptz language sql stable set search_path = ''"
        f" as 'select pg_catalog.to_timestamp({clock}::double precision)'"
    )
    hangar.admin.close()
    hangar.service.close()
    with psycopg.connect(hangar.url, dbname="postgres", autocommit=True) as maintenance:
        maintenance.execute(f'create database "{copy_name}" template "{template}"')
    copy_url = f"{hangar.url.rsplit('/', 1)[0]}/{copy_name}"
    try:
        whole, short = type(hangar)(hangar.url, hangar.connect), type(hangar)(copy_url, hangar.connect)
        expected = decide(whole, users, rows)
        left = cut(short)
        assert left > len(AGES_S)
        assert (
            short.one("select count(*) from user_fly_app_events")
            == whole.one("select count(*) from user_fly_app_events") - left
        )
        assert decide(short, users, rows) == expected
        assert expected["brake"][0]["reason"] == "many"
        assert True in expected["removed"]
        assert expected["orphan of a closed row"] is True
        assert any(expected["repairs"])
        short.admin.close()
        short.service.close()
    finally:
        drop_database(copy_url)


def test_only_a_verified_batch_leaves_the_log(hangar):
    """Nobody else deletes an event: not a superuser, not with a batch that is only planned, not in another transaction."""
    refused = psycopg.errors.InsufficientPrivilege
    hangar.sql(
        """insert into user_fly_app_events (event_type, status, created_at)
           select 'orphan_found', 'info', hangar.now() - interval '40 days' from generate_series(1, 5)"""
    )
    hangar.sql("update hangar.settings set events_retention_days = 30")
    at = datetime.now(UTC).isoformat()
    batch = hangar.rpc("fly_archive_plan", source="events", bucket=BUCKET, prefix="", at=at, actor="test")["batch"]
    sha = "0" * 64
    for state in (None, "written"):
        if state:
            hangar.rpc("fly_archive_record", **of(batch), state=state, sha256=sha, bytes=1)
        answer = hangar.rpc("fly_archive_delete", **of(batch), sha256=sha)
        assert answer == {"deleted": False, "why": "not_verified"}
    hangar.rpc("fly_archive_record", **of(batch), state="verified", sha256=sha, bytes=1)
    for query in (
        "delete from user_fly_app_events where event_type = 'orphan_found'",
        "update user_fly_app_events set status = 'info'",
    ):
        with pytest.raises(refused, match="append-only"):
            hangar.sql(query)
    for other in ({"bucket": "s3://other", "sha256": sha}, {"object": "x", "sha256": sha}, {"sha256": "1" * 64}):
        assert hangar.rpc("fly_archive_delete", **of(batch) | other)["why"] == "not_verified"
    assert hangar.rpc("fly_archive_delete", **of(batch), sha256=sha) == {
        "deleted": True,
        "why": None,
    }
    assert hangar.rpc("fly_archive_delete", **of(batch), sha256=sha) == {
        "deleted": True,
        "why": None,
    }
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'orphan_found'") == 0
    for query in (
        "delete from hangar.archive_batches",
        "update hangar.archive_batches set state = 'planned'",
        "truncate hangar.archive_batches",
    ):
        with pytest.raises(refused, match="record of the archive"):
            hangar.sql(query)


def test_rows_that_were_changed_by_hand_are_not_deleted(hangar):
    hangar.sql(
        """insert into user_fly_app_events (event_type, status, created_at)
           values ('orphan_found', 'info', hangar.now() - interval '40 days')"""
    )
    hangar.sql("update hangar.settings set events_retention_days = 30")
    at = datetime.now(UTC).isoformat()
    batch = hangar.rpc("fly_archive_plan", source="events", bucket=BUCKET, prefix="", at=at, actor="test")["batch"]
    for state in ("written", "verified"):
        hangar.rpc("fly_archive_record", **of(batch), state=state, sha256="0" * 64, bytes=1)
    hangar.sql("set session_replication_role = replica")
    hangar.sql("update user_fly_app_events set error_details = 'x' where event_type = 'orphan_found'")
    hangar.sql("set session_replication_role = origin")
    answer = hangar.rpc("fly_archive_delete", **of(batch), sha256="0" * 64)
    assert answer == {"deleted": False, "why": "rows_changed"}
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'orphan_found'") == 1


COLUMNS = {
    "public.user_fly_app_events": "id fly_app_id user_id event_type status metadata error_details created_at seq",
    "public.fly_cost_intervals": "id fly_app_id user_id machine_id region cpu_kind cpu_count memory_mb price_usd_per_s started_at"
    " ended_at seq",
    "hangar.alerts": "id kind key message metadata opened_at seen_at times told_at resolved_at seq",
}


@pytest.mark.parametrize("table", COLUMNS)
def test_the_columns_of_schema_version_1(hangar, table):
    """A new column needs a new `schema_version`, and must be left out of the lines of a batch that has an older one.

    Otherwise a batch that was planned before an upgrade would never again have the checksum of its plan.
    """
    columns = hangar.sql(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        table,
    )
    assert [column["attname"] for column in columns] == COLUMNS[table].split()
    default = """select column_default from information_schema.columns
                  where table_schema = 'hangar' and table_name = 'archive_batches' and column_name = 'schema_version'"""
    assert hangar.one(default) == "1"
