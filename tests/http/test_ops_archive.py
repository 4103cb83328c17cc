"""`hangar archive` over real sockets: PostgREST's gateway on one side, an S3 service on the other."""

import json

import pytest

from tests.http.running_operator import open_operator
from tests.support.object_store import CREDENTIALS, NAME, run_object_store


@pytest.fixture(scope="module")
def store():
    with run_object_store() as store:
        yield store


@pytest.fixture
def operator(cloud, tmp_path, store):
    """No retention, an empty bucket, and 1,234 events of 40 days ago beside those of today."""
    with open_operator(cloud, tmp_path) as operator:
        for name in [name for name in operator.env if name.startswith(("AWS_", "HANGAR_ARCHIVE"))]:
            del operator.env[name]
        operator.sql(
            """insert into public.user_fly_app_events (event_type, status, metadata, created_at)
               select 'health_check_passed', 'succeeded', '{"to": "healthy"}', now() - interval '40 days' + n * interval '1 s'
                 from generate_series(1, 1234) n"""
        )
        yield operator
        for key in store.objects():
            store.remove(key)


@pytest.mark.slow
def test_from_the_setting_to_the_restored_file(operator, store, tmp_path):
    """What an operator does, in order: set the retention, see that it has no effect, run, look, verify, restore."""
    use = {**store.environ}
    out, _ = operator.hangar("archive", "run", **use)
    assert "events: 0 rows archived in 0 batches (0 bytes); kept for ever: events_retention_days is not set" in out
    assert "Archive:" not in operator.hangar("status")[0]
    operator.hangar("settings", "set", "events_retention_days=30")
    out, _ = operator.hangar("status")
    assert "Archive: events are kept for 30 days, but this has no effect: nothing was ever archived" in out
    old = [
        row[0]
        for row in operator.sql(
            "select seq from public.user_fly_app_events where created_at < now() - interval '30 days' order by seq"
        )
    ]
    found = json.loads(operator.hangar("archive", "run", "--json", **use)[0])
    assert (found["events"]["rows"], found["events"]["ended"]) == (len(old), "nothing_due")
    assert found["samples"]["ended"] == "no_retention"
    assert "archived, the last" in operator.hangar("status")[0]
    assert operator.sql(
        "select count(*) from public.user_fly_app_events where created_at < now() - interval '30 days'"
    ) == [(0,)]
    [batch] = operator.json("archive", "list", "--source", "events")
    first_last = f"{old[0]}-{old[-1]}"
    assert (batch["first_seq"], batch["last_seq"], batch["state"]) == (str(old[0]), str(old[-1]), "deleted")
    assert f"events/{first_last}" in operator.hangar("archive", "list")[0]
    for typed in (first_last, f"events/{first_last}", str(old[5])):
        assert operator.json("archive", "show", typed) == batch
        assert batch["object_sha256"] in operator.hangar("archive", "show", typed)[0]
    assert "1 of 1 objects hold what the database recorded" in operator.hangar("archive", "verify", **use)[0]
    into = tmp_path / "log.jsonl"
    out, _ = operator.hangar("archive", "restore", "--into", str(into), **use)
    assert out == f"{len(old)} rows of events are in {into}\n"
    assert [json.loads(line)["seq"] for line in into.read_text().splitlines()] == old
    _, err = operator.hangar("archive", "restore", "--into", str(into), exits=2, **use)
    assert "exists already" in err
    store.put(batch["object"], b"x")
    out, err = operator.hangar("archive", "verify", exits=1, **use)
    assert f"events/{first_last}: changed: the object {batch['object']} was changed" in out
    assert "1 objects are not as recorded" in err
    document = json.loads(operator.hangar("archive", "verify", "--json", exits=1, **use)[0])
    assert (document["checked"], document["bad"], document["findings"][0]["state"]) == (1, 1, "changed")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "no archive is configured: set HANGAR_ARCHIVE_BUCKET"),
        ({"HANGAR_ARCHIVE_BUCKET": "s3://x"}, "is not the name of a bucket"),
        (
            {"HANGAR_ARCHIVE_BUCKET": NAME, "HANGAR_ARCHIVE_ENDPOINT": "nonsense"},
            "HANGAR_ARCHIVE_ENDPOINT must be the URL",
        ),
        ({"HANGAR_ARCHIVE_BUCKET": NAME, "HANGAR_ARCHIVE_PREFIX": "a b"}, "HANGAR_ARCHIVE_PREFIX"),
        ({"HANGAR_ARCHIVE_BUCKET": NAME, "HANGAR_ARCHIVE_REGION": "Frankfurt!"}, "HANGAR_ARCHIVE_REGION"),
    ],
)
@pytest.mark.parametrize("command", [["run"], ["verify"], ["restore", "--into", "x"]], ids=lambda words: words[0])
def test_a_wrong_setting_is_named(operator, environ, says, command):
    operator.sql("update hangar.settings set events_retention_days = 30")
    _, err = operator.hangar("archive", *command, exits=2, **environ)
    assert says in err
    assert len(err.splitlines()) == 1
    assert operator.sql(
        "select count(*) from public.user_fly_app_events where created_at < now() - interval '30 days'"
    ) >= [(1234,)]


