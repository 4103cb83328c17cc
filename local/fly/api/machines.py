"""Machines: create, get, list, update, delete (`/v1/apps/{app_name}/machines`)."""

from typing import Any

from local.fly.api.calls import Call, find_app, find_live_machine, find_machine
from local.fly.api.cursors import read_page
from local.fly.api.leases import grant
from local.fly.api.regions import place
from local.fly.configs import accept_config
from local.fly.errors import FlyError, answer, read_int, read_text
from local.fly.state import machine_lifecycle as lifecycle
from local.fly.state.checks import show_checks
from local.fly.state.images import Image
from local.fly.state.model import App, Machine, show_machine, show_summary
from local.fly.state.state import World
from local.http_server import Response

MAX_PAGE = 1000


def create_machine(world: World, call: Call) -> Response:
    """`POST …/machines`: 200 with the Machine in `created`; 409 names the machine that already has the name."""
    app = find_app(world, call)
    if app.deleting:
        raise FlyError(404, "app not found")
    body = call.body(required=True)
    config = accept_config(body.get("config"))
    image = _find_image(world, config)
    name = read_text(body, "name")
    for other in app.live_machines():
        if name is not None and other.name == name:
            raise FlyError(
                409,
                f"already_exists: unique machine name violation, machine ID {other.id} already exists with name "
                f'"{name}"',
            )
    secrets = _secrets_for(app, body)
    region = place(world, app, read_text(body, "region"), config["guest"]["memory_mb"])
    version = world.ulid(call.now)
    machine = Machine(
        id=world.hex_id(14),
        app=app,
        name=name or f"machine-{world.hex_id(6)}",
        region=region,
        config=config,
        image=image,
        version=version,
        private_ip=f"fdaa:{app.number % 0xFFFF:x}:0:a7b:{world.ids.getrandbits(16):x}:{world.ids.getrandbits(16):x}:0:2",
        created_at=call.now,
        updated_at=call.now,
        versions=[(version, config)],
        secrets=secrets,
        visible_at=call.now + world.draw_unkind(world.unkindness.fresh_machine_lag_s),
    )
    app.machines[machine.id] = machine
    world.machines[machine.id] = machine
    app.deployed = True
    world.record(machine, "launch", "created", "user", call.now)
    world.touch(machine, call.now)
    shown = show_machine(machine, [])
    shown |= _grant_lease(world, machine, call, body)
    (lifecycle.prepare if body.get("skip_launch") else lifecycle.launch)(world, machine, call.now)
    return answer(shown)


def _find_image(world: World, config: dict[str, Any]) -> Image:
    """The image of a config; 400 for one whose manifest the registry does not give to Fly."""
    image = world.images.find(config["image"])
    if image.behaviour.refusal:
        raise FlyError(400, f"failed to get manifest {config['image']}: {image.behaviour.refusal}")
    return image


def _grant_lease(world: World, machine: Machine, call: Call, body: dict[str, Any]) -> dict[str, str]:
    """The nonce for a caller who asks for a lease with `lease_ttl`."""
    ttl = body.get("lease_ttl")
    return {"nonce": grant(world, machine, call, read_int(str(ttl), "lease_ttl", 1, 86_400), "").nonce} if ttl else {}


def _secrets_for(app: App, body: dict[str, Any]) -> dict[str, str]:
    """The app's secrets for a machine; 412 while the required version does not exist."""
    if body.get("skip_secrets"):
        return {}
    wanted = body.get("min_secrets_version")
    if wanted is not None and read_int(str(wanted), "min_secrets_version", 0, 1 << 62) > app.secrets_version:
        raise FlyError(412, f"failed_precondition: secrets version {wanted} is not available")
    return {name: secret.value for name, secret in app.secrets.items()}


def get_machine(world: World, call: Call) -> Response:
    """`GET …/machines/{machine_id}`: a destroyed machine is shown for a while, then 404."""
    machine = find_machine(world, call)
    lease = machine.live_lease(call.now) if call.flag("include_leases") else None
    shown = show_machine(machine, show_checks(world, machine), lease)
    version = call.param("version")
    if version and version != machine.version:
        config = dict(machine.versions).get(version)
        if config is None:
            raise FlyError(404, "not_found: machine version not found")
        shown |= {"version": version, "instance_id": version, "config": config}
    return answer(shown)


def list_machines(world: World, call: Call) -> Response:
    """`GET …/machines`: a bare array; with `limit` the header `fly-next-cursor` is present while more remain."""
    app = find_app(world, call)

    def find_ids() -> list[str]:
        return [machine.id for machine in app.machines.values() if _is_listed(machine, call)]

    ids, following, _ = read_page(world, call, find_ids, MAX_PAGE, advisory=True)
    shown = [_show_listed(world, app.machines[machine_id], call) for machine_id in ids if machine_id in app.machines]
    return answer(shown, headers={"fly-next-cursor": following} if following else None)


def _is_listed(machine: Machine, call: Call) -> bool:
    seen = machine.listing(call.now)
    if seen is None or (seen.state == "destroyed" and not call.flag("include_deleted")):
        return False
    states, regions = call.values("state"), call.values("region")
    if (states and seen.state not in states) or (regions and machine.region not in regions):
        return False
    wanted = [(key[9:], value) for key, value in call.request.query if key.startswith("metadata.")]
    metadata = seen.config.get("metadata") or {}
    return all(metadata.get(key) == value for key, value in wanted)


def _show_listed(world: World, machine: Machine, call: Call) -> dict[str, Any]:
    seen = machine.listing(call.now)
    if call.flag("summary") and seen is not None:
        return show_summary(machine, seen)
    lease = machine.live_lease(call.now) if call.flag("include_leases") else None
    shown = show_machine(machine, show_checks(world, machine), lease)
    return shown | ({"state": seen.state} if seen is not None else {})


def update_machine(world: World, call: Call) -> Response:
    """`POST …/machines/{machine_id}`: replaces the whole config and restarts a running machine.

    409 when `current_version` is no longer the machine's.
    """
    machine = find_live_machine(world, call)
    body = call.body(required=True)
    guard = read_text(body, "current_version")
    if guard is not None and guard != machine.version:
        raise FlyError(409, "aborted: machine update failed due to concurrent update")
    if machine.state in ("destroying", "replacing"):
        raise FlyError(412, f"failed_precondition: unable to update machine from current state: '{machine.state}'")
    if read_text(body, "name") not in (None, machine.name):
        raise FlyError(400, "invalid_argument: the name of a machine cannot be changed")
    config = accept_config(body.get("config"))
    image, secrets = _find_image(world, config), _secrets_for(machine.app, body)
    was_running = machine.state in ("started", "starting", "restarting", "created")
    machine.deploy(config, world.ulid(call.now), image, secrets)
    lease = _grant_lease(world, machine, call, body)
    machine.restarts = 0
    lifecycle.replace(world, machine, call.now, launch_after=was_running and not body.get("skip_launch"))
    return answer(show_machine(machine, []) | lease)


def delete_machine(world: World, call: Call) -> Response:
    """`DELETE …/machines/{machine_id}`: `force=true` (fly-go: `kill=true`) for a machine that is not stopped, else 412."""
    machine = find_live_machine(world, call)
    if machine.state == "destroying":
        return answer({"ok": True})
    forced = call.flag("force") or call.flag("kill")
    if not forced and machine.state not in ("stopped", "suspended", "failed"):
        raise FlyError(
            412, f"failed_precondition: unable to destroy machine, not currently stopped: state is '{machine.state}'"
        )
    lifecycle.destroy(world, machine, call.now)
    return answer({"ok": True})
