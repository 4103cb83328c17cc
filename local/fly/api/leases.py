"""Machine leases (`…/machines/{machine_id}/lease`)."""

from local.fly.api.calls import Call, find_machine, held
from local.fly.errors import FlyError, answer, read_int, read_text
from local.fly.state.model import Lease, Machine
from local.fly.state.state import World
from local.http_server import Response

DEFAULT_TTL_S = 120
NONCE_HEADER = "fly-machine-lease-nonce"


def grant(world: World, machine: Machine, call: Call, ttl_s: int, description: str) -> Lease:
    """Give a machine a lease, or extend the present one and keep its nonce."""
    present = machine.live_lease(call.now)
    nonce = present.nonce if present is not None else world.hex_id(12)
    machine.lease = Lease(nonce, call.owner, description, call.now + ttl_s)
    return machine.lease


def create_lease(world: World, call: Call) -> Response:
    """`POST …/lease`: 201; with the nonce header it extends the lease; 409 while another caller holds it."""
    machine = find_machine(world, call)
    body = call.body()
    ttl = call.param("ttl") or body.get("ttl") or DEFAULT_TTL_S
    present = machine.live_lease(call.now)
    if present is not None and call.request.headers.get(NONCE_HEADER) != present.nonce:
        raise held(machine, present.owner, present.expires_at)
    ttl_s = read_int(str(ttl), "ttl", 1, 86_400)
    lease = grant(world, machine, call, ttl_s, read_text(body, "description") or "")
    return answer(_shown(machine, lease), 201)


def get_lease(world: World, call: Call) -> Response:
    """`GET …/lease`: 404 when there is none."""
    machine = find_machine(world, call)
    lease = machine.live_lease(call.now)
    if lease is None:
        raise FlyError(404, "lease not found")
    return answer(_shown(machine, lease))


def release_lease(world: World, call: Call) -> Response:
    """`DELETE …/lease` with the nonce header: 400 without it, 404 when the lease has ended, 409 for another nonce."""
    machine = find_machine(world, call)
    nonce = call.request.headers.get(NONCE_HEADER)
    if not nonce:
        raise FlyError(400, "invalid_argument: lease nonce is required")
    lease = machine.live_lease(call.now)
    if lease is None:
        raise FlyError(404, "lease not found")
    if lease.nonce != nonce:
        raise held(machine, lease.owner, lease.expires_at)
    machine.lease = None
    return answer({"ok": True})


def _shown(machine: Machine, lease: Lease) -> dict[str, object]:
    """Fly's documented example wraps the lease in `status` and `data`; its OpenAPI shows it flat. The response has both."""
    data = lease.stripped() | {"nonce": lease.nonce, "version": machine.version}
    return {"status": "success", "data": data, **data}
