"""The Fly Machines API, as far as Hangar uses it: one method per call, synchronous, safe to use from many threads.

Every method raises a branch of `shared.domain.errors` and nothing else, repeats transient failures itself where repeating is
safe (each such attempt goes to `attempts`), waits by itself to keep Fly's rate limits (`Throttled` when that would take too
long), and begins no further attempt once `budget_s` seconds have passed. A single attempt lasts at most about
`LONGEST_ATTEMPT_S`. Facts: Fly docs "Machines API" and its OpenAPI description; fly-go `flaps/` for what those leave out.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Self, Unpack

from shared.fly.addresses import AddressCalls
from shared.fly.errors import explain_unreadable
from shared.fly.machines import MACHINES_PER_PAGE, MAX_WAIT_S, MachineCalls
from shared.fly.messages import GONE, Request, Response
from shared.fly.models import AppPage, FlyApp, OrgPage, SecretsChange
from shared.fly.parsing import parse_app, parse_digests, parse_org_machine
from shared.fly.retry import AttemptLog, CallOptions, RetryPolicy
from shared.fly.transport import CONNECT_S, POOL_S, WRITE_S, FlyLink, app_path, check_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    import httpx

    from shared.fly.rate_limits import RateLimits

__all__ = ["LONGEST_ATTEMPT_S", "AttemptLog", "FlyClient", "RetryPolicy"]

LONGEST_ATTEMPT_S = POOL_S + CONNECT_S + WRITE_S + MAX_WAIT_S + 10
APPS_PER_PAGE = 5000


class FlyClient(MachineCalls, AddressCalls):
    """One organisation at Fly. `transport` is shared by all connections; without one, each working thread has its own.

    `hidden` are secrets that no message may repeat, should an answer echo them; the token always is one.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        org_slug: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        user_agent: str = "hangar",
        policy: RetryPolicy | None = None,
        hidden: Iterable[str] = (),
        limits: RateLimits | None = None,
    ) -> None:
        self._org = check_part("organisation", org_slug)
        self._repeats = True
        self._link = FlyLink(
            base_url,
            token,
            transport=transport,
            sleep=sleep,
            clock=clock,
            user_agent=user_agent,
            policy=policy,
            hidden=hidden,
            limits=limits,
        )

    def __repr__(self) -> str:
        return f"FlyClient({self._link.base_url!r}, org_slug={self._org!r})"

    @property
    def calls(self) -> int:
        """How many requests were sent, including repeats."""
        return self._link.calls

    def lead_over(self, now: datetime) -> timedelta | None:
        """How far Fly's clock is ahead of `now`, by Fly's answers so far; None while they deny each other."""
        return self._link.fly_clock.lead_over(now)

    @property
    def policy(self) -> RetryPolicy:
        """How this client repeats calls; callers of `single_attempts()` repeat them by the same policy."""
        return self._link.policy

    def single_attempts(self) -> Self:
        """This client with its connections and limits, making every call once: the caller repeats and reports attempts."""
        once = copy.copy(self)
        once._repeats = False  # noqa: SLF001  a view of this very object
        return once

    def count_from_zero(self) -> Self:
        """The same client, with the same connections and rate limits, whose `calls` counts its own requests only."""
        counted = copy.copy(self)
        counted._link = self._link.count_from_zero()  # noqa: SLF001  a copy of ourselves
        return counted

    def close_idle(self, keep: int) -> None:
        """Close idle connections until at most `keep` are left."""
        self._link.close_idle(keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every idle connection; the client may be used again."""
        self._link.close()

    def _send(self, call: Request, *, settles: bool = False, **options: Unpack[CallOptions]) -> Response:
        if self._repeats:
            return self._link.call(call, settles=settles, **options)
        return self._link.call_once(call, options.get("budget_s"), settles=settles)

    # Apps, and the machines of the whole organisation

    def create_app(
        self,
        name: str,
        network: str,
        idempotency_key: str,
        **options: Unpack[CallOptions],
    ) -> None:
        """Create the app on its own private network, and return once the Machines API sees it.

        `NameTaken` may mean our own earlier attempt: check with `get_app`. Repeated under the same `idempotency_key`.
        """
        body = {
            "app_name": name,  # Fly's guides say app_name, its OpenAPI description says name: both are read somewhere
            "name": name,
            "org_slug": self._org,
            "network": network,
            "idempotency_key": idempotency_key,
        }
        call = Request(f"create app {name}", "POST", "/v1/apps", name, {"wait": "true"}, body)
        self._send(call, **options)

    def get_app(self, name: str, **options: Unpack[CallOptions]) -> FlyApp:
        """The app, or `NotFound` (404), or `NotOwned` (403: another organisation holds the name)."""
        call = Request(f"get app {name}", "GET", app_path(name), name)
        answer = self._send(call, **options)
        app = parse_app(answer.data)
        if app.name != name:
            raise explain_unreadable(call, answer)
        return app

    def delete_app(self, name: str, *, force: bool = True, **options: Unpack[CallOptions]) -> None:
        """Ask Fly to delete the app with all its machines and volumes. Fly does it later: confirm it. Already gone is success."""
        params = {"force": "true"} if force else {}
        self._send(Request(f"delete app {name}", "DELETE", app_path(name), name, params, accept=GONE), **options)

    def list_apps(self, *, cursor: str | None = None, **options: Unpack[CallOptions]) -> Iterator[AppPage]:
        """Every app of the organisation, page by page, including those without a machine; apps seconds old may be missing."""
        call = Request("list apps", "GET", "/v1/apps", params={"org_slug": self._org, "limit": str(APPS_PER_PAGE)})
        for items, body, following in self._link.pages(call, "apps", cursor, **options):
            total = body.get("total_apps")
            yield AppPage(
                tuple(parse_app(each, org_slug=self._org) for each in items),
                following,
                total if isinstance(total, int) else None,
            )

    def list_org_machines(self, *, cursor: str | None = None, **options: Unpack[CallOptions]) -> Iterator[OrgPage]:
        """Every machine of the organisation, page by page; a page may be empty, only the last has no `next_cursor`.

        A view that lags: absence here proves nothing, and machines of `error_regions` are unknown, not gone.
        """
        path, params = f"/v1/orgs/{self._org}/machines", {"limit": str(MACHINES_PER_PAGE)}
        call = Request("list machines", "GET", path, params=params)
        for items, body, following in self._link.pages(call, "machines", cursor, **options):
            yield OrgPage(
                machines=tuple(parse_org_machine(each) for each in items),
                error_regions=tuple(str(each) for each in body.get("error_regions") or ()),
                next_cursor=following,
            )

    # Secrets

    def set_secrets(
        self,
        app: str,
        values: Mapping[str, str | None],
        **options: Unpack[CallOptions],
    ) -> int:
        """Set (None: remove) the app's secrets, and return the version to pass as `min_secrets_version`.

        Machines read secrets only when created or updated.
        """
        return self.change_secrets(app, values, **options).version

    def change_secrets(
        self,
        app: str,
        values: Mapping[str, str | None],
        **options: Unpack[CallOptions],
    ) -> SecretsChange:
        """Like `set_secrets`, with Fly's digests of what was set. Repeating it sets the same values again."""
        hidden = tuple(each for each in values.values() if each)
        path = f"{app_path(app)}/secrets"
        call = Request(f"set secrets of app {app}", "POST", path, app, body={"values": dict(values)}, secrets=hidden)
        answer = self._send(call, **options)
        body = answer.data if isinstance(answer.data, dict) else {}
        version = body.get("version", body.get("Version"))
        if not isinstance(version, int):
            raise explain_unreadable(call, answer)
        return SecretsChange(version, parse_digests(body.get("secrets")))
