"""A person who was erased does not come back from the archive, whose objects cannot be changed."""

import json
import re

import psycopg
import pytest

from ops.archive.check import verify_batches
from ops.archive.erasures import write_erasures
from ops.archive.objects import Batch, DamagedObject
from ops.archive.run import SOURCES
from shared.adapters.procedures_archive import ArchiveProcedures
from tests.support.archiver import DirectStore, make_archiver


def erase(past, user):
    return past.rpc("fly_erase_user", user=user, actor="cli:test", reason="asked", apply=True)


@pytest.fixture
def person(past):
    """A user with archived events, also in events of others, and with an address."""
    user = past.user()
    email = past.one("select email from auth.users where id = %s", user)
    past.add_events(2, user_id=user, metadata=r'{"reason": "Anna said \"no\"", "n": 1.50}', error_details=f"to {email}")
    past.add_events(
        1, user_id=user, event_type="command_run", metadata='{"command": "cat x"}', error_details="secret words"
    )
    past.add_events(1, metadata=json.dumps({"users": [str(user)]}), error_details=f"<{email.upper()}>, not x{email}")
    past.add_events(1, days_ago=0, user_id=user)  # without it there would be nothing in the database to erase
    return user, email


@pytest.mark.slow
def test_a_restore_has_the_pseudonym_and_no_address(past, archive, store, restored, person):
    """Every row is there, and nothing of it names the person. Rows of others are as they were, byte for byte."""
    user, email = person
    assert archive() == 54
    before = restored()
    assert str(user) in "".join(before)
    pseudonym = erase(past, user)["pseudonym"]
    archive()
    after = restored()
    text = "".join(after).lower().replace(f"not x{email}", "")
    for trace in (str(user), email, "anna", "cat x", "secret words"):
        assert trace not in text
    assert pseudonym in text
    assert f"(erased)>, not x{email}" in "".join(after)
    assert [json.loads(line)["seq"] for line in after] == [json.loads(line)["seq"] for line in before]
    assert after[:50] == before[:50]
    assert '"n": 1.50' in after[50]


@pytest.mark.slow
def test_a_restore_finds_an_address_behind_escapes_and_in_urls(past, archive, store, restored, person):
    """As the erasure in the database does, and no other address is touched."""
    user, _ = person
    past.sql("update user_profiles set email = 'tom+x@x.test' where id = %s", user)
    texts = (
        ("see\ntom+x@x.test", "see\n(erased)"),
        ("\ttom+x@x.test\x01tom+x@x.test", "\t(erased)\x01(erased)"),
        ("CORP\\tom+x@x.test", "CORP\\(erased)"),
        ('{"to": "\\ntom+x@x.test\\u003ctom+x@x.test\\u003e"}', '{"to": "\\n(erased)\\u003c(erased)\\u003e"}'),
        ("?email=tom+x@x.test&x", "?email=(erased)&x"),
        ("?email=tom%2bx%40X.test&x %3Ctom+x@x.test%3E", "?email=(erased)&x %3C(erased)%3E"),
        ("see\tom+x@x.test atom%2Bx%40x.test", "see\tom+x@x.test atom%2Bx%40x.test"),
    )
    for text, _ in texts:
        past.add_events(1, metadata=json.dumps({"text": text}), error_details=text)
    archive()
    erase(past, user)
    archive()
    rows = [json.loads(line) for line in restored()][-len(texts) :]
    assert [row["metadata"]["text"] for row in rows] == [wanted for _, wanted in texts]
    assert [row["error_details"] for row in rows] == [wanted for _, wanted in texts]


@pytest.mark.slow
@pytest.mark.parametrize("days", [365, None])
def test_a_batch_that_a_raised_retention_holds_does_not_keep_the_person(past, store, person, days):
    """The refusal says how to finish the batch, which no run finishes under the new retention."""
    user, _ = person
    archiver = make_archiver(past.worker(), store.bucket())
    delete, archiver.database.delete_archived_rows = archiver.database.delete_archived_rows, lambda *_: "retention"
    archiver.run(("events",))
    archiver.database.delete_archived_rows = delete
    with pytest.raises(psycopg.Error, match="Finish that with `hangar archive run` first"):
        erase(past, user)
    past.keep(days)
    assert archiver.run(("events",))["events"].rows == 0
    with pytest.raises(psycopg.Error, match="Their retention was raised") as refused:
        erase(past, user)
    past.keep(int(re.search(r"Set events_retention_days to (\d+), run", str(refused.value))[1]))
    assert archiver.run(("events",), 1)["events"].rows == 54
    past.keep(days)
    assert erase(past, user)["applied"]


@pytest.mark.slow
def test_an_alert_that_has_the_address_alone_loses_it_too(past, store, restored, person):
    """Only the log has the id, without which no address is recognised."""
    user, email = person
    past.keep(30, "closed_rows_retention_days")
    past.sql(
        """insert into hangar.alerts (kind, key, message, opened_at, resolved_at)
           values ('brake', 'a', %s, now() - interval '90 days', now() - interval '80 days')""",
        f"{email} is unhappy, others@x.test are not",
    )
    archiver = make_archiver(past.worker(), store.bucket())
    archiver.run(SOURCES)
    erase(past, user)
    archiver.run(SOURCES)
    [alert] = restored("closed_rows")
    assert json.loads(alert)["message"] == "(erased) is unhappy, others@x.test are not"


@pytest.mark.slow
def test_a_later_life_of_the_same_user_stays(past, archive, store, restored, person):
    """The user came back after the erasure: those rows are a user's of today."""
    user, _ = person
    archive()
    erase(past, user)
    past.sql("update hangar.erased_users set erased_at = erased_at - interval '60 days'")
    archive()
    assert str(user) in "".join(restored())


@pytest.mark.slow
def test_the_note_in_the_bucket_reveals_nobody_and_is_written_once(past, archive, store, person):
    """A hash of the id, and hashes of addresses that cannot be tried without the id."""
    user, email = person
    archive()
    erase(past, user)
    archive()
    objects = store.objects()
    [(key, body)] = [(key, body) for key, body in objects.items() if "/erased/" in key]
    assert str(user) not in key + body.decode()
    assert email not in body.decode()
    archive()
    assert store.objects() == objects
    database = ArchiveProcedures(DirectStore(past.worker()))
    assert write_erasures(store.bucket(), *database.list_erased_users()) == []


@pytest.mark.slow
def test_verify_knows_the_notes(past, archive, store, person):
    """An object of the archive's own is no unknown object."""
    erase(past, person[0])
    archive()
    batches = [Batch.read(past.rpc("fly_archive_batches")["batches"][0])]
    installation = past.one("select installation_id::text from hangar.settings")
    assert {finding.state for finding in verify_batches(store.bucket(), batches, installation)} == {"ok"}


@pytest.mark.slow
def test_a_note_that_was_changed_stops_the_restore(past, archive, store, restored, person):
    """Without it the person would come back unseen."""
    erase(past, person[0])
    archive()
    [key] = [key for key in store.objects() if "/erased/" in key]
    store.put(key, b"{}")
    with pytest.raises(DamagedObject, match="does not say who was erased"):
        restored()
