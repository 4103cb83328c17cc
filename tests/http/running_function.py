"""A function as deployed: its own functions-framework process, called over HTTP, and the services that it would reach."""

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from local.http_server import Response, Server
from shared.http.webhook_auth import sign_webhook

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ("provision", "deprovision", "health")
PATIENCE_S = 60
KEY = b"canary-webhook-key-of-32-bytes--"
STATIC = {"X-Hangar-Secret": "canary-static-secret-0123456789"}
JSON = {"Content-Type": "application/json"}
USER = "11111111-1111-4111-8111-111111111111"
INSTALLATION = "33333333-3333-4333-8333-333333333333"
PEM = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SETTINGS = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SECRET_KEY": "sb_secret_canary0000000000",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0000000000",
    "FLY_API_TOKEN": "FlyV1 fm2_canary0000000000",
    "FLY_API_URL": "http://127.0.0.1:9",
    "FLY_ORG_SLUG": "acme",
    "HANGAR_INSTALLATION_ID": INSTALLATION,
    "HANGAR_WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
    "HANGAR_STATIC_SECRET": STATIC["X-Hangar-Secret"],
    "HANGAR_USER_TOKEN_KEY": PEM,
    "HANGAR_ADMIN_ORIGINS": "https://admin.example.test",
}
SECRET_TEXTS = ("canary", base64.b64encode(KEY).decode(), *PEM.splitlines()[1:-1])


def make_environ(settings):
    """An environment of these settings and what Python needs, without other variables of this machine."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return inherited | settings


def framework(target, *arguments):
    return [sys.executable, "-m", "functions_framework", "--target", target, "--host", "127.0.0.1", *arguments]


@contextmanager
def closed_port():
    """A port on which nothing listens. It is bound, so that no other process can listen on it either."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def sign(body, *, at=None, key=KEY, **changes):
    """The headers of one signed delivery. `changes` replaces headers; their names have underscores."""
    delivery, sent_at = f"msg_{uuid.uuid4()}", str(int(time.time()) if at is None else at)
    headers = {
        "webhook-id": delivery,
        "webhook-timestamp": sent_at,
        "webhook-signature": sign_webhook(key, delivery, sent_at=sent_at, body=body),
    }
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


class RunningFunction:
    """The process of one function on a free port; its output is in `folder`."""

    def __init__(self, target, settings, folder):
        self.out, self.err = folder / f"{target}.out", folder / f"{target}.err"
        # At level info, gunicorn logs its port.
        environ = make_environ(settings) | {"GUNICORN_LOG_LEVEL": "info", "THREADS": "4"}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            command = framework(target, "--port", "0")
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=err)
        self.port = self._await_port()

    def _await_port(self):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if match := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.err.read_text()):
                return int(match[1])
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"the function did not start: {self.err.read_text()}")

    def ask(self, body=b"{}", headers=None, method="POST", path="/"):
        """Send one request as given. Only the length is added (or chunks, if `body` is an iterator)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def ask_raw(self, head):
        """Send exactly these bytes and read the response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as raw:
            raw.sendall(head)
            answer = http.client.HTTPResponse(raw)
            answer.begin()
            return Reply(answer.status, answer.headers, answer.read())

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def output(self):
        return self.out.read_text() + self.err.read_text()

    def lines(self):
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@contextmanager
def running(target, settings, folder):
    function = RunningFunction(target, settings, folder)
    try:
        yield function
    finally:
        function.stop()


DATABASE_DOWN = Response(
    503,
    json.dumps({"code": "PGRST000", "message": "no connection", "details": None, "hint": None}).encode(),
    {"Content-Type": "application/json"},
)


@dataclass
class Outside:
    """Stands for both the database and Fly: records the requests that reach it, and returns `answers` by procedure."""

    answers: dict = field(default_factory=dict)
    reached: list = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.go_on.set()

    def handle(self, request):
        self.reached.append(f"{request.method} {request.path}")
        self.arrived.set()
        assert self.go_on.wait(PATIENCE_S)
        procedure = request.path.rpartition("/")[2]
        if procedure not in self.answers:
            return DATABASE_DOWN
        return Response(200, json.dumps(self.answers[procedure]).encode(), {"Content-Type": "application/json"})


@contextmanager
def outside():
    """An `Outside` that is listening, and the settings with its addresses."""
    world = Outside()
    with Server(world.handle) as server:
        yield world, SETTINGS | {"SUPABASE_URL": server.url, "FLY_API_URL": server.url}
