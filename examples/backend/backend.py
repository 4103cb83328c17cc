"""The reference backend for a user's machine: one file, standard library only. The local cloud runs it in its machines.

It keeps docs/backend-contract.md. Replace `evaluate` by your own program; the rest is what Hangar and the database expect.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = 500  # below the 1,000 rows that PostgREST returns at most
HTTP_TIMEOUT_S = 5.0
STOP_S = 1.5
MISSED_POLLS = 3
READY_CHARS = 400  # how much of the answer to a check Fly shows
RUN_MODES = ("user_dedicated", "shared_backend")


def evaluate(trader: dict[str, Any], number: int) -> dict[str, Any]:
    """The payload of one signal. This is the place for your own program."""
    return {"trader": trader["name"], "filter": trader["filter"], "number": number}


@dataclass(frozen=True)
class Settings:
    """The machine's environment, checked."""

    run_mode: str
    user_id: str | None
    app_id: str | None
    token_user_id: str
    supabase_url: str
    headers: dict[str, str] = field(repr=False)
    host: str
    port: int
    poll_interval_s: float
    signal_interval_s: float
    version: str
    image: str | None


def read_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, not verified; empty for anything else."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def find_problems(env: dict[str, str]) -> list[str]:
    """One line for each variable that is missing, wrong or must not be there. No line shows a key."""
    problems = [
        f"{name} holds a service key, which a user's machine must never have: remove it"
        for name, value in sorted(env.items())
        if value.startswith("sb_secret_")
        or read_claims(value).get("role") == "service_role"
        or (value and name.startswith(("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE")))
    ]
    if env.get("RUN_MODE") not in RUN_MODES:
        problems.append(f"RUN_MODE must be one of {', '.join(RUN_MODES)}; it is {env.get('RUN_MODE')!r}")
    required = ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_USER_TOKEN")
    problems += [f"{name} must be set" for name in required if not env.get(name)]
    if env.get("SUPABASE_URL") and not env["SUPABASE_URL"].startswith(("http://", "https://")):
        problems.append("SUPABASE_URL must be a URL such as https://abc.supabase.co")
    claims = read_claims(env.get("SUPABASE_USER_TOKEN", ""))
    if env.get("SUPABASE_USER_TOKEN") and claims.get("role") not in ("authenticated", "service_role"):
        problems.append("SUPABASE_USER_TOKEN must be a JWT with the role authenticated")
    if env.get("RUN_MODE") == "user_dedicated":
        problems += [f"{name} must be a uuid" for name in ("USER_ID", "HANGAR_APP_ID") if not is_uuid(env.get(name))]
        if claims and is_uuid(env.get("USER_ID")) and claims.get("sub") != env["USER_ID"]:
            problems.append("SUPABASE_USER_TOKEN must be the token of the user that USER_ID names")
    port = env.get("PORT") or "0"
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        problems.append("PORT must be a number from 0 (any free port) to 65535")
    for name in ("POLL_INTERVAL_S", "SIGNAL_INTERVAL_S"):
        if not is_number(env.get(name) or "1", 0.05, 86400):
            problems.append(f"{name} must be seconds from 0.05 to 86400")
    return problems


def is_uuid(value: str | None) -> bool:
    """Whether the value is the text of a uuid."""
    try:
        return bool(uuid.UUID(value or ""))
    except ValueError:
        return False


def is_number(text: str, least: float, most: float) -> bool:
    """Whether the text is a number within bounds."""
    try:
        return least <= float(text) <= most
    except ValueError:
        return False


def read_settings(env: dict[str, str]) -> Settings:
    """The settings of an environment without problems."""
    token = env["SUPABASE_USER_TOKEN"]
    dedicated = env["RUN_MODE"] == "user_dedicated"
    return Settings(
        run_mode=env["RUN_MODE"],
        user_id=env["USER_ID"] if dedicated else None,
        app_id=env["HANGAR_APP_ID"] if dedicated else None,
        token_user_id=str(read_claims(token).get("sub", "")),
        supabase_url=env["SUPABASE_URL"].rstrip("/"),
        headers={"apikey": env["SUPABASE_PUBLISHABLE_KEY"], "Authorization": f"Bearer {token}"},
        host=env.get("HOST", "0.0.0.0"),  # noqa: S104  Fly's checks and proxy come over the machine's network
        port=int(env.get("PORT") or 8080),
        poll_interval_s=float(env.get("POLL_INTERVAL_S") or 5),
        signal_interval_s=float(env.get("SIGNAL_INTERVAL_S") or 60),
        version=env.get("VERSION") or "reference",
        image=env.get("FLY_IMAGE_REF"),
    )


