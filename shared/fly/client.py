"""The Fly Machines API, as far as Hangar uses it: one method per call, synchronous, safe to use from many threads.

Every method raises a branch of `shared.domain.errors` and nothing else, repeats transient failures itself where repeating is
safe (each such attempt goes to `attempts`), waits by itself to keep Fly's rate limits (`Throttled` when that would take too
long), and begins no further attempt once `budget_s` seconds have passed. A single attempt lasts at most about
`LONGEST_ATTEMPT_S`. Facts: Fly docs "Machines API" and its OpenAPI description; fly-go `flaps/` for what those leave out.
"""

from __future__ import annotations

import copy
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, Unpack

from shared.domain.errors import Conflict, HangarError, NotFound
from shared.domain.paging import Paging
from shared.fly.addresses import AddressCalls
from shared.fly.errors import explain_unreadable
from shared.fly.messages import GONE, Request, Response
from shared.fly.models import (
    AppPage,
    ExecResult,
    FlyApp,
    FlyMachine,
    OrgPage,
    SecretsChange,
    parse_app,
    parse_digests,
    parse_machine,
    parse_org_machine,
)
from shared.fly.retry import AttemptLog, CallOptions, RetryPolicy
from shared.fly.transport import CONNECT_S, POOL_S, WRITE_S, FlyLink, app_path, check_part, machine_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    import httpx

    from shared.fly.rate_limits import RateLimits

__all__ = ["LONGEST_ATTEMPT_S", "MAX_WAIT_S", "AttemptLog", "FlyClient", "RetryPolicy"]

MAX_WAIT_S = 60  # Fly answers 400 to a wait above one minute
LONGEST_ATTEMPT_S = POOL_S + CONNECT_S + WRITE_S + MAX_WAIT_S + 10
APPS_PER_PAGE, MACHINES_PER_PAGE = 5000, 1000


