"""The calls about machines: made, changed, started, stopped, restarted, destroyed, waited for, and commands run in them."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Unpack

from shared.domain.errors import Conflict, HangarError, NotFound
from shared.domain.paging import Paging
from shared.fly.calls import FlyCalls
from shared.fly.errors import explain_unreadable
from shared.fly.messages import GONE, Request
from shared.fly.models import ExecResult, FlyMachine
from shared.fly.parsing import parse_machine
from shared.fly.transport import app_path, check_part, machine_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.fly.retry import CallOptions

__all__ = ["MACHINES_PER_PAGE", "MAX_WAIT_S", "MachineCalls"]

MAX_WAIT_S = 60  # Fly answers 400 to a wait above one minute
MACHINES_PER_PAGE = 1000


class MachineCalls(FlyCalls):
    """The calls of `FlyClient` about the machines of an app."""

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
