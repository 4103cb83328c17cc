"""Apps: create, get, list, delete (`/v1/apps`)."""

import re

from local.fly.api.calls import Call, find_app
from local.fly.api.cursors import read_page
from local.fly.errors import FlyError, answer, is_true, read_text
from local.fly.state import machine_lifecycle as lifecycle
from local.fly.state.model import App
from local.fly.state.state import World
from local.fly.times import to_rfc3339
from local.http_server import Response

_NAME = re.compile(r"[a-z0-9-]{1,62}")
_NETWORK = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
BAD_NAME = "Validation failed: Name under 63 chars using numbers, lowercase letters and dashes"
MAX_PAGE = 5000


def create_app(world: World, call: Call) -> Response:
    """`POST /v1/apps`: 201 `{id, created_at}` with created_at in milliseconds."""
    body = call.body(required=True)
    name = read_text(body, "name") or read_text(body, "app_name")
    key = read_text(body, "idempotency_key")
    network = read_text(body, "network")
    org_slug = find_org(world, read_text(body, "org_slug"))
    again = world.apps.get(world.keys.get(key or "", ""))
    if again is not None and not again.deleting:
        if name not in (None, again.name):
            raise FlyError(422, "Validation failed: Idempotency key was used with another name")
        return _created(again)
    name = name or f"app-{world.hex_id(10)}"
    if not _NAME.fullmatch(name):
        raise FlyError(422, BAD_NAME)
    if network and not _NETWORK.fullmatch(network):
        raise FlyError(422, "Validation failed: Network must start with a letter and hold letters, numbers and dashes")
    if name in world.apps or name in world.foreign or name in world.held_names:
        raise FlyError(422, "Validation failed: Name has already been taken", "name_taken")
    lag_s = world.draw_unkind(world.unkindness.list_lag_s)
    app = App(
        id=world.hex_id(16),
        number=next(world.numbers),
        name=name,
        org_slug=org_slug,
        network=network or "default",
        created_at=call.now,
        visible_at=call.now if is_true(call.param("wait")) else call.now + lag_s,
        listed_at=call.now + lag_s,
        key=key,
    )
    world.apps[name] = app
    if key:
        world.keys[key] = name
    return _created(app)


def _created(app: App) -> Response:
    return answer({"id": app.id, "created_at": int(app.created_at * 1000)}, 201)


def find_org(world: World, slug: str | None) -> str:
    """The organisation's slug; `personal` also names a configured one. 404 for an unknown slug, 400 without one."""
    if not slug:
        raise FlyError(400, "org_slug is required")
    ours = world.settings.org
    if ours is None or slug == ours:
        return slug
    if slug == "personal":
        return ours
    raise FlyError(404, "organization not found")


def get_app(world: World, call: Call) -> Response:
    """`GET /v1/apps/{app_name}`: 403 for a foreign app, 404 for an app that does not exist."""
    return answer(find_app(world, call).shown())


def list_apps(world: World, call: Call) -> Response:
    """`GET /v1/apps?org_slug=`: all at once, or pages of `limit` with a cursor that lives 30 minutes."""
    org_slug = find_org(world, call.param("org_slug"))
    by_id = {app.id: app for app in [*world.apps.values(), *world.unlisted_later]}

    def find_ids() -> list[str]:
        ids = [app.id for app in by_id.values() if _listed(app, call.now) and app.org_slug == org_slug]
        if world.unkindness.unordered:
            world.chances.shuffle(ids)
        return ids

    ids, following, total = read_page(world, call, find_ids, MAX_PAGE, advisory=False)
    apps = [by_id[app_id].shown() for app_id in ids if app_id in by_id]
    return answer({"apps": apps, "total_apps": total} | ({"next_cursor": following} if following else {}))


def _listed(app: App, now: float) -> bool:
    return app.listed_at <= now and (app.unlisted_at is None or now < app.unlisted_at)


def delete_app(world: World, call: Call) -> Response:
    """`DELETE /v1/apps/{app_name}`: 202; the app and its machines disappear a while later.

    Running machines are destroyed with and without `force=true`. Fly does not document what happens without it.
    """
    app = find_app(world, call)
    if app.deleting:
        return Response(202)
    app.deleting = True
    gone_at = call.now + world.draw(world.timing.app_delete_s)
    for machine in app.live_machines():
        if machine.state != "destroying":
            lifecycle.destroy(world, machine, call.now)
    world.at(gone_at, lambda at: _remove(world, app, at))
    return Response(202)


def take_name(world: World, app: App) -> None:
    """The app was deleted outside this API, and another organisation has its name at once."""
    for machine in app.live_machines():
        lifecycle.destroy(world, machine, world.now())
    if not app.deleting:  # a deletion that is under way removes it itself
        app.deleting = True
        _remove(world, app, world.now())
    world.foreign.add(app.name)


def _remove(world: World, app: App, moment: float) -> None:
    del world.apps[app.name]
    app.unlisted_at = moment + world.draw_unkind(world.unkindness.list_lag_s)
    held_s = world.draw(world.timing.name_held_s)
    if held_s > 0:
        world.held_names.add(app.name)
        world.at(moment + held_s, lambda _: world.held_names.discard(app.name))
    if app.unlisted_at > moment:
        world.unlisted_later.append(app)
        world.at(app.unlisted_at, lambda _: world.unlisted_later.remove(app))
    world.gone_apps.append({"app": app.name, "at": to_rfc3339(moment)})
