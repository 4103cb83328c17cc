"""One run: a cloud with real functions, thousands of requests, and the state afterwards."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from hypothesis import HealthCheck, given, seed, settings

from local.dev.cloud import LocalCloud
from local.dev.database import ADMIN, FREE_USERS
from local.supabase.keys import Keys
from shared.settings.validators import webhook_key
from tests.fuzz.oracle import Oracle, read_everything, read_what_is_wanted
from tests.fuzz.pages import operators_visits, visits
from tests.fuzz.requests import Known, proven, proven_nonsense, unproven
from tests.fuzz.wire import Request, send
from tests.support.loopback import LOOPBACK

# What is sent, and what must be as it was afterwards: after refused requests, and after pages that were looked at, everything.
CALLS = {
    "unproven": (unproven, read_everything),
    "proven nonsense": (proven_nonsense, read_everything),
    "proven": (proven, read_what_is_wanted),
}
PAGES = {"visits": (visits, read_everything), "operators' visits": (operators_visits, read_everything)}
NOBODY = "99999999-9999-4999-8999-999999999999"


@dataclass
class Target:
    """A cloud with one user who has an app and some who have none. No background job runs."""

    cloud: LocalCloud
    database: psycopg.Connection
    known: Known
    oracle: Oracle

    @property
    def functions(self) -> list[str]:
        return [name for name, url in self.cloud.addresses["functions"].items() if url]

    def fuzz(self, function: str, examples: int, number: int) -> int:
        """Send one function the requests of so many examples of each kind; returns how many those were.

        Raises AssertionError with the smallest example that broke a rule, or when something has changed afterwards.
        """
        kinds = PAGES if function == "admin" else CALLS
        return sum(self._fuzz(function, kind, *kinds[kind], examples, number) for kind in kinds)

    def _fuzz(self, function: str, kind: str, strategy: Any, look: Any, examples: int, number: int) -> int:
        url = httpx.URL(self.cloud.addresses["functions"][function])
        sent, before = 0, self._look(look)

        @seed(number)
        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(strategy(self.known))
        def send_all(requests: list[Request]) -> None:
            nonlocal sent
            for request in requests:
                sent += 1
                reply = send(url.host, url.port or 80, request)
                self.oracle.judge(function, request, reply)

        send_all()
        assert self._look(look) == before, f"{kind} requests to {function} changed something (SEED={number})"
        return sent

    def _look(self, look: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        return look(self.database, self.cloud.addresses["fly_api_url"])

    def read_logs(self, function: str) -> str:
        return (self.cloud.folder / "logs" / f"{function}.log").read_text(errors="replace")


@contextmanager
def open_target(folder: Path) -> Iterator[Target]:
    """Start the cloud, give one user an app, and stop whatever would act without being asked."""
    with LocalCloud(folder, processes=0) as cloud:
        cloud.pg_cron.stop()
        known = cloud.addresses
        with psycopg.connect(known["database_url"], autocommit=True) as database:
            payer = FREE_USERS[0].id
            database.execute("update public.user_subscriptions set tier = 'pro' where user_id = %s", (payer,))
            _await_app(database, payer)
            cloud.pg_net.stop()
            keys = Keys(known["secret_key"], known["publishable_key"], known["auth_signing_key"])
            issuer = f"{known['supabase_url']}/auth/v1"

            def sign_in(user: str, **claims: Any) -> bytes:
                return keys.mint("authenticated", user, iss=issuer, expires_in_s=7200, **claims).encode()

            key, static = webhook_key(known["webhook_secret"]), known["static_secret"].encode()
            assert key is not None
            secrets = (
                static,
                known["secret_key"].encode(),
                known["fly_api_token"].encode(),
                known["webhook_secret"].encode(),
            )
            caller = Known(
                users=(payer, FREE_USERS[1].id, NOBODY),
                key=key,
                static=static,
                operator_token=sign_in(ADMIN.id, session_id=NOBODY),
                user_token=sign_in(payer, session_id=NOBODY),
                machine_token=sign_in(ADMIN.id, app_id=NOBODY),
                session_cookie=_open_session(known["functions"]["admin"], known["admin"]),
            )
            private = (payer.encode(), FREE_USERS[0].email.encode(), ADMIN.email.encode(), b"vyx-user-")
            yield Target(cloud, database, caller, Oracle(secrets, private))


def _open_session(url: str, operator: dict[str, str]) -> bytes:
    """The cookie of an operator who signed in to the dashboard."""
    answer = LOOPBACK.post(f"{url}/sign-in", data=operator)
    assert answer.status_code == 303, answer.text
    return answer.headers["Set-Cookie"].partition(";")[0].encode()


def _await_app(database: psycopg.Connection, user: str) -> None:
    """Wait until the app is provisioned and converged."""
    ends_at = time.monotonic() + 150
    query = (
        "select 1 from public.user_fly_apps where user_id = %s and status = 'active' and health_status = 'healthy'"
        " and next_attempt_at is null and lease_token is null"
    )
    while database.execute(query, (user,)).fetchone() is None:
        assert time.monotonic() < ends_at, "the app did not come up"
        time.sleep(0.05)


def find_breakage(log: str) -> list[str]:
    """Lines of a function's log that speak of something broken here, not of a broken request."""
    return [
        line[:300]
        for line in log.splitlines()
        if re.search(r'"severity": "(ERROR|CRITICAL)"|^Traceback|\[ERROR\]', line)
    ]
