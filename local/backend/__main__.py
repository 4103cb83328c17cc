"""`python -m local.backend`: listen first, then read and work. SIGTERM and SIGINT end it within two seconds."""

import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from types import FrameType

from local.backend.pages import Pages
from local.backend.runner import Runner
from local.backend.selection import select_for
from local.backend.settings import Settings, SettingsError, read_settings
from local.http_server import Server

DRAIN_S = 1.5


def say(message: str, *, level: str = "info", **more: object) -> None:
    """Write one JSON object per line to stdout."""
    line = {"time": datetime.now(UTC).isoformat(), "level": level, "message": message, **more}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 after a signal, 1 when the port is taken, 2 for an invalid environment."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        for fault in error.faults:
            sys.stderr.write(f"backend: {fault}\n")
        return 2
    stop = threading.Event()
    _stop_on_signals(stop)
    return serve(settings, stop)


def serve(settings: Settings, stop: threading.Event) -> int:
    """Listen, then work in this thread until `stop`."""
    runner = Runner(settings, select_for(settings), clock=time.monotonic, say=say)
    pages = Pages(settings, runner, stop, clock=time.monotonic)
    try:
        server = Server(pages.answer, settings.port)
    except OSError as error:
        sys.stderr.write(f"backend: cannot listen on PORT {settings.port}: {error.strerror}\n")
        return 1
    with server:
        say("listening", port=server.port, run_mode=settings.run_mode, user_id=settings.user_id)
        _work(settings, runner, stop)
    say("stopped")
    return 0


def _work(settings: Settings, runner: Runner, stop: threading.Event) -> None:
    # httpx imports its command line (rich, click) when they are installed, which costs each machine 5 MB and 0.2 s.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None blocks the import
    sys.modules.setdefault("click", None)  # type: ignore[arg-type]  # as above
    # After the listener has started, because this import is most of the start-up time.
    from local.backend.records import Records  # noqa: PLC0415

    records = Records(settings)
    try:
        runner.work(records, stop)
    finally:
        records.close()


def _stop_on_signals(stop: threading.Event) -> None:
    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            return
        stop.set()  # writes nothing to stdout: the signal may have interrupted a line
        # A running call may finish, but a database that hangs must not delay the end beyond two seconds.
        last = threading.Timer(DRAIN_S, os._exit, (0,))
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)


if __name__ == "__main__":
    sys.exit(main())