def test_a_run_that_fails_is_one_line_and_shows_in_the_status(operator, store):
    operator.sql("update hangar.settings set events_retention_days = 30")
    use = store.environ | {"HANGAR_ARCHIVE_BUCKET": "no-such-bucket"}
    _, err = operator.hangar("archive", "run", exits=1, **use)
    assert "no-such-bucket does not exist" in err
    for secret in CREDENTIALS.values():
        assert secret not in err
    _, err = operator.hangar("archive", "show", "nonsense", exits=2)
    assert "write it like events/1-10000" in err
    _, err = operator.hangar("archive", "show", "5-6", exits=2)
    assert "no batch 5-6" in err


@pytest.mark.slow
def test_a_persons_data_is_exported_from_database_and_bucket(operator, store):
    """Also what has left the database, and nothing of anybody else."""
    [user, other] = operator.add_users(2)
    operator.hangar("migrate-users", "--apply")
    operator.sql(
        """insert into public.user_fly_app_events (user_id, event_type, status, created_at)
           select u, 'health_check_failed', 'failed', now() - interval '50 days' from unnest(array[%s, %s]::uuid[]) u""",
        user,
        other,
    )
    operator.sql("update hangar.settings set events_retention_days = 30")
    operator.hangar("archive", "run", **store.environ)
    found = json.loads(operator.hangar("user", "export", str(user), "--archive", "--json", **store.environ)[0])
    assert [app["user_id"] for app in found["apps"]] == [str(user)]
    assert found["email"] == operator.email(user)
    assert len(found["events"]) > 5
    assert {event["user_id"] for event in found["events"]} == {str(user)}
    assert [(event["event_type"], event["user_id"]) for event in found["archived"]] == [
        ("health_check_failed", str(user))
    ]
    assert found["archived"][0]["object"] in store.objects()
    assert str(other) not in json.dumps(found)
    out, _ = operator.hangar("user", "export", operator.email(user))
    assert "not searched" in out


@pytest.mark.slow
def test_a_persons_archived_money_and_alerts_are_exported_too(operator, store):
    """Samples of cost and closed alerts have a retention of their own, and left the export with the database."""
    [user] = operator.add_users(1)
    operator.hangar("migrate-users", "--apply")
    operator.sql(
        "update public.fly_cost_intervals set started_at = now() - interval '300 days', ended_at = now() - interval '290 days'"
        " where user_id = %s",
        user,
    )
    operator.sql(
        "insert into hangar.alerts (kind, key, message, metadata, opened_at, seen_at, resolved_at) values ('x', %s, 'text', %s,"
        " now() - interval '90 days', now() - interval '90 days', now() - interval '80 days')",
        str(user),
        json.dumps({"user_id": str(user)}),
    )
    operator.sql("update hangar.settings set samples_retention_days = 100, closed_rows_retention_days = 30")
    operator.hangar("archive", "run", **store.environ)
    found = json.loads(operator.hangar("user", "export", str(user), "--archive", "--json", **store.environ)[0])
    assert (found["cost_intervals"], found["alerts"]) == ([], [])
    assert len(found["archived"]) == 2
    assert all(str(user) in json.dumps(each) for each in found["archived"])


