"""Every client uses the proxy of the environment, except for hosts on this machine."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from ops.client import Installation
from ops.connection import Target
from shared.adapters.alert_webhook import AlertWebhook
from shared.adapters.database import PostgrestStore
from shared.adapters.http_client import get_tls_context, is_loopback, make_client
from shared.adapters.notifications import Notifier
from shared.domain.errors import HangarError, TransientError
from shared.fly.client import FlyClient
from shared.fly.retry import RetryPolicy
from shared.http.operator_auth import ProjectKeys

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = httpx.Timeout(5)
NO_RETRY = RetryPolicy(waits_s=())


class Handler(BaseHTTPRequestHandler):
    """Answers every request with an empty JSON object and records its method and target."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append(f"{self.command} {self.path}")
        status = 502 if self.command == "CONNECT" else 200
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_CONNECT = answer  # noqa: N815  http.server looks for these names

    def log_message(self, *_):
        """Keep the test's output free of access lines."""


@contextmanager
def serving():
    """A server on this machine; as a proxy it sees absolute targets, as an origin it sees paths."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.url = [], f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def origin():
    with serving() as server:
        yield server


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that the environment names for everything."""
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, server.url)
        yield server


class Alerts:
    def raise_alert(self, kind, key, message, metadata):
        raise TransientError("the database cannot be reached")  # so it is sent without the outbox


def call_fly(url):
    with FlyClient(url, "token", org_slug="acme", policy=NO_RETRY) as fly:
        fly.get_app("some-app")


def call_database(url):
    store = PostgrestStore(url, "key", sleep=lambda _: None)
    try:
        store.rpc("fly_ping", {})
    finally:
        store._client().session.close()


def call_keys(url):
    ProjectKeys(url).find("kid")


def call_alerts(url):
    Notifier(Alerts(), [AlertWebhook(url)]).open("brake", "fleet", "the brake is on", {})


def call_command_line(url):
    Installation(Target(url, "key")).read_rows("user_fly_apps")


CALLS = [call_fly, call_database, call_keys, call_alerts, call_command_line]


def run(call, url):
    """Only the route matters: the answer `{}` is not what every caller needs."""
    try:
        call(url)
    except HangarError as error:
        return error
    return None


@pytest.mark.parametrize("call", CALLS)
def test_a_call_to_another_host_goes_through_the_proxy(call, proxy):
    run(call, "http://service.example")
    assert len(proxy.seen) == 1
    assert proxy.seen[0].split()[1].startswith("http://service.example")


@pytest.mark.parametrize("call", CALLS)
def test_a_call_to_this_machine_does_not_use_the_proxy(call, proxy, origin):
    run(call, origin.url)
    assert proxy.seen == []
    assert len(origin.seen) == 1
    assert origin.seen[0].split()[1].startswith("/")


@pytest.mark.parametrize("call", [call_fly, call_database])
def test_tls_goes_through_a_tunnel_of_the_proxy(call, proxy):
    """The proxy learns host and port only. If it refuses the tunnel, the request was not sent."""
    error = run(call, "https://service.example")
    assert proxy.seen == ["CONNECT service.example:443"]
    assert type(error) is TransientError


def test_a_write_through_a_refused_tunnel_was_not_sent(proxy):
    """The outcome is known, so the write may be repeated."""
    fly = FlyClient("https://service.example", "token", org_slug="acme", policy=NO_RETRY)
    with fly, pytest.raises(TransientError) as caught:
        fly.delete_app("some-app")
    assert (type(caught.value), caught.value.code) == (TransientError, "unreachable")


def test_no_other_module_of_the_product_makes_a_client():
    """A client of its own would bring a proxy rule of its own."""
    files = [path for package in ("shared", "functions") for path in (ROOT / package).rglob("*.py")]
    makers = [path.name for path in [*files, ROOT / "ops" / "client.py"] if "httpx.Client(" in path.read_text()]
    assert makers == ["http_client.py"]


def test_no_proxy_is_honoured(proxy, origin, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "service.invalid")
    assert type(run(call_database, "http://service.invalid")) is TransientError
    assert proxy.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost", "LOCALHOST", "[::1]"])
def test_a_loopback_host_is_recognised(host):
    assert is_loopback(f"http://{host}:8080/path")


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.example", "127.0.0.1.example", "[::2]", "example"])
def test_another_host_is_not_loopback(host):
    assert not is_loopback(f"http://{host}:8080/path")


def test_a_client_has_the_given_time_outs_and_the_shared_tls_context():
    with make_client("https://service.example", timeout=TIMEOUT) as client:
        assert client.timeout == TIMEOUT
        assert client._transport._pool._ssl_context is get_tls_context()
