"""The public addresses of an app: `<app>.fly.dev` answers only while it has one. `shared_v4` and `v6` cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from shared.domain.errors import Conflict, NotFound, Refused
from shared.domain.observation import AppAddress
from shared.fly.calls import FlyCalls
from shared.fly.errors import explain_unreadable
from shared.fly.messages import GONE, Request
from shared.fly.transport import app_path

if TYPE_CHECKING:
    from shared.fly.retry import CallOptions

__all__ = ["AddressCalls", "parse_address"]

UNPROCESSABLE = 422


class AddressCalls(FlyCalls):
    """The calls of `FlyClient` about addresses (Fly's OpenAPI description, `ip_assignments`)."""

    def list_addresses(self, app: str, **options: Unpack[CallOptions]) -> tuple[AppAddress, ...]:
        """Every address of the app; none if Fly does not know the app."""
        call = Request(f"list addresses of app {app}", "GET", _path(app), app)
        try:
            answer = self._send(call, **options)
        except NotFound:
            return ()
        found = answer.data.get("ips", "missing") if isinstance(answer.data, dict) else "missing"
        if found is not None and not isinstance(found, list):
            raise explain_unreadable(call, answer)
        return tuple(address for address in map(parse_address, found or ()) if address.ip)

    def assign_address(self, app: str, kind: Literal["shared_v4", "v6"], **options: Unpack[CallOptions]) -> None:
        """Give the app one more address. `Conflict` if it has one already: list them.

        Never repeated after an unknown outcome, which would give it two.
        """
        what = f"assign a {kind} address to app {app}"
        try:
            self._send(Request(what, "POST", _path(app), app, body={"type": kind}, is_repeatable=False), **options)
        except Refused as refused:
            if refused.status != UNPROCESSABLE or refused.code != "refused":
                raise
            # Clients of this API report 409 and 422 for an address that is already there.
            raise Conflict(refused.message, status=refused.status, fly_request_id=refused.fly_request_id) from refused

    def release_address(self, app: str, ip: str, **options: Unpack[CallOptions]) -> None:
        """Take the address away. Gone is success."""
        what = f"release the address {ip} of app {app}"
        self._send(Request(what, "DELETE", f"{_path(app)}/{ip}", app, accept=GONE), **options)


def parse_address(raw: Any) -> AppAddress:
    """Fly's IP assignment; `ip` is "" if it was not one. What is not public reads as "private" and is never touched."""
    data = raw if isinstance(raw, dict) else {}
    ip = str(data.get("ip") or "")
    if data.get("egress") or data.get("network") or ip.lower().startswith("fd"):
        return AppAddress(ip, "private")
    if ":" in ip:
        return AppAddress(ip, "v6")
    return AppAddress(ip, "shared_v4" if data.get("shared") is True else "v4")


def _path(app: str) -> str:
    return f"{app_path(app)}/ip_assignments"
