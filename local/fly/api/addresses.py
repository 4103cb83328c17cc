"""IP addresses of an app (`/v1/apps/{app_name}/ip_assignments`). The simulator routes no traffic to them."""

from typing import Any

from local.fly.api.calls import Call, find_app
from local.fly.errors import FlyError, answer, read_text
from local.fly.state.model import Address
from local.fly.state.state import World
from local.fly.times import to_rfc3339
from local.http_server import Response

KINDS = ("v4", "v6", "shared_v4", "private_v6")


def list_addresses(world: World, call: Call) -> Response:
    """`GET …/ip_assignments`."""
    app = find_app(world, call)
    return answer({"ips": [_shown(address, app.org_slug) for address in app.addresses]})


def assign_address(world: World, call: Call) -> Response:
    """`POST …/ip_assignments` `{"type", "region"?, "network"?}`; 501 for egress addresses."""
    app = find_app(world, call)
    body = call.body(required=True)
    kind = read_text(body, "type")
    if kind is not None and kind.startswith("egress"):
        raise FlyError(501, f"the simulator has no {kind} addresses")
    if kind not in KINDS:
        raise FlyError(400, f"invalid_argument: type must be one of {', '.join(KINDS)}")
    first, second = world.ids.getrandbits(8), world.ids.getrandbits(8)
    ip = {
        "v4": f"203.0.113.{first}",  # the documentation ranges of RFC 5737 and RFC 3849
        "shared_v4": f"198.51.100.{first}",
        "v6": f"2001:db8:1::{first:x}:{second:x}",
        "private_v6": f"fdaa:{app.number % 0xFFFF:x}:0:1::{first:x}{second:02x}",
    }[kind]
    address = Address(
        ip=ip,
        kind=kind,
        region=read_text(body, "region") or "global",
        network=read_text(body, "network") or "",
        service_name=read_text(body, "service_name") or "",
        created_at=call.now,
    )
    app.addresses.append(address)
    return answer(_shown(address, app.org_slug))


def release_address(world: World, call: Call) -> Response:
    """`DELETE …/ip_assignments/{ip}`: 204."""
    app = find_app(world, call)
    kept = [address for address in app.addresses if address.ip != call.params["ip"]]
    if len(kept) == len(app.addresses):
        raise FlyError(404, "not_found: ip address not found")
    app.addresses = kept
    return Response(204)


def _shown(address: Address, org_slug: str) -> dict[str, Any]:
    shown = {
        "ip": address.ip,
        "region": address.region,
        "service_name": address.service_name,
        "shared": address.kind == "shared_v4",
        "egress": False,
        "created_at": to_rfc3339(address.created_at),
    }
    if address.kind == "private_v6":
        shown["network"] = {"name": address.network, "org_slug": org_slug}
    return shown
