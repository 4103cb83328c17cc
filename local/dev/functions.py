"""The HTTP functions of the local cloud: one `functions-framework` process each, with the settings of a deployment."""

import base64
import contextlib
import json
import re
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from local.dev.child import ROOT, Child
from local.dev.database import ORG, REGION, name_image
from local.supabase.keys import Keys

ADMIN = "admin"
# Every function. The admin pages call the others, so they start when the others have their addresses.
NAMES = tuple(sorted(path.parent.name for path in (ROOT / "functions").glob("*/main.py")))
CALLED = tuple(name for name in NAMES if name != ADMIN)
THREADS = 8
# Machines poll and signal more often than in production, so that changes are visible within seconds.
MACHINE_ENV = {"POLL_INTERVAL_S": "2", "SIGNAL_INTERVAL_S": "15"}
_LISTENING = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")


@dataclass(frozen=True)
class Secrets:
    """The secrets that a secret manager gives a deployment, new for each local cloud. `repr` does not show them."""

    fly_token: str = field(repr=False)
    webhook: str = field(repr=False)
    static: str = field(repr=False)
    admin_password: str = field(repr=False)

    @classmethod
    def generate(cls) -> "Secrets":
        webhook = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        return cls(
            f"local-fly-{secrets.token_urlsafe(24)}", webhook, secrets.token_urlsafe(24), secrets.token_urlsafe(12)
        )


@dataclass(frozen=True)
class Endpoints:
    """What the functions need to know about the rest of the cloud."""

    supabase_url: str
    fly_api_url: str
    alerts_url: str | None
    installation_id: str


def make_settings(endpoints: Endpoints, keys: Keys, own: Secrets) -> dict[str, str]:
    """The functions' environment, as docs and `shared.settings.config` name it."""
    alerts = {"HANGAR_ALERT_WEBHOOK_URL": endpoints.alerts_url} if endpoints.alerts_url else {}
    return alerts | {
        "SUPABASE_URL": endpoints.supabase_url,
        "SUPABASE_SECRET_KEY": keys.secret_key,
        "SUPABASE_PUBLISHABLE_KEY": keys.publishable_key,
        "FLY_API_TOKEN": own.fly_token,
        "FLY_API_URL": endpoints.fly_api_url,
        "FLY_ORG_SLUG": ORG,
        "FLY_DEFAULT_REGION": REGION,
        "DOCKER_IMAGE": name_image(),
        "HANGAR_WEBHOOK_SECRET": own.webhook,
        "HANGAR_STATIC_SECRET": own.static,
        "HANGAR_INSTALLATION_ID": endpoints.installation_id,
        "HANGAR_USER_TOKEN_KEY": keys.signing_key_pem,
        "HANGAR_MACHINE_ENV": json.dumps(MACHINE_ENV),
        "HANGAR_IMAGE_LOOKUP": "loopback",  # no request leaves this machine
        "HANGAR_ADMIN_OAUTH_PROVIDERS": "github",  # answered by the local sign-in service
    }


class Function:
    """One function's process. It takes a free port, which its log names."""

    def __init__(self, name: str, log: Path, settings: dict[str, str], scratch: Path, port: int = 0) -> None:
        self.name = name
        # gunicorn binds a control socket in XDG_RUNTIME_DIR. Without a folder of its own every gunicorn of the user would
        # share one. If the path is too long for a socket, gunicorn warns and continues without it.
        control = scratch / name
        control.mkdir()
        address = ["--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "functions_framework", "--target", name, *address]
        running = {"FUNCTION_TARGET": name, "THREADS": str(THREADS), "GUNICORN_LOG_LEVEL": "info"}
        self.child = Child(f"function {name}", command, log, {**settings, **running, "XDG_RUNTIME_DIR": str(control)})

    def wait_ready(self, cancelled: threading.Event) -> str:
        """Wait until its worker has loaded the function and answers; returns its URL."""
        url = self.child.wait_until(self._find_url, cancelled)
        self.child.wait_until(lambda: True if _answers(url) else None, cancelled)
        return url

    def _find_url(self) -> str | None:
        found = _LISTENING.search(self.child.log.read_text(errors="replace"))
        return found.group(1) if found else None


@contextlib.contextmanager
def hold_port() -> Iterator[int]:
    """Reserve a free port for a server that we start later.

    The socket is bound and never listens. Linux lets a second socket bind the port if both allow reuse, as gunicorn's does.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _answers(url: str) -> bool:
    """Whether the function answers. A refusal counts: it comes from the function."""
    try:
        httpx.get(url, timeout=5, trust_env=False, verify=False)  # noqa: S501  loopback, without TLS
    except httpx.HTTPError:
        return False
    return True