class FlyClient(AddressCalls):
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

    # Apps

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

    # Machines

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

    def list_machines(self, app: str, **options: Unpack[CallOptions]) -> tuple[FlyMachine, ...]:
        """The app's machines that are not destroyed; the list may lag behind a create by seconds."""
        found: list[FlyMachine] = []
        paging, cursor = Paging(f"list machines of app {app}"), None
        while True:
            paging.advance(cursor)
            # Without a limit Fly sends all at once; a header says if there is more after all.
            params: dict[str, str] = {"limit": str(MACHINES_PER_PAGE), "cursor": cursor} if cursor else {}
            call = Request(paging.what, "GET", f"{app_path(app)}/machines", app, params)
            answer = self._send(call, **options)
            if not isinstance(answer.data, list) and answer.text.strip() != "null":  # null: Go's empty list
                raise explain_unreadable(call, answer)
            found += [parse_machine(each) for each in answer.data or ()]
            cursor = answer.next_cursor
            if cursor is None:
                return tuple(found)

    def get_machine(self, app: str, machine_id: str, **options: Unpack[CallOptions]) -> FlyMachine:
        """The machine now. A destroyed one still answers for a while, with state "destroyed", before it is `NotFound`."""
        call = Request(f"get machine {machine_id} of app {app}", "GET", machine_path(app, machine_id), app)
        return self._call_for_machine(call, **options)

    def create_machine(
        self,
        app: str,
        name: str,
        region: str | Sequence[str],
        config: Mapping[str, Any],
        min_secrets_version: int | None = None,
        *,
        skip_launch: bool = False,
        **options: Unpack[CallOptions],
    ) -> FlyMachine:
        """Create and start the one machine called `name`; `region` may be a list in order of preference.

        With `skip_launch` it is not started: it becomes `stopped` when its host has the image.

        A name in use (perhaps by our own lost attempt) is `Conflict` with the `machine_id` to look at and adopt. The
        name is required: without it every repetition would be another machine.
        """
        body: dict[str, Any] = {
            "name": check_part("machine name", name),
            "region": region if isinstance(region, str) else ",".join(region),
            "config": config,
        }
        if min_secrets_version is not None:
            body["min_secrets_version"] = min_secrets_version
        if skip_launch:
            body["skip_launch"] = True
        call = Request(f"create machine {name} in app {app}", "POST", f"{app_path(app)}/machines", app, body=body)
        return self._call_for_machine(call, **options)

    def update_machine(
        self,
        app: str,
        machine_id: str,
        config: Mapping[str, Any],
        current_version: str,
        *,
        min_secrets_version: int | None = None,
        **options: Unpack[CallOptions],
    ) -> FlyMachine:
        """Replace the whole configuration; `Conflict` when the machine is no longer at `current_version`."""
        body: dict[str, Any] = {"config": config, "current_version": current_version}
        if min_secrets_version is not None:
            body["min_secrets_version"] = min_secrets_version
        what = f"update machine {machine_id} of app {app}"
        call = Request(what, "POST", machine_path(app, machine_id), app, body=body)
        return self._call_for_machine(call, **options)

    def set_metadata(
        self,
        app: str,
        machine_id: str,
        values: Mapping[str, str],
        **options: Unpack[CallOptions],
    ) -> None:
        """Add these marks to the machine, which keeps running and keeps its other marks. Repeating it changes nothing more."""
        body = {"metadata": dict(values)}
        what, path = f"mark machine {machine_id} of app {app}", f"{machine_path(app, machine_id)}/metadata"
        self._send(Request(what, "PATCH", path, app, body=body), **options)

    def start_machine(self, app: str, machine_id: str, **options: Unpack[CallOptions]) -> None:
        """Start a stopped machine, asking every second for up to a minute while it is still settling (412)."""
        what = f"start machine {machine_id} of app {app}"
        call = Request(what, "POST", f"{machine_path(app, machine_id)}/start", app)
        try:
            self._send(call, settles=True, **options)
        except Conflict as conflict:
            if conflict.code != "started":
                raise

    def stop_machine(
        self,
        app: str,
        machine_id: str,
        *,
        signal: str = "SIGTERM",
        timeout_s: int = 30,
        **options: Unpack[CallOptions],
    ) -> None:
        """Send `signal`, and kill what is left after `timeout_s`; returns before the machine has stopped."""
        body = {"signal": signal, "timeout": f"{timeout_s}s"}
        what = f"stop machine {machine_id} of app {app}"
        call = Request(what, "POST", f"{machine_path(app, machine_id)}/stop", app, body=body)
        self._send(call, **options)

    def restart_machine(
        self,
        app: str,
        machine_id: str,
        *,
        signal: str = "SIGTERM",
        timeout_s: int = 30,
        **options: Unpack[CallOptions],
    ) -> None:
        """Stop as `stop_machine` does, and start again; `Conflict` when it does not run.

        Never repeated after an unknown outcome, which would restart it twice.
        """
        params = {"signal": signal, "timeout": f"{timeout_s}s"}
        what, path = f"restart machine {machine_id} of app {app}", f"{machine_path(app, machine_id)}/restart"
        call = Request(what, "POST", path, app, params, read_timeout_s=timeout_s + 10.0, is_repeatable=False)
        self._send(call, **options)

    def destroy_machine(
        self,
        app: str,
        machine_id: str,
        *,
        force: bool = True,
        **options: Unpack[CallOptions],
    ) -> None:
        """Destroy the machine for good, running or not when `force`; returns before it is gone. Gone is success."""
        what, params = f"destroy machine {machine_id} of app {app}", {"force": "true"} if force else {}
        call = Request(what, "DELETE", machine_path(app, machine_id), app, params, accept=GONE)
        self._send(call, **options)

    def wait_machine(
        self,
        app: str,
        machine_id: str,
        state: str,
        version: str | None,
        timeout_s: int = MAX_WAIT_S,
        *,
        is_fresh: bool = False,
        **options: Unpack[CallOptions],
    ) -> bool:
        """Whether the machine reached `state` within `timeout_s` (1 to 60); False means not yet: read it, or wait again.

        A missing machine is success when waiting for "destroyed", not yet when `is_fresh` (we made it seconds ago),
        else `NotFound`. "started" means it booted, not that it serves.
        """
        timeout_s = max(1, min(int(timeout_s), MAX_WAIT_S))
        params = {"state": state, "timeout": str(timeout_s)} | ({"version": version} if version else {})
        what, path = f"wait for {state} of machine {machine_id} of app {app}", f"{machine_path(app, machine_id)}/wait"
        # 408 comes with and without a body, 504 from the proxy before it: both say "not yet".
        call = Request(what, "GET", path, app, params, accept=frozenset({408, 504}), read_timeout_s=timeout_s + 10.0)
        if options.get("budget_s") is None:
            options["budget_s"] = float(timeout_s)
        try:
            return self._send(call, **options).status == HTTPStatus.OK
        except NotFound:
            if not (is_fresh or state == "destroyed"):
                raise
            return state == "destroyed"
        except HangarError as error:
            if "currently replaced" in error.message:
                return False
            raise

    # Inside

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

    def exec(
        self,
        app: str,
        machine_id: str,
        command: Sequence[str],
        *,
        timeout_s: int = 30,
        **options: Unpack[CallOptions],
    ) -> ExecResult:
        """Run `command` inside a started machine. Never repeated after an unknown outcome: commands have effects."""
        what, path = f"exec in machine {machine_id} of app {app}", f"{machine_path(app, machine_id)}/exec"
        body = {"command": list(command), "timeout": timeout_s}
        call = Request(what, "POST", path, app, body=body, read_timeout_s=timeout_s + 10.0, is_repeatable=False)
        answer = self._send(call, **options)
        if not isinstance(answer.data, dict):
            raise explain_unreadable(call, answer)
        code = answer.data.get("exit_code", 0)  # Go leaves a zero out
        return ExecResult(
            stdout=answer.data.get("stdout") or "",
            stderr=answer.data.get("stderr") or "",
            exit_code=code if isinstance(code, int) else -1,
        )

    def _call_for_machine(self, call: Request, **options: Unpack[CallOptions]) -> FlyMachine:
        answer = self._send(call, **options)
        machine = parse_machine(answer.data)
        if not machine.id:
            raise explain_unreadable(call, answer)
        return machine