class DatabaseError(Exception):
    """The database refused or sent no answer. The text holds no key; `code` is the one of Postgres or PostgREST, if any."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code

    @classmethod
    def read(cls, error: urllib.error.HTTPError) -> DatabaseError:
        try:
            body = json.loads(error.read())
            return cls(str(body.get("code") or error.code), str(body.get("message")))
        except (OSError, ValueError, AttributeError):
            return cls(str(error.code), str(error.reason))


class Database:
    """The host's tables over PostgREST, as the user of the token."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read_traders(self) -> dict[str, dict[str, Any]]:
        """The traders that this process should run, by id."""
        rule = {"enabled": "is.true", "is_built_in": "is.true"}
        if self._settings.user_id is not None:
            rule = {"enabled": "is.true", "is_built_in": "is.false", "user_id": f"eq.{self._settings.user_id}"}
        found: dict[str, dict[str, Any]] = {}
        query = {"select": "id,user_id,name,filter", "order": "id", "limit": str(PAGE), **rule}
        while True:
            page = self._send("GET", f"traders?{urllib.parse.urlencode(query)}")
            found |= {row["id"]: row for row in page}
            if len(page) < PAGE:
                return found
            query["id"] = f"gt.{page[-1]['id']}"

    def write_signal(self, row: dict[str, Any]) -> None:
        """Insert a signal with its own id. If it exists already, an earlier answer was lost, and that is fine."""
        try:
            self._send("POST", "signals", row)
        except DatabaseError as error:
            if error.code != "23505":  # unique_violation
                raise

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {**self._settings.headers, "Content-Type": "application/json", "Prefer": "return=minimal"}
        request = urllib.request.Request(  # noqa: S310  the URL is a setting
            f"{self._settings.supabase_url}/rest/v1/{path}",
            method=method,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310  as above
                text = response.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise DatabaseError.read(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DatabaseError(None, str(error)) from error


@dataclass
class RunningTrader:
    """A loaded trader. `unsent` is the signal whose write has not succeeded yet."""

    trader: dict[str, Any]
    next_signal_at: float
    sent: int = 0
    unsent: dict[str, Any] | None = None


class Worker:
    """Runs the traders that the database wants. `readiness` may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.started_at = time.monotonic()
        self._database = Database(settings)
        self._lock = threading.Lock()
        self._running: dict[str, RunningTrader] = {}
        self._read_at: float | None = None
        self._expected = 0
        self._read_error = self._write_error = ""

    def work(self) -> None:
        """Poll and send signals until `stop` is set."""
        next_poll_at = 0.0
        while not self.stop.is_set():
            now = time.monotonic()
            if now >= next_poll_at:
                next_poll_at = now + self.settings.poll_interval_s
                self._poll()
            for running in list(self._running.values()):
                if running.next_signal_at <= time.monotonic() and not self.stop.is_set():
                    self._send_signal(running)
            due = min([next_poll_at, *(running.next_signal_at for running in self._running.values())])
            self.stop.wait(max(0.0, due - time.monotonic()))

    def _poll(self) -> None:
        """Make the running set equal to the desired set. A failed read changes nothing."""
        try:
            desired = self._database.read_traders()
        except DatabaseError as error:
            log("reading the traders failed", error=str(error))
            self._read_error = f": {error}"
            return
        with self._lock:
            for key in [key for key, running in self._running.items() if desired.get(key) != running.trader]:
                del self._running[key]
            for key, trader in desired.items():
                self._running.setdefault(key, RunningTrader(trader, time.monotonic()))
            self._read_at, self._expected, self._read_error = time.monotonic(), len(desired), ""

    def _send_signal(self, running: RunningTrader) -> None:
        row = running.unsent or {
            "id": str(uuid.uuid4()),
            "trader_id": running.trader["id"],
            "user_id": self.settings.token_user_id,
            "fly_app_id": self.settings.app_id,
            "payload": evaluate(running.trader, running.sent + 1),
        }
        try:
            self._database.write_signal(row)
        except DatabaseError as error:
            log("writing a signal failed", error=str(error))
            self._write_error = f": {error}"
            running.unsent, running.next_signal_at = row, time.monotonic() + self.settings.poll_interval_s
            return
        with self._lock:
            running.unsent, running.sent, self._write_error = None, running.sent + 1, ""
            running.next_signal_at = time.monotonic() + self.settings.signal_interval_s

    def readiness(self) -> tuple[str | None, int, int]:
        """Why the backend is not ready (None when it is), loaded traders, expected traders."""
        with self._lock:
            loaded, expected = sum(running.sent > 0 for running in self._running.values()), self._expected
            read_at = self._read_at
        reason = None
        if self.stop.is_set():
            reason = "stopping"
        elif read_at is None or time.monotonic() - read_at > MISSED_POLLS * self.settings.poll_interval_s:
            reason = f"no authenticated read succeeded within the last three poll intervals{self._read_error}"
        elif loaded != expected:
            reason = f"{loaded} of {expected} traders loaded{self._write_error}"
        return reason, loaded, expected


class Handler(BaseHTTPRequestHandler):
    """`/health`, `/` and `/ready`. Nothing here waits for the database."""

    worker: Worker

    def do_GET(self) -> None:
        settings, (reason, loaded, expected) = self.worker.settings, self.worker.readiness()
        common = {"run_mode": settings.run_mode, "user_id": settings.user_id, "version": settings.version}
        if self.path == "/ready":
            state = {"status": "not_ready" if reason else "ready", "reason": reason, "loaded": loaded}
            self._answer(
                503 if reason else 200, shorten({**state, **common, "expected": expected, "image": settings.image})
            )
        elif self.path in ("/", "/health"):
            health = {
                "status": "healthy",
                "app_id": settings.app_id,
                "uptime": round(time.monotonic() - self.worker.started_at, 3),
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "trader_count": loaded,
            }
            self._answer(200, {**health, **common})
        else:
            self._answer(404, {"error": "not found"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Keep health checks out of the log."""


def log(message: str, **more: object) -> None:
    """Write one JSON object on one line."""
    sys.stdout.write(json.dumps({"message": message, **more}) + "\n")
    sys.stdout.flush()


def shorten(ready: dict[str, Any]) -> dict[str, Any]:
    """The page within what Fly shows of it: a long reason loses its end, a long image its beginning."""
    excess = len(json.dumps(ready)) - READY_CHARS
    if excess > 0 and ready["reason"]:
        ready = ready | {"reason": f"{ready['reason'][: -excess - 3]}..."}
        excess = len(json.dumps(ready)) - READY_CHARS
    return ready | {"image": f"...{ready['image'][excess + 3 :]}"} if excess > 0 and ready["image"] else ready


def serve(settings: Settings) -> int:
    """Listen first, then read and work until SIGTERM or SIGINT (0). 1 when the port is taken."""
    worker = Worker(settings)
    Handler.worker = worker
    try:
        server = ThreadingHTTPServer((settings.host, settings.port), Handler)
    except OSError as error:
        sys.stderr.write(f"backend: cannot listen on PORT {settings.port}: {error.strerror}\n")
        return 1

    def stop(*_: object) -> None:
        worker.stop.set()
        last = threading.Timer(STOP_S, os._exit, (0,))  # a database that does not answer must not delay the exit
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log("listening", port=server.server_address[1], run_mode=settings.run_mode)
    worker.work()
    log("stopped")
    return 0


def main() -> int:
    """Exit codes: 0 after a signal, 1 when the port is taken, 2 for a wrong environment."""
    env = dict(os.environ)
    if problems := find_problems(env):
        sys.stderr.writelines(f"backend: {problem}\n" for problem in problems)
        return 2
    return serve(read_settings(env))


if __name__ == "__main__":
    sys.exit(main())
