"""The work of the reference backend between two answers of the database, with a clock that the test moves."""

import pytest

from tests.support.example_backend import load_backend

backend = load_backend()
USER = "0c5e2a4e-6f0b-4d5e-9a53-1f2f6a1d8b11"
APP = "7d0c4b3e-92a1-4a3b-8f0e-3a1f0f1c2d33"


class Tables:
    """A database: rows to read, signals written, and a refusal for either."""

    def __init__(self):
        self.rows, self.signals = {}, []
        self.read_error = self.write_error = None

    def read_traders(self):
        if self.read_error:
            raise backend.DatabaseError(None, self.read_error)
        return dict(self.rows)

    def write_signal(self, signal):
        self.attempted = signal["id"]
        if self.write_error:
            raise backend.DatabaseError("42501", self.write_error)
        self.signals.append(signal)


class Rig:
    """A worker of one trader, which polls every 5 s and signals every 60 s."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(backend.time, "monotonic", lambda: self.now)
        settings = backend.Settings(
            run_mode="user_dedicated",
            user_id=USER,
            app_id=APP,
            token_user_id=USER,
            supabase_url="http://127.0.0.1:1",
            headers={},
            host="127.0.0.1",
            port=0,
            poll_interval_s=5.0,
            signal_interval_s=60.0,
            version="test",
            image=None,
        )
        self.worker = backend.Worker(settings)
        self.tables = self.worker._database = Tables()

    def set_filter(self, found):
        self.tables.rows = {"own": {"id": "own", "user_id": USER, "name": "own", "filter": found}}

    def turn(self, seconds=0.0):
        self.now += seconds
        self.worker._poll()
        for running in self.worker._running.values():
            if running.next_signal_at <= self.now:
                self.worker._send_signal(running)

    @property
    def why_not_ready(self):
        return self.worker.readiness()[0]


@pytest.fixture
def rig(monkeypatch):
    rig = Rig(monkeypatch)
    rig.set_filter({"min": 3})
    return rig


def test_one_signal_on_load_then_one_each_interval(rig):
    for _ in range(13):
        rig.turn(5)
    assert [signal["payload"]["number"] for signal in rig.tables.signals] == [1, 2]
    assert {(signal["trader_id"], signal["user_id"], signal["fly_app_id"]) for signal in rig.tables.signals} == {
        ("own", USER, APP)
    }
    assert rig.tables.signals[0]["payload"]["filter"] == {"min": 3}


def test_an_edited_filter_reloads_the_trader(rig):
    rig.turn()
    rig.set_filter({"min": 4})
    rig.turn(5)
    assert [signal["payload"]["filter"] for signal in rig.tables.signals] == [{"min": 3}, {"min": 4}]
    assert [signal["payload"]["number"] for signal in rig.tables.signals] == [1, 1]


def test_a_failed_read_keeps_the_running_traders(rig):
    """`/ready` fails after three lost polls, with the reason."""
    rig.turn()
    assert rig.why_not_ready is None
    rig.tables.read_error = "connection refused"
    rig.turn(5)
    assert rig.why_not_ready is None
    rig.turn(10.1)
    assert "connection refused" in rig.why_not_ready
    assert rig.worker.readiness()[1:] == (1, 1)
    rig.tables.read_error = None
    rig.turn(5)
    assert rig.why_not_ready is None


def test_a_refused_first_signal_is_sent_again_with_the_same_id(rig):
    rig.tables.write_error = "permission denied"
    rig.turn()
    first = rig.tables.attempted
    assert rig.why_not_ready == "0 of 1 traders loaded: 42501: permission denied"
    rig.tables.write_error = None
    rig.turn(5)
    assert [signal["id"] for signal in rig.tables.signals] == [first]
    assert rig.why_not_ready is None


def test_not_ready_before_the_first_read(rig):
    assert "no authenticated read" in rig.why_not_ready
