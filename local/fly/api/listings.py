"""The listing of an organisation's machines (`GET /v1/orgs/{org_slug}/machines`), with its lag and gaps."""

from local.fly.api.apps import find_org
from local.fly.api.calls import Call
from local.fly.api.cursors import read_page
from local.fly.errors import FlyError, answer
from local.fly.state.model import Machine, show_org_machine
from local.fly.state.state import World
from local.fly.times import parse_rfc3339, to_rfc3339
from local.http_server import Response

MAX_PAGE = 1000


def list_org_machines(world: World, call: Call) -> Response:
    """Oldest change first, with exceptions, and with a lag; `error_regions` names regions that cannot be read.

    The listing ends where `next_cursor` is absent; a page before that may be short or empty.
    """
    org_slug = find_org(world, call.params["org_slug"])
    ids, following, _ = read_page(
        world, call, lambda: _matching(world, call, org_slug), MAX_PAGE, default=MAX_PAGE, advisory=True
    )
    silent = _unreadable_regions(world, org_slug)
    deleted = call.flag("include_deleted")
    machines = [world.machines[machine_id] for machine_id in ids if machine_id in world.machines]
    shown = [
        show_org_machine(machine, seen, summary=call.flag("summary"))
        for machine in machines
        if machine.region not in silent
        and (seen := machine.listing(call.now)) is not None
        and (deleted or seen.state != "destroyed")
    ]
    body = {"machines": shown, "error_regions": sorted(silent)}
    if shown:
        body |= {"last_machine_id": shown[-1]["id"], "last_updated_at": shown[-1]["updated_at"]}
    return answer(body | ({"next_cursor": following} if following else {}))


def _matching(world: World, call: Call, org_slug: str) -> list[str]:
    after = _moment(call.param("updated_after"))
    states, regions = call.values("state"), call.values("region")
    deleted = call.flag("include_deleted")
    found: list[tuple[float, Machine]] = []
    for machine in world.machines.values():
        seen = machine.listing(call.now)
        if seen is None or machine.app.org_slug != org_slug or (regions and machine.region not in regions):
            continue
        if (states and seen.state not in states) or (seen.state == "destroyed" and not deleted):
            continue
        if after is None or seen.updated_at > after:
            found.append((seen.updated_at, machine))
    found.sort(key=lambda pair: pair[0])
    if world.unkindness.unordered:
        _disorder(world, found)
    return [machine.id for _, machine in found]


def _disorder(world: World, found: list[tuple[float, Machine]]) -> None:
    """Mostly sorted, as Fly's description warns: every tenth pair is swapped."""
    for index in range(len(found) - 1):
        if world.chance(0.1):
            found[index], found[index + 1] = found[index + 1], found[index]


def _unreadable_regions(world: World, org_slug: str) -> set[str]:
    silent = {code for code, state in world.regions.items() if state.error}
    if world.chance(world.unkindness.error_regions):
        present = sorted({machine.region for machine in world.machines.values() if machine.app.org_slug == org_slug})
        if present:
            silent.add(world.chances.choice(present))
    return silent


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise FlyError(
            400, f"invalid_argument: updated_after must be an RFC 3339 timestamp, such as {to_rfc3339(0)}"
        ) from error
