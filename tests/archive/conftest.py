"""A database whose log has a past, and a bucket."""

import json
from collections.abc import Iterator

import pytest

from ops.archive.restore import restore_rows
from tests.postgres.conftest import Hangar
from tests.support.archiver import make_archiver
from tests.support.object_store import CREDENTIALS, ObjectStore, run_object_store

DAYS = 30


class Past(Hangar):
    """An installation with events of long ago. `everything` is the log as it was before anything was cut."""

    everything: list[dict]

    def add_events(self, count: int, days_ago: float = 40, **columns) -> list[int]:
        """Events of one user, a second apart. Returns their numbers."""
        values = {"event_type": "health_check_passed", "status": "succeeded", "metadata": "{}", **columns}
        rows = self.sql(
            """insert into user_fly_app_events (user_id, event_type, status, metadata, error_details, created_at)
               select %s, %s, %s, %s, %s, hangar.now() - make_interval(days => %s::integer) + n * interval '1 s'
                 from generate_series(1, %s) n returning seq""",
            values.get("user_id"),
            values["event_type"],
            values["status"],
            values["metadata"],
            values.get("error_details"),
            days_ago,
            count,
        )
        return [row["seq"] for row in rows]

    def add_intent(self, action: str = "delete_app", days_ago: float = 40, **metadata) -> str:
        """An intent without an outcome. Returns its id."""
        return str(
            self.one(
                """insert into user_fly_app_events (event_type, status, metadata, created_at)
                   values ('action', 'intent', %s, hangar.now() - make_interval(days => %s)) returning id""",
                json.dumps({"action": action, **metadata}),
                days_ago,
            )
        )

    def add_outcome(self, intent: str, days_ago: float = 40, status: str = "succeeded") -> None:
        self.sql(
            """insert into user_fly_app_events (event_type, status, metadata, created_at)
               values ('action', %s, %s, hangar.now() - make_interval(days => %s))""",
            status,
            json.dumps({"action": "delete_app", "intent_id": intent}),
            days_ago,
        )

    def keep(self, days: int | None = DAYS, setting: str = "events_retention_days") -> None:
        self.sql(f"update hangar.settings set {setting} = %s", days)

    def log(self) -> list[str]:
        """Every event as the archive writes it."""
        self.sql("set timezone = 'UTC'")
        return [row["e"] for row in self.sql("select to_jsonb(e)::text as e from user_fly_app_events e order by seq")]

    def seqs(self) -> set[int]:
        return {row["seq"] for row in self.sql("select seq from user_fly_app_events")}

    def batches(self) -> list[dict]:
        return self.sql("select * from hangar.archive_batches order by id")


@pytest.fixture
def past(database, connect) -> Past:
    """An installation with 50 events of 40 days ago and 10 of today, which keeps events for 30 days."""
    past = Past(database, connect)
    past.add_events(50)
    past.add_events(10, days_ago=0)
    past.keep()
    return past


@pytest.fixture(scope="session")
def _object_store() -> Iterator[ObjectStore]:
    with run_object_store() as store:
        yield store


@pytest.fixture
def store(_object_store, monkeypatch) -> ObjectStore:
    """The service with its bucket, empty again."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for key in _object_store.objects():
        _object_store.remove(key)
    _object_store.meet = None
    _object_store.calls.clear()
    return _object_store


@pytest.fixture
def archive(past, store):
    """Run the archiver. Returns the number of events that it archived."""

    def run(**more):
        return make_archiver(past.worker(), store.bucket(), **more).run(("events",))["events"].rows

    return run


@pytest.fixture
def restored(store, tmp_path):
    """What the bucket alone gives back: the lines by their numbers."""

    def run(source: str = "events") -> list[str]:
        into = tmp_path / "restored.jsonl"
        into.unlink(missing_ok=True)
        restore_rows(store.bucket(), source, into)
        return into.read_text(encoding="utf-8").split("\n")[:-1]

    return run
