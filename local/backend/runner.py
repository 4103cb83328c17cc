"""The work: load the selected traders, follow the database, and write each trader's signals."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from local.backend.selection import Selection, Trader, compare
from local.backend.settings import Settings

MISSED_POLLS = 3  # failed polls in a row before `/ready` is 503

Say = Callable[..., None]


class Source(Protocol):
    """Reads traders and writes signals. Raises when the database refuses or cannot be reached."""

    def read_traders(self, selection: Selection) -> Iterable[dict[str, Any]]: ...

    def write_signal(self, signal: dict[str, Any]) -> None: ...


@dataclass
class _Running:
    trader: Trader
    next_signal_at: float
    number: int = 0
    unsent: dict[str, Any] | None = None


class Runner:
    """Runs traders until `stop`. Any thread may call `readiness`; one thread calls the rest."""

    def __init__(self, settings: Settings, selection: Selection, *, clock: Callable[[], float], say: Say) -> None:
        self._settings = settings
        self._selection = selection
        self._clock = clock
        self._say = say
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._expected = 0
        self._read_at: float | None = None
        self._read_error: str | None = None
        self._write_error: str | None = None

    def work(self, source: Source, stop: threading.Event) -> None:
        """Poll and signal until `stop`. A deselected trader writes no signal after the poll that found it."""
        next_poll_at = self._clock()
        while not stop.is_set():
            if self._clock() >= next_poll_at:
                next_poll_at = self._clock() + self._settings.poll_interval_s
                self.poll(source)
            self.send_due(source, stop)
            pause_until = min([next_poll_at, *(entry.next_signal_at for entry in self._running.values())])
            stop.wait(max(0.0, pause_until - self._clock()))

    def poll(self, source: Source) -> None:
        """Read the desired set once and make the running set equal to it; a failure leaves the running set unchanged."""
        try:
            desired = self._selection.admit(source.read_traders(self._selection))
        except Exception as error:  # noqa: BLE001  the process continues, and /ready shows the reason
            self._say("reading the traders failed", level="warning", error=str(error))
            with self._lock:
                self._read_error = str(error)
            return
        change = compare({key: entry.trader for key, entry in self._running.items()}, desired)
        with self._lock:
            for key in change.stop:
                del self._running[key]
            for trader in change.start:
                self._running[trader.id] = _Running(trader, next_signal_at=self._clock())
            self._expected, self._read_at, self._read_error = len(desired), self._clock(), None
        if change.stop or change.start:
            started = [trader.id for trader in change.start]
            self._say("traders changed", stopped=list(change.stop), started=started, running=len(desired))

    def send_due(self, source: Source, stop: threading.Event) -> None:
        """Write one signal for each due trader, the first one on load. A failed signal is sent again with its id."""
        for entry in list(self._running.values()):
            if stop.is_set():
                return
            if entry.next_signal_at > self._clock():
                continue
            signal = entry.unsent or self._make_signal(entry)
            try:
                source.write_signal(signal)
            except Exception as error:  # noqa: BLE001  as in poll
                self._say("writing a signal failed", level="warning", trader_id=entry.trader.id, error=str(error))
                with self._lock:
                    self._write_error = str(error)
                    entry.unsent = signal
                    entry.next_signal_at = self._clock() + self._settings.poll_interval_s
                continue
            with self._lock:
                self._write_error, entry.unsent = None, None
                entry.number += 1
                entry.next_signal_at = self._clock() + self._settings.signal_interval_s

    def _make_signal(self, entry: _Running) -> dict[str, Any]:
        trader = entry.trader
        return {
            "id": str(uuid4()),
            "trader_id": trader.id,
            "user_id": self._settings.token_user_id,
            "fly_app_id": self._settings.app_id,
            "payload": {
                "kind": "interval" if entry.number else "loaded",
                "number": entry.number + 1,
                "trader": trader.name,
                "filter": trader.filter,
                "run_mode": self._settings.run_mode,
            },
        }

    def readiness(self) -> tuple[str | None, int, int]:
        """(reason or None when ready, loaded, expected). Loaded are traders whose first signal is in the database."""
        with self._lock:
            loaded = sum(1 for entry in self._running.values() if entry.number)
            expected = self._expected
            age_s = None if self._read_at is None else self._clock() - self._read_at
            if age_s is None:
                return f"no authenticated read has succeeded yet{_because(self._read_error)}", loaded, expected
            if age_s > self._settings.poll_interval_s * MISSED_POLLS:
                why = f"the last authenticated read succeeded {age_s:.1f} s ago{_because(self._read_error)}"
                return why, loaded, expected
            if loaded != expected:
                return f"{loaded} of {expected} traders loaded{_because(self._write_error)}", loaded, expected
            return None, loaded, expected


def _because(error: str | None) -> str:
    return f": {error}" if error else ""
