"""Lost answers, a busy or full service, missing buckets, wrong credentials, foreign objects, two archivers."""

import threading
from dataclasses import replace

import pytest

from ops.archive.bucket import Bucket
from ops.archive.check import verify_batches
from ops.archive.objects import Batch, DamagedObject
from ops.archive.restore import restore_rows
from ops.connection import TargetError
from shared.adapters.procedures_archive import ArchiveProcedures
from shared.domain.errors import Refused, TransientError
from tests.support.archiver import DirectStore, make_archiver
from tests.support.object_store import NAME, answer_error, lose_answers

YOUNG = 12


@pytest.fixture
def whole(past, restored):
    """Check that log and bucket together hold every event once, and that the bucket has one object for each batch."""
    before = past.log()

    def check():
        rest = past.log()
        kept = restored()
        assert sorted([*kept, *[line for line in rest if line not in kept]]) == sorted(
            [*before, *[line for line in rest if line not in before]]
        )
        assert set(kept).isdisjoint(rest) or past.batches()[-1]["state"] != "deleted"

    return check


@pytest.mark.slow
@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("before", [False, True], ids=["after the effect", "before the effect"])
def test_a_lost_answer_makes_no_second_object(past, archive, store, whole, method, times, before):
    """The repetition finds the object of the first attempt and compares it."""
    store.meet = lose_answers(times=times, of=method, before=before)
    assert archive() == 50
    assert len(store.objects()) == 2
    assert len(past.seqs()) == YOUNG
    whole()


@pytest.mark.slow
def test_a_service_that_never_answers_loses_nothing(past, archive, store, whole):
    """The object is there, no answer says so: the run ends with a reason, the rows stay, and the next run finishes."""
    store.meet = lose_answers(times=1000)
    with pytest.raises(TransientError, match="gave no answer to: write hangar/"):
        archive()
    assert len(past.seqs()) == 50 + YOUNG
    [batch] = past.batches()
    assert (batch["state"], "gave no answer" in batch["problem"]) == ("planned", True)
    first = store.objects()
    store.meet = None
    assert archive() == 50
    assert first.items() <= store.objects().items()
    whole()


@pytest.mark.slow
def test_a_busy_service_is_asked_again(past, archive, store, whole):
    store.meet = answer_error(503, "SlowDown", times=2)
    assert archive() == 50
    whole()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (503, "SlowDown", TransientError, "could not write"),
        (507, "InsufficientStorage", Refused, "is full"),
        (501, "NotImplemented", Refused, "does not support conditional writes"),
        (403, "AccessDenied", Refused, "Allow s3:PutObject"),
        (403, "RequestTimeTooSkewed", Refused, "clock is wrong"),
        (400, "SomethingNew", Refused, "SomethingNew"),
        (409, "ConditionalRequestConflict", TransientError, "another writer"),
    ],
)
def test_a_refusal_is_named_and_the_rows_stay(past, archive, store, whole, status, code, kind, says):
    store.meet = answer_error(status, code)
    with pytest.raises(kind) as error:
        archive()
    assert says in str(error.value)
    assert NAME in str(error.value)
    assert len(past.seqs()) == 50 + YOUNG
    assert says.split(",")[0] in past.batches()[0]["problem"]
    store.meet = None
    assert archive() == 50
    assert past.batches()[0]["problem"] is None
    whole()


def test_a_bucket_that_does_not_exist_changes_nothing(past, store):
    with pytest.raises(Refused, match=r"the bucket http://.*/no-such-bucket does not exist"):
        make_archiver(past.worker(), store.bucket("no-such-bucket")).run(("events",))
    assert past.batches() == []


def test_no_credentials_are_named(past, store, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(TargetError, match="boto3 finds no credentials"):
        make_archiver(past.worker(), store.bucket()).run(("events",))
    assert past.batches() == []


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"AWS_PROFILE": "nobody"}, "ProfileNotFound"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "PartialCredentialsError"),
        ({"AWS_CONFIG_FILE": "{folder}/broken"}, "ConfigParseError"),
    ],
)
def test_credentials_that_boto3_cannot_read_are_named(store, monkeypatch, tmp_path, given, kind):
    """boto3 looks for them when the client is made, before the first call: they ended the command with a traceback."""
    (tmp_path / "broken").write_text("no section\n")
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    with pytest.raises(TargetError, match=f"boto3 finds no credentials for .*{kind}"):
        store.bucket()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_wrong_credentials_are_named_before_anything_is_planned(past, archive, store, code):
    store.meet = answer_error(403, code, of="GET")
    with pytest.raises(Refused, match=code):
        archive()
    assert past.batches() == []


@pytest.mark.slow
def test_an_object_of_somebody_else_is_neither_overwritten_nor_believed(past, archive, store):
    """The same name, other rows: a copy of the database with the same prefix. Nothing is deleted until the place is clear."""
    store.meet = answer_error(400, "Stop")
    with pytest.raises(Refused):
        archive()
    store.meet = None
    [batch] = past.batches()
    store.put(batch["object"], b"something else")
    with pytest.raises(DamagedObject, match=f"the object {batch['object']} cannot be decompressed"):
        archive()
    assert store.objects() == {batch["object"]: b"something else"}
    assert len(past.seqs()) == 50 + YOUNG
    assert batch["object"] in past.batches()[0]["problem"]
    store.remove(batch["object"])
    assert archive() == 50


