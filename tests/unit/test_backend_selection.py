"""Which traders run and when they signal, with a clock that the test moves."""

import threading

import pytest

from local.backend.runner import Runner
from local.backend.selection import Selection, Trader, compare, select_for
from local.backend.settings import Settings

USER = "0c5e2a4e-6f0b-4d5e-9a53-1f2f6a1d8b11"
OTHER = "11111111-1111-4111-8111-111111111111"


def settings(mode="user_dedicated", **changes):
    values = {
        "run_mode": mode,
        "user_id": USER if mode == "user_dedicated" else None,
        "app_id": "7d0c4b3e-92a1-4a3b-8f0e-3a1f0f1c2d33",
        "supabase_url": "http://127.0.0.1:1",
        "publishable_key": "sb_publishable_x",
        "user_token": "a.b.c",
        "token_user_id": USER,
        "port": 0,
        "poll_interval_s": 5.0,
        "signal_interval_s": 60.0,
        "version": "test",
    }
    return Settings(**{**values, **changes})


def row(key, user_id=USER, *, enabled=True, is_built_in=False, **more):
    base = {"id": key, "user_id": user_id, "name": key, "enabled": enabled, "is_built_in": is_built_in, "filter": {}}
    return {**base, **more}


EVERYBODY = [
    row("own"),
    row("disabled", enabled=False),
    row("strangers", OTHER),
    row("built-in", None, is_built_in=True),
    row("own-built-in", is_built_in=True),
    row("disabled-built-in", None, is_built_in=True, enabled=False),
]


@pytest.mark.parametrize(
    ("mode", "wanted"), [("user_dedicated", {"own"}), ("shared_backend", {"built-in", "own-built-in"})]
)
def test_each_mode_admits_its_own_traders_only(mode, wanted):
    assert set(select_for(settings(mode)).admit(EVERYBODY)) == wanted


def test_no_enabled_trader_runs_in_two_places():
    """The traders of a user's machine and of the shared backend are disjoint."""
    modes = [select_for(settings(mode)).admit(EVERYBODY) for mode in ("user_dedicated", "shared_backend")]
    assert not set(modes[0]) & set(modes[1])


def test_the_difference_follows_the_desired_set():
    """Removed and changed traders stop, new and changed ones start, the others continue."""
    old = {key: Trader(key, USER, key, {"x": 1}) for key in ("keeps", "goes", "changes")}
    new = {key: Trader(key, USER, key, {"x": 1}) for key in ("keeps", "comes")}
    new["changes"] = Trader("changes", USER, "changes", {"x": 2})
    change = compare(old, new)
    assert change.stop == ("changes", "goes")
    assert [trader.id for trader in change.start] == ["changes", "comes"]


class Tables:
    """A fake database: rows to read, signals written, and a refusal for either."""

    def __init__(self, *rows):
        self.rows = list(rows)
        self.signals = []
        self.read_error = self.write_error = None

    def read_traders(self, selection: Selection):
        if self.read_error:
            raise self.read_error
        return list(self.rows)

    def write_signal(self, signal):
        self.attempted = signal["id"]
        if self.write_error:
            raise self.write_error
        self.signals.append(signal)


class Rig:
    """A runner whose clock the test moves."""

    def __init__(self, *rows, **changes):
        self.now = 1000.0
        self.tables = Tables(*rows)
        chosen = settings(**changes)
        self.runner = Runner(chosen, select_for(chosen), clock=lambda: self.now, say=lambda *_, **__: None)

    def turn(self, seconds=0.0):
        self.now += seconds
        self.runner.poll(self.tables)
        self.runner.send_due(self.tables, threading.Event())

    @property
    def why_not_ready(self):
        return self.runner.readiness()[0]


def test_one_signal_on_load_then_one_each_interval():
    rig = Rig(row("own", filter={"min": 3}))
    for _ in range(13):
        rig.turn(5)
    assert [signal["payload"]["kind"] for signal in rig.tables.signals] == ["loaded", "interval"]
    assert {(signal["trader_id"], signal["user_id"], signal["fly_app_id"]) for signal in rig.tables.signals} == {
        ("own", USER, "7d0c4b3e-92a1-4a3b-8f0e-3a1f0f1c2d33")
    }
    assert rig.tables.signals[0]["payload"]["filter"] == {"min": 3}


def test_an_edited_filter_reloads_the_trader():
    rig = Rig(row("own", filter={"min": 3}))
    rig.turn()
    rig.tables.rows = [row("own", filter={"min": 4})]
    rig.turn(5)
    assert [signal["payload"]["filter"] for signal in rig.tables.signals] == [{"min": 3}, {"min": 4}]
    assert rig.tables.signals[1]["payload"]["kind"] == "loaded"


def test_a_failed_read_keeps_the_running_traders():
    """`/ready` fails after three lost polls, with the reason."""
    rig = Rig(row("own"))
    rig.turn()
    assert rig.why_not_ready is None
    rig.tables.read_error = RuntimeError("connection refused")
    rig.turn(5)
    assert rig.why_not_ready is None
    rig.turn(10.1)
    assert "connection refused" in rig.why_not_ready
    assert rig.runner.readiness()[1:] == (1, 1)
    rig.tables.read_error = None
    rig.turn(5)
    assert rig.why_not_ready is None


def test_a_refused_first_signal_is_sent_again_with_the_same_id():
    rig = Rig(row("own"))
    rig.tables.write_error = RuntimeError("42501: permission denied")
    rig.turn()
    first = rig.tables.attempted
    assert rig.why_not_ready == "0 of 1 traders loaded: 42501: permission denied"
    rig.tables.write_error = None
    rig.turn(5)
    assert [signal["id"] for signal in rig.tables.signals] == [first]
    assert rig.why_not_ready is None


def test_not_ready_before_the_first_read():
    assert Rig().why_not_ready == "no authenticated read has succeeded yet"