def test_the_export_of_an_operator_has_how_the_right_began_and_ended(operator, store):
    """These events belong to no user; they name the operator in their metadata."""
    [user] = operator.add_users(1)
    operator.hangar("operators", "add", operator.email(user), "--reason", "new")
    operator.hangar("operators", "remove", operator.email(user), "--reason", "left")
    found = json.loads(operator.hangar("user", "export", str(user), "--json")[0])
    changes = [event["metadata"]["changes"] for event in found["mentions"] if event["event_type"] == "settings_changed"]
    assert changes == [{"operator_added": str(user)}, {"operator_removed": str(user)}]


def test_what_names_a_person_beside_the_own_rows_is_exported(operator, store):
    """Events of nobody and alerts about the fleet that name the user, as they are found in the bucket, too."""
    [user, other] = operator.add_users(2)
    for who in (user, other):
        operator.sql(
            "insert into public.user_fly_app_events (event_type, status, error_details) values ('alert_raised', 'info', %s)",
            f"the token of user {who} ends",
        )
        operator.sql(
            "insert into hangar.alerts (kind, key, message) values ('token_lapses', %s, %s)",
            f"fleet {who}",
            f"user {who}",
        )
        operator.sql("insert into hangar.original_apps values (gen_random_uuid(), %s)", json.dumps({"user": str(who)}))
    found = json.loads(operator.hangar("user", "export", str(user), "--json")[0])
    assert [event["error_details"] for event in found["mentions"]] == [f"the token of user {user} ends"]
    assert [alert["message"] for alert in found["alerts"]] == [f"user {user}"]
    assert [app["original"] for app in found["original_apps"]] == [{"user": str(user)}]
    operator.sql("delete from hangar.original_apps")
    operator.sql("delete from hangar.alerts where kind = 'token_lapses'")


@pytest.mark.slow
def test_another_bucket_of_the_archive_is_named_where_it_matters(operator, store):
    """The bucket was changed: rows in the first one are not searched, and a restore from there would have the person."""
    [user] = operator.add_users(1)
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
    operator.sql(
        """insert into public.user_fly_app_events (user_id, event_type, status, created_at)
           values (%s, 'health_check_failed', 'failed', now() - interval '50 days')""",
        user,
    )
    operator.sql("update hangar.settings set events_retention_days = 30")
    first = {**store.environ, "HANGAR_ARCHIVE_PREFIX": "first"}
    operator.hangar("archive", "run", **first)
    operator.sql(
        "insert into public.user_fly_app_events (user_id, event_type, status) values (%s, 'token_revoked', 'info')",
        user,
    )
    for command in (("export", str(user), "--archive"), ("erase", str(user), "--archive")):
        out, _ = operator.hangar("user", *command, **store.environ)
        assert "/archive below first/: not searched" in out
        assert "below first/" not in operator.hangar("user", *command, **first)[0]
    found = json.loads(operator.hangar("user", "export", str(user), "--archive", "--json", **store.environ)[0])
    assert ("first/", True) in [(each["prefix"], each["rows"] > 0) for each in found["elsewhere"]]
    operator.hangar("user", "erase", str(user), "--apply", "--yes", "--reason", "asked", **store.environ)
    assert not [key for key in store.objects() if key.startswith("first/") and "/erased/" in key]
    operator.hangar("user", "erase", str(user), "--apply", "--yes", "--reason", "asked", **first)
    assert [key for key in store.objects() if key.startswith("first/") and "/erased/" in key]