@pytest.mark.slow
def test_an_object_that_changes_before_the_rows_are_deleted_keeps_them(past, store):
    """Each look is a new one: what an earlier run verified is read again."""
    archiver = make_archiver(past.worker(), store.bucket())
    archiver.database.delete_archived_rows = lambda *_: "retention"
    archiver.run(("events",))
    [batch] = past.batches()
    assert batch["state"] == "verified"
    store.put(batch["object"], store.objects()[batch["object"]][:-1])
    with pytest.raises(DamagedObject, match="was changed"):
        make_archiver(past.worker(), store.bucket()).run(("events",))
    assert len(past.seqs()) == 50 + YOUNG
    store.remove(batch["object"])
    assert make_archiver(past.worker(), store.bucket()).run(("events",))["events"].rows == 50


def verify(past, store):
    database = ArchiveProcedures(DirectStore(past.worker()))
    batches = [Batch.read(document) for document in database.list_archive_batches()]
    found = verify_batches(store.bucket(), batches, str(past.one("select installation_id from hangar.settings")))
    return [(each.object, each.state) for each in found if each.state != "ok"]


@pytest.mark.slow
def test_verify_names_what_is_not_as_it_was(past, archive, store, tmp_path):
    archive()
    assert verify(past, store) == []
    [manifest, lines] = sorted(store.objects(), key=len, reverse=True)
    good = store.objects()
    for key, body, state in [
        (lines, good[lines][:50] + b"x" + good[lines][51:], "changed"),
        (lines, b"", "changed"),
        (manifest, good[manifest].replace(b'"rows": 50', b'"rows": 51'), "changed"),
        (manifest, b"{}", "changed"),
        (manifest, b"[", "changed"),
    ]:
        store.put(key, body)
        assert verify(past, store) == [(lines, state)], key
        with pytest.raises(DamagedObject):
            restore_rows(store.bucket(), "events", tmp_path / "log")
        assert list(tmp_path.iterdir()) == []
        store.put(key, good[key])
    for key in (lines, manifest):
        store.remove(key)
        assert verify(past, store) == [(lines, "missing")]
        store.put(key, good[key])
    installation = lines.split("/")[1]
    store.put(f"hangar/{installation}/events/extra", b"x")
    assert verify(past, store) == [(f"hangar/{installation}/events/extra", "unknown")]


@pytest.mark.slow
def test_an_unfinished_batch_starts_again_in_another_bucket(past, store):
    """The first bucket was lost after the object was verified there."""
    archiver = make_archiver(past.worker(), store.bucket())
    archiver.database.delete_archived_rows = lambda *_: "retention"
    archiver.run(("events",))
    store.open_client().create_bucket(Bucket="second")
    assert make_archiver(past.worker(), store.bucket("second")).run(("events",))["events"].rows == 50
    assert past.batches()[0]["bucket"].endswith("/second")
    assert len(store.open_client().list_objects_v2(Bucket="second")["Contents"]) == 2
    # The first bucket has what is left of the attempt, and the batch is elsewhere.
    assert [state for _, state in verify(past, store)] == ["elsewhere"]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["record_archive_step", "delete_archived_rows"])
def test_a_prefix_that_changes_while_an_archiver_works_leaves_one_place(past, store, step):
    """The record names the place in which the rows are: the first archiver stops, and the other one brings them there."""
    first, place = make_archiver(past.worker(), store.bucket()), replace(store.location(), prefix="other/")
    other = make_archiver(past.worker(), Bucket(place))
    take = getattr(first.database, step)

    def move_and_take(*arguments):
        other.database.plan_archive_batch("events", place.address, place.prefix, other.clock(), actor="cli:test")
        return take(*arguments)

    setattr(first.database, step, move_and_take)
    with pytest.raises((Refused, TransientError), match="another archiver has"):
        first.run(("events",))
    assert len(past.seqs()) == 50 + YOUNG
    assert other.run(("events",))["events"].rows == 50
    [batch] = past.batches()
    assert batch["object"].startswith("other/")
    assert batch["object"] in store.objects()
    assert {state for _, state in verify(past, store)} <= {"unknown"}  # what the first one left


@pytest.mark.slow
def test_two_archivers_at_once_archive_each_row_once(past, store, whole):
    past.add_events(20_000)
    whole_log = past.log()
    failed = []

    def work():
        try:
            make_archiver(past.worker(), store.bucket()).run(("events",))
        except (TransientError, Refused) as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(past.seqs()) == YOUNG
    assert [batch["state"] for batch in past.batches()] == ["deleted"] * 3
    assert sum(batch["rows"] for batch in past.batches()) == len(whole_log) - YOUNG
    assert len(store.objects()) == 6
